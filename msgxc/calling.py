"""The calls of a provider, for one sender: when to make them, what follows, what is written down."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil
from random import Random
from typing import TYPE_CHECKING, cast

from msgxc import ids
from msgxc.campaign import Spread
from msgxc.failpoints import failpoint
from msgxc.follow import Next, follow
from msgxc.helm import CONTROL_SECONDS, Helm, elapsed
from msgxc.holding import Hold, insist
from msgxc.ledger import Campaign, Control, Mark, Result
from msgxc.model import Channel, Outcome, Outgoing, Reason, Receipt, Skip, Urgency
from msgxc.origins import Origins
from msgxc.pacing import Breaker, quarter_wait
from msgxc.providers.late import Said
from msgxc.room import Room, turn
from msgxc.sharing import fcm_quota, throttle_of
from msgxc.standstill import Work
from msgxc.store.ports import Suppression
from msgxc.store.records import batches
from msgxc.window import Prepared

if TYPE_CHECKING:
    from msgxc.wiring import Exchange

Record = Callable[[Hold, Sequence[Result]], Awaitable[None]]
Answer = tuple[Outgoing, Receipt, Next]
Pair = tuple[Outgoing, Receipt]
_NONE = Receipt(Outcome.LATER)
_log = logging.getLogger(__name__)


class Calls:
    """Hands deliveries to providers. At most `in_flight` are out, or answered and not yet recorded; but for
    those that are slow: `room` counts them. `work`: the steps of the sender.

    `record` writes results down, however long the store takes. `origins`: what is known of those who answer.
    `ends`: the sender ends when none of these channels is left, because each refuses us.
    """

    def __init__(
        self,
        exchange: Exchange,
        campaign: Campaign,
        helm: Helm,
        record: Record,
        chance: Random,
        share: float,
        origins: Origins,
        ends: Sequence[Channel],
        room: Room,
        work: Work,
    ) -> None:
        self._exchange, self._campaign, self._helm, self._record = exchange, campaign, helm, record
        self._limits, self._chance, self._origins, self._ends = exchange.settings, chance, origins, ends
        self._slow, self._work = room.slow, work
        # Never more calls under way than windows have recipients: somebody with many devices is many calls.
        most = self._limits.window * self._limits.windows_at_once
        self._together = min(self._limits.flush, self._limits.in_flight, most)
        self._slots = asyncio.Semaphore(max(1, min(self._limits.in_flight, most) // self._together))
        self._throttle = throttle_of(exchange, campaign.id, campaign.spec.sending.per_second or 0, share)
        self._quota = fcm_quota(exchange, share)
        self._breakers: defaultdict[Channel, Breaker] = defaultdict(Breaker)

    # -- before a window's intent is written

    async def wait(self, hold: Hold, outgoing: Sequence[Outgoing]) -> None:
        """Wait until some of these may leave: for the campaign's throttle, a provider's quota, one that
        throttles or is down; who asks for longer than a minute is not waited for. Nothing of them is written
        down yet, so that a stop leaves nobody in doubt."""
        channels = Counter([out.target.channel for out in outgoing])
        waits = [await self._throttle.wait(len(outgoing))]
        if Channel.FCM in channels:
            waits.append(await self._quota.wait(channels[Channel.FCM]))
        ready = elapsed() + max(*waits, self._origins.pace(outgoing, elapsed()))
        while not self._helm.resting:
            hold.work.step()
            closed = {channel: self._closed(channel) for channel in channels}
            now, soonest = elapsed(), min(closed.values(), default=0.0)
            if self._origins.any_paced:
                pauses = (max(closed[o.target.channel], self._origins.pause(o.target, now)) for o in outgoing)
                soonest = min(pauses, default=0.0)
            left_over = max(ready - now, soonest)
            if left_over <= 0:
                return
            await asyncio.sleep(min(left_over, CONTROL_SECONDS))

    def put_off(self, prepared: Prepared) -> list[Result]:
        """Take out of the window what must not leave now, although others may: its provider is down,
        throttles or refuses us. That is no try of it."""
        left, results = self._parted(prepared.outgoing, prepared, tried=False)
        if results:
            prepared.outgoing[:] = left
        return results

    def _parted(
        self, outgoing: Sequence[Outgoing], prepared: Prepared, *, tried: bool
    ) -> tuple[Sequence[Outgoing], list[Result]]:
        """What may leave now, and the results of what may not."""
        closed = {channel: self._closed(channel) for channel in {out.target.channel for out in outgoing}}
        results, left, now = list[Result](), list[Outgoing](), elapsed()
        if not (self._origins.any_closed or self._origins.any_paced or any(closed.values())):
            return outgoing, results
        for out in outgoing:
            shut, why = self._origins.closed(out.target, now)
            if seconds := max(shut, closed[out.target.channel]):
                after = Next(Mark.LATER, why if shut else "", wait=seconds)
                results.append(self._result(out, prepared, after, self._time(), tried=tried))
            else:
                left.append(out)
        return left, results

    def _closed(self, channel: Channel) -> float:
        """Seconds for which nothing is to be sent on a channel."""
        seconds = self._breakers[channel].wait(elapsed()) if channel in self._breakers else 0.0
        if channel is Channel.FCM and self._exchange.fcm_avoid_quarters:
            urgency = Urgency(self._campaign.spec.sending.urgency)
            return max(seconds, quarter_wait(urgency, self._time()))
        return seconds

    # -- a window

    async def send(self, hold: Hold, prepared: Prepared) -> list[asyncio.Task[None]]:
        """Send all that goes out, also when one call fails; answers what is slow, and goes on by itself: its
        results are written down as they come. Raises LeaseLost."""
        chunks, late = self._chunks(prepared.outgoing), list[asyncio.Task[None]]()
        if len(chunks) == 1:
            await self._send(hold, chunks[0], prepared, late)
        else:
            await every([self._send(hold, chunk, prepared, late) for chunk in chunks])
        return late

    def _chunks(self, outgoing: Sequence[Outgoing]) -> list[list[Outgoing]]:
        """Calls to make: what one request can carry, else as many as are recorded together."""
        by_channel: dict[Channel, list[Outgoing]] = {}
        for out in outgoing:
            by_channel.setdefault(out.target.channel, []).append(out)
        return [
            chunk
            for some in by_channel.values()
            for chunk in batches(
                some, max(self._exchange.provider(some[0].target.channel).batch, self._together)
            )
        ]

    async def _send(
        self, hold: Hold, chunk: Sequence[Outgoing], prepared: Prepared, late: list[asyncio.Task[None]]
    ) -> None:
        """One call of a provider, and its results in the ledger."""
        channel, slow = chunk[0].target.channel, self._slow
        async with turn(self._slots, hold.work, self._work):
            if self._helm.resting:
                await self._record(hold, [self._not_sent(out, prepared) for out in chunk])
                return
            chunk, waits = self._parted(chunk, prepared, tried=True)
            await self._record(hold, waits)
            if not chunk:
                return
            await hold.fence()
            failpoint("sending")
            begun = elapsed()
            said = await self._exchange.provider(channel).send(chunk, slow.patience(channel))
            failpoint("sent")
            in_time, waiting = await self._in_time(chunk, said, begun)
            if waiting:
                slow.under_way += self._calls(waiting)
                task = asyncio.create_task(self._slowly(hold, waiting, prepared, begun))
                late.append(task)
            special = await self._written(hold, in_time, prepared)
        if special:
            await self._obey(special)
        if waiting and slow.full:
            await asyncio.wait({task})

    async def _in_time(
        self, chunk: Sequence[Outgoing], said: Sequence[Said], begun: float
    ) -> tuple[Sequence[Pair], dict[asyncio.Future[Receipt], Outgoing]]:
        """What was answered, and what is slower than the others. When nothing was answered there are no
        others to tell by: some such calls are slow, of more it is the provider, who is waited for."""
        channel = chunk[0].target.channel
        waiting = {end: out for out, end in zip(chunk, said, strict=True) if isinstance(end, asyncio.Future)}
        if not waiting:
            self._slow.answered(channel, elapsed() - begun)
            return list(zip(chunk, cast(Sequence[Receipt], said), strict=True)), {}
        answered = [(out, end) for out, end in zip(chunk, said, strict=True) if isinstance(end, Receipt)]
        if any(receipt.code or receipt.outcome is Outcome.ACCEPTED for _, receipt in answered):
            self._slow.answered(channel, elapsed() - begun)
        elif not self._slow.silent(channel):
            await asyncio.wait(waiting)
            self._slow.learn(channel, elapsed() - begun)
            return [*answered, *((out, end.result()) for end, out in waiting.items())], {}
        return answered, waiting

    async def _slowly(
        self,
        hold: Hold,
        waiting: dict[asyncio.Future[Receipt], Outgoing],
        prepared: Prepared,
        begun: float,
    ) -> None:
        """The slow ones of a call: written down as they are answered."""
        calls = self._calls(waiting)
        try:
            while waiting:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                pairs = [(waiting.pop(end), end.result()) for end in done]
                self._slow.late(pairs[0][0].target.channel, elapsed() - begun)
                special = await self._written(hold, pairs, prepared)
                left = self._calls(waiting)
                self._slow.under_way += left - calls
                calls = left
                if special:
                    await self._obey(special)
        finally:
            self._slow.under_way -= calls

    def _calls(self, waiting: Mapping[asyncio.Future[Receipt], Outgoing]) -> int:
        """How many calls of one channel these are: those that one request carries are one."""
        some = next(iter(waiting.values()), None)
        return ceil(len(waiting) / self._exchange.provider(some.target.channel).batch) if some else 0

    async def _written(self, hold: Hold, answered: Sequence[Pair], prepared: Prepared) -> list[Answer]:
        """Write down what was answered, of one channel; answers from what more follows."""
        if not answered:
            return []
        chunk, receipts = [out for out, _ in answered], [receipt for _, receipt in answered]
        self._note(chunk[0].target.channel, receipts)
        results, special = self._judged(chunk, receipts, prepared)
        await self._record(hold, results)
        return special

    def _judged(
        self, chunk: Sequence[Outgoing], receipts: Sequence[Receipt], prepared: Prepared
    ) -> tuple[list[Result], list[Answer]]:
        """What is to be written down, and the answers from which more follows."""
        now = self._time()
        if all(receipt.outcome is Outcome.ACCEPTED for receipt in receipts):
            self._origins.accepted_by([out.target for out in chunk], elapsed())
            done = Next(Mark.ACCEPTED)
            pairs = zip(chunk, receipts, strict=True)
            return [self._result(out, prepared, done, now, receipt) for out, receipt in pairs], []
        answers = [
            (out, receipt, self._next(out, receipt, prepared))
            for out, receipt in zip(chunk, self._weighed(chunk, receipts, prepared), strict=True)
        ]
        results = [self._result(out, prepared, after, now, receipt) for out, receipt, after in answers]
        return results, [answer for answer in answers if answer[2].special]

    def _next(self, out: Outgoing, receipt: Receipt, prepared: Prepared) -> Next:
        sending = self._campaign.spec.sending
        return follow(
            receipt,
            out.target.channel,
            attempt=prepared.attempt(out.delivery),
            attempts=self._limits.attempts,
            policy=sending.in_doubt,
            chance=self._chance,
            doubts=prepared.doubts.get(out.delivery, 0),
            elsewhere=sending.spread is Spread.FIRST and sending.channels[-1] is not out.target.channel,
            spared=self._origins.of(out.target).spares(elapsed()),
        )

    def _weighed(
        self, chunk: Sequence[Outgoing], receipts: Sequence[Receipt], prepared: Prepared
    ) -> list[Receipt]:
        """The receipts, once it is judged whether they are about their recipients or about us."""
        before, said = self._origins.troubles, list(zip(chunk, receipts, strict=True))
        self._origins.hear(((out.target, out.uid, receipt) for out, receipt in said), elapsed())
        for trouble in self._origins.troubles:
            if trouble not in before:
                _log.warning("%s", trouble)
        if self._ends and self._origins.refuse_all(self._ends):
            self._helm.halt()
        return [
            self._origins.of(out.target).weighed(receipt, prepared.attempt(out.delivery))
            for out, receipt in said
        ]

    def _result(
        self,
        out: Outgoing,
        prepared: Prepared,
        after: Next,
        now: datetime,
        receipt: Receipt = _NONE,
        *,
        tried: bool = True,
    ) -> Result:
        attempt, doubts = 1, 0
        if prepared.attempts:
            attempt = prepared.attempt(out.delivery)
            doubts = prepared.doubts.get(out.delivery, 0)
        return Result(
            out.uid,
            out.delivery,
            out.target.channel,
            after.mark,
            now + timedelta(seconds=after.wait) if after.wait else now,
            after.reason,
            receipt.code,
            receipt.ref,
            attempt if tried else attempt - 1,
            doubts + (receipt.outcome is Outcome.DOUBT),
        )

    def _not_sent(self, out: Outgoing, prepared: Prepared) -> Result:
        """Stopped before the call: not sent this time. A cancel settles it, anything else puts it off."""
        mark, reason = Mark.LATER, ""
        if self._helm.control is Control.CANCEL:
            mark = Mark.UNKNOWN if prepared.doubts.get(out.delivery) else Mark.SKIPPED
            reason = Skip.CANCELED
        return self._result(out, prepared, Next(mark, reason), self._time())

    def _note(self, channel: Channel, receipts: Sequence[Receipt]) -> None:
        useful = any(r.outcome is not Outcome.LATER and r.outcome is not Outcome.DOUBT for r in receipts)
        if not useful and any(r.reason is Reason.THROTTLED for r in receipts):
            return  # It is there, and its origin knows what it takes.
        if not useful and len(receipts) < min(self._limits.flush, 10):
            return
        asked = 0.0 if useful else max((r.retry_after or 0.0 for r in receipts), default=0.0)
        self._breakers[channel].note(useful=useful, now=elapsed(), retry_after=asked)

    async def _obey(self, answers: Sequence[Answer]) -> None:
        """Dead addresses leave the directory, unless their origin says so of everybody; whoever said STOP
        gets nothing more on that channel."""
        directory, stopped = self._exchange.store.directory, []
        for out, receipt, after in answers:
            address = ids.address_hash(self._exchange.key, out.target.channel, out.target.address)
            if after.prune and self._origins.of(out.target).may_prune(receipt):
                await insist(directory.prune, out.uid, out.target.address, receipt.dead_since, address)
            if after.suppress:
                stopped.append(Suppression(address, out.target.channel, after.reason, self._time()))
        if stopped:
            await insist(directory.suppress, stopped)

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._exchange.clock(), UTC)


async def every(work: Iterable[Awaitable[None]]) -> None:
    """Run all to their end, also when one fails: a call under way must not be cut off. Raises the first."""
    for ended in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended
