"""The frames of the websocket: JSON objects with a `slug`. Pure. docs/websocket.md has the table.

What a client sends is read into one of the records here, or refused with a stable code. Every frame may carry
a `ref`, which its answer repeats.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import UUID

import orjson

from msgxc.errors import WrongInput
from msgxc.messages.records import TEXT

#: The longest frame of a client, in bytes; of the rest of these, characters.
FRAME = 65_536
REF, TOKEN, NAMED, SEEN = 64, 8_192, 200, 500
EPHEMERAL_DATA = 4_096  # bytes of `opts`, as JSON
_NAME = re.compile(r"[^\x00-\x1f\x7f/]{16,127}")
_SUBSCRIBE, _UNSUBSCRIBE = "/api/v2/subscribe/", "/api/v2/unsubscribe/"
_PUBLISH = "/api/v2/publish/"
_EPHEMERAL = "public-ephemeral/"


@dataclass(frozen=True, slots=True)
class Ping:
    """Check-in: somebody is online. `active`: whether a person is at the screen, if the client knows."""

    active: bool = False


@dataclass(frozen=True, slots=True)
class Authenticate:
    """The token, as the first frame of a client that cannot send headers."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Listen to a thread. `after`: the last message that was seen, so that what came since is sent first;
    `seen`: what was seen shortly before, and is not sent again (None: the client did not say)."""

    tid: str
    after: UUID | None = None
    seen: frozenset[UUID] | None = None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Listen to a thread no longer; membership stays as it is."""

    tid: str


@dataclass(frozen=True, slots=True)
class Tune:
    """Listen to a public ephemeral channel; `on` False: no longer."""

    name: str
    on: bool


@dataclass(frozen=True, slots=True)
class Say:
    """Say something on a public ephemeral channel: to whoever listens now, never stored."""

    name: str
    msg: str = field(repr=False)
    opts: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Read:
    """A person has seen everything in the thread up to this message."""

    tid: str
    mid: UUID


@dataclass(frozen=True, slots=True)
class Ack:
    """A person has been shown this delivery."""

    id: str


Asked = Ping | Authenticate | Subscribe | Unsubscribe | Tune | Say | Read | Ack


@dataclass(frozen=True, slots=True)
class Inbound:
    """What a client asks: `slug` and `ref` as it said them."""

    slug: str
    ref: str
    asked: Asked


