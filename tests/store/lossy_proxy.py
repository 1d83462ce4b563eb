"""A TCP proxy before Cassandra that knows the frames of its protocol (version 4), and can lose answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HEADER = 9  # version, flags, stream (2 bytes), opcode, length (4 bytes)
PREPARE, EXECUTE = 0x09, 0x0A
#: Whether a frame (stream, opcode, body) is passed on.
Look = Callable[[bytes, int, bytes], bool]


@dataclass
class LossyProxy:
    """`silent`: no answer arrives. `lose`: requests arrive, but the answers to this many compare-and-sets are
    lost; each one is noted in `lost`."""

    upstream: int
    port: int = 0
    silent: bool = False
    lose: int = 0
    lost: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the driver."""
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        connection = _Connection(self)
        for source, sink, look in (
            (reader, up_writer, connection.request),
            (up_reader, writer, connection.answer),
        ):
            self.tasks.add(asyncio.create_task(_copy(source, sink, look)))


class _Connection:
    """Which streams ask for what, and which answers are not passed on."""

    def __init__(self, proxy: LossyProxy) -> None:
        self.proxy = proxy
        self.preparing: set[bytes] = set()  # streams that prepare a compare-and-set
        self.conditional: set[bytes] = set()  # ids of prepared compare-and-sets
        self.unheard: set[bytes] = set()  # streams whose answer is lost

    def request(self, stream: bytes, opcode: int, body: bytes) -> bool:
        if opcode == PREPARE and b" IF " in body:
            self.preparing.add(stream)
        if opcode == EXECUTE and body[2:18] in self.conditional and self.proxy.lose:
            self.proxy.lose -= 1
            self.unheard.add(stream)
        return True

    def answer(self, stream: bytes, opcode: int, body: bytes) -> bool:
        if stream in self.preparing:
            self.preparing.remove(stream)
            self.conditional.add(body[6:22])  # kind (4 bytes), then the id with its length (2 bytes)
        if stream in self.unheard:
            self.unheard.remove(stream)
            self.proxy.lost += 1
            return False
        return not self.proxy.silent


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, look: Look) -> None:
    try:
        while True:
            header = await reader.readexactly(HEADER)
            body = await reader.readexactly(int.from_bytes(header[5:], "big"))
            if look(header[2:4], header[4], body):
                writer.write(header + body)
                await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


@asynccontextmanager
async def lossy_proxy(upstream: int) -> AsyncIterator[LossyProxy]:
    """A proxy on a free port of 127.0.0.1."""
    proxy = LossyProxy(upstream)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in proxy.tasks:
            task.cancel()
        await asyncio.gather(*proxy.tasks, return_exceptions=True)
