"""Who answers for a campaign until it is over: a lease like a shard's, held from before it is planned; and
which campaigns somebody may have to look after.

Prefect's view of a run is not asked: a run that it calls crashed may be alive, and the other way round.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from msgxc.errors import ProviderBlocked, StoreUnavailable
from msgxc.holding import Hold, end_of_the_dead, insist, name_within, take
from msgxc.ledger import SEAT, Campaign, Control, Lease
from msgxc.run_care import Standing
from msgxc.store.records import batches

if TYPE_CHECKING:
    from msgxc.wiring import Exchange

#: Whoever works on a campaign that another one answers for asks again so often, in seconds.
ASK_SECONDS = 1.0
#: New campaigns are looked for among those created so long ago: the clock of whoever made one may be slow.
#: All are read once in so many seconds, for one whose clock is slower still.
OVERLAP_SECONDS, ALL_SECONDS = 7200.0, 3600.0
AT_ONCE = 50


@asynccontextmanager
async def seated(exchange: Exchange, campaign: UUID) -> AsyncIterator[None]:
    """Answer for the campaign meanwhile: at once, or as soon as nobody else does.

    When a provider refuses our credentials the campaign is paused: a person has to act.
    """
    owner = name_within(exchange.owner)
    seat = _Seat(exchange, campaign, owner, await insist(_claim, exchange, campaign, owner))
    keeper = asyncio.create_task(seat.keep())
    try:
        yield
    except ProviderBlocked:
        at = datetime.fromtimestamp(exchange.clock(), UTC)
        await insist(exchange.store.ledger.set_control, campaign, Control.PAUSE, at)
        raise
    finally:
        keeper.cancel()
        with suppress(asyncio.CancelledError):
            await keeper
        if seat.lease:
            await insist(exchange.store.ledger.release, seat.lease, exchange.clock())


async def _claim(exchange: Exchange, campaign: UUID, owner: str) -> Lease | None:
    now = exchange.clock()
    until = now + exchange.settings.lease_seconds
    return await take(exchange.store.ledger, campaign, SEAT, owner, now, until)


@dataclass(slots=True)
class _Seat:
    """A seat that is held, or waited for."""

    exchange: Exchange
    campaign: UUID
    owner: str
    lease: Lease | None

    async def keep(self) -> None:
        """Hold it, and take it again whenever it was lost."""
        ledger, seconds = self.exchange.store.ledger, self.exchange.settings.lease_seconds
        while True:
            if self.lease:
                hold = Hold(self.lease, ledger, self.exchange.clock, seconds, seconds / 2)
                await hold.keep()
            await asyncio.sleep(min(ASK_SECONDS, seconds / 3))
            with suppress(StoreUnavailable):
                self.lease = await _claim(self.exchange, self.campaign, self.owner)


async def standing(exchange: Exchange, campaign: Campaign) -> Standing:
    """What the store says of a campaign now. Whoever has surely died is not at work on it any more."""
    ledger = exchange.store.ledger
    dead = await end_of_the_dead(ledger, campaign.id, SEAT, 0, exchange.clock())
    held = await ledger.unfinished(campaign.id, SEAT, 0)
    return Standing(
        control=campaign.control,
        told=campaign.told.timestamp() if campaign.told else 0.0,
        finished=campaign.finished is not None,
        held=max(held.values(), default=0.0),
        died=SEAT in dead,
    )


@dataclass(slots=True)
class LookedAfter:
    """The campaigns that somebody may have to look after, remembered: what each look costs does not grow with
    those that are settled."""

    _open: set[UUID] = field(default_factory=set)
    _known: set[UUID] = field(default_factory=set)
    _all_at: float = 0.0

    async def look(self, exchange: Exchange) -> list[Campaign]:
        """Those that are not settled, as they stand now."""
        now, ledger = exchange.clock(), exchange.store.ledger
        if now >= self._all_at:
            found = [
                one.id
                async for page in ledger.campaigns()
                for one in page
                if one.finished is None or one.id not in self._known
            ]
            self._all_at = now + ALL_SECONDS
        else:
            since = datetime.fromtimestamp(now - OVERLAP_SECONDS, UTC)
            found = [one for one in await ledger.created_since(since) if one not in self._known]
        self._open.update(found)
        self._known.update(found)
        campaigns: list[Campaign] = []
        for some in batches(sorted(self._open), AT_ONCE):
            campaigns += filter(None, await asyncio.gather(*map(ledger.campaign, some)))
        return campaigns

    def settle(self, campaign: UUID) -> None:
        """Nobody has to look after it any more."""
        self._open.discard(campaign)
