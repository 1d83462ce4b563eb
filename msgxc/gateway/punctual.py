"""How uvicorn speaks HTTP here: a request's head has to arrive in time, and may not grow for ever.

uvicorn bounds neither. Bodies are bounded in limits.py, by the app.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD = 65_536  # bytes of request line and headers


class Punctual(HttpToolsProtocol):
    """uvicorn's protocol; hangs up on whoever has not sent a whole head after `head_seconds`."""

    def __init__(self, *given: Any, head_seconds: float, **named: Any) -> None:
        super().__init__(*given, **named)
        self._head_seconds, self._head = head_seconds, 0
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See uvicorn."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """See uvicorn."""
        self._arrived()
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
        self._await_head()

    def on_headers_complete(self) -> None:
        """See uvicorn."""
        self._arrived()
        super().on_headers_complete()

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
