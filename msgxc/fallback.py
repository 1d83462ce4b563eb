"""What follows a campaign for those whom it has not reached, and when: a campaign of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from msgxc import ids
from msgxc.campaign import Audience, CampaignSpec, Unreached
from msgxc.failpoints import failpoint
from msgxc.ledger import Campaign, Control
from msgxc.routing import fallback_channels
from msgxc.sending import campaign_named, thread_of
from msgxc.wiring import Exchange

FALLBACK = ".fallback"
#: A fallback has so long to begin, once it is due. One that is missing for longer than a week stays away.
LATE_SECONDS, GIVE_UP_SECONDS = 120.0, 7 * 86_400.0
LOOK_SECONDS = 30.0


async def fallback_spec(exchange: Exchange, name: str) -> CampaignSpec | None:
    """The campaign that follows for those who were not reached; None when there is none to send."""
    campaign = await campaign_named(exchange, name)
    spec = campaign.spec
    channels = fallback_channels(spec, await thread_of(exchange, spec))
    if not spec.fallback.enabled or spec.parent or campaign.control is Control.CANCEL or not channels:
        return None
    return CampaignSpec(
        name=spec.name + FALLBACK,
        template=spec.fallback.template or spec.template,
        audience=Audience(to=Unreached(campaign=spec.name)),
        sending=spec.sending.model_copy(update={"channels": channels, "not_before": None}),
        fallback=spec.fallback.model_copy(update={"enabled": False}),
        values=spec.values,
        parent=spec.name,
        thread=spec.thread,
        message=spec.message,
    )


@dataclass(frozen=True, slots=True)
class Due:
    """When a fallback is due, and the key under which it is asked for, however often that is done."""

    at: datetime
    key: str


async def fallback_due(exchange: Exchange, name: str) -> Due | None:
    """When the fallback is due of a campaign that has sent everything, counted from now.

    None when none is to follow, or not yet. Asked before `finish`: a campaign is over only when what follows
    is scheduled, so that a process that dies between the two costs nobody the fallback.
    """
    campaign = await campaign_named(exchange, name)
    if campaign.control is not Control.RUN or await fallback_spec(exchange, name) is None:
        return None
    if await exchange.store.ledger.unfinished(campaign.id, 0, campaign.shards):
        return None
    failpoint("following")
    now = datetime.fromtimestamp(exchange.clock(), UTC)
    return Due(now + campaign.spec.fallback.after, fallback_key(campaign))


def fallback_key(campaign: Campaign) -> str:
    """The same for every process; another one when a name is used again after retention."""
    return f"fallback {campaign.spec.name} {campaign.created:%Y%m%dT%H%M%S}"


@dataclass(slots=True)
class Followed:
    """Looks for fallbacks that were due and have not begun. `settled`: whose need no further look."""

    settled: set[UUID] = field(default_factory=set)
    _next: float = 0.0

    async def missing(self, exchange: Exchange) -> list[Campaign]:
        """The finished campaigns whose fallback is late. Looks every half minute; in between: none."""
        now, late = exchange.clock(), list[Campaign]()
        if now < self._next:
            return late
        self._next = now + LOOK_SECONDS
        async for page in exchange.store.ledger.campaigns():
            for campaign in page:
                if campaign.id not in self.settled and await self._late(exchange, campaign):
                    late.append(campaign)
        return late

    async def _late(self, exchange: Exchange, campaign: Campaign) -> bool:
        """Whether its fallback should have begun by now, and has not."""
        spec = campaign.spec
        late = LATE_SECONDS + spec.fallback.after.total_seconds()
        since = exchange.clock() - campaign.finished.timestamp() if campaign.finished else 0.0
        if since <= late:
            return False
        second = ids.campaign_id(exchange.key, spec.name + FALLBACK)
        if (
            since > late + GIVE_UP_SECONDS
            or await fallback_spec(exchange, spec.name) is None
            or await exchange.store.ledger.campaign(second)
        ):
            self.settled.add(campaign.id)
            return False
        return True
