"""Links for one recipient, signed so that nobody can make another's. Pure.

The token is uid and campaign with a keyed MAC: no address, no login needed (RFC 8058 section 3.2: the POST
of a one-click unsubscribe carries nothing but the link). A receipt's token names one delivery besides: who
holds it may say what became of that delivery, and nothing else. A tracked link signs its target too.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from binascii import Error
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from hmac import compare_digest
from urllib.parse import quote
from uuid import UUID

from msgspec import Struct

from msgxc.errors import WrongInput
from msgxc.ids import base64url
from msgxc.model import Channel

#: The longest link that every server is expected to take, in characters (RFC 9110 section 4.1).
LONGEST = 8_000
_MAC = 12
_CHANNELS = tuple(Channel)  # a token holds the place: new channels go to the end
_PLACES = {channel: bytes((place,)) for place, channel in enumerate(_CHANNELS)}


class Handle(Struct, frozen=True, gc=False):
    """One delivery, as a receipt's token names it."""

    campaign: UUID
    uid: UUID
    delivery: UUID
    channel: Channel


@lru_cache(16)
def _keyed(key: bytes, use: bytes) -> blake2b:
    """To be copied."""
    return blake2b(digest_size=_MAC, key=key, person=use)


def _mac(key: bytes, body: bytes, use: bytes = b"link") -> bytes:
    h = _keyed(key, use).copy()
    h.update(body)
    return h.digest()


def _decoded(text: str) -> bytes:
    """Raises WrongInput."""
    try:
        return urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
    except (Error, ValueError):
        raise WrongInput("this link is not valid") from None


def token(key: bytes, campaign: UUID, uid: UUID) -> str:
    """Who and which campaign, in 59 characters of base64url."""
    body = campaign.bytes + uid.bytes
    return base64url(body + _mac(key, body))


def read_token(key: bytes, text: str) -> tuple[UUID, UUID]:
    """(campaign, uid) of a token. Raises WrongInput when it is not ours."""
    raw = _decoded(text)
    body, mac = raw[:32], raw[32:]
    if len(body) != 32 or not compare_digest(mac, _mac(key, body)):
        raise WrongInput("this link is not valid")
    return UUID(bytes=body[:16]), UUID(bytes=body[16:])


def unsubscribe(base: str, own: str) -> str:
    """The one-click unsubscribe link of somebody's token."""
    return f"{base.rstrip('/')}/u/{own}"


def preferences(base: str, own: str) -> str:
    """The page where whoever has this token chooses channels and purposes."""
    return f"{base.rstrip('/')}/p/{own}"


def confirmation(key: bytes, uid: UUID, campaign: UUID, asked: datetime, items: int) -> str:
    """With which somebody confirms what was asked for at that time by the link of a campaign's email.
    `items`: 16 bits, whose meaning is privacy/confirmation.py's."""
    at = int(asked.timestamp() * 1000)
    body = uid.bytes + campaign.bytes + at.to_bytes(6, "big") + items.to_bytes(2, "big")
    return base64url(body + _mac(key, body, b"confirm"))


def read_confirmation(key: bytes, text: str) -> tuple[UUID, UUID, datetime, int]:
    """(uid, campaign, asked, items) of a confirmation. Raises WrongInput when it is not ours."""
    raw = _decoded(text)
    body, mac = raw[:40], raw[40:]
    if len(body) != 40 or not compare_digest(mac, _mac(key, body, b"confirm")):
        raise WrongInput("this link is not valid")
    asked = datetime.fromtimestamp(int.from_bytes(body[32:38], "big") / 1000, UTC)
    return UUID(bytes=body[:16]), UUID(bytes=body[16:32]), asked, int.from_bytes(body[38:], "big")


# -- receipts, opens and clicks of one delivery -------------------------------------------------------------


def receipt(key: bytes, handle: Handle) -> str:
    """With which a device, a browser or a provider reports on this delivery: 82 characters of base64url."""
    body = _body(handle)
    return base64url(body + _mac(key, body, b"receipt"))


def read_receipt(key: bytes, text: str) -> Handle:
    """The delivery of a receipt's token. Raises WrongInput when it is not ours."""
    return _handle(key, text, b"", b"receipt")


def tracked(base: str, key: bytes, handle: Handle, target: str) -> str:
    """A link that notes the click and leads on to `target`."""
    body = _body(handle)
    signed = base64url(body + _mac(key, body + target.encode("utf-8", "replace"), b"click"))
    return f"{base.rstrip('/')}/l/{signed}?to={quote(target, safe='')}"


def read_tracked(key: bytes, text: str, target: str) -> Handle:
    """The delivery of a tracked link. Raises WrongInput unless we made it for just this target."""
    return _handle(key, text, target.encode("utf-8", "replace"), b"click")


def pixel(base: str, key: bytes, handle: Handle) -> str:
    """The picture whose loading means that an email was opened."""
    return f"{base.rstrip('/')}/o/{receipt(key, handle)}.gif"


def _body(handle: Handle) -> bytes:
    return handle.campaign.bytes + handle.uid.bytes + handle.delivery.bytes + _PLACES[handle.channel]


def _handle(key: bytes, text: str, more: bytes, use: bytes) -> Handle:
    raw = _decoded(text)
    body, mac = raw[:49], raw[49:]
    if len(body) != 49 or not compare_digest(mac, _mac(key, body + more, use)):
        raise WrongInput("this link is not valid")
    campaign, uid, delivery = (UUID(bytes=body[at : at + 16]) for at in (0, 16, 32))
    return Handle(campaign, uid, delivery, _CHANNELS[body[48]])
