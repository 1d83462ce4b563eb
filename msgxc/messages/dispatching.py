"""Drain triage: what is owed, the most urgent first, by the same delivery engine as campaigns.

Any number of processes may do so at once. Who works on a message is told by the lease of its first shard, so
one that was killed is taken over when its lease is over; what it had in doubt is at most what one campaign
may leave in doubt, for the windows of all messages under way share one room.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from msgxc import audience, campaigns, ids
from msgxc.campaign import CampaignSpec
from msgxc.delivery import Counts, Sender, Stop
from msgxc.errors import Forbidden, StoreUnavailable
from msgxc.failpoints import failpoint
from msgxc.fallback import fallback_spec
from msgxc.holding import insist, name_within, take
from msgxc.ledger import Campaign, Control, Lease, ShardState
from msgxc.messages.as_campaign import sealed, spec_of
from msgxc.messages.publishing import come_out
from msgxc.messages.records import Item, Message, To
from msgxc.messages.triage import Turns, again, beyond, is_over, leave_together, next_step
from msgxc.model import Thread, Urgency
from msgxc.origins import Origins
from msgxc.room import Room
from msgxc.sending import preparer, send_slice
from msgxc.urgency import levels
from msgxc.wiring import Exchange

#: Between two looks at the queue when nothing wakes us, in seconds.
POLL_SECONDS = 0.2
#: How far a look at the queue goes when more is owed than there are places; how often, in seconds; and how
#: many of those who stand there are kept.
FAR, FAR_SECONDS, FAR_TURNS = 10_000, 1.0, 128
#: An item whose message is not there (yet) is given that many tries.
STRANGE = 5
_log = logging.getLogger(__name__)
_Key = tuple[UUID, str]


@dataclass(slots=True)
class Done:
    """What one dispatcher has done: messages by what became of the try."""

    sent: int = 0  # nothing is owed any more
    put_off: int = 0  # owed still: a provider, a lease or an error lets it wait
    deliveries: Counts = field(default_factory=Counts)


class Dispatcher:
    """Drains the queue from one process. For one event loop."""

    def __init__(self, exchange: Exchange, stop: Stop) -> None:
        limits = exchange.settings
        self._exchange, self._stop = exchange, stop
        self._owner = name_within(exchange.owner)
        self._origins = Origins()
        self._room = Room(min(limits.window * limits.windows_at_once, limits.in_flight), limits.slow_calls)
        self._levels = levels(limits)
        self._busy: dict[_Key, asyncio.Task[None]] = {}
        self._not_before: dict[_Key, float] = {}
        self._lanes: set[UUID] = set()  # threads and messages that somebody here is at
        self._turns = Turns()
        self._far: list[Item] = []  # of others than those at the front, when much is owed
        self._far_at = 0.0
        self._woken = asyncio.Event()
        self.leaving = False  # another one has taken over: begin nothing more
        self.done = Done()

    async def run(self) -> None:
        """Until stopped, or leaving; then what is under way is ended in good order."""
        listener = asyncio.create_task(self._listen())
        try:
            while not self._ended():
                await self._look()
                await self._wait()
        finally:
            listener.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def drain(self) -> int:
        """Do all that is due now, and what becomes due by that; answers how many messages are settled."""
        before = self.done.sent
        while not self._ended() and (await self._look() or self._busy):
            under_way = list(self._busy.values())
            if under_way:
                await asyncio.wait(under_way, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        return self.done.sent - before

    def _ended(self) -> bool:
        return self.leaving or self._stop.is_set()

    async def _listen(self) -> None:
        async with self._exchange.bus.subscribe("triage.>", waiting=1) as news:
            async for _ in news:
                self._woken.set()

    async def _wait(self) -> None:
        """For news, for a place that is free, or for the next look."""
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._woken.wait()
        self._woken.clear()

    async def _look(self) -> int:
        """Begin what is due and fits; answers how many."""
        now, most = self._exchange.clock(), self._exchange.settings.messages_at_once
        self._not_before = {key: time for key, time in self._not_before.items() if time > now}
        known = len(self._busy) + len(self._not_before)
        if len(self._busy) >= most:
            return 0
        try:
            items = await self._exchange.store.triage.due(now, most + known)
            if len(items) == most + known:
                items += await self._others(items, now)
        except StoreUnavailable:
            return 0
        begun = 0
        for item in self._turns.order(item for item in items if self._is_free(item)):
            if len(self._busy) >= most:
                break
            begun += self._begin(item, most)
        return begun

    async def _others(self, items: Sequence[Item], now: float) -> Sequence[Item]:
        """More is owed than is looked at: those whose first message stands further behind have their turn
        too. Looked for once a second."""
        if not 0 <= now - self._far_at < FAR_SECONDS:
            self._far = beyond(await self._exchange.store.triage.due(now, FAR), items, FAR_TURNS, 2)
            self._far_at = now
        there = {(item.mid, item.step) for item in items}
        return [item for item in self._far if (item.mid, item.step) not in there]

    def _is_free(self, item: Item) -> bool:
        """Whether nobody here is at it. What may be joined goes one by one."""
        key = item.mid, item.step
        return not (key in self._busy or key in self._not_before or self._lane(item) in self._lanes)

    def _lane(self, item: Item) -> UUID:
        return item.tid if self._levels[item.urgency].joins else item.mid

    def _begin(self, item: Item, most: int) -> bool:
        """A quarter of the places is kept for what is most urgent."""
        key, lane = (item.mid, item.step), self._lane(item)
        places = most if item.urgency is Urgency.HIGH else most - most // 4
        if len(self._busy) >= places or not self._is_free(item):
            return False
        self._lanes.add(lane)
        self._turns.began(item)
        self._far = [other for other in self._far if other is not item]
        task = self._busy[key] = asyncio.create_task(self._do(item))
        task.add_done_callback(lambda _: self._ready(key, lane))
        return True

    def _ready(self, key: _Key, lane: UUID) -> None:
        del self._busy[key]
        self._lanes.discard(lane)
        self._woken.set()

    # -- one item

    async def _do(self, item: Item) -> None:
        """One try. Whatever goes wrong, the item stays in the queue."""
        try:
            left = await self._try(item)
        except Exception as error:
            _log.warning("message %s: %s", item.mid, type(error).__name__)
            left = again(item, self._exchange.clock())
        triage = self._exchange.store.triage
        if left == item:
            self.done.put_off += 1
            return
        if left:
            await insist(triage.add, [left])
        failpoint("moving")
        await insist(triage.remove, [item])
        self.done.put_off += left is not None
        self.done.sent += left is None

    async def _try(self, item: Item) -> Item | None:
        """None: nothing is owed any more. The same item: somebody else has it. Else where it stands now."""
        if item.step == "withdraw":
            return await self._finish_large(item, UUID(int=item.mid.int ^ 2))
        message = await insist(self._exchange.store.messages.get, item.tid, item.mid)
        if message is None:
            return again(item, self._exchange.clock()) if item.tries < STRANGE else None
        if item.step == "fallback":
            return await self._fall_back(item, message)
        if message.scheduled:
            if not is_over(message):
                with suppress(Forbidden):  # Whoever planned it may not say it any more: it is canceled.
                    await come_out(self._exchange, message)
            return None
        return await self._send(item, message)

    async def _send(self, item: Item, message: Message) -> Item | None:
        store, now = self._exchange.store, self._exchange.clock()
        until = now + self._exchange.settings.lease_seconds
        lease = await insist(take, store.ledger, item.mid, 0, self._owner, now, until)
        if lease is None:
            return await self._somebody_else_s(item, message)
        failpoint("taken")
        campaign, thread, members = await self._campaign(message, lease)
        people = (
            campaign.seal.count if campaign.seal else campaign.shards * self._exchange.settings.shard_size
        )
        self._turns.cost(item, people / self._exchange.settings.window)
        if campaign.shards > 1:
            await insist(store.ledger.release, lease, now)
            return await self._send_large(item, message, campaign)
        if campaign.control is Control.CANCEL:
            await insist(store.ledger.finish, lease)
            return await self._over(item, message, campaign)
        await self._join(campaign.spec, message.tid)
        sender = self._sender(campaign, await self._shown(campaign, message), thread)
        known = ShardState(members, (), {}) if members is not None else None
        await sender.send_held(lease, known)
        return await self._after(item, message, campaign)

    def _sender(self, campaign: Campaign, message: Message, thread: Thread | None) -> Sender:
        prepare = preparer(self._exchange, campaign, message, thread)
        return Sender(self._exchange, campaign, prepare, self._stop, room=self._room, origins=self._origins)

    async def _somebody_else_s(self, item: Item, message: Message) -> Item | None:
        """Held by another process, parked for a provider, or finished."""
        ledger, now = self._exchange.store.ledger, self._exchange.clock()
        left = await insist(ledger.unfinished, item.mid, 0, 1)
        if left:
            self._not_before[item.mid, item.step] = min(max(left[0], now + 0.1), now + 1.0)
            return item
        campaign = await insist(ledger.campaign, item.mid)
        if campaign is None:
            return again(item, now)
        if campaign.shards > 1:
            return await self._send_large(item, message, campaign)
        return await self._over(item, message, campaign)

    async def _after(self, item: Item, message: Message, campaign: Campaign) -> Item | None:
        """What is left after a try: nothing, or something that has to wait."""
        left = await insist(self._exchange.store.ledger.unfinished, campaign.id, 0, campaign.shards)
        if left and await insist(self._exchange.store.ledger.control, campaign.id) is not Control.CANCEL:
            return again(item, self._exchange.clock(), min(left.values()))
        return await self._over(item, message, campaign)

    async def _over(self, item: Item, message: Message, campaign: Campaign) -> Item | None:
        """Everything has been sent: the message is completed, and its fallback may be owed."""
        store, now = self._exchange.store, datetime.fromtimestamp(self._exchange.clock(), UTC)
        failpoint("completing")
        await asyncio.gather(
            insist(self._finish, campaign, now),
            insist(store.messages.note, message.tid, message.mid, completed=now),
        )
        if campaign.spec.fallback.enabled and campaign.control is not Control.CANCEL:
            return next_step(item, "fallback", self._exchange.clock())
        return None

    async def _finish(self, campaign: Campaign, now: datetime) -> None:
        """A canceled one may have left something in doubt, which is settled first."""
        if campaign.control is Control.CANCEL:
            await campaigns.finish(self._exchange, campaign.id)
        else:
            await self._exchange.store.ledger.finish_campaign(campaign.id, now)

    # -- the campaign of a message

    async def _campaign(
        self, message: Message, lease: Lease
    ) -> tuple[Campaign, Thread | None, tuple[UUID, ...] | None]:
        """The campaign that delivers it, its thread, and its people when it was made just now."""
        store = self._exchange.store
        thread = await insist(store.threads.get, message.tid) if message.to is To.THREAD else None
        found = await insist(store.ledger.campaign, message.mid) if lease.epoch > 1 else None
        if found:
            return found, thread, None
        spec = await self._spec(message, thread)
        people = await self._people(spec)
        now = datetime.fromtimestamp(self._exchange.clock(), UTC)
        if people is None:
            return await self._make_large(message, spec, now), thread, None
        control = Control.CANCEL if is_over(message) else Control.RUN
        made = sealed(self._exchange.key, spec, people, now, control)
        stored = await insist(store.ledger.create_sealed, made, [(0, uid) for uid in people])
        failpoint("made")
        return stored, thread, people if stored == made else None

    async def _spec(self, message: Message, thread: Thread | None) -> CampaignSpec:
        level = self._levels[message.urgency]
        if not level.joins or message.to is not To.THREAD:
            return spec_of(message, thread)
        later = await insist(
            self._exchange.store.messages.history, message.tid, after=message.mid, shown=True
        )
        return spec_of(message, thread, leave_together(message, later, level), message.joined)

    async def _people(self, spec: CampaignSpec) -> tuple[UUID, ...] | None:
        """Everybody it is for, in order; None when they are more than one shard."""
        most, found = self._exchange.settings.shard_size, set[UUID]()
        if (uids := getattr(spec.audience.to, "uids", None)) is not None:
            return tuple(sorted(uids)) if len(uids) <= most else None
        now = datetime.fromtimestamp(self._exchange.clock(), UTC)
        async for page in audience.resolve(self._exchange.store, spec.audience, now):
            found.update(page)
            if len(found) > most:
                return None
        return tuple(sorted(found))

    async def _make_large(self, message: Message, spec: CampaignSpec, now: datetime) -> Campaign:
        estimate = await audience.estimate(self._exchange.store, spec.audience.to, now)
        shards = max(2, -(-estimate // self._exchange.settings.shard_size))
        control = Control.CANCEL if is_over(message) else Control.RUN
        fresh = Campaign(message.mid, spec, shards, now, control)
        return await insist(self._exchange.store.ledger.create, fresh)

    async def _join(self, spec: CampaignSpec, tid: UUID) -> None:
        """Those that leave with it are told so, before it leaves."""
        if spec.message:
            for mid in spec.message.others:
                await insist(self._exchange.store.messages.note, tid, mid, joined=spec.message.mid)

    async def _shown(self, campaign: Campaign, message: Message) -> Message:
        """The newest of those that leave together is the one that is shown."""
        newest = campaign.spec.message.newest if campaign.spec.message else message.mid
        if newest == message.mid:
            return message
        return await insist(self._exchange.store.messages.get, message.tid, newest) or message

    # -- more than one shard, and what follows

    async def _send_large(self, item: Item, message: Message, campaign: Campaign) -> Item | None:
        """As a campaign is sent: sealed, then shard by shard, by as many processes as find it."""
        await insist(campaigns.seal, self._exchange, campaign.id)
        await self._join(campaign.spec, message.tid)
        await self._slice(campaign)
        return await self._after(item, message, campaign)

    async def _slice(self, campaign: Campaign) -> None:
        await send_slice(
            self._exchange,
            campaign.id,
            0,
            campaign.shards,
            stop=self._stop,
            patient=False,
            room=self._room,
            origins=self._origins,
        )

    async def _fall_back(self, item: Item, message: Message) -> Item | None:
        """Those who were not reached, on the channels that the thread has for that."""
        store, name = self._exchange.store, ids.message_name(message.mid)
        spec = None if message.recalled else await insist(fallback_spec, self._exchange, name)
        parent = await insist(store.ledger.campaign, message.mid)
        if spec is None or parent is None:
            return None
        identity = ids.campaign_id(self._exchange.key, spec.name)
        now = datetime.fromtimestamp(self._exchange.clock(), UTC)
        made = await insist(store.ledger.create, Campaign(identity, spec, parent.shards, now))
        await insist(campaigns.seal, self._exchange, made.id)
        return await self._finish_large(item, identity)

    async def _finish_large(self, item: Item, identity: UUID) -> Item | None:
        campaign = await insist(self._exchange.store.ledger.campaign, identity)
        if campaign is None:
            return again(item, self._exchange.clock()) if item.tries < STRANGE else None
        await self._slice(campaign)
        left = await insist(self._exchange.store.ledger.unfinished, identity, 0, campaign.shards)
        if left and campaign.control is not Control.CANCEL:
            return again(item, self._exchange.clock(), min(left.values()))
        await insist(campaigns.finish, self._exchange, identity)
        return None


async def queue(exchange: Exchange, most: int = 10_000) -> Sequence[Item]:
    """What is owed, the most urgent first; no more than `most` of it."""
    found: list[Item] = []
    async for page in exchange.store.triage.scan():
        found += page
        if len(found) >= most:
            break
    return found[:most]
