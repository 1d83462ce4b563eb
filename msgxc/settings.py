"""Every setting, read once from the environment (MSGXC_*) or .env, frozen, each with its description.

docs/settings.md is made from this table; a test fails when it is not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from msgxc.errors import WrongSettings

ROOT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """The exchange's settings. With nothing set: the embedded store and the sandbox providers."""

    model_config = SettingsConfigDict(
        env_prefix="MSGXC_", env_file=".env", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    # -- the exchange
    home: Path = Field(default=ROOT / "var", description="Folder for all that the embedded exchange writes.")
    secret_key: SecretStr = Field(
        default=SecretStr(""),
        description="Key of all keyed ids, 16 to 64 bytes. The same on every machine; changing it makes "
        "every person a stranger. Empty: made once and kept in HOME/secret.key (embedded only).",
    )
    templates: Path = Field(default=ROOT / "templates", description="Folder of the message templates.")
    public_url: str = Field(
        default="http://127.0.0.1:8080",
        description="Under which recipients and providers reach the gateway; links and callbacks begin "
        "with it. TLS is ended in front of the gateway.",
    )

    # -- the store
    store: Literal["sqlite", "cassandra"] = Field(
        default="sqlite", description="Which store holds the record."
    )
    cassandra_hosts: str = Field(default="127.0.0.1", description="Contact points, separated by commas.")
    cassandra_port: int = Field(default=9042, ge=1, le=65535, description="Native transport port.")
    cassandra_keyspace: str = Field(
        default="msgxc", pattern=r"^[a-z][a-z0-9_]{0,47}$", description="Keyspace."
    )
    cassandra_datacenter: str = Field(default="datacenter1", description="Local data centre.")
    cassandra_replication: int = Field(
        default=1, ge=1, le=7, description="Replicas, when the keyspace is made."
    )
    cassandra_username: str = Field(default="", description="User name; empty: no login.")
    cassandra_password: SecretStr = Field(default=SecretStr(""), description="Password.")

    # -- the bus
    bus: Literal["local", "memory", "nats"] = Field(
        default="local",
        description="What wakes other processes. local: those of this machine with the same HOME; "
        "memory: none; nats: those of many machines.",
    )
    nats_url: str = Field(default="nats://127.0.0.1:4222", description="NATS servers, separated by commas.")

    # -- sending
    window: int = Field(default=50, ge=1, le=50, description="Recipients of a window: the unit of doubt.")
    in_flight: int = Field(
        default=50, ge=1, le=10_000, description="Provider calls under way in one process."
    )
    flush: int = Field(default=50, ge=1, le=50, description="Results that are written together.")
    windows_at_once: int = Field(
        default=1, ge=1, le=200, description="Windows under way in one process; more for distant providers."
    )
    shard_size: int = Field(
        default=500, ge=1, le=10_000, description="Recipients of a shard: the unit of lease."
    )
    slice_size: int = Field(default=20_000, ge=1, description="Recipients of a slice: one Prefect task.")
    processes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Sender processes of one run, each with a core, and a bound, of its own.",
    )
    spread: int = Field(
        default=0,
        ge=0,
        description="Slices for each flow run that a large campaign is spread over; 0: one run sends all. "
        "Best are as many runs as can be at work at once: throttle and quota are divided among them.",
    )
    lease_seconds: float = Field(default=30, ge=1, le=3600, description="How long a shard is held unrenewed.")
    transport: Literal["lean", "library"] = Field(
        default="lean",
        description="How pushes and text messages leave. lean: over our own HTTP/2 and HTTP/1.1, web push "
        "encrypted here. library: over aioapns' HTTP/2, over aiohttp, through Twilio's client, web push "
        "encrypted by pywebpush; slower.",
    )
    provider_timeout: float = Field(
        default=10, gt=0, description="Seconds for one provider call; at most half of LEASE_SECONDS."
    )
    attempts: int = Field(
        default=18,
        ge=1,
        le=50,
        description="Tries of a delivery that a provider puts off; with the growing waits, 18 take an hour.",
    )
    fcm_per_minute: int = Field(
        default=600_000, ge=0, description="FCM quota of the project, reached over a minute; 0: no limit."
    )
    fcm_avoid_quarters: bool = Field(
        default=True, description="Urgency 1 and 2 keep off FCM's rush at :00, :15, :30 and :45."
    )

    # -- urgency (docs/urgency.md has the whole table)
    urgency_1_ttl: int = Field(default=86_400, ge=0, le=2_419_200, description="Very low: seconds to live.")
    urgency_2_ttl: int = Field(default=86_400, ge=0, le=2_419_200, description="Low: seconds to live.")
    urgency_3_ttl: int = Field(default=14_400, ge=0, le=2_419_200, description="Normal: seconds to live.")
    urgency_4_ttl: int = Field(default=300, ge=0, le=2_419_200, description="High: seconds to live.")
    urgency_1_wait: float = Field(default=900, ge=0, description="Very low: seconds it may wait for others.")
    urgency_2_wait: float = Field(default=60, ge=0, description="Low: seconds it may wait for others.")
    urgency_3_wait: float = Field(default=1, ge=0, description="Normal: seconds it may wait for others.")
    urgency_4_wait: float = Field(default=0, ge=0, description="High: seconds it may wait for others.")

    messages_at_once: int = Field(
        default=64, ge=4, le=1_000, description="Messages of threads under way in one dispatch process."
    )

    # -- providers: a provider without credentials is replaced by the sandbox
    sandbox: bool = Field(default=False, description="Use the sandbox for every provider, whatever is set.")
    apns_key: SecretStr = Field(default=SecretStr(""), description="Token key (.p8): its text, or its path.")
    apns_key_id: str = Field(default="", description="Id of the token key.")
    apns_team_id: str = Field(default="", description="Team id.")
    apns_topic: str = Field(default="", description="Bundle id of the app.")
    apns_development: bool = Field(default=False, description="Use the provider's development server.")
    fcm_service_account: SecretStr = Field(
        default=SecretStr(""), description="Service account: its JSON text, or its path."
    )
    vapid_private_key: SecretStr = Field(
        default=SecretStr(""), description="VAPID key (P-256): PEM text, base64url, or its path."
    )
    vapid_contact: str = Field(default="", description="mailto: or https: contact in the VAPID token.")
    webpush_hosts: str = Field(
        default="fcm.googleapis.com,updates.push.services.mozilla.com,*.push.apple.com,*.notify.windows.com",
        description="Push services that a subscription may name.",
    )
    sendgrid_api_key: SecretStr = Field(default=SecretStr(""), description="SendGrid API key.")
    email_from: str = Field(default="", description="Sender address of emails.")
    email_from_name: str = Field(default="", description="Sender name of emails.")
    twilio_account_sid: str = Field(default="", description="Twilio account SID.")
    twilio_auth_token: SecretStr = Field(default=SecretStr(""), description="Twilio auth token.")
    twilio_from: str = Field(default="", description="Sending number (E.164) or messaging service SID (MG…).")

    websocket_acknowledge: float = Field(
        default=2.0,
        gt=0,
        le=30,
        description="Seconds in which an open websocket has to acknowledge a message.",
    )
    websocket_connections: int = Field(
        default=20_000, ge=1, description="Open websockets of one gateway process; more have to come later."
    )
    websocket_origins: str = Field(
        default="",
        description="Origins (https://…) whose pages may open a websocket by the cookie msgxc_token, "
        "separated by commas; PUBLIC_URL's own always may.",
    )

    # -- the gateway: REST, websocket, webhooks, links (docs/api.md)
    gateway_host: str = Field(default="127.0.0.1", description="Where the gateway listens.")
    gateway_port: int = Field(default=8080, ge=0, le=65535, description="Port of the gateway; 0: a free one.")
    jwt_secret: SecretStr = Field(
        default=SecretStr(""),
        description="Secret of the app's own tokens (HS256), at least 32 bytes. Empty: made from SECRET_KEY; "
        "`msgxc token` makes such tokens.",
    )
    jwt_issuer: str = Field(
        default="msgxc", description="`iss` of the app's own tokens; empty: not looked at."
    )
    jwt_audience: str = Field(default="msgxc", description="`aud` of every token; empty: not looked at.")
    jwt_issuers: str = Field(
        default="",
        description="Other issuers whose tokens count, separated by commas: `issuer RS256|ES256 "
        "https://…/jwks.json`.",
    )
    rate_per_minute: int = Field(
        default=600, ge=0, description="Requests of one caller in a minute, per gateway process; 0: no limit."
    )
    body_limit: int = Field(
        default=1_048_576, ge=1024, description="Bytes of a request; webhooks may have eight times as many."
    )
    demo: bool = Field(
        default=False,
        description="Serve /demo, where anybody may come in as a guest and talk in one thread. Not for an "
        "exchange that strangers reach.",
    )
    body_seconds: float = Field(
        default=10, gt=0, description="Seconds in which a request's body has to arrive."
    )
    sendgrid_webhook_key: SecretStr = Field(
        default=SecretStr(""), description="Public key of SendGrid's signed event webhook (base64)."
    )
    apple_app_ids: str = Field(
        default="", description="TEAMID.bundle ids that open our links on iPhones, separated by commas."
    )
    android_app: str = Field(
        default="", description="Android app that opens our links: package, then SHA-256 fingerprints."
    )
    app_scheme: str = Field(default="", description="The app's own URL scheme, for the fallback page.")
    app_fallback: str = Field(default="", description="Web page for those without the app (https).")

    # -- retention
    keep_ledger_days: int = Field(
        default=400, ge=1, description="Days that a finished campaign's rows are kept."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.provider_timeout > self.lease_seconds / 2:
            raise ValueError("PROVIDER_TIMEOUT must be at most half of LEASE_SECONDS")
        key = self.secret_key.get_secret_value().encode()
        if key and not 16 <= len(key) <= 64:
            raise ValueError("SECRET_KEY must have 16 to 64 bytes")
        if 0 < len(self.jwt_secret.get_secret_value().encode()) < 32:
            raise ValueError("JWT_SECRET must have at least 32 bytes (RFC 7518 section 3.2)")
        if not key and self.store == "cassandra":
            raise ValueError("SECRET_KEY is needed when the store is shared")
        return self


def read_settings(**overrides: object) -> Settings:
    """The settings of this process. Raises WrongSettings with one line, which never holds a value."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = "".join(f"MSGXC_{part}".upper() for part in first["loc"][:1])
        raise WrongSettings(f"{name}: {first['msg']}".removeprefix(": ")) from None
