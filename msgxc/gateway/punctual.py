"""How uvicorn speaks HTTP here: a request's head has to arrive in time, may not grow for ever, and an answer
has to be read. Whoever only waits leaves first when there are too many.

uvicorn bounds none of that. Bodies are bounded in limits.py, by the app.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from msgxc.gateway.doorstep import Doorstep

HEAD, HEADERS = 65_536, 200  # bytes of request line and headers; headers
#: How long an answer may wait for its reader, in seconds.
READ_SECONDS = 30.0
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _TooLarge(Exception):
    """The head has more than it may have."""


class Punctual(HttpToolsProtocol):
    """uvicorn's protocol; hangs up on whoever has not sent a whole head after `head_seconds`.

    `idle`: the connections that have no request under way.
    """

    def __init__(self, *given: Any, head_seconds: float, idle: Doorstep, **named: Any) -> None:
        super().__init__(*given, **named)
        self._head_seconds, self._idle = head_seconds, idle
        self._head = 0  # bytes since the last head was complete, as they came
        self._size = self._count = 0  # bytes and headers of this head, as they were read
        self._peer, self._refused = "", False
        self._late: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See uvicorn."""
        super().connection_made(transport)
        self._peer = str(self.client[0]) if self.client else ""
        self._idle.enter(self._peer, self._hang_up)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """See uvicorn."""
        self._arrived()
        self._idle.left(self._peer, self._hang_up)
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See uvicorn. A head that is not complete afterwards is counted."""
        self._head += len(data)
        super().data_received(data)
        if self._late is not None and self._head > HEAD:
            self._hang_up()

    def on_message_begin(self) -> None:
        """See uvicorn."""
        super().on_message_begin()
        self._size = self._count = 0
        self._await_head()

    def on_url(self, url: bytes) -> None:
        """See uvicorn. Heads that come in one piece are counted too."""
        self._counted(len(url), 0)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """See uvicorn. Trailers of a body in chunks are headers too."""
        self._counted(len(name) + len(value) + 4, 1)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """See uvicorn."""
        self._arrived()
        self._idle.left(self._peer, self._hang_up)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """See uvicorn."""
        super().on_response_complete()
        if self.timeout_keep_alive_task is not None and not self.transport.is_closing():
            self._idle.enter(self._peer, self._hang_up)

    def send_400_response(self, msg: str) -> None:
        """See uvicorn, which calls it for whatever the parser does not take."""
        if not self._refused:
            super().send_400_response(msg)

    def pause_writing(self) -> None:
        """See uvicorn. Nobody is waited for for ever."""
        super().pause_writing()
        self._stuck = self._stuck or self.loop.call_later(READ_SECONDS, self._hang_up)

    def resume_writing(self) -> None:
        """See uvicorn."""
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        super().resume_writing()

    def _counted(self, size: int, headers: int) -> None:
        self._size, self._count = self._size + size, self._count + headers
        if self._size > HEAD or self._count > HEADERS:
            self._refused = True
            self.transport.write(TOO_LARGE)
            self.transport.close()
            raise _TooLarge

    def _await_head(self) -> None:
        self._arrived()
        self._late = self.loop.call_later(self._head_seconds, self._hang_up)

    def _arrived(self) -> None:
        if self._late is not None:
            self._late.cancel()
        self._late, self._head = None, 0

    def _hang_up(self) -> None:
        self._arrived()
        self.transport.abort()
