"""SendGrid's event webhook: its signature, and its events in our words. Pure.

Rules: twilio.com/docs/sendgrid, "Getting started with the Event Webhook Security Features" (ECDSA P-256 over
timestamp + raw body), "Event Webhook Reference" (drop reasons, bounce types and classifications) and RFC 3463
(enhanced status codes). The reason's text holds addresses and is not kept.

An address is suppressed only for what is true of the address. A quota that is used up, a header that is
wrong, content that is taken for spam, a reputation or a policy are about us: the next email may arrive.
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
#: Why SendGrid drops an email that it does not even try to deliver ("Event Webhook Reference", drop reasons),
#: in lower case: what it says of the address. All others are about us: "Invalid SMTPAPI header", "Spam
#: Content (if Spam Checker app is enabled)", "Recipient List over Package Quota", and whatever comes to be.
DROPS: Mapping[str, tuple[News, str]] = {
    "bounced address": (News.BOUNCED, "bounced"),
    "invalid": (News.BOUNCED, "invalid_address"),
    "spam reporting address": (News.BOUNCED, "complained"),
    "unsubscribed address": (News.STOPPED, "stopped"),
}
#: Bounce classifications that are about us, or the moment ("Event Webhook Reference", bounce_classification).
OURS = frozenset(
    {
        "technical",
        "content",
        "reputation",
        "frequency/volume",
        "frequency or volume too high",
        "mailbox unavailable",
    }
)
#: Enhanced status codes of RFC 3463 sections 3.2 and 3.3 that say that the address is none, or no more.
#: 5.1.10 is RFC 7505's (no mail at that domain), 5.4.1 what Microsoft answers for a mailbox that is none,
#: 5.0.0 says nothing, and then the type `bounce` does. All others are about the message, sender or route.
GONE = frozenset({"5.0.0", "5.1.0", "5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.0", "5.2.1", "5.4.1"})
#: How old a signed request may be, and how far its clock may be ahead, in seconds.
FRESH_SECONDS = 300
_STAMP = re.compile(r"[0-9]{10}")
_STATUS = re.compile(r"(?<![0-9.])[245]\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9.])")
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


def is_fresh(timestamp: str, now: datetime) -> bool:
    """Whether a request was signed within the last minutes: seconds since the epoch, in ten digits.

    The signature is over timestamp and body, glued together. As the first has a fixed length and nothing but
    digits, no byte can be moved between them.
    """
    return bool(_STAMP.fullmatch(timestamp)) and abs(now.timestamp() - int(timestamp)) <= FRESH_SECONDS


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
    wish, reason = _about_address(event, news)
    address = _address(key, event) if reason else b""
    handle, said = _handle(key, event), _identity(event)
    named: dict[str, Any] = {"channel": Channel.EMAIL, "at": _time(event.get("timestamp"), now)}
    if wish is not news and address:  # a delivery that failed, and a wish besides
        identity = ids.receipt_id(key, "sendgrid", f"{said}\0wish")
        yield Received(identity, wish, address=address, reason=reason, **named)
        address = b""
    if handle is None and not address:
        return
    yield Received(
        id=ids.receipt_id(key, "sendgrid", said),
        news=news,
        campaign=handle and handle.campaign,
        uid=handle and handle.uid,
        delivery=handle and handle.delivery,
        address=address,
        reason=reason if address else _reason(event, news),
        code=_code(event.get("status")),
        **named,
    )


def _about_address(event: Mapping[str, Any], news: News) -> tuple[News, str]:
    """What an event says of the address itself, and why nothing is sent there; "" when it says nothing."""
    kind = event.get("event")
    if kind == "dropped":
        return DROPS.get(str(event.get("reason", "")).strip().lower(), (news, ""))
    if news is not News.BOUNCED:
        return news, news.value if news in ABOUT_ADDRESS else ""
    if kind == "blocked" or event.get("type") == "blocked":
        return news, ""
    classified = str(event.get("bounce_classification", "")).strip().lower()
    status = _code(event.get("status")) or _code(event.get("reason"))
    gone = classified == "invalid address" or (classified not in OURS and (not status or status in GONE))
    return news, "bounced" if gone else ""


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


def _code(said: object) -> str:
    found = _STATUS.search(str(said or "")[:200])
    return found[0] if found else ""