class Wire:
    """A frame on its way to clients: encoded once, for however many."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    @cached_property
    def framed(self) -> bytes:
        """As it is on the wire: an unmasked, uncompressed text frame (RFC 6455 section 5.2)."""
        size = len(self.text)
        if size < 126:
            head = bytes((0x81, size))
        elif size < 65_536:
            head = b"\x81\x7e" + size.to_bytes(2, "big")
        else:
            head = b"\x81\x7f" + size.to_bytes(8, "big")
        return head + self.text


class Refused(WrongInput):
    """A frame that cannot be used; `slug` and `ref` as far as they could be read."""

    code = "wrong_frame"

    def __init__(self, text: str, slug: str = "", ref: str = "") -> None:
        super().__init__(text)
        self.slug = slug
        self.ref = ref


def read(text: str | bytes) -> Inbound:
    """What a client asks. Raises Refused; never anything else, whatever the text is."""
    if len(text) > FRAME:
        raise Refused(f"a frame has at most {FRAME} bytes")
    try:
        said = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        raise Refused("a frame is a JSON object in UTF-8") from None
    if not isinstance(said, dict):
        raise Refused("a frame is a JSON object")
    slug, ref = _text(said, "slug", NAMED), _text(said, "ref", REF)
    try:
        return Inbound(slug, ref, _asked(slug, said))
    except Refused as refused:
        raise Refused(str(refused), slug, ref) from None


def _asked(slug: str, said: Mapping[str, Any]) -> Asked:
    match slug:
        case "/ping":
            return Ping(said.get("active") is True)
        case "/api/v2/authenticate":
            return Authenticate(_text(said, "token", TOKEN, needed=True))
        case "/api/v2/subscribe/thread":
            return Subscribe(_text(said, "tid", NAMED, needed=True), _id(said, "after"), _seen(said))
        case "/api/v2/unsubscribe/thread":
            return Unsubscribe(_text(said, "tid", NAMED, needed=True))
        case "/api/v2/read":
            mid = _id(said, "mid")
            if mid is None:
                raise Refused("`mid` is needed")
            return Read(_text(said, "tid", NAMED, needed=True), mid)
        case "/api/v2/ack":
            return Ack(_text(said, "id", NAMED, needed=True))
    return _ephemeral(slug, said)


def _ephemeral(slug: str, said: Mapping[str, Any]) -> Tune | Say:
    for prefix in (_SUBSCRIBE, _UNSUBSCRIBE):
        if slug.startswith(prefix + _EPHEMERAL):
            return Tune(_name(slug.removeprefix(prefix + _EPHEMERAL)), prefix == _SUBSCRIBE)
    if slug.startswith(_PUBLISH + _EPHEMERAL):
        name = _name(slug.removeprefix(_PUBLISH + _EPHEMERAL))
        return Say(name, _text(said, "msg", TEXT, needed=True), _opts(said))
    raise Refused("there is no such slug")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise Refused("a channel's name has 16 to 127 characters, and no slash")
    return text


def _text(said: Mapping[str, Any], key: str, limit: int, *, needed: bool = False) -> str:
    value = said.get(key, "")
    if not isinstance(value, str) or len(value) > limit:
        raise Refused(f"`{key}` is a text of at most {limit} characters")
    if needed and not value.strip():
        raise Refused(f"`{key}` is needed")
    return value


def _id(said: Mapping[str, Any], key: str) -> UUID | None:
    value = said.get(key)
    if value in (None, ""):
        return None
    return _uuid(value, key)


def _uuid(value: object, key: str) -> UUID:
    try:
        return UUID(value if isinstance(value, str) else "")
    except ValueError:
        raise Refused(f"`{key}` is the id of a message") from None


def _seen(said: Mapping[str, Any]) -> frozenset[UUID] | None:
    value = said.get("seen")
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > SEEN:
        raise Refused(f"`seen` is a list of at most {SEEN} ids")
    return frozenset(_uuid(one, "seen") for one in value)


def _opts(said: Mapping[str, Any]) -> Mapping[str, Any]:
    value = said.get("opts")
    if value is None:
        return {}
    if not isinstance(value, dict) or len(orjson.dumps(value)) > EPHEMERAL_DATA:
        raise Refused(f"`opts` is an object of at most {EPHEMERAL_DATA} bytes")
    return value


# -- to the client ------------------------------------------------------------------------------------------


def wire(frame: Mapping[str, Any]) -> Wire:
    """Any frame, encoded."""
    return Wire(orjson.dumps(frame))


def answer(slug: str, ref: str = "", **more: Any) -> Wire:
    """It was done."""
    return wire({"slug": slug, "ok": True, **({"ref": ref} if ref else {}), **more})


def refusal(slug: str, ref: str, code: str, text: str, **more: Any) -> Wire:
    """It was not done, and why."""
    told = {"slug": slug or "/error", "ok": False, **({"ref": ref} if ref else {}), "code": code, "msg": text}
    return wire({**told, **more})


def ephemeral(name: str, msg: str, opts: Mapping[str, Any], sender: UUID | None) -> bytes:
    """What listeners of a public ephemeral channel get."""
    said_by = sender and str(sender)
    slug = f"/public-ephemeral/{name}"
    return orjson.dumps({"slug": slug, "ok": True, "msg": msg, "opts": opts, "sender": said_by})


@dataclass(frozen=True, slots=True)
class Heard:
    """A frame for everybody who listens. `mid`: the message that it carries, "" for none; `key` tells it from
    others of the same message (a withdrawal). `again`: it was read from the store."""

    wire: Wire
    mid: str
    key: str
    again: bool = False


def key(mid: str, slug: str = "/thread/") -> str:
    """One message of a thread, one broadcast, one withdrawal."""
    return f"{mid}{slug[:8]}" if mid else ""


def heard(payload: bytes) -> Heard | None:
    """The frame that another process has published; None for what is none."""
    try:
        frame = orjson.loads(payload)
        slug, opts = frame["slug"], frame.get("opts")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return None
    mid = opts.get("mid") if isinstance(opts, dict) else None
    mid = mid if isinstance(mid, str) else ""
    return Heard(Wire(payload), mid, key(mid, str(slug)))


def delivery(payload: bytes) -> tuple[str, Wire] | None:
    """(id, frame) of a request to a person's sessions (providers/websocket.py); None for what is none."""
    try:
        said = orjson.loads(payload)
        frame = {"slug": "/person", "ok": True, "msg": said["body"], "id": said["id"], "opts": said}
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return str(said["id"]), wire(frame)
