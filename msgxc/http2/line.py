"""One connection over one TLS transport: moves bytes, and gathers what one loop turn has to say."""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Protocol

from msgxc.http2.messages import Request, Result, Unanswered

BUFFER_BYTES = 32 * 1024 * 1024  # unread by the peer: it is hung up on


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. A connection that says nothing for `quiet` while requests are under way, or for `idle` while
    none is, is asked for a sign of life, and left when none comes within `answer`. After `unused` without
    any request it is closed.
    """

    quiet: float = 5.0
    idle: float = 60.0
    answer: float = 5.0
    unused: float = float("inf")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the few that are late are waited for, once all the others of a batch have ended.

    `usual`: seconds after which a batch has usually ended. Nobody waits for one request in ten of a batch (of
    a small one, for two) that are later than the others: they go on by themselves.
    """

    usual: float

    @staticmethod
    def few(count: int) -> int:
        """How many of so many may be late."""
        return max(1, count // 10, min(2, count - 1))

    def grace(self, elapsed: float) -> float:
        """Seconds more for them, when the others have ended after `elapsed`. One that is alone has nobody to
        be compared with but the batches before, and gets the usual time."""
        if not elapsed:
            return max(0.02, self.usual)
        return max(0.003, 0.05 * elapsed)


@dataclass(eq=False, slots=True)
class Batch:
    """Requests that somebody waits for together, until a time of the event loop. With `patience`, those that
    are later than the others become futures in `late` when `done` is."""

    requests: list[Request]
    until: float
    done: asyncio.Future[None]
    patience: Patience | None = None
    results: list[Result | None] = field(init=False)
    left: int = field(init=False)
    late: dict[int, asyncio.Future[Result]] = field(default_factory=dict)
    _few: int = 0
    _begun: float = 0.0
    _timer: asyncio.TimerHandle | None = None

    def __post_init__(self) -> None:
        self.left = len(self.requests)
        self.results = [None] * self.left
        if self.patience:
            self._begun = self.done.get_loop().time()
            self._few = self.patience.few(self.left)
            if self.left <= self._few:
                self._wait_a_little(0.0)

    def settle(self, index: int, result: Result) -> None:
        """This is how one of them ended."""
        self.results[index] = result
        self.left -= 1
        if self.left <= self._few:
            self._nearly()
        if self.late and (waiting := self.late.pop(index, None)) and not waiting.done():
            waiting.set_result(result)

    def ended(self) -> list[Result]:
        """How each ended, in order; what has not begun was not processed."""
        return [result or Unanswered.NOT_PROCESSED for result in self.results]

    def _nearly(self) -> None:
        """All have ended, or all but a few."""
        if not self.left:
            if self._timer:
                self._timer.cancel()
            if not self.done.done():
                self.done.set_result(None)
        elif self._timer is None:
            self._wait_a_little(self.done.get_loop().time() - self._begun)

    def _wait_a_little(self, elapsed: float) -> None:
        if self.patience:
            grace = self.patience.grace(elapsed)
            self._timer = self.done.get_loop().call_later(grace, self._leave_the_rest)

    def _leave_the_rest(self) -> None:
        if not self.done.done():
            loop = self.done.get_loop()
            self.late = {at: loop.create_future() for at, end in enumerate(self.results) if end is None}
            self.done.set_result(None)


Token = tuple[Batch, int]


class Conversation(Protocol):
    """The pure half of a connection, over HTTP/2 or HTTP/1.1; msgxc.http2.connection says what is what."""

    ended: list[tuple[Token, Result]]
    going: bool
    closed: bool

    @property
    def protocols(self) -> Set[str | None]:
        """What TLS has agreed on (ALPN) when this can be spoken."""

    @property
    def takes_turns(self) -> bool:
        """The peer has nothing to say before it is asked, and then no more than the answer."""

    @property
    def lasts(self) -> float:
        """Seconds for which the peer says that it keeps an idle connection."""

    @property
    def settled(self) -> bool:
        """Requests may be given to it."""

    @property
    def room(self) -> int:
        """How many requests may be started now; 0 or less: none."""

    @property
    def busy(self) -> int:
        """How many requests are under way."""

    def start(self, token: Token, request: Request) -> bool:
        """Begin a request, given that there is room; False: not now."""

    def take(self) -> bytes:
        """What is to be written now."""

    def ping(self) -> None:
        """Ask the peer for a sign of life."""

    def abandon(self, is_dead: Callable[[Token], bool]) -> None:
        """End the requests for which nobody waits any more."""

    def close(self) -> None:
        """No new requests."""

    def lost(self) -> None:
        """The transport is gone: everything ends."""

    def receive(self, data: bytes) -> None:
        """Take in what has arrived. Never raises."""


class Line(asyncio.Protocol):
    """A connection that is open, being opened, or being closed. `changed` is called when requests ended, room
    appeared, or it is gone.
    """

    def __init__(self, pace: Pace, changed: Callable[[Line], None], connection: Conversation) -> None:
        self._pace, self._changed = pace, changed
        self._loop = asyncio.get_running_loop()
        self.connection = connection
        self.transport: asyncio.Transport | None = None
        self.ready: asyncio.Future[None] = (
            self._loop.create_future()
        )  # the peer's settings are known, or never
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self.speaks_other = False  # than the protocol that was wanted
        self.joined = False  # requests may be given to it
        self.asked = self.answered = False  # whether it has been used, and was good for something
        self._heard = self._used = self._loop.time()
        self._pinged = 0.0
        self._paused = self._flushing = False
        self._unread = select.poll()

    @property
    def usable(self) -> bool:
        """Whether requests may be given to it, now or when there is room again."""
        return self.connection.settled and not self.connection.going and not self.gone.done()

    def fill(self, queue: deque[Token]) -> None:
        """Start as many of the waiting requests as there is room for."""
        connection = self.connection
        room = 0 if self._paused else connection.room
        if room <= 0:
            return
        now = self._loop.time()
        if connection.takes_turns and self._is_left(now):
            connection.going = True
            self.abort()
            return
        self.asked, self._used = True, now
        while room > 0 and queue:
            batch, index = token = queue[0]
            if not connection.start(token, batch.requests[index]):
                break
            queue.popleft()
            room = room - 1 or connection.room  # again: some may have ended at once
        if connection.takes_turns:  # nobody has anything to add
            self.flush()
        else:
            self.flush_soon()

    def _is_left(self, now: float) -> bool:
        """Whether the peer has gone or is about to, as far as one can know: nothing is sent that would be in
        doubt. (On a fresh one there may be something of TLS to read.)
        """
        settled = self.answered or now > self._used + 1
        return now >= self._used + self._unused or (settled and bool(self._unread.poll(0)))

    @property
    def _unused(self) -> float:
        """Seconds after its last request in which it may get another one."""
        return min(self._pace.unused, self.connection.lasts - 1)

    def beat(self, now: float) -> float:
        """Ask for a sign of life, or end it, when it is time; answers when to look again."""
        if not self.usable:
            return float("inf")
        if not self.connection.busy and now >= self._used + self._unused:
            self.hang_up()
            return float("inf")
        if self._pinged > self._heard:
            return self._wait_for_life(now)
        due = self._heard + (self._pace.quiet if self.connection.busy else self._pace.idle)
        if now >= due:
            self._pinged = now
            self.connection.ping()
            self.flush_soon()
            due = now + self._pace.answer
        return min(due, self._used + self._unused) if not self.connection.busy else due

    def _wait_for_life(self, now: float) -> float:
        due = self._pinged + self._pace.answer
        if now >= due:
            self.abort()
        return due

    def hang_up(self) -> None:
        """Say goodbye and close."""
        self.connection.close()
        self.flush()
        if self.transport:
            self.transport.close()

    def abort(self) -> None:
        """Close without a word."""
        if self.transport:
            self.transport.abort()

    def flush_soon(self) -> None:
        """Write at the end of this turn of the event loop, together with what others have to say."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write."""
        self._flushing = False
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if out := self.connection.take():
            transport.write(out)
        if transport.get_write_buffer_size() > BUFFER_BYTES:
            transport.abort()

    # -- asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is there; without the right protocol in it, this ends here."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        agreed = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        if agreed not in self.connection.protocols:
            self.speaks_other = True
            transport.abort()
            return
        self._unread.register(transport.get_extra_info("socket"), select.POLLIN)
        self.flush()
        if self.connection.settled:
            self._be_ready()

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer."""
        connection = self.connection
        self._heard = self._loop.time()
        connection.receive(data)
        if connection.settled:
            self._be_ready()
        if not connection.takes_turns:
            self.flush_soon()
        self._changed(self)
        self.end_if_done()

    def end_if_done(self) -> None:
        """Close what the peer has spoiled, or what takes no new requests and has none under way."""
        connection = self.connection
        if connection.closed or (connection.going and not connection.busy):
            self.flush()
            if self.transport:
                self.transport.close()

    def eof_received(self) -> None:
        """The peer says no more; asyncio closes the transport."""
        self.connection.going = True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio calls it so
        """Everything under way ends."""
        self._be_ready()
        self.gone.set_result(None)
        self.connection.lost()
        self._changed(self)

    def pause_writing(self) -> None:
        """The peer reads more slowly than we write: no new requests."""
        self._paused = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self._paused = False
        self._changed(self)

    def _be_ready(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)
