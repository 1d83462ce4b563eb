"""Sending a campaign's shards: by one process or by many, at once or until nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from math import inf
from time import process_time
from uuid import UUID

from msgxc import ids, links
from msgxc.campaign import CampaignSpec, slug
from msgxc.delivery import Counts, Sender, Stop
from msgxc.errors import NotFound, WrongInput, none_such
from msgxc.helm import elapsed
from msgxc.holding import insist
from msgxc.ledger import Campaign, Control
from msgxc.messages.content import REPLACEABLE, besides, offered, plain, values, withdrawn
from msgxc.messages.records import Message
from msgxc.model import Channel, Content, Recipient, Thread
from msgxc.origins import Origins
from msgxc.parts import Planned, slices
from msgxc.people.enlisting import push_hosts
from msgxc.progress import telling
from msgxc.render import Links, Template, render
from msgxc.room import Room
from msgxc.routing import offer
from msgxc.tracking import tracked
from msgxc.urgency import levels
from msgxc.window import Preparer
from msgxc.wiring import Exchange


async def send_slice(
    exchange: Exchange,
    campaign_id: UUID,
    first: int,
    last: int,
    *,
    stop: Stop,
    on_progress: Callable[[Counts], None] = lambda _: None,
    patient: bool = True,
    share: float = 1.0,
    room: Room | None = None,
    origins: Origins | None = None,
) -> Counts:
    """Send the shards in [first, last). Any number of processes may do so at once: nobody is sent to twice.

    Returns when the shards are finished, or `stop` is set, or the campaign is canceled. Not `patient`: also
    when all that is left has to wait, for a provider or for another process's lease. Throttle and quota are
    kept with all others that send it (msgxc/sharing.py); `share`: this one's part when they are too many to
    be counted. `room`, `origins`: what it shares with others.
    Raises ProviderBlocked when a provider refuses us and nothing else is left to send.
    """
    async with telling(exchange.bus, campaign_id, on_progress) as take:
        sender = await _sender(exchange, campaign_id, stop, take, share, room, origins)
        return await sender.send_slice(first, last, patient=patient)


async def send_rest(
    exchange: Exchange,
    plan: Planned,
    *,
    stop: Stop,
    on_progress: Callable[[Counts], None] = lambda _: None,
    patience: float = inf,
) -> float | None:
    """Send what is left of the plan's shards, whoever had them before, and return when all are finished.

    That is what had to wait, and what was another process's that is gone. What is finished stays so: only
    slices with something left are looked at again. `patience`: seconds that it may have to wait for the next
    thing to do; where that takes longer it returns, and answers when to go on (seconds since the epoch).
    Else None, and as `send_slice`.
    """
    async with telling(exchange.bus, plan.id, on_progress) as take:
        sender = await _sender(exchange, plan.id, stop, take, plan.share)
        return await _send_rest(exchange, plan, sender, stop, patience)


async def _send_rest(
    exchange: Exchange, plan: Planned, sender: Sender, stop: Stop, patience: float
) -> float | None:
    ledger, left = exchange.store.ledger, list(slices(*plan.whole, shards_of_slice(exchange)))
    done, idle_since = sender.counts.marks.total(), elapsed()
    while left and not stop.is_set():
        if (control := await insist(ledger.control, plan.id)) is Control.CANCEL:
            break
        soonest, still, waits = inf, [], set[int]()
        for some in left:
            await sender.send_slice(*some, patient=False)
            if waiting := await insist(ledger.unfinished, plan.id, *some):
                soonest = min(soonest, *waiting.values())
                still.append(some)
                waits |= waiting.keys()
        left = still
        if control is not Control.RUN or sender.counts.marks.total() != done:
            done, idle_since = sender.counts.marks.total(), elapsed()
        wait = soonest - exchange.clock()
        if left:
            sender.check_refused(waits)
        if left and (wait > patience or elapsed() - idle_since > patience):
            return exchange.clock() + max(wait, patience)
        if left:
            await asyncio.sleep(min(max(wait, 0.05), 1.0))
    return None


async def _sender(
    exchange: Exchange,
    campaign_id: UUID,
    stop: Stop,
    on_progress: Callable[[Counts], None],
    share: float,
    room: Room | None = None,
    origins: Origins | None = None,
) -> Sender:
    campaign = await stored_campaign(exchange, campaign_id)
    if campaign.seal is None:
        raise WrongInput(f"the audience of {campaign.spec.name!r} is not sealed")
    thread = await thread_of(exchange, campaign.spec)
    prepare = preparer(exchange, campaign, await message_of(exchange, campaign.spec), thread)
    return Sender(exchange, campaign, prepare, stop, on_progress, share=share, room=room, origins=origins)


def preparer(
    exchange: Exchange, campaign: Campaign, message: Message | None, thread: Thread | None
) -> Preparer:
    """What makes the campaign's windows; `message` and `thread` are those that its spec names."""
    spec, base = campaign.spec, exchange.settings.public_url
    child = bool(spec.message and spec.message.child)
    template = _template(exchange, spec)  # as it is now, for everybody whom these windows are for

    @lru_cache(1)  # asked for by the template and by the header, for one person after another
    def where(uid: UUID) -> Links:
        own = links.token(exchange.key, campaign.id, uid)
        return Links(unsubscribe=links.unsubscribe(base, own), preferences=links.preferences(base, own))

    return Preparer(
        key=exchange.key,
        campaign=campaign,
        offer=offer(
            spec, parts_of(exchange, spec, message), thread, child=child, push_hosts=push_hosts(exchange)
        ),
        render=partial(_rendered, template, campaign, message, thread, where),
        unsubscribe=lambda uid: where(uid).unsubscribe,
        ttl=levels(exchange.settings)[spec.sending.urgency].ttl,
        track=lambda content, handle: tracked(content, base, exchange.key, handle),
    )


