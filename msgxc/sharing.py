"""How processes share a rate: each holds a place, all count the places, each takes its part of the whole.

A place is a lease like a shard's, of the campaign (its throttle) or of an id of its own (a provider's quota).
Processes come and go as they like: whoever comes begins slowly until the others have seen it, so that the sum
stays near what it was meant to be, and something urgent need not wait. A killed process's place counts until
its lease is over, or somebody who comes sees that it has died.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from msgxc import ids
from msgxc.errors import StoreUnavailable
from msgxc.holding import end_of_the_dead, insist, name_within
from msgxc.ledger import PLACES, Lease
from msgxc.pacing import Throttle

if TYPE_CHECKING:
    from msgxc.wiring import Exchange

LOOK_SECONDS = 1.0
#: Whoever comes takes this much of its part at first.
SLOWLY = 0.25
#: A place is held so long at least: several looks, however short the leases of shards are.
LEAST_SECONDS = 8.0
#: So many places are looked at together; there are more when one of the last of them is taken.
TOGETHER = 8
FCM_RAMP_SECONDS = 60.0

#: The quotas that grow slowly: they go on growing from one exchange of this process to the next.
_OF_PROCESS: dict[UUID, Throttle] = {}


@dataclass(slots=True)
class Pace:
    """A rate (units a second) that all processes of a group keep together; 0: no limit.

    `share`: this process's part of it when all places are taken.
    """

    exchange: Exchange
    group: UUID
    per_second: float
    throttle: Throttle
    share: float = 1.0
    _owner: str = field(init=False)
    _place: Lease | None = None
    _used: float = 0.0
    _seen: float = 0.0  # when the others have seen our place
    _keeper: asyncio.Task[None] | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self._owner = name_within(self.exchange.owner)

    async def wait(self, units: int) -> float:
        """Seconds to wait before `units` more are sent; they are then counted as sent."""
        if not self.per_second:
            return 0.0
        self._used = _now()
        async with self._turn:
            if self._keeper is None or self._keeper.done():
                await self._join()
        return self.throttle.wait(units, _now())

    @property
    def _seconds(self) -> float:
        """How long a place is held unrenewed."""
        return max(self.exchange.settings.lease_seconds, LEAST_SECONDS)

    async def _join(self) -> None:
        """Take a place."""
        await insist(self._look)
        if self.throttle.per_second < self.per_second:
            self._seen = _now() + 2 * LOOK_SECONDS
            self.throttle.per_second *= SLOWLY
        self.exchange.paces[self.group] = self
        self._keeper = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        """Look every second, as long as the place is used; then give it up."""
        while _now() - self._used < self._seconds:
            await asyncio.sleep(LOOK_SECONDS)
            with suppress(StoreUnavailable):
                await self._look()
        self.exchange.paces.pop(self.group, None)
        await self._leave()

    async def _look(self) -> None:
        """Hold the place, or take one, and see how many do."""
        now, ledger = self.exchange.clock(), self.exchange.store.ledger
        if self._place and self._place.until - now < self._seconds * 2 / 3:
            self._place = await ledger.renew(self._place, now + self._seconds)
        if self._place is None:
            self._place = await self._take(now)
        taken = await self._taken(now)
        part = 1 / max(1, taken) if self._place else min(self.share, 1 / (taken + 1))
        self.throttle.per_second = self.per_second * part * (SLOWLY if _now() < self._seen else 1.0)

    async def _taken(self, now: float) -> int:
        """How many places are taken, ours with them."""
        taken = 0
        for first in range(0, len(PLACES), TOGETHER):
            held = await self._held(first)
            taken += sum(until > now for until in held)
            if not any(until > now for until in held[TOGETHER // 2 :]):
                break
        return taken

    async def _take(self, now: float) -> Lease | None:
        """The first place that is free; None when none is. Those of the dead come free, and one that we have
        taken without hearing of it."""
        ledger, until = self.exchange.store.ledger, now + self._seconds
        await end_of_the_dead(ledger, self.group, PLACES[-1], PLACES[0] + 1, now, self._owner)
        for first in range(0, len(PLACES), TOGETHER):
            for number, held in enumerate(await self._held(first), start=first):
                place = PLACES[number]
                if held <= now and (lease := await ledger.claim(self.group, place, self._owner, now, until)):
                    return lease
        return None

    async def _held(self, first: int) -> list[float]:
        """Until when each of some places is held."""
        some = PLACES[first : first + TOGETHER]
        found = await self.exchange.store.ledger.unfinished(self.group, some[-1], some[0] + 1)
        return [found[place] for place in some]

    async def _leave(self) -> None:
        place, self._place = self._place, None
        if place:
            with suppress(StoreUnavailable):
                await self.exchange.store.ledger.release(place, self.exchange.clock())

    async def close(self) -> None:
        """Give the place up; the next `wait` takes one again."""
        keeper, self._keeper = self._keeper, None
        if keeper:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper
        await self._leave()


def throttle_of(exchange: Exchange, campaign: UUID, per_second: float, share: float) -> Pace:
    """What a campaign may send, by all of its processes together."""
    return _pace(exchange, campaign, per_second, Throttle(per_second), share)


def fcm_quota(exchange: Exchange, share: float) -> Pace:
    """What all campaigns together may send to FCM; reached over a minute, once in a process's life."""
    group, per_second = ids.campaign_id(exchange.key, "quota of fcm"), exchange.fcm_per_minute / 60
    throttle = _OF_PROCESS.setdefault(group, Throttle(per_second, ramp=FCM_RAMP_SECONDS))
    return _pace(exchange, group, per_second, throttle, share)


def _pace(exchange: Exchange, group: UUID, per_second: float, throttle: Throttle, share: float) -> Pace:
    """The exchange's own of that group: all that it sends goes through one. Without a limit there is none."""
    pace = Pace(exchange, group, per_second, throttle, share)
    return exchange.paces.setdefault(group, pace) if per_second else pace


def _now() -> float:
    """Seconds that pass whatever is done to the wall clock."""
    return asyncio.get_running_loop().time()
