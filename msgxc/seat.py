"""Who answers for a campaign until it is over: a lease like a shard's, and how to see that nobody does.

Prefect's view of a run is not asked: a run that it calls crashed may be alive, and the other way round.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from msgxc.errors import ProviderBlocked
from msgxc.holding import Hold, insist
from msgxc.ledger import SEAT, Campaign, Control

if TYPE_CHECKING:
    from msgxc.wiring import Exchange

#: Between two slices of one run nobody holds it, for a moment.
QUIET_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class Abandoned:
    """A campaign that somebody has begun, and nobody goes on with. `since`: when the last lease ended."""

    campaign: Campaign
    since: float


@asynccontextmanager
async def seated(exchange: Exchange, campaign: UUID) -> AsyncIterator[None]:
    """Answer for the campaign meanwhile; without a word when somebody else does.

    When a provider refuses our credentials, nobody will from then on: a person has to act.
    """
    ledger, seconds = exchange.store.ledger, exchange.settings.lease_seconds
    now = exchange.clock()
    lease = await insist(ledger.claim, campaign, SEAT, exchange.owner, now, now + seconds)
    if lease is None:
        yield
        return
    hold = Hold(lease, ledger, exchange.clock, seconds, seconds / 2)
    keeper = asyncio.create_task(hold.keep())
    try:
        yield
    except ProviderBlocked:
        await insist(ledger.finish, hold.lease)
        raise
    finally:
        keeper.cancel()
        await insist(ledger.release, hold.lease, exchange.clock())


async def abandoned(exchange: Exchange) -> list[Abandoned]:
    """The campaigns that were begun, are to run, and have been without anybody for QUIET_SECONDS.

    One read for each campaign that is not over: cheap enough for every few seconds.
    """
    now, found = exchange.clock(), list[Abandoned]()
    async for page in exchange.store.ledger.campaigns():
        for campaign in page:
            if campaign.finished or campaign.control is not Control.RUN:
                continue
            held = await exchange.store.ledger.unfinished(campaign.id, SEAT, 0)
            since = max(held.values(), default=0.0)
            if 0 < since < now - QUIET_SECONDS:
                found.append(Abandoned(campaign, since))
    return found
