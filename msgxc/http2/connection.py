"""The client's end of one HTTP/2 connection (RFC 9113), without any I/O: bytes in, bytes out.

Each request ends once, in `ended`, whatever the peer does. What the peer can make us keep is bounded: by the
windows that we announce, by the limit of a header block, and by the number of streams.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

from msgxc.http2 import frames
from msgxc.http2.frames import (
    ACK,
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEADER,
    HEADER_BYTES,
    LONGEST,
    PADDED,
    PRIORITY,
    WORD,
    Code,
    Kind,
    ProtocolError,
    Setting,
)
from msgxc.http2.hpack import split
from msgxc.http2.messages import Answer, Like, Request, Result, Unanswered, like, read_answer
from msgxc.http2.outbound import Outbound

T = TypeVar("T")

STREAMS = 1000  # under way at once, though the peer may allow more
#: Bytes of an answer's body: as wide as a stream's window, so that none is ever widened.
BODY_BYTES = DEFAULT_WINDOW
#: Bytes of all bodies that are not whole yet; given back when a stream ends.
INBOUND_BYTES = 8 * 1024 * 1024
HEADER_LIST_BYTES = 32_768
_SEEN = 256  # header blocks whose meaning is kept
_SEEN_BYTES = 512

_HELLO = (
    frames.PREFACE
    + frames.settings(
        {
            Setting.HEADER_TABLE_SIZE: 0,
            Setting.ENABLE_PUSH: 0,
            Setting.MAX_HEADER_LIST_SIZE: HEADER_LIST_BYTES,
        }
    )
    + frames.window_update(0, INBOUND_BYTES - DEFAULT_WINDOW)
)
_HEADERS, _WHOLE = int(Kind.HEADERS), END_HEADERS | END_STREAM
_NOT_PLAIN = PADDED | PRIORITY


@dataclass(slots=True)
class _Partial(Generic[T]):
    """An answer whose body is still coming. `used` are the bytes of the windows that it holds."""

    token: T
    answer: Answer
    body: bytearray = field(default_factory=bytearray, repr=False)
    used: int = 0


class Connection(Generic[T]):
    """One connection. A request is known by its `token`, which comes back with its result."""

    protocols: ClassVar = frozenset({"h2"})
    takes_turns: ClassVar = False
    lasts: ClassVar = float("inf")

    def __init__(self, streams: int = STREAMS) -> None:
        #: Requests that have ended; whoever reads them empties the list.
        self.ended: list[tuple[T, Result]] = []
        self.settled = False  # the peer's settings are known
        self.going = False  # no new requests: the peer or we said goodbye, or the stream ids are used up
        self.closed = False  # hang up after what `take` still gives
        self._open: dict[int, T] = {}  # nothing of the answer is there yet
        self._partial: dict[int, _Partial[T]] = {}
        self._next = self._unsent = 1  # the next stream, and the first one that `take` has not given out
        self._outbound = Outbound(streams)
        self._outbound.out.append(_HELLO)
        self._inbound, self._credit = INBOUND_BYTES, 0
        self._seen: dict[bytes, Answer] = {}
        self._like: Like | None = None
        self._gathering: tuple[int, int, bytearray] | None = None  # stream, flags, block so far
        self._rest, self._needed = bytearray(), 0

    # -- what we ask for

    @property
    def room(self) -> int:
        """How many requests may be started now; 0 or less: none."""
        if self.going or not self.settled or self._outbound.window <= 0:
            return 0
        return self._outbound.streams - len(self._open) - len(self._partial)

    @property
    def busy(self) -> int:
        """How many requests are under way."""
        return len(self._open) + len(self._partial)

    def start(self, token: T, request: Request) -> bool:
        """Begin a request, given that there is room; False: the connection's window does not take it now.

        A body that is larger than the whole window begins when nothing else is under way.
        """
        outbound, stream = self._outbound, self._next
        if len(request.body) > outbound.window and (self._open or self._partial):
            return False
        if outbound.list_limit is not None and request.header_bytes() > outbound.list_limit:
            self.ended.append((token, Unanswered.NOT_PROCESSED))
            return True
        self._open[stream] = token
        self._next = stream + 2
        if stream + 2 > LONGEST:
            self.going = True
        outbound.start(stream, request)
        return True

    def take(self) -> bytes:
        """What is to be written now."""
        out, self._outbound.out = b"".join(self._outbound.out), []
        self._unsent = self._next
        return out

    def ping(self) -> None:
        """Ask the peer for a sign of life."""
        self._outbound.out.append(frames.ping(b"msgxc..."))

    def abandon(self, is_dead: Callable[[T], bool]) -> None:
        """End the requests for which nobody waits any more, and tell the peer."""
        dead = [stream for stream, token in self._open.items() if is_dead(token)]
        dead += [stream for stream, partial in self._partial.items() if is_dead(partial.token)]
        for stream in dead:
            self._reset(stream, Code.CANCEL)

    def close(self) -> None:
        """Say goodbye: no new requests."""
        self._outbound.out.append(frames.goaway(0, Code.NO_ERROR))
        self.going = True

    def lost(self) -> None:
        """The transport is gone: what has left is in doubt, what has not was not processed."""
        self.going = self.closed = True
        for stream in [*self._open, *self._partial]:
            left = stream < self._unsent
            self._fail(stream, Unanswered.IN_DOUBT if left else Unanswered.NOT_PROCESSED)

    # -- what the peer says

    def receive(self, data: bytes) -> None:
        """Take in what has arrived. Never raises: a peer that breaks the protocol is hung up on."""
        if self.closed:
            return
        try:
            self._receive(data)
        except ProtocolError as error:
            self.lost()
            self._outbound.out = [frames.goaway(0, error.code)]

    def _receive(self, data: bytes) -> None:
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data = bytes(self._rest)
        at, end, self._needed = 0, len(data), HEADER_BYTES
        unpack, open_, blocked = HEADER.unpack_from, self._open, self._outbound.blocked
        while end - at >= HEADER_BYTES:
            word, flags, stream = unpack(data, at)
            if word >> 8 > DEFAULT_FRAME:
                raise ProtocolError(Code.FRAME_SIZE_ERROR)
            after = at + HEADER_BYTES + (word >> 8)
            if after > end:
                self._needed = after - at
                break
            payload, at = data[at + HEADER_BYTES : after], after
            whole = word & 255 == _HEADERS and flags & 0x2D == _WHOLE and self._gathering is None
            if whole and stream in open_ and not blocked and (answer := self._known(payload)):
                self.ended.append((open_.pop(stream), answer))  # a short cut for most answers
            else:
                self._on_frame(word & 255, flags, stream & LONGEST, payload)
        self._rest = bytearray(data[at:])

    def _on_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if not self.settled and (kind != Kind.SETTINGS or flags & ACK):
            raise ProtocolError(Code.PROTOCOL_ERROR)  # section 3.4: SETTINGS come first
        if self._gathering and kind != Kind.CONTINUATION:
            raise ProtocolError(Code.PROTOCOL_ERROR)  # section 6.10
        if handle := self._HANDLERS.get(kind):  # other types are ignored: section 4.1
            handle(self, flags, stream, payload)

    def _check_stream(self, stream: int) -> None:
        """Raise when it cannot be one of ours, open or long closed (section 5.1.1)."""
        if not stream & 1 or stream >= self._next:
            raise ProtocolError(Code.PROTOCOL_ERROR)

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> None:
        self._check_stream(stream)
        block = frames.unpadded(flags, payload) if flags & _NOT_PLAIN else payload
        if flags & END_HEADERS:
            self._on_block(flags, stream, block)
        else:
            self._gathering = (stream, flags, bytearray(block))

    def _on_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if not self._gathering or self._gathering[0] != stream:
            raise ProtocolError(Code.PROTOCOL_ERROR)
        _, first_flags, block = self._gathering
        block += payload
        if len(block) > HEADER_LIST_BYTES or not (payload or flags & END_HEADERS):
            raise ProtocolError(Code.ENHANCE_YOUR_CALM)
        if flags & END_HEADERS:
            self._gathering = None
            self._on_block(first_flags, stream, bytes(block))

    def _on_block(self, flags: int, stream: int, block: bytes) -> None:
        """A whole header block: an interim answer, the answer, or trailers."""
        if stream in self._partial:
            split(block, HEADER_LIST_BYTES)  # trailers, of which nothing is kept
            self._trailed(flags, stream)
        elif stream in self._open:
            answer = self._read(block)
            if answer is None or (answer.status < 200 and flags & END_STREAM):
                self._reset(stream, Code.PROTOCOL_ERROR)
            elif flags & END_STREAM:
                self._end(stream, self._open.pop(stream), answer)
            elif answer.status >= 200:
                self._partial[stream] = _Partial(self._open.pop(stream), answer)

    def _trailed(self, flags: int, stream: int) -> None:
        if flags & END_STREAM:
            self._fail(stream, Unanswered.IN_DOUBT)
        else:
            self._reset(stream, Code.PROTOCOL_ERROR)

    def _known(self, block: bytes) -> Answer | None:
        """What a header block says, if it is the same as an earlier one, or like it."""
        return self._seen.get(block) or (self._like.read(block) if self._like else None)

    def _read(self, block: bytes) -> Answer | None:
        """What a header block says. The same bytes always say the same, so it is kept."""
        if known := self._known(block):
            return known
        fields = split(block, HEADER_LIST_BYTES)
        answer = read_answer(fields)
        if answer and answer.status >= 200 and len(block) <= _SEEN_BYTES:
            if len(self._seen) >= _SEEN:
                self._seen.clear()
            self._seen[block] = answer
            self._like = like(block, fields, answer) or self._like
        return answer

    def _on_data(self, flags: int, stream: int, payload: bytes) -> None:
        self._check_stream(stream)
        self._inbound -= len(payload)
        if self._inbound < 0:
            raise ProtocolError(Code.FLOW_CONTROL_ERROR)
        body = frames.unpadded(PADDED, payload) if flags & PADDED else payload
        partial = self._partial.get(stream)
        if partial is None:
            self._give_back(len(payload))
            if stream in self._open:  # no header block before it
                self._reset(stream, Code.PROTOCOL_ERROR)
            return
        partial.body += body
        partial.used += len(payload)
        if flags & END_STREAM:
            self._fail(stream, Unanswered.IN_DOUBT)
        elif partial.used >= BODY_BYTES:
            self._reset(stream, Code.CANCEL)

    def _give_back(self, size: int) -> None:
        """Widen the connection's inbound window again, in large steps."""
        self._credit += size
        if self._credit >= INBOUND_BYTES // 4:
            self._outbound.out.append(frames.window_update(0, self._credit))
            self._inbound, self._credit = self._inbound + self._credit, 0

    def _end(self, stream: int, token: T, result: Result) -> None:
        self.ended.append((token, result))
        if self._outbound.drop(stream) and isinstance(result, Answer):
            self._outbound.out.append(
                frames.rst_stream(stream, Code.CANCEL)
            )  # section 8.1: the body is not wanted

    def _fail(self, stream: int, otherwise: Unanswered) -> None:
        """End a stream with the answer, as far as it came; or with `otherwise` when none began."""
        if partial := self._partial.pop(stream, None):
            self._give_back(partial.used)
            said, body = partial.answer, bytes(partial.body[:BODY_BYTES])
            self._end(stream, partial.token, Answer(said.status, said.headers, body))
        elif stream in self._open:
            self._end(stream, self._open.pop(stream), otherwise)

    def _reset(self, stream: int, code: Code) -> None:
        self._outbound.drop(stream)
        self._outbound.out.append(frames.rst_stream(stream, code))
        self._fail(stream, Unanswered.IN_DOUBT)

    def _on_rst_stream(self, _flags: int, stream: int, payload: bytes) -> None:
        self._check_stream(stream)
        self._outbound.drop(stream)
        refused = _word(payload) == Code.REFUSED_STREAM  # section 8.7: never looked at
        self._fail(stream, Unanswered.NOT_PROCESSED if refused else Unanswered.IN_DOUBT)

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ProtocolError(Code.PROTOCOL_ERROR)
        if len(payload) % 6 or (flags & ACK and payload):
            raise ProtocolError(Code.FRAME_SIZE_ERROR)
        if flags & ACK:
            return
        self._outbound.settings(payload)
        self.settled = True

    def _on_ping(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ProtocolError(Code.PROTOCOL_ERROR)
        if len(payload) != 8:
            raise ProtocolError(Code.FRAME_SIZE_ERROR)
        if not flags & ACK:
            self._outbound.out.append(frames.ping(payload, ACK))

    def _on_goaway(self, _flags: int, stream: int, payload: bytes) -> None:
        """Streams above the peer's last one were not processed; the others are waited for (section 6.8)."""
        if stream:
            raise ProtocolError(Code.PROTOCOL_ERROR)
        if len(payload) < 8:
            raise ProtocolError(Code.FRAME_SIZE_ERROR)
        self.going = True
        last = WORD.unpack_from(payload)[0] & LONGEST
        for above in [one for one in (*self._open, *self._partial) if one > last]:
            self._outbound.drop(above)
            self._fail(above, Unanswered.NOT_PROCESSED)

    def _on_window_update(self, _flags: int, stream: int, payload: bytes) -> None:
        increment = _word(payload) & LONGEST
        if not stream:
            self._outbound.widen_all(increment)
            return
        self._check_stream(stream)
        try:
            self._outbound.widen(stream, increment)
        except ProtocolError as error:
            self._reset(stream, error.code)

    def _on_push_promise(self, _flags: int, _stream: int, _payload: bytes) -> None:
        raise ProtocolError(Code.PROTOCOL_ERROR)  # we have said that we take none

    _HANDLERS: ClassVar[dict[int, Callable[[Connection[T], int, int, bytes], None]]] = {
        Kind.DATA: _on_data,
        Kind.HEADERS: _on_headers,
        Kind.RST_STREAM: _on_rst_stream,
        Kind.SETTINGS: _on_settings,
        Kind.PUSH_PROMISE: _on_push_promise,
        Kind.PING: _on_ping,
        Kind.GOAWAY: _on_goaway,
        Kind.WINDOW_UPDATE: _on_window_update,
        Kind.CONTINUATION: _on_continuation,
    }


def _word(payload: bytes) -> int:
    """The one number in a payload."""
    if len(payload) != WORD.size:
        raise ProtocolError(Code.FRAME_SIZE_ERROR)
    number: int = WORD.unpack(payload)[0]
    return number
