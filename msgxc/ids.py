"""Identities that every process computes alike, keyed so that nobody outside can. Pure.

All use keyed BLAKE2b (RFC 7693) with the exchange's secret key and a `person` tag per use, so that one
kind of id never equals another.
"""

from __future__ import annotations

import unicodedata
from binascii import b2a_base64
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from uuid import RFC_4122, UUID, SafeUUID

from msgxc.model import Channel

_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class KnownUUID(UUID):
    """A UUID that keeps its bytes: they are asked for a dozen times for each message."""

    __slots__ = ("bytes",)

    def __reduce__(self) -> tuple[type[UUID], tuple[None, bytes]]:
        return UUID, (None, self.bytes)


_new, _number_of, _UNKNOWN = object.__new__, int.from_bytes, SafeUUID.unknown
#: UUID refuses to be changed, so its slots are filled from outside.
_set_int, _set_safe, _set_bytes = (getattr(KnownUUID, slot).__set__ for slot in ("int", "is_safe", "bytes"))


def uuid_of(raw: bytes) -> UUID:
    """UUID(bytes=raw), for 16 bytes that we made: five times as fast, for its checks are left out."""
    made: UUID = _new(KnownUUID)
    _set_int(made, _number_of(raw, "big"))
    _set_safe(made, _UNKNOWN)
    _set_bytes(made, raw)
    return made


def base64url(raw: bytes) -> str:
    """RFC 4648 section 5, without padding; twice as fast as the base64 module."""
    return b2a_base64(raw, newline=False).translate(_URL_SAFE, b"=").decode()


def _keyed(key: bytes, use: bytes, *parts: bytes, size: int = 16) -> bytes:
    h = blake2b(digest_size=size, key=key, person=use)
    for part in parts:
        h.update(_long(part))
    return h.digest()


def _long(part: bytes) -> bytes:
    """A part with its length before it."""
    return len(part).to_bytes(4, "big") + part


@lru_cache(64)
def _begun(key: bytes, use: bytes, first: bytes, size: int = 16) -> blake2b:
    """As _keyed begins, with its first part: the same for all of a campaign. To be copied."""
    h = blake2b(digest_size=size, key=key, person=use)
    h.update(_long(first))
    return h


_UID = (16).to_bytes(4, "big")  # before a uid
_CHANNELS = {channel: _long(channel.encode()) for channel in Channel}


#: The campaign that delivers a message is called so, and has the message's own id; the others about it have
#: the ids next to it.
MESSAGE, FALLBACK, WITHDRAWAL = "message.", ".fallback", ".withdrawal"
_BESIDE = {FALLBACK: 1, WITHDRAWAL: 2}
_GREGORIAN = 0x01B21DD213814000  # 1970, in 100 ns since 1582 (RFC 9562 section 5.1)
_FROM, _UNTIL = 1_577_836_800_000, 4_102_444_800_000  # 2020 and 2100, in milliseconds


def campaign_id(key: bytes, name: str) -> UUID:
    """The campaign's id: its name says which campaign it is, so a second start finds the first."""
    if name.startswith(MESSAGE):
        rest = name.removeprefix(MESSAGE)
        mid = _uuid(rest.removesuffix(FALLBACK).removesuffix(WITHDRAWAL))
        if mid and is_message(mid):
            return UUID(int=mid.int ^ _BESIDE.get(rest[36:], 0))
    found = UUID(bytes=_keyed(key, b"campaign", name.encode()))
    return UUID(int=found.int ^ 1 << 76) if is_message(found) else found


def is_message(identity: UUID) -> bool:
    """Whether an id is a message's: a UUIDv7 of this century. No campaign with a name of its own has one."""
    return identity.version == 7 and _FROM <= identity.int >> 80 < _UNTIL


def message_name(mid: UUID, beside: str = "") -> str:
    """The name of the campaign that delivers a message; `beside`: FALLBACK or WITHDRAWAL."""
    return f"{MESSAGE}{mid}{beside}"


def message_id(now: float, chance: bytes) -> UUID:
    """A UUIDv7 (RFC 9562 section 5.7): `now` in milliseconds, then 12 bits of what is below a millisecond,
    so that ids of one clock sort by time. `chance`: 8 random bytes. `now`: seconds since the epoch."""
    whole, part = divmod(int(now * 4_096_000), 4096)
    low = int.from_bytes(chance[:8], "big") & ((1 << 62) - 1)
    return UUID(int=whole << 80 | 7 << 76 | part << 64 | 2 << 62 | low)


def message_time(mid: UUID) -> datetime:
    """When a message was made, in whole milliseconds."""
    return datetime.fromtimestamp((mid.int >> 80) / 1000, UTC)


