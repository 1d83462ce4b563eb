"""The only path to a provider: claim a shard, look again, route, render, send, record.

The promise: nothing is lost, and a killed process leaves at most `ledger.repeat_bound` deliveries in doubt.
It rests on this order, in every window: write the intent; look at the fence; send; write the results; close
the window. docs/architecture.md tells why each step stands where it does.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from random import Random
from sys import maxsize
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from msgxc import ids
from msgxc.calling import Calls, every
from msgxc.errors import LeaseLost, ProviderBlocked
from msgxc.failpoints import failpoint
from msgxc.follow import holds
from msgxc.helm import CONTROL_SECONDS, Helm, Stop
from msgxc.holding import Hold, insist
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
from msgxc.model import Subscription
from msgxc.room import Room
from msgxc.routing import SUPPRESSIBLE, suppressible
from msgxc.store.records import batches
from msgxc.window import Look, Prepared, Preparer

if TYPE_CHECKING:
    from msgxc.wiring import Exchange

__all__ = ["Counts", "Sender", "Stop"]

STALE_SECONDS = 2.0  # a window that was looked at longer ago is looked at again
NEAR_SECONDS = 1.0  # a delivery that was put off for less is waited for, with the shard in hand


@dataclass(slots=True)
class Counts:
    """What one process has done for one campaign: marks by (channel or "", mark), recipients seen."""

    recipients: int = 0
    marks: Counter[tuple[str, Mark]] = field(default_factory=Counter)

    def of(self, mark: Mark) -> int:
        """How many deliveries (or skipped recipients) got this mark."""
        return sum(n for (_, m), n in self.marks.items() if m is mark)


class Sender:
    """Sends slices of one campaign from one process. Not to be used from two event loops."""

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
    ) -> None:
        self._exchange, self._campaign, self._preparer = exchange, campaign, preparer
        self._room = room or Room(maxsize)
        self._ledger, self._directory = exchange.store.ledger, exchange.store.directory
        self._on_progress, self._limits = on_progress, exchange.settings
        self._owner = f"{exchange.owner}-{uuid4().hex[:8]}"
        self._helm = Helm(self._ledger, campaign.id, stop)
        chance = Random(self._owner)  # noqa: S311 - jitter, not a secret
        self._calls = Calls(exchange, campaign, self._helm, self._record, chance, share)
        self._busy: set[int] = set()
        self._asked: set[int] = set()  # the shards that a lane asks for now: another would ask in vain
        self._put_off: Counter[int] = Counter()  # by shard, since it was last loaded
        self.counts = Counts()

    # -- slices and shards

    async def send_slice(self, first: int, last: int, *, patient: bool = True) -> Counts:
        """Send the shards in [first, last) until all are finished, whoever finishes them; or until stopped.

        Not `patient`: also until nothing of it can be claimed now.

        Raises ProviderBlocked when a provider refuses our credentials.
        """
        watch = asyncio.create_task(self._helm.watch())
        try:
            lanes = [self._lane(first, last, patient) for _ in range(self._limits.windows_at_once)]
            await every(lanes)
        finally:
            watch.cancel()
            self._on_progress(self.counts)
        return self.counts

    async def send_held(self, lease: Lease, state: ShardState | None = None) -> Counts:
        """Send one shard whose lease was claimed already, and let go of it, finished or not. `state`: what is
        known of it, if it is known; else it is read. Raises ProviderBlocked."""
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
                if not patient and self._helm.control is Control.RUN:
                    return
                if self._busy.issuperset(open_shards):
                    return  # the lanes that have them go on until they are finished
                soonest = min(open_shards.values()) - self._now()
                await asyncio.sleep(min(max(soonest, 0.05), 1.0))

    async def _take_one(self, open_shards: Mapping[int, float]) -> bool:
        """Claim and send one shard of those that are free; False when none was."""
        if self._helm.control is not Control.RUN:
            return False
        for shard in sorted(open_shards, key=lambda s: (open_shards[s], s)):
            if open_shards[shard] > self._now() or shard in self._busy or shard in self._asked:
                continue
            if lease := await self._claim(shard):
                failpoint("claimed")
                await self._with_lease(lease)
                return True
        return False

    async def _claim(self, shard: int) -> Lease | None:
        """The lease, if it is free. A claim whose answer was lost for good is nobody's until it ends."""
        self._asked.add(shard)
        try:
            return await insist(self._ask_for, shard)
        finally:
            self._asked.discard(shard)

    async def _ask_for(self, shard: int) -> Lease | None:
        now = self._now()
        until = now + self._limits.lease_seconds
        return await self._ledger.claim(self._campaign.id, shard, self._owner, now, until)

    async def _with_lease(self, lease: Lease, state: ShardState | None = None) -> None:
        limits = self._limits
        margin = limits.provider_timeout + 1.0
        hold = Hold(lease, self._ledger, self._exchange.clock, limits.lease_seconds, margin)
        self._busy.add(lease.shard)
        keeper = asyncio.create_task(hold.keep())
        try:
            await self._send_shard(hold, state)
        except LeaseLost:
            pass  # Somebody else has taken it over, with everything that we recorded.
        except ProviderBlocked:
            await insist(self._ledger.release, lease, self._now())
            raise
        finally:
            self._busy.discard(lease.shard)
            keeper.cancel()

    async def _send_shard(self, hold: Hold, known: ShardState | None) -> None:
        """Everything that is left of one shard: windows, then what was put off, then the finish."""
        numbers = count()
        while True:
            state = known if known else await insist(self._ledger.load, hold.lease)
            known, state = None, await self._settle_doubt(hold, state)
            due, parked_until = left(state, self._now())
            self._put_off[hold.lease.shard] = 0
            if not await self._send_windows(hold, state, due, numbers) or self._helm.resting:
                await insist(self._ledger.release, hold.lease, self._now())
                return
            if due and (parked_until is not None or self._put_off[hold.lease.shard]):
                continue
            if parked_until is None:
                failpoint("finishing")
                await insist(self._ledger.finish, hold.lease)
                return
            if parked_until - self._now() > NEAR_SECONDS:
                await insist(self._ledger.release, hold.lease, parked_until)
                return
            await asyncio.sleep(max(0.0, parked_until - self._now()))

    async def _settle_doubt(self, hold: Hold, state: ShardState) -> ShardState:
        """Windows of earlier owners: hold what must not be repeated, send the rest again."""
        old = [w for w in state.windows if w.epoch < hold.lease.epoch]
        if not old:
            return state
        at = self._time()
        await self._record(hold, [self._doubted(i, at) for i in in_doubt(state, hold.lease.epoch)])
        failpoint("doubt_settled")
        for window in old:
            await insist(self._ledger.close_window, hold.lease, window)
        return await insist(self._ledger.load, hold.lease)

    def _doubted(self, intent: Intent, at: datetime) -> Result:
        held = holds(self._campaign.spec.sending.in_doubt, intent.channel)
        mark = Mark.UNKNOWN if held else Mark.LATER
        return Result(intent.uid, intent.delivery, intent.channel, mark, at, IN_DOUBT, attempt=intent.attempt)

    # -- windows

    async def _send_windows(
        self, hold: Hold, state: ShardState, due: Sequence[UUID], numbers: Iterator[int]
    ) -> bool:
        """Send the windows of `due`; the next one is looked at while this one is sent. Whether all went."""
        rows: defaultdict[UUID, list[Row]] = defaultdict(list)
        for row in state.rows.values():
            rows[row.uid].append(row)
        windows = list(batches(due, self._limits.window))
        coming, sent = self._look_ahead(windows, 0, rows), False
        try:
            for index, uids in enumerate(windows):
                if self._helm.resting:
                    break
                prepared = await coming if coming else Prepared(self._time())
                coming = self._look_ahead(windows, index + 1, rows)
                async with self._room.taken(len(prepared.outgoing), self._campaign.spec.sending.urgency):
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
        offered = [c for c in self._preparer.offer.channels if c in SUPPRESSIBLE]
        hashes = [
            ids.address_hash(self._exchange.key, target.channel, target.address)
            for person in people.values()
            for target in suppressible(person, offered)
        ]
        suppressed = await insist(self._directory.suppressed, hashes) if hashes else {}
        look = Look(uids, people, subscriptions, suppressed, rows, self._time(), read)
        return self._preparer.prepare(look)

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
        if self._helm.resting:
            return False
        if not prepared.outgoing:
            await self._record(hold, prepared.results)
            return True
        window = Window(hold.lease.epoch, number, prepared.intents())
        await hold.fence()
        ours = await insist(self._ledger.open_window, hold.lease, window, hold.done)
        failpoint("window_opened")
        hold.done = None
        await hold.confirm(ours)
        await self._record(hold, prepared.results)
        await self._calls.send(hold, prepared.outgoing, prepared.attempt)
        failpoint("window_sent")
        hold.done = window
        return True

    async def _close(self, hold: Hold) -> None:
        """Mark the last window as done; the ones before it were when the next one was opened."""
        if hold.done:
            await insist(self._ledger.close_window, hold.lease, hold.done)
            failpoint("window_closed")
            hold.done = None

    async def _record(self, hold: Hold, results: Sequence[Result]) -> None:
        """Write results down, however long the store takes: what a provider said must not be lost."""
        if not results:
            return
        await insist(self._ledger.record, hold.lease, results)
        failpoint("recorded")
        self._count(hold.lease.shard, results)

    def _count(self, shard: int, results: Sequence[Result]) -> None:
        """Usually all are alike."""
        first = results[0]
        if all(result.mark is first.mark and result.channel is first.channel for result in results):
            self.counts.marks[(first.channel or "", first.mark)] += len(results)
            self._put_off[shard] += len(results) * (first.mark is Mark.LATER)
            return
        for result in results:
            self._put_off[shard] += result.mark is Mark.LATER
            self.counts.marks[(result.channel or "", result.mark)] += 1

    # -- the surroundings

    def _now(self) -> float:
        return self._exchange.clock()

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._exchange.clock(), UTC)
