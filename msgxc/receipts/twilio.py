"""Twilio's webhooks: their signature, status callbacks and replies such as STOP, in our words. Pure.

Rules: twilio.com/docs, "Webhooks security" (HMAC-SHA1 over the public URL and the sorted parameters),
"Messages resource" (status), "Error and warning dictionary", "Advanced opt-out" (OptOutType).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha1
from hmac import compare_digest, digest

from msgxc import ids
from msgxc.links import Handle
from msgxc.model import Channel
from msgxc.providers.sms import NUMBER
from msgxc.store.gateway import News, Received

SIGNATURE = "x-twilio-signature"
#: `failed` and `undelivered` come after the message was accepted, and are worse news: they count as bounced.
STATUSES: Mapping[str, News] = {
    "queued": News.ACCEPTED,
    "accepted": News.ACCEPTED,
    "sending": News.ACCEPTED,
    "sent": News.ACCEPTED,
    "delivered": News.DELIVERED,
    "read": News.READ,
    "undelivered": News.BOUNCED,
    "failed": News.BOUNCED,
}
#: Error codes that are about the number: nothing is sent there any more.
DEAD_NUMBERS: Mapping[str, str] = {
    "21610": "stopped",
    "21211": "invalid_address",
    "21614": "invalid_address",
    "30005": "invalid_address",  # unknown destination
    "30006": "invalid_address",  # a landline
}
#: What a person replies who wants nothing more, or everything again (Twilio's default words, and the CTIA's).
STOP = frozenset({"stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout"})
START = frozenset({"start", "yes", "unstop"})


def signature(token: str, url: str, form: Sequence[tuple[str, str]]) -> str:
    """What Twilio writes into X-Twilio-Signature."""
    text = url + "".join(f"{name}{value}" for name, value in sorted(set(form)))
    return b64encode(digest(token.encode(), text.encode(), sha1)).decode()


def is_signed(token: str, url: str, form: Sequence[tuple[str, str]], given: str) -> bool:
    """Whether Twilio signed just this."""
    return compare_digest(signature(token, url, form).encode(), given.encode("utf-8", "replace"))


def status(key: bytes, handle: Handle | None, form: Mapping[str, str], now: datetime) -> list[Received]:
    """What a status callback tells; nothing for a status that we do not know, or somebody else's message."""
    said = form.get("MessageStatus") or form.get("SmsStatus") or ""
    news = STATUSES.get(said)
    code = form.get("ErrorCode", "")
    code = code if code.isascii() and code.isdigit() and len(code) < 7 else ""
    reason = DEAD_NUMBERS.get(code, "") if news is News.BOUNCED else ""
    address = _address(key, form.get("To", "")) if reason else b""
    if news is None or (handle is None and not address) or (handle and handle.channel is not Channel.SMS):
        return []
    named = (form.get("MessageSid"), said, handle and handle.delivery)
    return [
        Received(
            id=ids.receipt_id(key, "twilio", "\0".join(map(str, named))),
            news=news,
            channel=Channel.SMS,
            at=now,
            campaign=handle.campaign if handle else None,
            uid=handle.uid if handle else None,
            delivery=handle.delivery if handle else None,
            address=address,
            reason=reason or (said if news is News.BOUNCED else ""),
            code=code,
        )
    ]


def reply(key: bytes, form: Mapping[str, str], now: datetime) -> list[Received]:
    """What a text message to us means: STOP, START, or nothing that we act on."""
    word = form.get("OptOutType") or form.get("Body", "").strip().strip(".!")
    news = _wish(word.lower())
    address = _address(key, form.get("From", ""))
    if news is None or not address:
        return []
    identity = ids.receipt_id(key, "twilio", f"{form.get('MessageSid')}\0reply")
    return [Received(identity, news, Channel.SMS, now, address=address, reason="stopped")]


def _wish(word: str) -> News | None:
    if word in STOP:
        return News.STOPPED
    return News.STARTED if word in START else None


def _address(key: bytes, number: str) -> bytes:
    return ids.address_hash(key, Channel.SMS, number) if NUMBER.fullmatch(number) else b""