def message_of_timeuuid(old: UUID) -> UUID:
    """The id of a message that another system called by a timeuuid (UUIDv1): the same moment, the same order,
    always the same. An id of ours stays. Raises ValueError for another one, which does not say its time.

    UUIDv7: the milliseconds; the 100 ns below them, 14 bits; 60 bits of a hash of clock and node.
    """
    if old.version == 7 and old.variant == RFC_4122:
        return old
    since = old.time - _GREGORIAN
    if old.version != 1 or old.variant != RFC_4122 or not 0 <= since < _UNTIL * 10_000:
        raise ValueError("not a timeuuid since 1970")
    whole, tick = divmod(since, 10_000)
    low = int.from_bytes(blake2b(old.bytes[8:], digest_size=8).digest(), "big") >> 4
    return UUID(int=whole << 80 | 7 << 76 | tick >> 2 << 64 | 2 << 62 | (tick & 3) << 60 | low)


def timeuuid_time(old: UUID) -> datetime | None:
    """When a timeuuid (UUIDv1) since 1970 was made; None for another id."""
    try:
        return message_time(message_of_timeuuid(old)) if old.version == 1 else None
    except ValueError:
        return None


def tombstone(key: bytes, uid: UUID) -> bytes:
    """What is kept of somebody who was erased: 16 bytes that tell nobody who it was."""
    return _keyed(key, b"erased", uid.bytes)


def own_thread(key: bytes, uid: UUID) -> UUID:
    """The thread of what is sent to one person: every connection of theirs hears `thread.<this>`."""
    return UUID(bytes=_keyed(key, b"own thread", uid.bytes))


def broadcast_thread(key: bytes) -> UUID:
    """The thread of what is sent to everybody."""
    return UUID(bytes=_keyed(key, b"own thread", b"everybody"))


def dispatch_seats(key: bytes) -> UUID:
    """Under which the processes that drain triage hold their leases."""
    return UUID(bytes=_keyed(key, b"dispatch"))


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def delivery_id(key: bytes, campaign: UUID, uid: UUID, channel: Channel, address: str) -> UUID:
    """One message to one recipient at one address: the same for every retry by any process."""
    h = _begun(key, b"delivery", campaign.bytes).copy()
    h.update(_UID + uid.bytes + _CHANNELS[channel] + _long(address.encode()))
    return uuid_of(h.digest())


def collapse_id(key: bytes, campaign: UUID, uid: UUID) -> str:
    """Under which a repeat replaces the first copy: 22 characters of base64url."""
    h = _begun(key, b"collapse", campaign.bytes).copy()
    h.update(_UID + uid.bytes)
    return base64url(h.digest())


def shard_of(key: bytes, campaign: UUID, uid: UUID, shards: int) -> int:
    """The shard of a recipient: the same uid always falls on the same one, so a duplicate collapses."""
    h = _begun(key, b"shard", campaign.bytes, 8).copy()
    h.update(_UID + uid.bytes)
    return int.from_bytes(h.digest(), "big") % shards


def audience_digest(key: bytes, campaign: UUID, uid: UUID) -> int:
    """One recipient's summand in the audience hash; the sum modulo 2**64 does not depend on order."""
    h = _begun(key, b"audience", campaign.bytes, 8).copy()
    h.update(_UID + uid.bytes)
    return int.from_bytes(h.digest(), "big")


def address_hash(key: bytes, channel: Channel, address: str) -> bytes:
    """An address in the suppression list: 16 bytes that tell nobody the address."""
    h = _begun(key, b"address", channel.encode()).copy()
    h.update(_long(address.encode()))
    return h.digest()


def receipt_id(key: bytes, source: str, said: str) -> UUID:
    """One receipt: what the source calls it, so that a repetition is the same one."""
    return UUID(bytes=_keyed(key, b"receipt", source.encode(), said.encode("utf-8", "replace")))


def service_id(key: bytes, issuer: str, name: str) -> str:
    """A service that an issuer calls so: 32 hexadecimal digits, the same for each of its tokens."""
    parts = (text.encode("utf-8", "replace") for text in (issuer, name))
    return _keyed(key, b"service", *parts).hex()


def fingerprint(key: bytes) -> bytes:
    """By which a store knows the key that it was made with: 16 bytes that tell nobody the key."""
    return _keyed(key, b"fingerprint")


def uid_of(key: bytes, text: str) -> UUID:
    """The uid that a file or an operator means: a UUID as it is, else a keyed pseudonym of the foreign id."""
    try:
        return UUID(text)
    except ValueError:
        return pseudonym(key, text)


def pseudonym(key: bytes, text: str) -> UUID:
    """The uid of a foreign id, whatever it looks like, in NFC and with any blanks as one; its case counts."""
    spelled = " ".join(unicodedata.normalize("NFC", text).split())
    return UUID(bytes=_keyed(key, b"uid", spelled.encode()))
