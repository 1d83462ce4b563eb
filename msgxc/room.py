"""How much may be under way at once, shared by all that one process sends: the most urgent goes first.

The deliveries that a killed process leaves in doubt are those of its open windows. A process that sends many
messages at once has many open windows: together they take no more room than those of one campaign.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count

from msgxc.slow import Slow
from msgxc.standstill import Work


@asynccontextmanager
async def turn(places: asyncio.Semaphore, work: Work, others: Work) -> AsyncIterator[None]:
    """Have one of the places; `others` have them."""
    with work.behind(others):
        await places.acquire()
    try:
        yield
    finally:
        places.release()


class Room:
    """`size` units; whoever wants more than are free waits for its turn. For one event loop. Beside them are
    the calls that are slow, at most `slow` of them. `work`: the steps of all who share it."""

    def __init__(self, size: int, slow: int = 0) -> None:
        self._size = self._free = size
        self.slow, self.work = Slow(slow), Work()
        self._waiting: list[tuple[int, int, int, asyncio.Future[None]]] = []
        self._numbers = count()

    @asynccontextmanager
    async def taken(self, units: int, urgency: int, work: Work) -> AsyncIterator[None]:
        """Hold so many units, or all there are if that is less. `work`: of whoever wants them."""
        units = min(units, self._size)
        with work.behind(self.work):
            await self._take(units, urgency)
        try:
            yield
        finally:
            self._give(units)

    async def _take(self, units: int, urgency: int) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (-urgency, next(self._numbers), units, mine))
        self._hand_out()
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._give(units)
            raise

    def _give(self, units: int) -> None:
        self._free += units
        self._hand_out()

    def _hand_out(self) -> None:
        """To the first in line; nobody overtakes, so that large and small ones both get their turn."""
        while self._waiting and self._waiting[0][2] <= self._free:
            _, _, units, future = heappop(self._waiting)
            if not future.done():
                self._free -= units
                future.set_result(None)
