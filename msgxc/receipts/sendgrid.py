"""SendGrid's event webhook: its signature, and its events in our words. Pure.

Rules: twilio.com/docs/sendgrid, "Getting started with the Event Webhook Security Features" (ECDSA P-256 over
timestamp + raw body) and "Event Webhook Reference". The reason's text holds addresses and is not kept.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from msgxc import ids
from msgxc.errors import WrongInput, WrongSettings
from msgxc.links import read_receipt
from msgxc.model import Channel
from msgxc.people.fields import normal_email
from msgxc.store.gateway import News, Received

SIGNATURE, TIMESTAMP = "x-twilio-email-event-webhook-signature", "x-twilio-email-event-webhook-timestamp"
EVENTS: Mapping[str, News] = {
    "processed": News.ACCEPTED,
    "delivered": News.DELIVERED,
    "bounce": News.BOUNCED,
    "blocked": News.BOUNCED,
    "dropped": News.BOUNCED,
    "open": News.OPENED,
    "click": News.CLICKED,
    "spamreport": News.COMPLAINED,
    "unsubscribe": News.STOPPED,
    "group_unsubscribe": News.STOPPED,
    "group_resubscribe": News.STARTED,
}
#: News after which nothing may be sent to the address any more.
ABOUT_ADDRESS = frozenset({News.BOUNCED, News.COMPLAINED, News.STOPPED, News.STARTED})
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_TOKEN = "receipt"  # noqa: S105 - the name of a field


def public_key(text: str) -> ec.EllipticCurvePublicKey:
    """The key of the setting. Raises WrongSettings."""
    try:
        key = load_der_public_key(b64decode(text, validate=True))
    except ValueError:
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise WrongSettings("MSGXC_SENDGRID_WEBHOOK_KEY: not a public key in base64")
    return key


def is_signed(key: ec.EllipticCurvePublicKey, timestamp: str, signature: str, body: bytes) -> bool:
    """Whether SendGrid signed just these bytes."""
    try:
        key.verify(b64decode(signature, validate=True), timestamp.encode() + body, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def receipts(key: bytes, body: bytes, now: datetime) -> list[Received]:
    """The events of a body that concern us. Raises WrongInput when it is no list of objects."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise WrongInput("not JSON") from None
    if not isinstance(said, list) or not all(isinstance(event, dict) for event in said):
        raise WrongInput("not a list of events")
    return [found for event in said for found in _receipt(key, event, now)]


def _receipt(key: bytes, event: Mapping[str, Any], now: datetime) -> Iterator[Received]:
    """One event; nothing for one that we do not use (deferred), or that belongs to no delivery of ours."""
    news = EVENTS.get(str(event.get("event")))
    if news is None or event.get("sg_machine_open") is True:
        return
    soft = event.get("type") == "blocked" or event.get("event") == "blocked"
    address = b"" if soft or news not in ABOUT_ADDRESS else _address(key, event)
    handle = _handle(key, event)
    if handle is None and not address:
        return
    yield Received(
        id=ids.receipt_id(key, "sendgrid", _identity(event)),
        news=news,
        channel=Channel.EMAIL,
        at=_time(event.get("timestamp"), now),
        campaign=handle and handle.campaign,
        uid=handle and handle.uid,
        delivery=handle and handle.delivery,
        address=address,
        reason=_reason(event, news),
        code=_code(event),
    )


def _handle(key: bytes, event: Mapping[str, Any]) -> Any:
    try:
        handle = read_receipt(key, str(event.get(_TOKEN, "")))
    except WrongInput:
        return None
    return handle if handle.channel is Channel.EMAIL else None


def _address(key: bytes, event: Mapping[str, Any]) -> bytes:
    try:
        return ids.address_hash(key, Channel.EMAIL, normal_email(event.get("email")))
    except ValueError:
        return b""


def _identity(event: Mapping[str, Any]) -> str:
    """`sg_event_id` is the same for every repetition (it is missing in the oldest accounts)."""
    named = event.get("sg_event_id")
    if isinstance(named, str) and named:
        return named
    return "\0".join(str(event.get(name)) for name in ("event", "sg_message_id", "timestamp", _TOKEN))


def _time(stamp: object, now: datetime) -> datetime:
    """When it happened; never in the future, and never before a year ago."""
    if not isinstance(stamp, int | float) or isinstance(stamp, bool):
        return now
    return datetime.fromtimestamp(min(max(stamp, now.timestamp() - 31_536_000), now.timestamp()), UTC)


def _reason(event: Mapping[str, Any], news: News) -> str:
    return "dropped" if event.get("event") == "dropped" else news.value if news is not News.ACCEPTED else ""


def _code(event: Mapping[str, Any]) -> str:
    found = _STATUS.search(str(event.get("status", ""))[:40])
    return found[0] if found else ""
