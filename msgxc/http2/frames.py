"""HTTP/2 frames as bytes (RFC 9113 section 4 and 6): how they are written, and what they are called. Pure."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9
LONGEST = (1 << 31) - 1  # of a window, and the highest stream id
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME = 16_384

#: Length and type share the first word, so one call packs or unpacks the nine bytes: length << 8 | type,
#: flags, stream.
HEADER = Struct(">IBI")
WORD = Struct(">I")
SETTING = Struct(">HI")


class Kind(IntEnum):
    """Frame types (RFC 9113 section 6)."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20


class Code(IntEnum):
    """Error codes (RFC 9113 section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11


class Setting(IntEnum):
    """Settings (RFC 9113 section 6.5.2)."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ProtocolError(Exception):
    """The peer broke HTTP/2: the connection ends with this code."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame."""
    return HEADER.pack(len(payload) << 8 | kind, flags, stream) + payload


def settings(values: dict[Setting, int]) -> bytes:
    """SETTINGS."""
    return frame(Kind.SETTINGS, 0, 0, b"".join(SETTING.pack(name, value) for name, value in values.items()))


SETTINGS_ACK = frame(Kind.SETTINGS, ACK, 0, b"")


def ping(payload: bytes, flags: int = 0) -> bytes:
    """PING; `payload` has eight bytes."""
    return frame(Kind.PING, flags, 0, payload)


def goaway(last: int, code: Code) -> bytes:
    """GOAWAY: `last` is the last of the peer's streams that was processed."""
    return frame(Kind.GOAWAY, 0, 0, WORD.pack(last) + WORD.pack(code))


def rst_stream(stream: int, code: Code) -> bytes:
    """RST_STREAM."""
    return frame(Kind.RST_STREAM, 0, stream, WORD.pack(code))


def window_update(stream: int, increment: int) -> bytes:
    """WINDOW_UPDATE; stream 0 is the connection."""
    return frame(Kind.WINDOW_UPDATE, 0, stream, WORD.pack(increment))


def headers(stream: int, block: bytes, flags: int, longest: int) -> bytes:
    """HEADERS, and CONTINUATION for what does not fit into one frame of `longest` bytes."""
    if len(block) <= longest:
        return frame(Kind.HEADERS, flags | END_HEADERS, stream, block)
    pieces = [block[at : at + longest] for at in range(0, len(block), longest)]
    first = frame(Kind.HEADERS, flags, stream, pieces[0])
    between = [frame(Kind.CONTINUATION, 0, stream, piece) for piece in pieces[1:-1]]
    return first + b"".join(between) + frame(Kind.CONTINUATION, END_HEADERS, stream, pieces[-1])


def data(stream: int, body: bytes, flags: int, longest: int) -> bytes:
    """DATA in as many frames as it takes; `flags` stand on the last one."""
    if len(body) <= longest:
        return frame(Kind.DATA, flags, stream, body)
    pieces = [body[at : at + longest] for at in range(0, len(body), longest)]
    between = [frame(Kind.DATA, 0, stream, piece) for piece in pieces[:-1]]
    return b"".join(between) + frame(Kind.DATA, flags, stream, pieces[-1])


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of DATA or HEADERS without padding and priority. Raises ProtocolError."""
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise ProtocolError(Code.FRAME_SIZE_ERROR)
        start, end = 1, end - payload[0]
    if flags & PRIORITY:
        start += 5
    if start > end:
        raise ProtocolError(Code.PROTOCOL_ERROR)
    return payload[start:end]
