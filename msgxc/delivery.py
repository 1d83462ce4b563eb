"""The only path to a provider: claim a shard, look again, route, render, send, record.

The promise: nothing is lost, and a killed process leaves at most `ledger.repeat_bound` deliveries in doubt.
It rests on this order, in every window: write the intent; look at the fence; send; write the results; close
the window. docs/architecture.md tells why each step stands where it does.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from random import Random
from sys import maxsize
from typing import TYPE_CHECKING
from uuid import UUID

from msgxc import ids
from msgxc.calling import Calls, every
from msgxc.endpoint import is_dead
from msgxc.errors import LeaseLost, ProviderBlocked, StandsStill, StoreUnavailable, WrongTemplate
from msgxc.failpoints import failpoint
from msgxc.follow import DOUBTS_BY_CRASH, holds
from msgxc.helm import CONTROL_SECONDS, Helm, Stop
from msgxc.holding import WORK, Hold, end_of_the_dead, insist, name_within, take
from msgxc.ledger import (
    IN_DOUBT,
    Campaign,
    Control,
    Intent,
    Lease,
    Mark,
    Result,
    Row,
    ShardState,
    Window,
    in_doubt,
    left,
)
from msgxc.model import Channel, Reason, Recipient, Subscription
from msgxc.origins import OF_US_OR_THEM, Origins
from msgxc.room import Room, turn
from msgxc.routing import SUPPRESSIBLE, suppressible
from msgxc.sms_budget import stay_within
from msgxc.standstill import Work, most_still
from msgxc.store.records import batches
from msgxc.window import Fit, Look, Prepared, Preparer

if TYPE_CHECKING:
    from msgxc.wiring import Exchange

__all__ = ["Counts", "Sender", "Stop"]

STALE_SECONDS = 2.0  # a window that was looked at longer ago is looked at again
IN_VAIN = 3  # tries after which a campaign that reached nobody, and was refused each time, ends
NEAR_SECONDS = 1.0  # a delivery that was put off for less is waited for, with the shard in hand


@dataclass(slots=True)
class Counts:
    """What one process has done for one campaign: recipients seen; marks of deliveries (and of skipped
    recipients) by (channel or "", mark); how many deliveries wait now, by channel, each once however often it
    was put off; and of how many people a delivery was accepted, each once however many devices they have."""

    recipients: int = 0
    marks: Counter[tuple[str, Mark]] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)
    reached: int = 0

    def of(self, mark: Mark) -> int:
        """How many deliveries (or skipped recipients) got this mark."""
        return sum(n for (_, m), n in self.marks.items() if m is mark)


class Sender:
    """Sends slices of one campaign from one process. Not to be used from two event loops.

    `origins`: what is known of push services and providers, shared with other senders, which then end
    without a word when they are refused; else it is this sender's own, and it raises ProviderBlocked.
    """

    def __init__(
        self,
        exchange: Exchange,
        campaign: Campaign,
        preparer: Preparer,
        stop: Stop,
        on_progress: Callable[[Counts], None] = lambda _: None,
        *,
        share: float = 1.0,
        room: Room | None = None,
        origins: Origins | None = None,
    ) -> None:
        self._exchange, self._campaign, self._preparer = exchange, campaign, preparer
        self._room = room or Room(maxsize, exchange.settings.slow_calls)
        self._work = Work(self._room.work)
        self._ledger, self._directory = exchange.store.ledger, exchange.store.directory
        self._on_progress, self._limits = on_progress, exchange.settings
        self._owner = name_within(exchange.owner)
        self._helm = Helm(self._ledger, campaign.id, stop)
        chance = Random(self._owner)  # noqa: S311 - jitter, not a secret
        self._origins = Origins() if origins is None else origins
        ends = preparer.offer.channels if origins is None else ()
        self._ends_alone = origins is None
        self._calls = Calls(
            exchange,
            campaign,
            self._helm,
            self._record,
            chance,
            share,
            self._origins,
            ends,
            self._room,
            self._work,
        )
        self._turns = asyncio.Semaphore(exchange.settings.windows_at_once)
        self._aside: set[asyncio.Task[None]] = set()  # shards that only wait for slow calls, or did
        # A throttled campaign's windows are small: each leaves at once, when the throttle lets it go.
        rate = campaign.spec.sending.per_second
        self._window = min(self._limits.window, max(1, rate // 4)) if rate else self._limits.window
        self._busy: set[int] = set()
        self._stuck: set[int] = set()  # shards of which all that is left waits for somebody who refuses us
        self._asked: set[int] = set()  # the shards that a lane asks for now: another would ask in vain
        self._put_off: Counter[int] = Counter()  # by shard, since it was last loaded
        self._waits: dict[int, Counter[str]] = {}  # by shard, who of counts.waiting is there
        self._reached: dict[int, set[int]] = {}  # by shard in hand, whose delivery was accepted
        self.counts = Counts()
        self._fit, self._unfit = Fit(), ""

    # -- slices and shards

    async def send_slice(self, first: int, last: int, *, patient: bool = True) -> Counts:
        """Send the shards in [first, last) until all are finished, whoever finishes them; or until stopped.

        Not `patient`: also until nothing of it can be claimed now.

        Raises ProviderBlocked when every channel refuses us, or all that is left waits for one that does, and
        WrongTemplate when the template fits hardly anybody.
        """
        watch = asyncio.create_task(self._helm.watch())
        try:
            lanes = [self._lane(first, last, patient) for _ in range(self._limits.windows_at_once)]
            await every(lanes)
            await self._end_aside()
        finally:
            watch.cancel()
            for shard in self._aside:
                shard.cancel()
            self._on_progress(self.counts)
        if self._unfit:
            raise WrongTemplate(
                f"{self._unfit} could not be made, and none was sent: mend the template, then Retry"
            )
        if self._helm.halted or (patient and self._stuck):
            self.check_refused()
        return self.counts

    def check_refused(self, left: Iterable[int] | None = None) -> None:
        """Raise ProviderBlocked when a provider refuses us, and nothing else is left of these shards."""
        troubles = self._origins.troubles or self._origins.suspects
        if troubles and (left is None or self._stuck.issuperset(left)):
            raise ProviderBlocked("; ".join(troubles))

    def _in_vain(self, state: ShardState) -> bool:
        """Whether a small campaign's provider has refused us again and again and accepted nobody, here or
        before. One device among others never ends a run so."""
        waiting = [row for row in state.rows.values() if row.state is Mark.LATER]
        return (
            bool(self._origins.suspects)
            and self._ends_alone
            and not self.counts.of(Mark.ACCEPTED)
            and not any(Mark.ACCEPTED in row.marks for row in state.rows.values())
            and all(row.reason == Reason.CREDENTIALS and row.attempt >= IN_VAIN for row in waiting)
        )

    async def send_held(self, lease: Lease, state: ShardState | None = None) -> Counts:
        """Send one shard whose lease was claimed already, and let go of it, finished or not. `state`: what is
        known of it, if it is known; else it is read."""
        watch = asyncio.create_task(self._helm.watch(CONTROL_SECONDS))
        try:
            await self._with_lease(lease, state)
        finally:
            watch.cancel()
        return self.counts

    async def _lane(self, first: int, last: int, patient: bool) -> None:
        while not self._helm.ended:
            open_shards = await insist(self._ledger.unfinished, self._campaign.id, first, last)
            if not open_shards:
                return
            if not await self._take_one(open_shards):
                if await self._come_free(open_shards):
                    continue
                if not patient and self._helm.control is Control.RUN:
                    return
                if (self._busy | self._stuck).issuperset(open_shards):
                    if not self._aside:
                        return  # the lanes that have them go on until they are finished
                    await self._end_aside(asyncio.FIRST_COMPLETED)
                    continue
                soonest = min(open_shards.values()) - self._now()
                await asyncio.sleep(min(max(soonest, 0.05), 1.0))

    async def _take_one(self, open_shards: Mapping[int, float]) -> bool:
        """Claim and send one shard of those that are free; False when none was."""
        if self._helm.control is not Control.RUN:
            return False
        for shard in sorted(open_shards, key=lambda s: (open_shards[s], s)):
            if open_shards[shard] > self._now() or shard in self._busy | self._asked | self._stuck:
                continue
            if lease := await self._claim(shard):
                failpoint("claimed")
                await self._until_aside(lease)
                return True
        return False

    async def _come_free(self, open_shards: Mapping[int, float]) -> bool:
        """Whether one of those that others hold comes free now, because its owner has surely died."""
        now = self._now()
        theirs = {shard for shard, until in open_shards.items() if until > now} - self._busy - self._stuck
        if not theirs or self._helm.control is not Control.RUN:
            return False
        some = self._campaign.id, min(theirs), max(theirs) + 1
        ends = await insist(end_of_the_dead, self._ledger, *some, now)
        return now in ends.values()

    async def _until_aside(self, lease: Lease) -> None:
        """Send a shard until it is over, or nothing but slow calls is left of it: then it goes on beside."""
        aside = asyncio.Event()
        shard = asyncio.create_task(self._with_lease(lease, aside=aside))
        stepped = asyncio.create_task(aside.wait())
        try:
            await asyncio.wait({shard, stepped}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            shard.cancel()
            raise
        finally:
            stepped.cancel()
        if shard.done():
            return shard.result()
        self._aside.add(shard)
        shard.add_done_callback(self._back)
        return None

    def _back(self, shard: asyncio.Task[None]) -> None:
        if not shard.cancelled() and shard.exception() is None:
            self._aside.discard(shard)

    async def _end_aside(self, when: str = asyncio.ALL_COMPLETED) -> None:
        """Wait for all that stepped aside, or one of them. Raises what one has met."""
        if self._aside:
            ended, _ = await asyncio.wait(self._aside, return_when=when)
            self._aside -= ended
            for shard in ended:
                shard.result()

    async def _claim(self, shard: int) -> Lease | None:
        """The lease, if it is free. From now on no other lane asks for it: it would end it as its own."""
        self._asked.add(shard)
        try:
            if lease := await insist(self._ask_for, shard):
                self._busy.add(shard)
            return lease
        finally:
            self._asked.discard(shard)

    async def _ask_for(self, shard: int) -> Lease | None:
        now = self._now()
        until = now + self._limits.lease_seconds
        return await take(self._ledger, self._campaign.id, shard, self._owner, now, until)

    async def _with_lease(
        self, lease: Lease, state: ShardState | None = None, aside: asyncio.Event | None = None
    ) -> None:
        limits = self._limits
        margin = limits.provider_timeout + 1.0
        hold = Hold(lease, self._ledger, self._exchange.clock, limits.lease_seconds, margin)
        hold.aside, hold.work = aside or hold.aside, Work(self._work)
        self._busy.add(lease.shard)
        keeper = asyncio.create_task(hold.keep(most_still(limits.lease_seconds)))
        sending = asyncio.create_task(self._send_shard(hold, state))
        try:
            await asyncio.wait({sending, keeper}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done() and not keeper.exception() and keeper.result():
                await self._give_up(hold, sending)
            await sending
        except LeaseLost:
            pass  # Somebody else has taken it over, with everything that we recorded.
        finally:
            if not sending.done():
                sending.cancel()
                await asyncio.wait({sending}, timeout=margin)
            if hold.late:  # what was sent has to be written down, whoever has the lease
                await asyncio.wait(hold.late)
            self._busy.discard(lease.shard)
            self._reached.pop(lease.shard, None)
            keeper.cancel()

    async def _give_up(self, hold: Hold, sending: asyncio.Task[None]) -> None:
        """Let go of a shard whose work stands still: what is under way is cut off, and in doubt for whoever
        takes it over. Raises StandsStill."""
        shard, work = hold.lease.shard, {sending, *hold.late}
        for task in work:
            task.cancel()
        _, goes_on = await asyncio.wait(work, timeout=hold.margin)
        hold.late.clear()
        if not goes_on:
            with suppress(StoreUnavailable):
                await self._ledger.release(hold.lease, self._now())
        raise StandsStill(f"nothing has moved in shard {shard} for several leases' time")

    async def _send_shard(self, hold: Hold, known: ShardState | None) -> None:
        """Everything that is left of one shard: windows, then what was put off, then the finish."""
        numbers = count()
        WORK.set(hold.work)
        while True:
            hold.work.step()
            state = known if known else await insist(self._ledger.load, hold.lease)
            known, state = None, await self._settle_doubt(hold, state)
            due, parked_until = left(state, self._now())
            self._put_off[hold.lease.shard] = 0
            before = [row.uid.int for row in state.rows.values() if Mark.ACCEPTED in row.marks]
            self._reached.setdefault(hold.lease.shard, set()).update(before)
            self._count_waiting(hold.lease.shard, state)
            async with turn(self._turns, hold.work, self._work):
                sent = await self._send_windows(hold, state, due, numbers)
            if hold.late:
                hold.aside.set()
                await every([*hold.late])
                hold.late.clear()
                await self._close(hold)
                self._on_progress(self.counts)
            if not sent or self._helm.resting:
                await insist(self._ledger.release, hold.lease, self._now())
                return
            if due and (parked_until is not None or self._put_off[hold.lease.shard]):
                continue
            if parked_until is None:
                self._count_waiting(hold.lease.shard, None)
                failpoint("finishing")
                await insist(self._ledger.finish, hold.lease)
                return
            if parked_until - self._now() > NEAR_SECONDS:
                if _waits_for_a_person(state) and (self._origins.any_closed or self._in_vain(state)):
                    self._stuck.add(hold.lease.shard)
                await insist(self._ledger.release, hold.lease, parked_until)
                return
            await asyncio.sleep(max(0.0, parked_until - self._now()))

    async def _settle_doubt(self, hold: Hold, state: ShardState) -> ShardState:
        """Windows of earlier owners: hold what must not be repeated, send the rest again."""
        old = [w for w in state.windows if w.epoch < hold.lease.epoch]
        if not old:
            return state
        at = self._time()
        doubted = [self._doubted(i, state, at) for i in in_doubt(state, hold.lease.epoch)]
        await self._record(hold, doubted)
        failpoint("doubt_settled")
        for window in old:
            await insist(self._ledger.close_window, hold.lease, window)
        return await insist(self._ledger.load, hold.lease)

    def _doubted(self, intent: Intent, state: ShardState, at: datetime) -> Result:
        """One that a killed process may have sent: held, or sent again, but not for ever."""
        row = state.rows.get((intent.uid, intent.delivery))
        doubts = row.doubts if row else 0
        held = doubts >= DOUBTS_BY_CRASH or holds(self._campaign.spec.sending.in_doubt, intent.channel)
        mark = Mark.UNKNOWN if held else Mark.LATER
        return Result(
            intent.uid,
            intent.delivery,
            intent.channel,
            mark,
            at,
            IN_DOUBT,
            attempt=intent.attempt,
            doubts=doubts + 1,
        )

    # -- windows

    async def _send_windows(
        self, hold: Hold, state: ShardState, due: Sequence[UUID], numbers: Iterator[int]
    ) -> bool:
        """Send the windows of `due`; the next one is looked at while this one is sent. Whether all went."""
        rows: defaultdict[UUID, list[Row]] = defaultdict(list)
        for row in state.rows.values():
            rows[row.uid].append(row)
        windows, urgency = list(batches(due, self._window)), self._campaign.spec.sending.urgency
        coming, sent = self._look_ahead(windows, 0, rows), False
        try:
            for index, uids in enumerate(windows):
                if self._helm.resting:
                    break
                prepared = await coming if coming else Prepared(self._time())
                coming = self._look_ahead(windows, index + 1, rows)
                if prepared.outgoing:
                    await self._calls.wait(hold, prepared.outgoing)
                async with self._room.taken(len(prepared.outgoing), urgency, hold.work):
                    if abs((self._time() - prepared.at).total_seconds()) > STALE_SECONDS:
                        prepared = await self._prepare(uids, rows)
                    if not await self._send_window(hold, prepared, next(numbers)):
                        break
                self.counts.recipients += sum(uid not in rows for uid in uids) if rows else len(uids)
                self._on_progress(self.counts)
            else:
                sent = True
            await self._close(hold)
            return sent
        finally:
            if coming:
                coming.cancel()
                with suppress(asyncio.CancelledError):
                    await coming

    def _look_ahead(
        self, windows: Sequence[Sequence[UUID]], index: int, rows: Mapping[UUID, Sequence[Row]]
    ) -> asyncio.Task[Prepared] | None:
        if index >= len(windows):
            return None
        return asyncio.create_task(self._prepare(windows[index], rows))

    async def _prepare(self, uids: Sequence[UUID], rows: Mapping[UUID, Sequence[Row]]) -> Prepared:
        """Look again at these people, now: consent, channels, devices, suppression; then route and render."""
        spec, looked = self._campaign.spec, insist(self._directory.get, uids)
        if spec.thread or spec.message:
            people, subscriptions, read = await asyncio.gather(
                looked, self._subscriptions(uids), self._read(uids)
            )
        else:
            people, subscriptions, read = await looked, {}, {}
        if Channel.WEBPUSH in self._preparer.offer.channels:
            await self._prune(people.values())
        offered = [c for c in self._preparer.offer.channels if c in SUPPRESSIBLE]
        hashes = [
            ids.address_hash(self._exchange.key, target.channel, target.address)
            for person in people.values()
            for target in suppressible(person, offered)
        ]
        suppressed = await insist(self._directory.suppressed, hashes) if hashes else {}
        look = Look(uids, people, subscriptions, suppressed, rows, self._time(), read)
        return self._preparer.prepare(look)

    async def _prune(self, people: Iterable[Recipient]) -> None:
        """Subscriptions that nobody would ever send to leave the directory; routing passes them over."""
        hosts = self._preparer.offer.push_hosts or ()
        for person in people:
            for one in person.devices:
                if one.channel is Channel.WEBPUSH and is_dead(one.token, hosts):
                    address = ids.address_hash(self._exchange.key, one.channel, one.token)
                    await insist(self._directory.prune, person.uid, one.token, None, address)

    async def _subscriptions(self, uids: Sequence[UUID]) -> Mapping[UUID, Subscription]:
        thread = self._campaign.spec.thread
        return await insist(self._exchange.store.threads.subscriptions, thread, uids) if thread else {}

    async def _read(self, uids: Sequence[UUID]) -> Mapping[UUID, UUID]:
        """How far these people have read where the message stands for them."""
        message = self._campaign.spec.message
        if message is None or message.withdraws:
            return {}
        places = [(message.seen_in(self._exchange.key, uid), uid) for uid in uids]
        return await insist(self._exchange.store.reads.last, places)

    async def _send_window(self, hold: Hold, prepared: Prepared, number: int) -> bool:
        """One window, whole; False when the operator wants nothing sent now."""
        await self._helm.look()
        if self._helm.resting or self._misfits(prepared):
            return False
        prepared.results += self._calls.put_off(prepared)
        if Channel.SMS in self._preparer.offer.channels:
            await stay_within(self._exchange, self._campaign, prepared)
        if not prepared.outgoing:
            await self._record(hold, prepared.results)
            return True
        window = Window(hold.lease.epoch, number, prepared.intents())
        await hold.fence()
        done = hold.done[0] if hold.done else None
        ours = await insist(self._ledger.open_window, hold.lease, window, done)
        failpoint("window_opened")
        if done:
            hold.done.remove(done)
        await hold.confirm(ours)
        await self._record(hold, prepared.results)
        late = await self._calls.send(hold, prepared)
        failpoint("window_sent")
        if late:
            hold.late.add(asyncio.create_task(self._close_late(hold, window, late)))
        else:
            hold.done.append(window)
        return True

    def _misfits(self, prepared: Prepared) -> bool:
        """Whether the template fits hardly anybody: nothing more is sent then, and nobody has failed."""
        if self._ends_alone and (trouble := self._fit.trouble(prepared)):
            self._unfit = trouble
            self._helm.halt()
        return bool(self._unfit)

    async def _close_late(self, hold: Hold, window: Window, late: Iterable[asyncio.Task[None]]) -> None:
        """A window is done once its slow calls are."""
        await every(late)
        hold.done.append(window)

    async def _close(self, hold: Hold) -> None:
        """Mark the last windows as done; the ones before were when another one was opened."""
        while hold.done:
            await insist(self._ledger.close_window, hold.lease, hold.done[0])
            failpoint("window_closed")
            hold.done.popleft()

    async def _record(self, hold: Hold, results: Sequence[Result]) -> None:
        """Write results down, however long the store takes: what a provider said must not be lost."""
        if not results:
            return
        await insist(self._ledger.record, hold.lease, results)
        failpoint("recorded")
        hold.work.step()
        self._count(hold.lease.shard, results)

    def _count(self, shard: int, results: Sequence[Result]) -> None:
        """Usually all are alike."""
        first = results[0]
        if all(result.mark is first.mark and result.channel is first.channel for result in results):
            self.counts.marks[(first.channel or "", first.mark)] += len(results)
            if first.mark is Mark.ACCEPTED:
                self._reach(shard, results)
            elif first.mark is Mark.LATER:
                self._put_off[shard] += len(results)
                self._wait(shard, first.channel or "", len(results))
            return
        for result in results:
            if result.mark is Mark.LATER:
                self._put_off[shard] += 1
                self._wait(shard, result.channel or "", 1)
            self.counts.marks[(result.channel or "", result.mark)] += 1
        self._reach(shard, [result for result in results if result.mark is Mark.ACCEPTED])

    def _reach(self, shard: int, accepted: Sequence[Result]) -> None:
        """By number: what is hashed for each message is hashed in no time."""
        people = self._reached.setdefault(shard, set())
        before = len(people)
        people.update([result.uid.int for result in accepted])
        self.counts.reached += len(people) - before

    def _wait(self, shard: int, channel: str, count: int) -> None:
        self._waits.setdefault(shard, Counter())[channel] += count
        self.counts.waiting[channel] += count

    def _count_waiting(self, shard: int, state: ShardState | None) -> None:
        """As the shard stands: whose time has come is tried now, and waits again only if it is put off again.
        None: nobody waits there any more."""
        self.counts.waiting.subtract(self._waits.pop(shard, Counter()))
        now, rows = self._now(), state.rows.values() if state else ()
        for row in rows:
            if row.state is Mark.LATER and row.marks[Mark.LATER].timestamp() > now:
                self._wait(shard, row.channel or "", 1)

    # -- the surroundings

    def _now(self) -> float:
        return self._exchange.clock()

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._exchange.clock(), UTC)


def _waits_for_a_person(state: ShardState) -> bool:
    """Whether all that was put off waits for an origin of which it is not clear whether it refuses us."""
    return all(row.reason in OF_US_OR_THEM for row in state.rows.values() if row.state is Mark.LATER)
