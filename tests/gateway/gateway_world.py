"""What the gateway's tests share: settings, a world, tokens, signed webhooks."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI
from msgspec import structs

from msgxc import ids, links
from msgxc.campaign import Audience, CampaignSpec, People, Sending
from msgxc.gateway.auth import make_token
from msgxc.ledger import Campaign, Mark, Row
from msgxc.messages.records import Role
from msgxc.model import Channel, Recipient, Thread
from msgxc.receipts import twilio
from msgxc.receipts.merging import Merger
from msgxc.settings import Settings, read_settings
from msgxc.wiring import Exchange

KEY = b"gateway tests: a key of thirty-two"[:32]
SENDGRID = ec.generate_private_key(ec.SECP256R1())
TWILIO = "the-auth-token-of-the-tests"
PUBLIC = "https://msg.example.org"


def gateway_settings(home: Path, **more: object) -> Settings:
    """An embedded exchange in this folder, whatever the environment says."""
    der = SENDGRID.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    given: dict[str, object] = {
        "_env_file": None,
        "home": home,
        "bus": "memory",
        "sandbox": True,
        "secret_key": KEY.decode(),
        "public_url": PUBLIC,
        "sendgrid_webhook_key": b64encode(der).decode(),
        "twilio_auth_token": TWILIO,
        "rate_per_minute": 100_000,
        "gateway_port": 0,
        **more,
    }
    return read_settings(**given)


@dataclass
class World:
    """A gateway, its exchange, and a client."""

    exchange: Exchange
    app: FastAPI
    client: httpx.AsyncClient

    def token(self, uid: UUID | None = None, *roles: Role) -> str:
        """Of our own issuer, for an hour."""
        return make_token(self.exchange, uid, frozenset(roles or {Role.USER}), 3600)

    def login(self, uid: UUID | None = None, *roles: Role) -> dict[str, str]:
        """The header of a caller."""
        return {"Authorization": f"Bearer {self.token(uid, *roles)}"}

    @property
    def admin(self) -> dict[str, str]:
        """An operator."""
        return self.login(uuid4(), Role.ADMIN)

    async def post(self, path: str, body: Any, login: Mapping[str, str] | None = None, **more: str) -> Any:
        """POST JSON to /api/v2."""
        return await self.client.post(f"/api/v2/{path}", json=body, headers={**(login or {}), **more})

    async def get(self, path: str, login: Mapping[str, str] | None = None) -> httpx.Response:
        """GET from /api/v2."""
        return await self.client.get(f"/api/v2/{path}", headers=dict(login or {}))

    async def person(self, **more: Any) -> Recipient:
        """Somebody in the directory."""
        person = Recipient(
            uuid4(), name="Ann", email=f"{uuid4().hex}@example.com", cell="+15005550010", **more
        )
        await self.exchange.store.directory.put([person])
        return person

    async def thread(self, **more: Any) -> Thread:
        """A thread."""
        thread = Thread(uuid4(), name="tea", **more)
        await self.exchange.store.threads.put(thread)
        return thread

    async def delivery(self, person: Recipient, channel: Channel, **sending: Any) -> links.Handle:
        """A delivery to somebody, of a campaign in the ledger, already accepted."""
        name = f"c-{uuid4().hex[:8]}"
        spec = CampaignSpec(
            name=name,
            template="welcome",
            audience=Audience(to=People(uids=(person.uid,))),
            sending=Sending(channels=(channel,), **sending),
        )
        identity = ids.campaign_id(self.exchange.key, name)
        await self.exchange.store.ledger.create(Campaign(identity, spec, 4, datetime.now(UTC)))
        address = {Channel.EMAIL: person.email, Channel.SMS: person.cell}.get(channel, str(person.uid))
        delivery = ids.delivery_id(self.exchange.key, identity, person.uid, channel, address)
        return links.Handle(identity, person.uid, delivery, channel)

    async def row(self, handle: links.Handle) -> Row | None:
        """What the ledger says of a delivery, once the inbox is merged."""
        await Merger(self.exchange).merge_all()
        shard = ids.shard_of(self.exchange.key, handle.campaign, handle.uid, 4)
        rows = await self.exchange.store.ledger.rows(handle.campaign, shard)
        return next((row for row in rows if row.delivery == handle.delivery), None)

    async def state(self, handle: links.Handle) -> Mark | None:
        """The mark that counts."""
        row = await self.row(handle)
        return row.state if row else None

    async def suppressed(self, channel: Channel, address: str) -> str | None:
        """Why an address is suppressed."""
        await Merger(self.exchange).merge_all()
        hashed = ids.address_hash(self.exchange.key, channel, address)
        return (await self.exchange.store.directory.suppressed([hashed])).get(hashed)

    # -- webhooks

    async def sendgrid(self, *events: Mapping[str, Any], **headers: str) -> httpx.Response:
        """Signed events."""
        body, stamp = orjson.dumps(list(events)), self.stamp()
        return await self.client.post(
            "/hooks/sendgrid", content=body, headers={**signed_events(body, stamp), **headers}
        )

    async def twilio(self, path: str, form: Mapping[str, str]) -> httpx.Response:
        """A signed callback."""
        signature = twilio.signature(TWILIO, PUBLIC + path, list(form.items()))
        return await self.client.post(path, data=dict(form), headers={twilio.SIGNATURE: signature})

    def stamp(self, seconds: float = 0) -> str:
        """The time of a webhook, so many seconds from now."""
        return str(int(self.exchange.clock() + seconds))

    def event(self, handle: links.Handle, kind: str, person: Recipient, **more: Any) -> dict[str, Any]:
        """An event as SendGrid writes it."""
        return {
            "email": person.email,
            "event": kind,
            "timestamp": int(self.exchange.clock()) - 5,
            "sg_event_id": uuid4().hex,
            "sg_message_id": "m.1",
            "delivery": str(handle.delivery),
            "receipt": links.receipt(self.exchange.key, handle),
            **more,
        }

    def callback(self, handle: links.Handle) -> str:
        """Where Twilio reports on a text message."""
        token = links.receipt(self.exchange.key, handle)
        return f"/hooks/twilio?delivery={handle.delivery}&receipt={token}"


def signed_events(body: bytes, stamp: str, key: ec.EllipticCurvePrivateKey = SENDGRID) -> dict[str, str]:
    """The headers of a body that SendGrid has signed."""
    signature = key.sign(stamp.encode() + body, ec.ECDSA(SHA256()))
    return {
        "X-Twilio-Email-Event-Webhook-Signature": b64encode(signature).decode(),
        "X-Twilio-Email-Event-Webhook-Timestamp": stamp,
    }


def with_consent(person: Recipient, *consents: str) -> Recipient:
    """The same person, who agrees to these."""
    return structs.replace(person, consents=frozenset(consents))
