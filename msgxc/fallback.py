"""What follows a campaign for those whom it has not reached, and when: a campaign of its own."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from msgxc import ids
from msgxc.campaign import Audience, CampaignSpec, Unreached
from msgxc.errors import NotFound
from msgxc.failpoints import failpoint
from msgxc.ledger import Campaign, Control
from msgxc.model import Channel
from msgxc.routing import fallback_channels
from msgxc.sending import campaign_named, thread_of
from msgxc.wiring import Exchange

FALLBACK = ".fallback"
#: A fallback has so long to begin, once it is due. One that is missing for longer than a week stays away.
LATE_SECONDS, GIVE_UP_SECONDS = 120.0, 7 * 86_400.0


async def fallback_spec(exchange: Exchange, name: str) -> CampaignSpec | None:
    """The campaign that follows for those who were not reached; None when there is none to send."""
    campaign = await campaign_named(exchange, name)
    if campaign.control is Control.CANCEL:
        return None
    return await fallback_of(exchange, campaign.spec)


async def fallback_of(exchange: Exchange, spec: CampaignSpec) -> CampaignSpec | None:
    """The campaign that follows one that is asked for; None when there is none to send: it is switched off,
    or there is no channel for it that the message has a part for, and on which not everybody was just tried.

    A template that is named for the fallback is taken as it is: whoever plans it will be told what is wrong.
    """
    if not spec.fallback.enabled or spec.parent:
        return None
    parts = None if spec.message else _parts(exchange, spec.template)
    channels = fallback_channels(spec, await thread_of(exchange, spec), parts)
    if parts is not None and not spec.fallback.template:
        channels = tuple(channel for channel in channels if channel in parts)
    if not channels:
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


def _parts(exchange: Exchange, template: str) -> frozenset[Channel] | None:
    """The channels that a template has parts for; None: it is not there any more."""
    with suppress(NotFound):
        return exchange.templates.get(template).channels()
    return None


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


class Following(StrEnum):
    """How it stands with the fallback of a campaign that is over."""

    NONE = "none"  # there is none, it has begun, or it is given up: nothing is to be looked after
    WAITS = "waits"
    LATE = "late"  # it was due, and has not begun


async def following(exchange: Exchange, campaign: Campaign) -> Following:
    """How it stands with the fallback of a finished campaign."""
    spec = campaign.spec
    if campaign.finished is None or not spec.fallback.enabled:
        return Following.NONE
    late = LATE_SECONDS + spec.fallback.after.total_seconds()
    since = exchange.clock() - campaign.finished.timestamp()
    if since <= late:
        return Following.WAITS
    second = ids.campaign_id(exchange.key, spec.name + FALLBACK)
    if (
        since > late + GIVE_UP_SECONDS
        or await fallback_spec(exchange, spec.name) is None
        or await exchange.store.ledger.campaign(second)
    ):
        return Following.NONE
    return Following.LATE
