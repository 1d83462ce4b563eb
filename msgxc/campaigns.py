"""What can be done with a campaign, each a call that may be made again: plan, seal, send, report, why.

    plan ─► seal ─► (its time) ─► send_slice … ─► send_rest ─► finish ─► report
                                                               └► fallback_spec ─► plan …

Nothing here knows who calls: a flow, the command line, a test.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from sys import maxsize
from typing import TypeVar
from uuid import UUID

from msgxc import audience, ids
from msgxc.campaign import Audience, CampaignSpec, FallbackWhen, Subscribers, Unreached
from msgxc.delivery import Counts
from msgxc.errors import CampaignConflict, Conflict, LeaseLost, NotFound, WrongInput
from msgxc.failpoints import failpoint
from msgxc.fallback import FALLBACK, Due, fallback_due, fallback_key, fallback_of, fallback_spec
from msgxc.holding import Hold, end_of_the_dead, name_within, take
from msgxc.ledger import (
    SEALING,
    Campaign,
    Control,
    Intent,
    Lease,
    Mark,
    Result,
    Row,
    Seal,
    anybodys,
    if_over,
    in_doubt,
    is_canceled,
    repeat_bound,
)
from msgxc.messages.recalling import Fate, counted, fate
from msgxc.messages.records import Recalled
from msgxc.model import Skip
from msgxc.parts import Planned, Range, parts, slices
from msgxc.render import needs
from msgxc.reports.funnel import End, Report, rows_by_person, wants_fallback
from msgxc.routing import offer
from msgxc.run_care import Word, settled
from msgxc.seat import standing
from msgxc.sending import (
    campaign_named,
    send_rest,
    send_slice,
    shards_of_slice,
    stored_campaign,
    thread_of,
)
from msgxc.store.ports import Ledger
from msgxc.store.records import batches
from msgxc.urgency import levels
from msgxc.wiring import Exchange

__all__ = [
    "FALLBACK",
    "Due",
    "Planned",
    "audience_checked",
    "bound",
    "call_off",
    "campaign_named",
    "checked",
    "fallback_due",
    "fallback_key",
    "fallback_spec",
    "finish",
    "forget_old",
    "heed",
    "part",
    "plan",
    "report",
    "resume",
    "rows_of",
    "seal",
    "send_rest",
    "send_slice",
    "set_control",
    "take_back",
]

T = TypeVar("T")

READ_AHEAD = 8  # shards that are read at once, when all of them are
TOGETHER = 50_000  # people of an audience that are written in one go
SETTLE_SECONDS = 3.0  # so long a recall waits for windows under way
GIVE_UP_PAUSE = 0.5  # seconds between two looks at what a process left that may be dead


# -- plan -------------------------------------------------------------------------------------------------


async def plan(exchange: Exchange, spec: CampaignSpec) -> Planned:
    """Check the campaign and write it down, unless it is there already: then that one goes on.

    What is over is not checked again. Raises as `checked`, CampaignConflict when the name is taken by
    another, Conflict when it was under way in a store that was restored.
    """
    spec, identity = _with_ids(exchange, spec), ids.campaign_id(exchange.key, spec.name)
    stored = await exchange.store.ledger.campaign(identity)
    if stored is None or stored.finished is None:
        await checked(exchange, spec)
    estimate = stored.seal.count if stored and stored.seal else await _estimate(exchange, spec)
    if stored is None:
        shards = await _shards(exchange, spec, estimate)
        fresh = Campaign(identity, spec, shards, _time(exchange))
        stored = await exchange.store.ledger.create(fresh)
    _unless_restored(stored)
    if stored.spec != spec:
        raise CampaignConflict(
            f"{spec.name!r} was started with other parameters ({_difference(stored.spec, spec)}): "
            "choose another name, or the same parameters to finish it"
        )
    own, *others = parts(
        slices(0, stored.shards, shards_of_slice(exchange)),
        exchange.settings.spread,
        spec.sending.per_second,
    )
    return Planned(
        id=identity,
        name=spec.name,
        shards=stored.shards,
        slices=tuple(own),
        estimate=estimate,
        not_before=spec.sending.not_before,
        whole=(0, stored.shards),
        spread=tuple((some[0][0], some[-1][1]) for some in others),
        share=1 / (1 + len(others)),
        queue=levels(exchange.settings)[spec.sending.urgency].queue,
        finished=stored.finished,
        done=await _done(exchange, stored),
    )


async def _done(exchange: Exchange, campaign: Campaign) -> Counts:
    """What has been done of a campaign, for whoever goes on with it: a scan, where somebody has begun."""
    if campaign.seal is None:
        return Counts()
    fresh = await exchange.store.ledger.unfinished(campaign.id, 0, campaign.shards)
    if len(fresh) == campaign.shards and not any(fresh.values()):
        return Counts()
    found = await report(exchange, campaign.spec.name)
    marks = Counter[tuple[str, Mark]]()
    for channel, line in found.channels.items():
        marks[channel, Mark.ACCEPTED], marks[channel, Mark.FAILED] = line.accepted, line.failed
    seen, reached = found.audience - found.ends[End.PENDING], found.ends[End.REACHED]
    return Counts(seen, marks, reached=reached)


async def part(exchange: Exchange, name: str, whole: Range, share: float) -> Planned:
    """What a run has to do that sends only a part of a campaign. Raises NotFound."""
    campaign = await campaign_named(exchange, name)
    _unless_restored(campaign)
    count, (first, last) = campaign.seal.count if campaign.seal else 0, whole
    return Planned(
        id=campaign.id,
        name=name,
        shards=campaign.shards,
        slices=slices(first, last, shards_of_slice(exchange)),
        estimate=count * (last - first) // campaign.shards,
        not_before=None,
        whole=whole,
        share=share,
    )


def _unless_restored(campaign: Campaign) -> None:
    """Raises Conflict: nobody but a person who knows what it means goes on with it."""
    name = campaign.spec.name
    if campaign.control is Control.RESTORED:
        raise Conflict(
            f"{name!r} was under way when the backup was made that the store was restored from: whoever was "
            f"sent to since would get it again. `msgxc campaigns resume {name}` goes on all the same, "
            f"`msgxc campaigns cancel {name}` ends it",
            "restored",
        )


def _with_ids(exchange: Exchange, spec: CampaignSpec) -> CampaignSpec:
    """With uids and tids in place of foreign ids, and the thread whose rules hold. Raises WrongInput."""
    whom = audience.keyed(exchange.key, spec.audience)
    thread = audience.ids_in(whom.to)[0] if isinstance(whom.to, Subscribers) else spec.thread
    return spec.model_copy(update={"audience": whom, "thread": thread})


def _difference(stored: CampaignSpec, asked: CampaignSpec) -> str:
    fields = [name for name in CampaignSpec.model_fields if getattr(stored, name) != getattr(asked, name)]
    return ", ".join(fields)


async def audience_checked(exchange: Exchange, who: Audience) -> None:
    """Whether every selection of the audience means something. Raises NotFound, WrongExpression."""
    for selection in (who.to, *who.exclude):
        await audience.check(exchange.store, selection)


async def checked(exchange: Exchange, spec: CampaignSpec) -> CampaignSpec:
    """The campaign as it would be written down; nothing is. What every door asks before it lets one in.

    Raises NotFound and WrongInput, in one sentence, for what cannot be sent, now or by its fallback.
    """
    spec = _with_ids(exchange, spec)
    await _offered(exchange, spec)
    await audience_checked(exchange, spec.audience)
    try:
        if follows := await fallback_of(exchange, spec):
            await _offered(exchange, follows)
    except (NotFound, WrongInput) as error:
        raise type(error)(f"the fallback cannot be sent: {error}") from None
    return spec


async def _offered(exchange: Exchange, spec: CampaignSpec) -> None:
    """Whether the campaign offers anything, and has what its template needs there; or WrongInput."""
    template = exchange.templates.get(spec.template)
    what = offer(spec, template.channels(), await thread_of(exchange, spec))
    if not what.channels and not what.disabled:
        parts = ", ".join(sorted(template.channels())) or "no channel"
        raise WrongInput(f"nothing can be sent: template {spec.template!r} has parts for {parts}")
    for channel in what.channels:
        exchange.provider(channel)  # Half-set credentials are refused now, not in the middle.
        for lang in ("", *template.languages()):
            template.part(channel, lang)  # and what cannot be read
    missing = needs(template, what.channels)["values"] - spec.values.keys()
    if missing and not spec.message:
        given = ", ".join(sorted(spec.values)) or "none"
        raise WrongInput(
            f"template {spec.template!r} needs values that nobody gave: {', '.join(sorted(missing))} "
            f"(given: {given})"
        )


async def _estimate(exchange: Exchange, spec: CampaignSpec) -> int:
    to = spec.audience.to
    if isinstance(to, Unreached):
        parent = await campaign_named(exchange, to.campaign)
        return parent.seal.count if parent.seal else 0
    return await audience.estimate(exchange.store, to, _time(exchange))


async def _shards(exchange: Exchange, spec: CampaignSpec, estimate: int) -> int:
    """A fallback has its parent's shards, so that both can be read side by side."""
    if spec.parent:
        return (await campaign_named(exchange, spec.parent)).shards
    return max(1, -(-estimate // exchange.settings.shard_size))


# -- seal -------------------------------------------------------------------------------------------------


async def seal(
    exchange: Exchange, campaign_id: UUID, on_progress: Callable[[int], None] = lambda _: None
) -> Seal:
    """Fix the audience. May be interrupted and repeated: it ends in the same count and hash.

    One process seals at a time; a second one waits for it, and takes over when it dies. Once the campaign is
    canceled nobody more is added: the audience is whoever stands in it by then.
    """
    ledger, seconds = exchange.store.ledger, exchange.settings.lease_seconds
    owner = name_within(exchange.owner)
    while True:
        campaign = await stored_campaign(exchange, campaign_id)
        if campaign.seal:
            return campaign.seal
        now = exchange.clock()
        lease = await take(ledger, campaign_id, SEALING, owner, now, now + seconds)
        if lease is None:
            await asyncio.sleep(0.5)
            continue
        try:
            return await _seal(exchange, campaign, lease, on_progress)
        except LeaseLost:
            continue  # Somebody else is sealing now.


async def _seal(
    exchange: Exchange, campaign: Campaign, lease: Lease, on_progress: Callable[[int], None]
) -> Seal:
    """Expand, count and seal while the lease is ours. Raises LeaseLost."""
    ledger, seconds = exchange.store.ledger, exchange.settings.lease_seconds
    hold = Hold(lease, ledger, exchange.clock, seconds, seconds / 2)
    keeper = asyncio.create_task(hold.keep())
    try:
        token = await ledger.begin(campaign.id)
        if token is None:
            await ledger.finish(hold.lease)
            raise LeaseLost("somebody else has sealed it")
        failpoint("begun")
        canceled = campaign.control is Control.CANCEL
        async for expanded in _nothing() if canceled else _expand(exchange, campaign, token):
            on_progress(expanded)
            await hold.fence()
            if await ledger.control(campaign.id) is Control.CANCEL:
                break
        failpoint("expanded")
        found = await _count(exchange, campaign)
        await hold.confirm()
        sealed = await ledger.seal(campaign.id, found, token)
        await ledger.finish(hold.lease)
        return sealed
    finally:
        keeper.cancel()


async def _nothing() -> AsyncIterator[int]:
    for _ in ():
        yield 0


async def _expand(exchange: Exchange, campaign: Campaign, token: int) -> AsyncIterator[int]:
    """Write the audience, batch by batch; answers how many have come so far."""
    root = ids.campaign_id(exchange.key, campaign.spec.parent or campaign.spec.name)
    done = 0
    async for some in _gathered(_audience(exchange, campaign)):
        members = sorted((ids.shard_of(exchange.key, root, uid, campaign.shards), uid) for uid in some)
        await exchange.store.ledger.expand(campaign.id, members, token)
        failpoint("expanding")
        done += len(some)
        yield done


async def _gathered(batches: AsyncIterator[list[UUID]]) -> AsyncIterator[list[UUID]]:
    """The same in batches so large that many of one shard are written together.

    A few at a time would touch another page of the table for nearly each of them: sealing would take longer
    for each person, the more there are.
    """
    held: list[UUID] = []
    async for some in batches:
        held += some
        if len(held) >= TOGETHER:
            yield held
            held = []
    if held:
        yield held


async def _audience(exchange: Exchange, campaign: Campaign) -> AsyncIterator[list[UUID]]:
    to = campaign.spec.audience.to
    if not isinstance(to, Unreached):
        async for some in audience.resolve(exchange.store, campaign.spec.audience, _time(exchange)):
            yield some
        return
    parent = await campaign_named(exchange, to.campaign)
    unconfirmed = parent.spec.fallback.when is FallbackWhen.UNCONFIRMED
    for shard in range(parent.shards):
        rows = rows_by_person(await exchange.store.ledger.rows(parent.id, shard))
        owed = [uid for uid in rows if wants_fallback(rows[uid], unconfirmed=unconfirmed)]
        yield await audience.without(exchange.store, owed, campaign.spec.audience.exclude, _time(exchange))


async def _count(exchange: Exchange, campaign: Campaign) -> Seal:
    """Count and hash of what is really stored."""
    count = digest = 0
    async for uids in _ahead(partial(exchange.store.ledger.members, campaign.id), campaign.shards):
        count += len(uids)
        digest += sum(ids.audience_digest(exchange.key, campaign.id, uid) for uid in uids)
    return Seal(count, digest % 2**64)


# -- steer, end -------------------------------------------------------------------------------------------


async def set_control(exchange: Exchange, name: str, control: Control) -> Control:
    """Pause, run on or cancel; a cancel is final. Answers what holds now."""
    campaign = await campaign_named(exchange, name)
    return await exchange.store.ledger.set_control(campaign.id, control, _time(exchange))


async def heed(exchange: Exchange, campaign_id: UUID, said: Word | None) -> Control:
    """Take over what a person has said in the console, unless the store knows a newer wish; what holds now.

    Raises NotFound.
    """
    campaign = await stored_campaign(exchange, campaign_id)
    holds = settled(await standing(exchange, campaign), said)
    if said is None or holds is campaign.control:
        return holds
    at = datetime.fromtimestamp(said.at, UTC)
    return await exchange.store.ledger.set_control(campaign_id, holds, at)


async def call_off(exchange: Exchange, spec: CampaignSpec) -> bool:
    """Cancel a campaign for good, also one that nobody has begun: its name is taken. False: it is over."""
    spec, ledger = _with_ids(exchange, spec), exchange.store.ledger
    identity = ids.campaign_id(exchange.key, spec.name)
    stored = await ledger.campaign(identity)
    if stored and (stored.finished or stored.control is Control.CANCEL):
        return False
    if stored is None:
        await ledger.create(Campaign(identity, spec, 1, _time(exchange), Control.CANCEL))
    await ledger.set_control(identity, Control.CANCEL, _time(exchange))
    return True


async def take_back(exchange: Exchange, name: str) -> Recalled:
    """Recall a campaign as far as it can be, its fallback too: what is unsent stops for good, what has
    arrived stays. Answers where everybody stands. Made again it counts anew. Raises NotFound."""
    ledger, now = exchange.store.ledger, _time(exchange)
    campaign = await campaign_named(exchange, name)
    second = await ledger.campaign(ids.campaign_id(exchange.key, name + FALLBACK))
    both = [campaign, second] if second else [campaign]
    for each in both:
        await ledger.set_control(each.id, Control.CANCEL, now)
    for _ in range(int(SETTLE_SECONDS / GIVE_UP_PAUSE)):  # whoever has it in hand looks before every window
        held = [await ledger.unfinished(each.id, 0, each.shards) for each in both]
        if not any(until > exchange.clock() for some in held for until in some.values()):
            break
        await asyncio.sleep(GIVE_UP_PAUSE)
    fates: list[Fate] = []
    for shard in range(campaign.shards):
        states = [await ledger.load(anybodys(each.id, shard)) for each in both]
        rows = rows_by_person(row for state in states for row in if_over(state, now))
        fates += [fate(rows.get(uid, ()), (), read=False) for uid in states[0].recipients]
    return counted(fates)


async def resume(exchange: Exchange, name: str) -> Control:
    """A person says that it goes on, also where the store was restored meanwhile; answers what holds now."""
    campaign = await campaign_named(exchange, name)
    await exchange.store.ledger.resume_restored(campaign.id)
    return await set_control(exchange, name, Control.RUN)


async def finish(exchange: Exchange, campaign_id: UUID) -> bool:
    """Note that the campaign is over; False while shards are unfinished and it is not canceled."""
    campaign = await stored_campaign(exchange, campaign_id)
    ledger = exchange.store.ledger
    open_shards = await ledger.unfinished(campaign_id, 0, campaign.shards)
    if open_shards and campaign.control is not Control.CANCEL:
        return False
    await _give_up(exchange, campaign, [shard for shard, until in open_shards.items() if until])
    await ledger.finish_campaign(campaign_id, _time(exchange))
    failpoint("campaign_finished")
    return True


async def _give_up(exchange: Exchange, campaign: Campaign, shards: Sequence[int]) -> None:
    """Nothing of a canceled campaign will be sent: what a killed process left in doubt is unknown.

    A process that may live gets as long as a lease to write its results down; usually there is no doubt at
    all.
    """
    ledger, doubts = exchange.store.ledger, await _doubts(exchange, campaign, shards)
    for _ in range(int(exchange.settings.lease_seconds / GIVE_UP_PAUSE) + 1):
        if not doubts:
            return
        dead = await end_of_the_dead(ledger, campaign.id, 0, campaign.shards, exchange.clock())
        if doubts.keys() <= dead.keys():
            break
        await asyncio.sleep(GIVE_UP_PAUSE)
        doubts = await _doubts(exchange, campaign, doubts)
    for shard, some in doubts.items():
        await ledger.note(campaign.id, shard, [_unknown(i, _time(exchange)) for i in some])


async def _doubts(exchange: Exchange, campaign: Campaign, shards: Iterable[int]) -> dict[int, list[Intent]]:
    """By shard, what was about to be sent and has no result."""
    found = {}
    for shard in shards:
        state = await exchange.store.ledger.load(anybodys(campaign.id, shard))
        if some := list(in_doubt(state, maxsize)):
            found[shard] = some
    return found


def _unknown(intent: Intent, at: datetime) -> Result:
    return Result(intent.uid, intent.delivery, intent.channel, Mark.UNKNOWN, at, reason=Skip.CANCELED)


# -- look -------------------------------------------------------------------------------------------------


async def report(exchange: Exchange, name: str) -> Report:
    """Where everybody of the audience stands, the fallback counted in; a scan of the ledger."""
    campaign = await campaign_named(exchange, name)
    name = campaign.spec.name
    second = await exchange.store.ledger.campaign(ids.campaign_id(exchange.key, name + FALLBACK))
    follows = second.spec if second else await fallback_of(exchange, campaign.spec)
    channels = {*campaign.spec.sending.channels, *(follows.sending.channels if follows else ())}
    found = Report(
        name,
        sandboxed=exchange.sandboxed & channels,
        finished=campaign.finished,
        canceled=is_canceled(campaign),
        repeat_bound=bound(exchange),
        slow_calls=exchange.settings.slow_calls,
    )
    read = partial(_read_shard, exchange.store.ledger, campaign, second, _time(exchange))
    async for uids, rows, later in _ahead(read, campaign.shards):
        for uid in uids:
            found.add(rows.get(uid, ()), later.get(uid, ()), canceled=found.canceled)
    return found


async def _read_shard(
    ledger: Ledger, campaign: Campaign, second: Campaign | None, now: datetime, shard: int
) -> tuple[list[UUID], dict[UUID, list[Row]], dict[UUID, list[Row]]]:
    """The recipients, and their rows in the campaign and in its fallback. When it is canceled, nobody will
    settle what is in doubt: it is unknown, not unsent."""
    if is_canceled(campaign):
        state = await ledger.load(anybodys(campaign.id, shard))
        uids, rows = list(state.recipients), if_over(state, now)
        later = rows_by_person(await ledger.rows(second.id, shard)) if second else {}
        return uids, rows_by_person(rows), later
    uids, rows = await asyncio.gather(ledger.members(campaign.id, shard), ledger.rows(campaign.id, shard))
    later = rows_by_person(await ledger.rows(second.id, shard)) if second else {}
    return uids, rows_by_person(rows), later


async def _ahead(read: Callable[[int], Awaitable[T]], shards: int) -> AsyncIterator[T]:
    """What is read of each shard, in order: a few are read at once, for each is little."""
    for some in batches(range(shards), READ_AHEAD):
        for found in await asyncio.gather(*map(read, some)):
            yield found


def bound(exchange: Exchange) -> int:
    """How many deliveries one killed process may repeat, with this exchange's settings; beside the slow calls
    that it had under way."""
    limits = exchange.settings
    return repeat_bound(limits.window, limits.in_flight, limits.flush, limits.windows_at_once)


async def rows_of(exchange: Exchange, campaign: Campaign, uid: UUID) -> list[Row] | None:
    """One person's rows in a campaign; None when they are not in its audience."""
    root = ids.campaign_id(exchange.key, campaign.spec.parent or campaign.spec.name)
    shard = ids.shard_of(exchange.key, root, uid, campaign.shards)
    if uid not in await exchange.store.ledger.members(campaign.id, shard):
        return None
    return [row for row in await exchange.store.ledger.rows(campaign.id, shard) if row.uid == uid]


async def forget_old(exchange: Exchange) -> int:
    """Retention: remove campaigns, those of messages too, that finished longer ago than the setting says, and
    give their room back to the disk; answers how many."""
    limit = _time(exchange) - timedelta(days=exchange.settings.keep_ledger_days)
    old = [
        campaign.id
        for messages in (False, True)
        async for page in exchange.store.ledger.campaigns(messages=messages)
        for campaign in page
        if campaign.finished and campaign.finished < limit
    ]
    for campaign in old:
        await exchange.store.ledger.forget(campaign)
    await exchange.store.shrink()
    return len(old)


def _time(exchange: Exchange) -> datetime:
    return datetime.fromtimestamp(exchange.clock(), UTC)
