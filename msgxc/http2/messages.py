"""Requests, and how they end. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from msgspec import Struct

from msgxc.http2.frames import ProtocolError
from msgxc.http2.hpack import Head, Raw, plain

_NAME = re.compile(rb"[a-z0-9!#$%&'*+\-.^_`|~]+")
_NOT_IN_VALUES = re.compile(rb"[\0\r\n]")
#: RFC 9113 section 8.2.2: these belong to HTTP/1.1.
_CONNECTION = {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
_NAMES_KEPT = 1024
_KNOWN_NAMES: set[bytes] = set()


def post_head(authority: str, fields: Mapping[str, str], own: tuple[str, ...]) -> Head:
    """The head of POST requests to https://authority; `own` are the names of what differs."""
    pseudo = ((":method", "POST"), (":scheme", "https"), (":authority", authority))
    return Head((*pseudo, *fields.items()), own)


class Request(Struct, frozen=True, gc=False):
    """One request; `values` belong to the names of its head."""

    head: Head
    path: bytes
    values: tuple[bytes, ...]
    body: bytes

    def __repr__(self) -> str:
        """Neither headers, which hold a login, nor the path, which may be an address."""
        return f"Request({len(self.body)} bytes)"

    def headers(self) -> dict[str, str]:
        """What HTTP/1.1 calls headers: without the pseudo-fields."""
        fields = {
            name.decode(): value.decode("latin-1") for name, value in self.head.fields if name[:1] != b":"
        }
        own = zip(self.head.names, self.values, strict=True)
        return fields | {name: value.decode("latin-1") for name, value in own}

    def header_bytes(self) -> int:
        """The size of the header list, as SETTINGS_MAX_HEADER_LIST_SIZE counts it."""
        return self.head.bytes + len(self.path) + sum(map(len, self.values))


class Answer(Struct, frozen=True, gc=False):
    """The peer's answer. Once its status is known it is one, though the body may have broken off, or been
    cut at 65,535 bytes. Names of headers are in lower case.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"Answer({self.status}, {len(self.body)} bytes)"


class Unanswered(Enum):
    """How a request ends without an answer.

    NOT_PROCESSED: it did not leave, or the peer says that it never looked at it; sending it again repeats
    nothing. IN_DOUBT: it left, and only the peer knows what became of it.
    """

    NOT_PROCESSED = "not processed"
    IN_DOUBT = "in doubt"


Result = Answer | Unanswered


class Headers(Mapping[str, str]):
    """The headers of an answer, decoded when somebody looks at one; a value that is no Huffman code is left
    out. Names are in lower case; fields of one name are joined.
    """

    __slots__ = ("_fields", "_read")

    def __init__(self, fields: Sequence[Raw]) -> None:
        self._fields = fields
        self._read: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return repr(self._all())

    def _all(self) -> dict[str, str]:
        fields, self._fields = self._fields, ()
        for name, value, coded in fields:
            try:
                key, text = name.decode("ascii"), plain(value, coded).decode("latin-1")
            except ProtocolError:
                continue
            self._read[key] = f"{self._read[key]}, {text}" if key in self._read else text
        return self._read


def read_answer(fields: Sequence[Raw]) -> Answer | None:
    """The answer in a header block, without its body; None when it is malformed (RFC 9113 section 8)."""
    if not fields or fields[0][0] != b":status":
        return None
    status = plain(*fields[0][1:])
    if len(status) != 3 or not status.isdigit() or status < b"100":
        return None
    for name, value, coded in fields[1:]:
        if not (name in _KNOWN_NAMES or _is_name(name)) or (not coded and _NOT_IN_VALUES.search(value)):
            return None
    return Answer(int(status), Headers(fields[1:]) if len(fields) > 1 else {}, b"")


class Like(NamedTuple):
    """A header block that differs from others in its last value alone, as Apple's apns-id does. `start`: all
    bytes before that value's length."""

    start: bytes
    answer: Answer
    fields: tuple[Raw, ...]
    name: bytes

    def read(self, block: bytes) -> Answer | None:
        """The answer in a block that begins so and ends with its last value; None: read it whole."""
        at = len(self.start)
        if len(block) <= at or not block.startswith(self.start):
            return None
        size, value = block[at], block[at + 1 :]
        if size & 127 == 127 or len(value) != size & 127:
            return None
        if size < 128 and _NOT_IN_VALUES.search(value):
            return None
        return Answer(self.answer.status, Headers((*self.fields, (self.name, value, size >= 128))), b"")


def like(block: bytes, fields: Sequence[Raw], answer: Answer) -> Like | None:
    """What the next blocks may be like; None when the last value is long, or from the static table."""
    name, value, coded = fields[-1]
    at = len(block) - len(value) - 1
    if len(fields) < 2 or at < 1 or len(value) >= 127 or block[at] != len(value) | 128 * coded:
        return None
    return Like(block[:at], answer, tuple(fields[1:-1]), name) if block[at + 1 :] == value else None


def _is_name(name: bytes) -> bool:
    """Whether an answer may have such a field. There are few names, so the good ones are kept."""
    good = _NAME.fullmatch(name) is not None and name not in _CONNECTION
    if good:
        if len(_KNOWN_NAMES) >= _NAMES_KEPT:
            _KNOWN_NAMES.clear()
        _KNOWN_NAMES.add(name)
    return good
