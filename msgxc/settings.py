"""Every setting, read once from the environment (MSGXC_*) or .env, frozen, each with its description.

docs/settings.md is made from this table; a test fails when it is not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, SettingsConfigDict

from msgxc.errors import WrongSettings

#: Keys whose text may be given, and secrets that go into no header.
OF_MANY_LINES = {"apns_key", "fcm_service_account", "jwt_secret", "secret_key", "vapid_private_key"}
_URL = re.compile(r"[!-~]+")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
PREFIX = "MSGXC_"
#: Names that are no settings: what our own programs tell each other, what servers/ and compose read, and what
#: is armed by tests (failpoints.py).
NOT_OURS = frozenset(
    {"CACHE", "FAILPOINTS", "FAILPOINTS_ONCE", "NATS_GATEWAY_PASSWORD", "NATS_WORKER_PASSWORD", "PART"}
    | {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "ROOT", "SYSTEM", "WORKER", "WORKERS_SINCE", "WORKER_PROCESS"}
)
#: What Kubernetes tells every container of a service that is called msgxc, or msgxc-….
OF_KUBERNETES = re.compile(r"(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT|PORT_\d+_(TCP|UDP)(_.*)?)")
ROOT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """The exchange's settings. With nothing set: the embedded store and the sandbox providers."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    # -- the exchange
    home: Path = Field(default=ROOT / "var", description="Folder for all that the embedded exchange writes.")
    secret_key: SecretStr = Field(
        default=SecretStr(""),
        description="Key of all keyed ids, 16 to 64 bytes. The same on every machine; changing it makes "
        "every person a stranger, so the store refuses another one. Empty: made once and kept in "
        "HOME/secret.key (embedded only).",
    )
    templates: Path = Field(default=ROOT / "templates", description="Folder of the message templates.")
    public_url: str = Field(
        default="http://127.0.0.1:8080",
        description="Under which recipients and providers reach the gateway; links and callbacks begin "
        "with it. TLS is ended in front of the gateway.",
    )

    console_port: int = Field(
        default=4200,
        ge=0,
        le=65535,
        description="Port of the console in `make up`, `make demo` and `make up-real`. One that you set and "
        "that is taken stops the start; else it is the one of the last start, or one that is free. 0: any.",
    )
    console_hosts: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9.,\- ]*$",
        description="Host names under which Prefect's console and API are reached, besides 127.0.0.1 and "
        "localhost, separated by commas. A proxy in front of it hands the Host on as it is.",
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
    cassandra_admin_password: SecretStr = Field(
        default=SecretStr(""),
        description="Password that `msgxc schema role` gives the superuser `cassandra`; else not needed.",
    )

    # -- the bus
    bus: Literal["local", "memory", "nats"] = Field(
        default="local",
        description="What wakes other processes. local: those of this machine with the same HOME; "
        "memory: none; nats: those of many machines.",
    )
    nats_url: str = Field(
        default="nats://127.0.0.1:4222", repr=False, description="NATS servers, separated by commas."
    )
    nats_username: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9_-]*$",
        description="User name: `gateway` or `worker` of servers/nats.conf; empty: no login.",
    )
    nats_password: SecretStr = Field(default=SecretStr(""), description="Password.")

    # -- sending
    window: int = Field(default=50, ge=1, le=50, description="Recipients of a window: the unit of doubt.")
    in_flight: int = Field(
        default=50, ge=1, le=10_000, description="Provider calls under way in one process."
    )
    flush: int = Field(default=50, ge=1, le=50, description="Results that are written together.")
    windows_at_once: int = Field(
        default=1, ge=1, le=200, description="Windows under way in one process; more for distant providers."
    )
    slow_calls: int = Field(
        default=500,
        ge=0,
        le=10_000,
        description="Calls under way in one process beyond those: slower than the others, which do not wait "
        "for them; a request of emails is one. What a killed process may repeat grows by those that it had; "
        "0: none.",
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
        description="Tries of a delivery that a provider puts off; with the growing waits, 18 take an hour. "
        "While it throttles everybody, time counts instead.",
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

    # -- schedules
    schedule_grace: float = Field(
        default=1800,
        ge=0,
        description="Seconds that a campaign of a schedule may begin late, for example because nothing was "
        "running; one that is later is reported, not sent, and of several the last one alone is sent.",
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
    vapid_contact: str = Field(
        default="",
        description="Whom a push service may ask: mailto:ops@example.org, or an https URL.",
    )
    webpush_hosts: str = Field(
        default="fcm.googleapis.com,updates.push.services.mozilla.com,*.push.apple.com,*.notify.windows.com",
        description="Push services that a subscription may name.",
    )
    sendgrid_api_key: SecretStr = Field(default=SecretStr(""), description="SendGrid API key.")
    email_from: str = Field(default="", description="Sender address of emails.")
    email_from_name: str = Field(
        default="", description="Sender name of emails; it stands on the pages that their links lead to, too."
    )
    twilio_account_sid: str = Field(default="", description="Twilio account SID.")
    twilio_auth_token: SecretStr = Field(default=SecretStr(""), description="Twilio auth token.")
    sms_per_day: int = Field(
        default=100_000,
        ge=0,
        description="Parts of text messages that the exchange pays for in a day (UTC); what is over is "
        "skipped as `budget`. 0: no limit.",
    )
    sms_per_thread: int = Field(
        default=1_000,
        ge=0,
        description="The same for the messages of one thread; campaigns are not among them. 0: no limit.",
    )
    twilio_from: str = Field(
        default="",
        description="Sender: a number (E.164), a short code, a name of up to 11 letters and digits, a "
        "messaging service (MG…), or whatsapp: or rcs: and their sender.",
    )

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
    gateway_port: int = Field(
        default=8080,
        ge=0,
        le=65535,
        description="Port of the gateway, with the same rules as CONSOLE_PORT; 0: a free one.",
    )
    gateway_earlier_ports: str = Field(
        default="",
        description="Ports on which the gateway listens too, where they are free, separated by commas: links "
        "that were sent go on. `make up` remembers those that it has had.",
    )
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
        "https://…/jwks.json`, then as needed `roles=user|service|admin` (that it may give; user), "
        "`prefix=TEXT` (before the names it gives to persons; the issuer and |) and `uuids=yes` (a name that "
        "is a UUID is that very person; no).",
    )
    rate_per_minute: int = Field(
        default=600,
        ge=0,
        description="Units of work that one caller may ask for in a minute, per gateway process: requests, "
        "websocket frames, items of a bulk form, hundreds of people (docs/api.md); 0: no limit.",
    )
    thread_per_minute: int = Field(
        default=60,
        ge=0,
        description="Messages of one person in one thread in a minute, per process, unless they are of its "
        "staff; 0: no limit.",
    )
    open_fanout: int = Field(
        default=1_000,
        ge=0,
        le=10_000,
        description="Subscribers of a thread that anybody may publish to, where it is open for publishing; "
        "in a larger one only its staff may. 0: no limit.",
    )
    trusted_proxies: str = Field(
        default="",
        description="Addresses or networks of the proxies in front of the gateway, separated by commas: from "
        "them alone REAL_IP_HEADER is believed. Without it everybody behind a proxy shares what one address "
        "may have.",
    )
    real_ip_header: str = Field(
        default="x-forwarded-for",
        pattern=r"^[A-Za-z0-9-]{1,64}$",
        description="Header in which a trusted proxy says where a request comes from: one address, or a list "
        "to which each proxy adds.",
    )
    hosts: str = Field(
        default="",
        description="Further names under which the gateway is reached, separated by commas "
        "(`*.example.org`: all below); those of PUBLIC_URL and GATEWAY_HOST, 127.0.0.1 and localhost always "
        "are. What is meant for another host is refused.",
    )
    misses_per_minute: int = Field(
        default=60,
        ge=0,
        description="Forged tokens and guessed links of one address in a minute; beyond that they are "
        "answered 429. What counts is answered as ever. 0: no limit.",
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

    @property
    def store_file(self) -> Path:
        """Where the embedded store is."""
        return self.home / "msgxc.sqlite3"

    @field_validator("*")
    @classmethod
    def _on_one_line(cls, value: object, info: ValidationInfo) -> object:
        """A line end in a name, a topic or a key of an API would end a header, and begin another one."""
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if isinstance(text, str) and info.field_name not in OF_MANY_LINES and CONTROL.search(text):
            raise ValueError("it holds a line end or another control character")
        return value

    @field_validator("gateway_earlier_ports")
    @classmethod
    def _are_ports(cls, value: str) -> str:
        ports = [one.strip() for one in value.split(",")] if value.strip() else []
        if any(not re.fullmatch(r"[0-9]{1,5}", one) or not 0 < int(one) < 65_536 for one in ports):
            raise ValueError("ports from 1 to 65535, separated by commas")
        return ",".join(ports)

    @field_validator("public_url")
    @classmethod
    def _leads_here(cls, value: str) -> str:
        """Paths are put behind it."""
        try:
            parts, port = urlsplit(value), urlsplit(value).port
        except ValueError:
            parts, port = urlsplit(""), None
        wrong = parts.query or parts.fragment or parts.username is not None or port == 0
        if parts.scheme not in ("http", "https") or not parts.hostname or wrong or not _URL.fullmatch(value):
            raise ValueError("an address as https://msgxc.example.org, without login, ? and #")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.provider_timeout > self.lease_seconds / 2:
            raise ValueError("MSGXC_PROVIDER_TIMEOUT: at most half of MSGXC_LEASE_SECONDS")
        key = self.secret_key.get_secret_value().encode()
        if key and not 16 <= len(key) <= 64:
            raise ValueError("MSGXC_SECRET_KEY: 16 to 64 bytes")
        if 0 < len(self.jwt_secret.get_secret_value().encode()) < 32:
            raise ValueError("MSGXC_JWT_SECRET: at least 32 bytes (RFC 7518 section 3.2)")
        if not key and self.store == "cassandra":
            raise ValueError("MSGXC_SECRET_KEY: needed when the store is shared")
        return self


def read_settings(**overrides: object) -> Settings:
    """The settings of this process. Raises WrongSettings with one line, which never holds a value."""
    for name in _unknown(overrides.get("_env_file", Settings.model_config.get("env_file"))):
        near = get_close_matches(name, [f"{PREFIX}{field.upper()}" for field in Settings.model_fields], 1)
        raise WrongSettings(f"{name}: no such setting" + (f"; did you mean {near[0]}?" if near else ""))
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = "".join(f"{PREFIX}{part}".upper() for part in first["loc"][:1])
        said = first["msg"].removeprefix("Value error, ")
        raise WrongSettings(f"{name}: {said}".removeprefix(": ")) from None


def _unknown(file: object) -> Iterator[str]:
    """Names of ours in the environment and in the file that are no setting: a slip would be passed over."""
    in_file = DotEnvSettingsSource(Settings, env_file=str(file)).env_vars if file else {}
    known = {name.upper() for name in Settings.model_fields} | NOT_OURS
    for name in (*os.environ, *in_file):
        own = name.upper().removeprefix(PREFIX)
        if own not in known and name.upper() != own and not OF_KUBERNETES.fullmatch(own):
            yield name.upper()
