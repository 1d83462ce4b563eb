"""The client's end of one HTTP/1.1 connection (RFC 9112), without any I/O: bytes in, bytes out.

One request is under way at a time: whatever follows one whose answer is not there would share its doubt
(section 9.3.2). Each request ends once, in `ended`, whatever the peer does; what the peer can make us keep is
bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import ClassVar, Generic, NamedTuple, TypeVar

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from msgxc.http2.hpack import Head, Raw
from msgxc.http2.messages import Answer, Headers, Request, Result, Unanswered

T = TypeVar("T")

HEAD_BYTES = 32_768  # until the head of the answer is whole, interim answers counted in
BODY_BYTES = 65_535  # of the body are kept, as over HTTP/2
ANSWER_BYTES = 262_144  # of one answer as it comes, with chunk sizes and trailers
_LASTS = re.compile(rb"timeout=([0-9]{1,9})")


class _Head(NamedTuple):
    """A head as it is written: what follows the path, the names of what differs with their places, and the
    number of lines."""

    common: bytes
    names: tuple[tuple[int, bytes], ...]
    lines: int


@lru_cache(maxsize=256)
def _written(head: Head) -> _Head:
    """The length of the body is ours to tell, whatever the head says."""
    fields = [(b"host" if name == b":authority" else name, value) for name, value in head.fields]
    shown = [(name, value) for name, value in fields if name[:1] != b":" and name != b"content-length"]
    names = [(at, name.encode()) for at, name in enumerate(head.names) if name != "content-length"]
    common = b" HTTP/1.1\r\n" + b"".join(b"%b: %b\r\n" % field for field in shown)
    return _Head(common, tuple(names), len(shown) + len(names) + 3)


def write(request: Request) -> bytes | None:
    """A POST request as it leaves; None when its head would break out of its lines."""
    path, values = request.path, request.values
    common, names, lines = _written(request.head)
    own = b"".join([b"%b: %b\r\n" % (name, values[at]) for at, name in names])
    text = b"POST %b%b%bcontent-length: %d\r\n\r\n" % (path, common, own, len(request.body))
    if text.count(b"\n") != lines or text.count(b"\r") != lines or b" " in path:
        return None
    return text + request.body


class Connection(Generic[T]):
    """One connection. A request is known by its `token`, which comes back with its result. The on_… names
    are the parser's.
    """

    protocols: ClassVar = frozenset({None, "http/1.1"})
    takes_turns: ClassVar = True
    settled: ClassVar = True

    def __init__(self) -> None:
        #: Requests that have ended; whoever reads them empties the list.
        self.ended: list[tuple[T, Result]] = []
        self.going = False  # no new requests
        self.closed = False  # hang up
        self.busy = 0  # requests under way
        self.lasts = float("inf")  # seconds for which the peer says that it keeps an idle connection
        self._token: T | None = None
        self._out = b""
        self._sent = False  # `take` has given the request out
        self._answer: tuple[int, Headers] | None = None  # the head of the answer is whole
        self._fields: list[Raw] = []
        self._body: list[bytes] = []
        self._got = 0  # bytes of the answer so far
        self._lost = False
        self._parser = HttpResponseParser(self)

    # -- what we ask for

    @property
    def room(self) -> int:
        """How many requests may be started now."""
        return 0 if self.going or self.busy else 1

    def start(self, token: T, request: Request) -> bool:
        """Begin a request, given that there is room. One that cannot be written was not processed."""
        out = write(request)
        if out is None:
            self.ended.append((token, Unanswered.NOT_PROCESSED))
        else:
            self._token, self._out, self._sent, self.busy, self._got = token, out, False, 1, 0
        return True

    def take(self) -> bytes:
        """What is to be written now."""
        out, self._out = self._out, b""
        if out:
            self._sent = True
        return out

    def ping(self) -> None:
        """Nobody can be asked for a sign of life."""

    def abandon(self, is_dead: Callable[[T], bool]) -> None:
        """End the request for which nobody waits any more; its answer would be taken for the next one's."""
        if self._token is not None and is_dead(self._token):
            self.lost()

    def close(self) -> None:
        """No new requests; one that has not left does not leave any more."""
        self.going, self._out = True, b""

    def lost(self) -> None:
        """The transport is gone, or not to be used any more. The request under way has its answer as far as
        it came, or is in doubt; one that has not left was not processed.
        """
        if not self._lost:
            del self._parser  # which refers to us
        self.going = self.closed = self._lost = True
        self._out = b""
        if self._token is not None:
            self._end(Unanswered.IN_DOUBT if self._sent else Unanswered.NOT_PROCESSED)

    # -- what the peer says

    def receive(self, data: bytes) -> None:
        """Take in what has arrived. Never raises: a peer that breaks the protocol is hung up on."""
        if self.closed:
            return
        self._got += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self.lost()
        if self.busy and self._got > (ANSWER_BYTES if self._answer else HEAD_BYTES):
            self.lost()

    def on_message_begin(self) -> None:
        """An answer; to nothing, if nothing has been asked."""
        if not self._sent:
            self.lost()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or of the trailers, of which nothing is kept."""
        if self._answer is None:
            key = name.lower()
            self._fields.append((key, value, False))
            if key == b"keep-alive" and (told := _LASTS.search(value)):
                self.lasts = float(told[1])

    def on_headers_complete(self) -> None:
        """The status is known; an interim one (1xx) says nothing."""
        fields, self._fields = self._fields, []
        if not self._sent:
            return
        status = self._parser.get_status_code()
        if status < 100:
            self.lost()
        elif status >= 200:
            self._answer = (status, Headers(fields))

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._answer:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """The answer is whole, unless it was an interim one."""
        if self._answer is None:
            return
        if not self._parser.should_keep_alive():
            self.going = self.closed = True
        self._end(Unanswered.IN_DOUBT)

    def _end(self, otherwise: Unanswered) -> None:
        """End the request with the answer, as far as it came; or with `otherwise` when none began."""
        token, answer, body = self._token, self._answer, self._body
        self._token, self._answer, self._body, self._sent, self.busy = None, None, [], False, 0
        if token is not None:
            found = Answer(*answer, b"".join(body)[:BODY_BYTES]) if answer else otherwise
            self.ended.append((token, found))
