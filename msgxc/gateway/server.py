"""How uvicorn speaks websocket here: its own protocol, and beside it a way to write a frame that is ready.

The app stays an ASGI app: it finds the way as an extension of its scope, and does without it under another
server. A message to 10,000 people is then framed once and written 10,000 times, with nothing in between; and
what waits for a slow reader is counted in bytes where it waits.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

EXTENSION = "msgxc.frames"
#: How long a connection that is over may take to read its end.
LINGER_SECONDS = 15.0


class Ready(Protocol):
    """What the scope's extension holds under `frames`."""

    def write_frame(self, frame: bytes) -> None:
        """Write the bytes of whole frames, now; they wait in memory when the reader is slow."""

    @property
    def writable(self) -> asyncio.Event:
        """Set while little waits for the reader."""

    def unwritten(self) -> int:
        """Bytes that wait for the reader."""

    def abort(self) -> None:
        """Hang up, and forget what waits."""


class Direct(WebSocketsSansIOProtocol):
    """uvicorn's protocol, with the extension."""

    async def run_asgi(self) -> None:
        """See uvicorn. Whoever does not read what was written last is not waited for for ever."""
        self.scope["extensions"][EXTENSION] = {"frames": self}
        try:
            await super().run_asgi()
        finally:
            self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    async def send(self, message: Any) -> None:
        """See uvicorn, which logs each handshake that was refused by an answer as one that was forgotten."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True

    def keepalive_timeout(self) -> None:
        """Nobody answers: what is written now would wait for them until the system gives up."""
        super().keepalive_timeout()
        self.transport.abort()

    def write_frame(self, frame: bytes) -> None:
        """See Ready. After the closing frame nothing is written any more (RFC 6455 section 5.5.1)."""
        if not self.close_sent and not self.disconnected and not self.transport.is_closing():
            self.transport.write(frame)

    def unwritten(self) -> int:
        """See Ready."""
        return self.transport.get_write_buffer_size()

    def abort(self) -> None:
        """See Ready."""
        self.transport.abort()
