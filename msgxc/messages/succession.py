"""One dispatch process after another, without a gap: by two leases, whatever Prefect thinks of their runs.

The first seat is held by whoever dispatches. The next process takes the second one, dispatches as well (the
messages have leases of their own), and by that tells the first to end what it has begun and to go; then it
moves up. When the first was killed, its seat is free when the lease is over. A third process is not needed,
and leaves at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from msgxc import ids
from msgxc.delivery import Stop
from msgxc.errors import StoreUnavailable
from msgxc.holding import end_of_the_dead, insist, name_within, take
from msgxc.ledger import Lease
from msgxc.messages.dispatching import Dispatcher, Done
from msgxc.wiring import Exchange

FIRST, NEXT = 0, 1
#: How long a seat is held unrenewed, at most; and how often its holder looks, in seconds.
SEAT_SECONDS, LOOK_SECONDS = 6.0, 1.0


@dataclass(slots=True)
class Seats:
    """One process's place among those that dispatch."""

    exchange: Exchange
    owner: str
    lease: Lease | None = None

    async def take(self) -> bool:
        """The first seat, or the next one; False when both are taken."""
        self.lease = await self._claim(FIRST) or await self._claim(NEXT)
        return self.lease is not None

    async def _claim(self, seat: int) -> Lease | None:
        now = self.exchange.clock()
        until = now + min(SEAT_SECONDS, self.exchange.settings.lease_seconds)
        key = ids.dispatch_seats(self.exchange.key)
        return await insist(take, self.exchange.store.ledger, key, seat, self.owner, now, until)

    async def look(self) -> bool:
        """Hold on to the seat, or move up; False when it is time to go."""
        if self.lease is None:
            return False
        ledger, now = self.exchange.store.ledger, self.exchange.clock()
        until = now + min(SEAT_SECONDS, self.exchange.settings.lease_seconds)
        renewed = await ledger.renew(self.lease, until)
        if renewed is None:
            return False
        self.lease = renewed
        if renewed.shard == FIRST:
            coming = await ledger.unfinished(renewed.campaign, NEXT, NEXT + 1)
            return coming.get(NEXT, 0.0) <= now
        if first := await self._claim(FIRST):
            await ledger.release(renewed, now)
            self.lease = first
        return True

    async def leave(self) -> None:
        """Let go of it."""
        if self.lease:
            await insist(self.exchange.store.ledger.release, self.lease, self.exchange.clock())


async def serve(
    exchange: Exchange, stop: Stop, on_start: Callable[[Dispatcher], None] = lambda _: None
) -> Done | None:
    """Dispatch until stopped or followed by another process; None when two are at it already."""
    seats = Seats(exchange, name_within(exchange.owner))
    if not await seats.take():
        return None
    dispatcher = Dispatcher(exchange, stop)
    on_start(dispatcher)
    keeper = asyncio.create_task(_keep(seats, dispatcher))
    try:
        await dispatcher.run()
    finally:
        keeper.cancel()
        await seats.leave()
    return dispatcher.done


async def _keep(seats: Seats, dispatcher: Dispatcher) -> None:
    while not dispatcher.leaving:
        await asyncio.sleep(LOOK_SECONDS)
        with suppress(StoreUnavailable):
            dispatcher.leaving = not await seats.look()


async def vacant(exchange: Exchange) -> float | None:
    """Since when nobody dispatches (seconds since the epoch, 0: nobody ever did); None: somebody does."""
    key, ledger, now = ids.dispatch_seats(exchange.key), exchange.store.ledger, exchange.clock()
    await end_of_the_dead(ledger, key, FIRST, NEXT + 1, now)
    until = max((await ledger.unfinished(key, FIRST, NEXT + 1)).values(), default=0.0)
    return None if until > now else until
