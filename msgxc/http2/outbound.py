"""How requests leave: within the peer's settings and windows (RFC 9113 sections 5.2, 6.5 and 6.9). Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgxc.http2 import frames
from msgxc.http2.frames import (
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEADER,
    LONGEST,
    Code,
    Kind,
    ProtocolError,
    Setting,
)
from msgxc.http2.hpack import Encoder
from msgxc.http2.messages import Request


@dataclass(slots=True)
class _Rest:
    """What is left of a body, and how much of it the stream's window takes; negative: less than nothing."""

    body: bytes = field(repr=False)
    window: int


class Outbound:
    """Frames on their way out, and what the peer said about them."""

    def __init__(self, streams: int) -> None:
        self.window = DEFAULT_WINDOW  # of the connection
        self.streams = self._most = streams
        self.list_limit: int | None = None
        self.blocked: dict[int, _Rest] = {}  # streams whose body has not left wholly
        self.out: list[bytes] = []
        self._initial = DEFAULT_WINDOW
        self._frame = DEFAULT_FRAME
        self._encoder = Encoder()

    def start(self, stream: int, request: Request) -> None:
        """Send a request, or as much of it as the windows take."""
        body = request.body
        size = len(body)
        block = self._encoder.encode(request.head, request.path, request.values)
        if 0 < size <= self.window and size <= self._initial and max(size, len(block)) <= self._frame:
            self.window -= size
            first, then = len(block) << 8 | Kind.HEADERS, size << 8
            self.out += (
                HEADER.pack(first, END_HEADERS, stream),
                block,
                HEADER.pack(then, END_STREAM, stream),
                body,
            )
            return
        self.out.append(frames.headers(stream, block, 0 if body else END_STREAM, self._frame))
        if body:
            self.blocked[stream] = _Rest(body, self._initial)
            self._unblock()

    def drop(self, stream: int) -> bool:
        """Send no more of this stream's body; False when all of it has left."""
        return self.blocked.pop(stream, None) is not None

    def widen(self, stream: int, increment: int) -> None:
        """WINDOW_UPDATE of a stream. Raises ProtocolError, which concerns this stream alone."""
        rest = self.blocked.get(stream)
        if not increment:
            raise ProtocolError(Code.PROTOCOL_ERROR)
        if rest and rest.window + increment > LONGEST:
            raise ProtocolError(Code.FLOW_CONTROL_ERROR)
        if rest:
            rest.window += increment
            self._unblock()

    def widen_all(self, increment: int) -> None:
        """WINDOW_UPDATE of the connection. Raises ProtocolError."""
        self.window += increment
        if not increment:
            raise ProtocolError(Code.PROTOCOL_ERROR)
        if self.window > LONGEST:
            raise ProtocolError(Code.FLOW_CONTROL_ERROR)
        self._unblock()

    def settings(self, payload: bytes) -> None:
        """SETTINGS of the peer, obeyed and acknowledged. Raises ProtocolError."""
        for name, value in frames.SETTING.iter_unpack(payload):
            self._set(name, value)
        self.out.append(frames.SETTINGS_ACK)
        self._unblock()

    def _set(self, name: int, value: int) -> None:
        match name:
            case Setting.HEADER_TABLE_SIZE:
                self._encoder.resize(value)
            case Setting.ENABLE_PUSH if value:
                raise ProtocolError(Code.PROTOCOL_ERROR)
            case Setting.MAX_CONCURRENT_STREAMS:
                self.streams = min(value, self._most)
            case Setting.INITIAL_WINDOW_SIZE:
                self._set_initial(value)
            case Setting.MAX_FRAME_SIZE:
                if not DEFAULT_FRAME <= value < 1 << 24:
                    raise ProtocolError(Code.PROTOCOL_ERROR)
                self._frame = value
            case Setting.MAX_HEADER_LIST_SIZE:
                self.list_limit = value

    def _set_initial(self, value: int) -> None:
        """It changes the windows of open streams too; they may become negative (section 6.9.2)."""
        for rest in self.blocked.values():
            rest.window += value - self._initial
        if value > LONGEST or any(rest.window > LONGEST for rest in self.blocked.values()):
            raise ProtocolError(Code.FLOW_CONTROL_ERROR)
        self._initial = value

    def _unblock(self) -> None:
        """Send what the windows take of the bodies that wait, the oldest first."""
        for stream, rest in list(self.blocked.items()):
            if self.window <= 0:
                return
            size = min(len(rest.body), rest.window, self.window)
            if size <= 0:
                continue
            last = size == len(rest.body)
            self.out.append(frames.data(stream, rest.body[:size], last * END_STREAM, self._frame))
            rest.body, rest.window = rest.body[size:], rest.window - size
            self.window -= size
            if last:
                del self.blocked[stream]
