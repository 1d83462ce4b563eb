"""The frames between the processes of a local bus. Pure.

A frame is a head of 15 bytes (kind, number, length of the subject, length of the payload; in network byte
order), then the subject in ASCII, then the payload.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from msgxc.bus import PAYLOAD
from msgxc.errors import WrongInput

_HEAD = struct.Struct("!BQHI")
#: The longest subject, in bytes.
SUBJECT = 1_024


class Kind(IntEnum):
    """What a frame is.

    HELLO: the subject is the sender's name. REQUEST: ANSWER or NOBODY comes back under its number. LOST: the
    number says how many messages were thrown away here, because the reader was too slow.
    """

    HELLO = 1
    MESSAGE = 2
    REQUEST = 3
    ANSWER = 4
    NOBODY = 5
    LOST = 6


_KINDS = frozenset(Kind)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame."""

    kind: Kind
    number: int
    subject: str
    payload: bytes = field(repr=False)


def encode(kind: Kind, *, number: int = 0, subject: str = "", payload: bytes = b"") -> bytes:
    """The frame's bytes."""
    name = subject.encode("ascii")
    return _HEAD.pack(kind, number, len(name), len(payload)) + name + payload


class Reader:
    """Cuts what a connection brings into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def frames(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now. Raises WrongInput for what is no frame of ours."""
        self._rest += data
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Frame | None:
        if len(self._rest) < _HEAD.size:
            return None
        kind, number, name, size = _HEAD.unpack_from(self._rest)
        if name > SUBJECT or size > PAYLOAD or kind not in _KINDS:
            raise WrongInput("this is no frame of a local bus")
        middle, end = _HEAD.size + name, _HEAD.size + name + size
        if len(self._rest) < end:
            return None
        subject = self._rest[_HEAD.size : middle].decode("ascii", "replace")
        frame = Frame(Kind(kind), number, subject, bytes(self._rest[middle:end]))
        del self._rest[:end]
        return frame
