"""The way out to one client: bounded in bytes, and it never waits.

Under our own server a frame goes straight to the socket's buffer; under any other ASGI server it waits in a
queue that a task empties.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol, cast

from starlette.websockets import WebSocket, WebSocketDisconnect

from msgxc.gateway.frames import Wire
from msgxc.gateway.server import EXTENSION, Ready

#: Bytes that may wait for one client: beyond that it is too slow, and is hung up on.
UNREAD = 262_144
#: With which the task of a connection is cancelled whose client is too slow.
TOO_SLOW = "too slow"
#: How long somebody may take to read what they asked for, in seconds.
ROOM_SECONDS = 30.0


class Line(Protocol):
    """Where a session writes."""

    def write(self, wire: Wire) -> bool:
        """Hand it over. False: too much waits already, and the client is hung up on."""

    async def room(self) -> None:
        """Wait until the client has taken most of what waits. Raises TimeoutError after ROOM_SECONDS."""

    def close(self) -> None:
        """Nothing is written any more."""


def line(websocket: WebSocket, unread: int = UNREAD) -> Line:
    """The best way that the server offers."""
    extension = websocket.scope.get("extensions", {}).get(EXTENSION)
    if extension is not None:
        return DirectLine(cast(Ready, extension["frames"]), unread)
    return QueuedLine(websocket, unread)


class DirectLine:
    """Straight to the socket."""

    def __init__(self, ready: Ready, unread: int) -> None:
        self._ready = ready
        self._unread = unread

    def write(self, wire: Wire) -> bool:
        """See Line."""
        if self._ready.unwritten() > self._unread:
            self._ready.abort()
            return False
        self._ready.write_frame(wire.framed)
        return True

    async def room(self) -> None:
        """See Line."""
        async with asyncio.timeout(ROOM_SECONDS):
            await self._ready.writable.wait()

    def close(self) -> None:
        """See Line."""


class QueuedLine:
    """Through `websocket.send`, by a task of its own."""

    def __init__(self, websocket: WebSocket, unread: int) -> None:
        self._websocket = websocket
        self._unread = unread
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self.gone = False
        self._owner = asyncio.current_task()
        self._wake = asyncio.Event()
        self._taken = asyncio.Event()
        self._task = asyncio.create_task(self._send(), name="line")

    def write(self, wire: Wire) -> bool:
        """See Line."""
        if self._size > self._unread:
            self._hang_up()
            return False
        self._waiting.append(wire.text)
        self._size += len(wire.text)
        self._wake.set()
        return True

    async def room(self) -> None:
        """See Line."""
        async with asyncio.timeout(ROOM_SECONDS):
            while self._size > self._unread // 4:
                self._taken.clear()
                await self._taken.wait()

    def close(self) -> None:
        """See Line."""
        self._task.cancel()

    def _hang_up(self) -> None:
        """`send` may wait for ever, and so would a closing frame: the connection's own task ends instead."""
        if not self.gone and self._owner is not None:
            self.gone = True
            self._task.cancel()
            self._owner.cancel(TOO_SLOW)

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                text = self._waiting.popleft()
                try:
                    await self._websocket.send_text(text.decode())
                except (WebSocketDisconnect, RuntimeError):
                    return
                self._size -= len(text)
                self._taken.set()
