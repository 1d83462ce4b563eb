"""Many requests to one server, over as many connections as it takes. The I/O half.

Per message there is one entry in a dict; per call of `send` one future; no task and no timer for either.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aiohappyeyeballs import start_connection

from msgxc.http2.connection import Connection
from msgxc.http2.line import Batch, Conversation, Line, Pace, Patience, Token
from msgxc.http2.messages import Request, Result, Unanswered

_NOT_PROCESSED = Unanswered.NOT_PROCESSED


@dataclass(frozen=True, slots=True)
class Limits:
    """At most `connections`, `opening` of them being opened, and `queue` requests waiting for room. `spare`:
    one more is opened before it is needed, whenever none has room.

    In seconds: `connect`, for one connection to be ready; `grow`, how long requests wait for room before more
    connections are opened; `first` and `longest`, how long nobody connects after failures (doubled each time,
    with jitter).
    """

    connections: int = 4
    opening: int = 1
    queue: int = 20_000
    spare: bool = False
    connect: float = 10.0
    grow: float = 0.05
    first: float = 1.0
    longest: float = 60.0
    pace: Pace = field(default_factory=Pace)


class Client:
    """Sends to one host. Used from one event loop; closed and used again as often as one likes.

    Every request ends: with an Answer, NOT_PROCESSED or IN_DOUBT. What a peer on its way out has not looked
    at is sent again over another connection. While no connection can be had, requests end at once.
    """

    def __init__(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext,
        limits: Limits = Limits(),
        conversation: Callable[[], Conversation] = Connection,
    ) -> None:
        self._host, self._port, self._tls, self._limits = host, port, tls, limits
        self._conversation = conversation
        self.lines: list[Line] = []
        #: The peer speaks something else than what it was asked for, HTTP/2 if nothing else is said.
        self.speaks_other = False
        self._queue: deque[Token] = deque()
        self._batches: set[Batch] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._growing: asyncio.TimerHandle | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._failures, self._not_before = 0, 0.0
        self._closing = False

    @property
    def busy(self) -> bool:
        """Whether anybody waits for anything."""
        return bool(self._batches)

    def leave(self) -> None:
        """Close the connections without waiting until they are closed."""
        for line in list(self.lines):
            line.hang_up()

    async def send(self, requests: Sequence[Request], until: float) -> list[Result]:
        """Send all of them, and wait until each has ended or a time of the event loop has come."""
        return (await self._sent(requests, until)).ended() if requests else []

    async def send_some(
        self, requests: Sequence[Request], until: float, patience: Patience | None
    ) -> list[Result | asyncio.Future[Result]]:
        """Send all of them, and wait until nearly all have ended: the few that are late are futures, which
        end by `until`. Without `patience` all are waited for."""
        if not requests:
            return []
        batch = await self._sent(requests, until, patience)
        late, ends = batch.late, batch.ended()
        return [late.get(at) or end for at, end in enumerate(ends)] if late else [*ends]

    async def _sent(
        self, requests: Sequence[Request], until: float, patience: Patience | None = None
    ) -> Batch:
        loop = asyncio.get_running_loop()
        batch = Batch(list(requests), until, loop.create_future(), patience)
        self._batches.add(batch)
        self._take_in(batch)
        if self._limits.spare and self.lines and not self._connecting:
            self._have_spare()
        self._alarm_at(min(until, loop.time() + self._limits.pace.quiet))
        try:
            await batch.done
        except asyncio.CancelledError:
            self._give_up({batch})  # nobody waits for it any more
            raise
        finally:
            if batch.left:
                for one in batch.late.values():
                    one.add_done_callback(lambda _: self._forget(batch))
            else:
                self._batches.discard(batch)
        return batch

    def _forget(self, batch: Batch) -> None:
        """All that was late of it has ended, or nearly."""
        if not batch.left:
            self._batches.discard(batch)

    async def close(self) -> None:
        """Close all connections; what waits was not processed, what is under way is in doubt."""
        self._closing = True
        if connecting := set(self._connecting):
            for task in connecting:
                task.cancel()
            await asyncio.wait(connecting)
            self._connecting -= connecting  # also those that never began
        self._fail_queue()
        await self._hang_up()
        for timer in (self._growing, self._alarm):
            if timer:
                timer.cancel()
        self._growing = self._alarm = None
        self._failures, self._not_before, self._closing = 0, 0.0, False

    async def _hang_up(self) -> None:
        """Politely; after a second, not any more."""
        lines = list(self.lines)
        for leave in (Line.hang_up, Line.abort):
            if waiting := [line for line in lines if not line.gone.done()]:
                for line in waiting:
                    leave(line)
                await asyncio.wait([line.gone for line in waiting], timeout=1)

    # -- from the queue to the connections, and back

    def _take_in(self, batch: Batch) -> None:
        room = self._limits.queue - len(self._queue)
        self._queue.extend((batch, index) for index in range(min(batch.left, room)))
        for index in range(room, batch.left):
            batch.settle(index, _NOT_PROCESSED)
        self._pump()

    def _pump(self) -> None:
        """Give waiting requests to connections with room, the first one first: few full connections write
        more at once than many empty ones.
        """
        for line in self.lines:
            if not self._queue:
                return
            if line.connection.room > 0:
                self._give(line)
        if self._queue:
            self._grow()

    def _give(self, line: Line) -> None:
        line.fill(self._queue)
        if line.connection.ended:
            self._collect(line)

    def _changed(self, line: Line) -> None:
        """A connection has answers, or room, or is gone. While requests wait, no other one has room."""
        if line.connection.ended:
            self._collect(line)
        if line.gone.done() and line in self.lines:
            self.lines.remove(line)
            if line.asked and not line.answered:
                self._note_failure()
        if self._queue and line.joined:
            self._give(line)
        if self._queue and not line.usable:
            self._pump()

    def _collect(self, line: Line) -> None:
        """Hand out results; what a connection on its way out did not process waits for another one."""
        connection = line.connection
        ended, connection.ended = connection.ended, []
        for token, result in ended:
            if result is _NOT_PROCESSED and connection.going and not self._closing:
                self._queue.appendleft(token)
                continue
            if not isinstance(result, Unanswered):
                line.answered = True
            token[0].settle(token[1], result)
        if line.answered:
            self._failures = 0

    def _give_up(self, late: set[Batch]) -> None:
        """Nobody waits for these any more."""
        for line in self.lines:
            line.connection.abandon(lambda token: token[0] in late)
            line.flush_soon()
            self._collect(line)
            line.end_if_done()
        waiting, self._queue = self._queue, deque()
        for token in waiting:
            if token[0] in late:
                token[0].settle(token[1], _NOT_PROCESSED)
            else:
                self._queue.append(token)
        if self._queue:
            self._pump()

    def _fail_queue(self) -> None:
        while self._queue:
            batch, index = self._queue.popleft()
            batch.settle(index, _NOT_PROCESSED)

    # -- connecting

    def _grow(self) -> None:
        """Requests wait: for a connection under way, or for a full one; or others are opened."""
        if self._connecting:
            return
        usable = sum(line.usable for line in self.lines)
        if not usable:
            self._connect_or_fail()
        elif usable < self._limits.connections and not self._growing:
            self._growing = asyncio.get_running_loop().call_later(self._limits.grow, self._grow_now)

    def _have_spare(self) -> None:
        """A request that is slow keeps its connection; the next one has another, and need not wait for it."""
        full = sum(line.usable for line in self.lines) >= self._limits.connections
        if full or any(line.connection.room > 0 for line in self.lines):
            return
        if not self._closing and asyncio.get_running_loop().time() >= self._not_before:
            self._connecting.add(asyncio.create_task(self._connect()))

    def _grow_now(self) -> None:
        self._growing = None
        if self._queue and not self._connecting:
            self._connect_if_allowed()

    def _connect_or_fail(self) -> None:
        if not self._connect_if_allowed():
            self._fail_queue()

    def _connect_if_allowed(self) -> bool:
        """Open connections: no more than requests wait."""
        loop, limits = asyncio.get_running_loop(), self._limits
        if self._closing or loop.time() < self._not_before:
            return False
        more = limits.connections - sum(line.usable for line in self.lines)
        for _ in range(min(limits.opening, more, len(self._queue))):
            self._connecting.add(loop.create_task(self._connect()))
        return True

    async def _connect(self) -> None:
        """Open one connection, and wait until it is settled."""
        line, ready = Line(self._limits.pace, self._changed, self._conversation()), False
        try:
            async with asyncio.timeout(self._limits.connect):
                await self._open(line)
                await line.ready
            ready = line.usable
        except (OSError, ValueError):  # ValueError: a host that is no name
            pass
        finally:
            self._connecting.discard(asyncio.current_task())
            if not ready:  # also when this task was cancelled at the last moment
                line.abort()
        self._connected(line, ready)

    async def _open(self, line: Line) -> None:
        """TCP to whichever of the host's addresses answers first (RFC 8305), then TLS.

        asyncio's own race between addresses may lose an open socket when it is cancelled.
        """
        loop = asyncio.get_running_loop()
        addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        sock = await start_connection(addresses, happy_eyeballs_delay=0.25)
        await loop.create_connection(
            lambda: line, sock=sock, ssl=self._tls, server_hostname=self._host, ssl_shutdown_timeout=1.0
        )

    def _connected(self, line: Line, ready: bool) -> None:
        self.speaks_other = line.speaks_other
        if ready:
            self.lines.append(line)
            line.joined = True
            self._alarm_at(line.beat(asyncio.get_running_loop().time()))
        else:
            self._note_failure()
        self._pump()

    def _note_failure(self) -> None:
        """No connection, or one that never answered anything: nobody connects for a while."""
        now = asyncio.get_running_loop().time()
        if now < self._not_before:  # several were opened together, and count once
            return
        wait = min(self._limits.first * 2**self._failures, self._limits.longest)
        self._failures = min(self._failures + 1, 16)
        self._not_before = now + wait * random.uniform(0.5, 1.0)  # noqa: S311

    # -- time

    def _alarm_at(self, when: float) -> None:
        """Sweep at this time, or sooner."""
        if self._alarm and self._alarm.when() <= when:
            return
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None
        if when < float("inf"):
            self._alarm = asyncio.get_running_loop().call_at(when, self._sweep)

    def _sweep(self) -> None:
        """End what is late, and look after the connections: one timer for all."""
        self._alarm = None
        now = asyncio.get_running_loop().time()
        late = {batch for batch in self._batches if batch.until <= now}
        if late:
            self._batches -= late
            self._give_up(late)
        beats = [line.beat(now) for line in list(self.lines)]
        self._alarm_at(min([*beats, *(batch.until for batch in self._batches)], default=float("inf")))