def parts_of(exchange: Exchange, spec: CampaignSpec, message: Message | None) -> frozenset[Channel]:
    """The channels on which there is something to show. Raises NotFound when the template is gone."""
    if spec.message and spec.message.withdraws:
        return REPLACEABLE
    if spec.message and spec.message.plain:
        return offered(message)
    template = _template(exchange, spec)
    return template.channels() if template else frozenset()


def _template(exchange: Exchange, spec: CampaignSpec) -> Template | None:
    """None: the message says it all by itself. Raises NotFound, WrongTemplate."""
    of = spec.message
    return None if of and (of.plain or of.withdraws) else exchange.templates.get(spec.template)


def _rendered(
    template: Template | None,
    campaign: Campaign,
    message: Message | None,
    thread: Thread | None,
    where: Callable[[UUID], Links],
    channel: Channel,
    person: Recipient,
) -> Content:
    spec = campaign.spec
    shown = spec.values
    if message and spec.message:
        if spec.message.withdraws:
            return withdrawn(message)
        others = len(spec.message.others)
        if spec.message.plain:
            name = thread.name if thread else ""
            return plain(message, channel, name=name, others=others, where=where(person.uid))
        shown = {**spec.values, **values(message, others)}
    assert template is not None  # it is None for what was answered above
    own = partial(where, person.uid)
    made = render(template, channel, person, values=shown, links=own, now=process_time, campaign=spec.name)
    return besides(message, made) if message else made


async def message_of(exchange: Exchange, spec: CampaignSpec) -> Message | None:
    """The message that the campaign delivers, if it delivers one. Raises NotFound when it is gone."""
    if spec.message is None:
        return None
    newest = spec.message.newest
    found = await exchange.store.messages.get(spec.message.tid, newest)
    if found is None:
        raise NotFound(f"there is no message {newest}")
    return found


async def stored_campaign(exchange: Exchange, campaign_id: UUID) -> Campaign:
    """The campaign as it stands. Raises NotFound."""
    campaign = await exchange.store.ledger.campaign(campaign_id)
    if campaign is None:
        raise NotFound(f"there is no campaign {campaign_id}")
    return campaign


async def campaign_named(exchange: Exchange, name: str) -> Campaign:
    """The campaign of a name. Raises NotFound, with the names that are like it."""
    with suppress(ValueError):
        campaign = await exchange.store.ledger.campaign(ids.campaign_id(exchange.key, slug(name)))
        if campaign is not None:
            return campaign
    known = [one.spec.name async for page in exchange.store.ledger.campaigns() for one in page]
    raise none_such("campaign", name, known)


async def thread_of(exchange: Exchange, spec: CampaignSpec) -> Thread | None:
    """The thread whose rules hold, if it is about one."""
    return await exchange.store.threads.get(spec.thread) if spec.thread else None


def shards_of_slice(exchange: Exchange) -> int:
    """How many shards make a slice."""
    return max(1, exchange.settings.slice_size // exchange.settings.shard_size)
