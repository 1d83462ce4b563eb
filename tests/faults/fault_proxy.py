"""A TCP proxy that can misbehave: put before the store, the bus or a provider, and commanded by a test.

It runs in the test's event loop. Every command takes effect at once, for the connections that there are and
for those to come, until the next one or `heal`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST, and throws away what was not read


@dataclass
class Proxy:
    """`port` leads to `upstream`, both on 127.0.0.1."""

    upstream: int
    port: int = 0
    connections: int = 0
    passed: int = 0  # bytes of answers
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _delay: float = 0.0
    _rate: float = 0.0
    _cut_after: int = -1
    _pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def blackhole(self) -> None:
        """Nothing arrives any more, in either direction; nobody is told. What was sent arrives after `heal`,
        as TCP would repeat it."""
        self._open.clear()

    def delay(self, seconds: float) -> None:
        """Every answer comes so much later."""
        self._delay = seconds

    def throttle(self, bytes_per_second: float) -> None:
        """Answers come no faster than this."""
        self._rate = bytes_per_second

    def drop_after(self, answered: int) -> None:
        """Reset all connections once so many more bytes of answers have passed."""
        self._cut_after = self.passed + answered

    def half_close(self) -> None:
        """Tell every client that no answer will come any more; go on listening to them."""
        for client, _ in self._pairs:
            if client.can_write_eof() and not client.is_closing():
                client.write_eof()

    def reset(self) -> None:
        """Break all connections, without a goodbye."""
        for pair in list(self._pairs):
            _reset(*pair)

    def heal(self) -> None:
        """All is well from now on."""
        self._delay, self._rate, self._cut_after = 0.0, 0.0, -1
        self._open.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client."""
        self.connections += 1
        await self._open.wait()
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            _reset(writer)
            return
        pair = writer, up_writer
        self._pairs.add(pair)
        there = asyncio.create_task(self._copy(reader, up_writer, answers=False))
        back = asyncio.create_task(self._copy(up_reader, writer, answers=True))
        self._tasks |= {there, back}
        try:
            await asyncio.gather(there, back)
        except OSError:
            _reset(*pair)
        except asyncio.CancelledError:  # by `close`
            return
        finally:
            self._pairs.discard(pair)
            self._tasks -= {there, back}
            for end in pair:
                end.close()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        while data := await reader.read(65_536):
            await self._open.wait()
            if answers:
                await asyncio.sleep(self._delay + (len(data) / self._rate if self._rate else 0.0))
                await self._open.wait()
                self.passed += len(data)
                if 0 <= self._cut_after < self.passed:
                    self._cut_after = -1
                    self.reset()
                    return
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def close(self) -> None:
        """Let go of everything."""
        self._open.set()
        self.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _reset(*ends: asyncio.StreamWriter) -> None:
    for end in ends:
        connected: socket.socket | None = end.get_extra_info("socket")
        if connected is not None and not end.is_closing():
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        end.transport.abort()


@asynccontextmanager
async def proxy(upstream: int) -> AsyncIterator[Proxy]:
    """A proxy on a free port of 127.0.0.1."""
    made = Proxy(upstream)
    made.heal()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.close()
