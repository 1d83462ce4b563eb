"""What the servers that tests steer have in common: they listen on 127.0.0.1 until they are closed."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, ClassVar

#: What ends a test that hangs, and a time that must never be waited for, in seconds.
PATIENCE, NEVER = 60.0, 600.0


class Clock:
    """The clock of a test's event loop. A test puts it forward, and what is due by then is due now."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._time, self._ahead = loop.time, 0.0
        loop.time = lambda: self._time() + self._ahead

    def forward(self, seconds: float) -> None:
        self._ahead += seconds


class Listening:
    """`door` is the protocol of a connection that is let in; it puts itself into `doors`."""

    protocols: ClassVar[tuple[str, ...]]
    door: ClassVar[type[asyncio.Protocol]]

    def __init__(self) -> None:
        self.doors: list[Any] = []
        self.faults: list[Any] = []  # what its clients have done wrong
        self.port = 0

    async def listen(self, tls: ssl.SSLContext, port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(lambda: self.door(self), "127.0.0.1", port, ssl=tls)
        self.port = self._listening.sockets[0].getsockname()[1]

    def close(self) -> None:
        self._listening.close()
        for door in self.doors:
            door.transport.abort()
