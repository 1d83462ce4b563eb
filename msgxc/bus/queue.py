"""The queue between a bus and one subscriber: bounded, drops the oldest, tells the gap."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace

from msgxc.bus import Message


class Waiting:
    """The Subscription of every adapter: they put, the subscriber iterates."""

    def __init__(self, limit: int) -> None:
        self.dropped = 0
        self._limit = max(limit, 1)
        self._messages: deque[Message] = deque()
        self._gap = 0
        self._wake = asyncio.Event()
        self._ended = False

    def put(self, message: Message) -> None:
        """Add one message; the oldest goes when there are too many."""
        if self._ended:
            return
        if len(self._messages) >= self._limit:
            self._messages.popleft()
            self.dropped += 1
            self._gap += 1
        self._messages.append(message)
        self._wake.set()

    def missed(self, count: int) -> None:
        """So many did not even reach the queue: told with the next message."""
        self.dropped += count
        self._gap += count

    def end(self) -> None:
        """No more is coming: what waits is still handed out."""
        self._ended = True
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            while self._messages:
                gap, self._gap = self._gap, 0
                message = self._messages.popleft()
                yield replace(message, dropped=gap) if gap else message
            if self._ended:
                return
            self._wake.clear()
            await self._wake.wait()
