"""The calls of a provider, for one sender: when to make them, what follows, what is written down."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING
from uuid import UUID

from msgxc import ids
from msgxc.errors import ProviderBlocked
from msgxc.failpoints import failpoint
from msgxc.follow import Next, follow
from msgxc.helm import CONTROL_SECONDS, Helm, elapsed
from msgxc.holding import Hold, insist
from msgxc.ledger import Campaign, Control, Mark, Result
from msgxc.model import Channel, Outcome, Outgoing, Receipt, Skip, Urgency
from msgxc.pacing import Breaker, quarter_wait
from msgxc.sharing import fcm_quota, throttle_of
from msgxc.store.ports import Suppression
from msgxc.store.records import batches

if TYPE_CHECKING:
    from msgxc.wiring import Exchange

Record = Callable[[Hold, Sequence[Result]], Awaitable[None]]
Answer = tuple[Outgoing, Receipt, Next]
#: Which attempt this is, from 1, by delivery.
Attempt = Callable[[UUID], int]


class Calls:
    """Hands deliveries to providers. At most `in_flight` are out, or answered and not yet recorded.

    `record` writes results down, however long the store takes.
    """

    def __init__(
        self, exchange: Exchange, campaign: Campaign, helm: Helm, record: Record, chance: Random, share: float
    ) -> None:
        self._exchange, self._campaign, self._helm, self._record = exchange, campaign, helm, record
        self._limits, self._chance = exchange.settings, chance
        # Never more calls under way than windows have recipients: somebody with many devices is many calls.
        most = self._limits.window * self._limits.windows_at_once
        self._together = min(self._limits.flush, self._limits.in_flight, most)
        self._slots = asyncio.Semaphore(max(1, min(self._limits.in_flight, most) // self._together))
        self._throttle = throttle_of(exchange, campaign.id, campaign.spec.sending.per_second or 0, share)
        self._quota = fcm_quota(exchange, share)
        self._breakers: defaultdict[Channel, Breaker] = defaultdict(Breaker)

    async def send(self, hold: Hold, outgoing: Sequence[Outgoing], attempt: Attempt) -> None:
        """Send all of them, to the end, also when one call fails. Raises LeaseLost, ProviderBlocked."""
        chunks = self._chunks(outgoing)
        if len(chunks) == 1:
            await self._send(hold, chunks[0], attempt)
        else:
            await every([self._send(hold, chunk, attempt) for chunk in chunks])

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

    async def _send(self, hold: Hold, chunk: Sequence[Outgoing], attempt: Attempt) -> None:
        """One call of a provider, and its results in the ledger."""
        channel = chunk[0].target.channel
        async with self._slots:
            await self._pace(channel, len(chunk))
            if self._helm.resting:
                await self._record(hold, [self._not_sent(out, attempt) for out in chunk])
                return
            await hold.fence()
            failpoint("sending")
            receipts = await self._exchange.provider(channel).send(chunk)
            failpoint("sent")
            answers = self._answers(chunk, receipts, attempt)
            self._note(channel, receipts)
            await self._record(hold, self._results(answers, attempt))
        if special := [answer for answer in answers if answer[2].special]:
            await self._obey(channel, special)

    async def _pace(self, channel: Channel, units: int) -> None:
        """Wait for the campaign's throttle, the provider's quota, and a provider that is down."""
        waits = [await self._throttle.wait(units)]
        if channel is Channel.FCM:
            waits.append(await self._quota.wait(units))
            if self._exchange.fcm_avoid_quarters:
                waits.append(quarter_wait(Urgency(self._campaign.spec.sending.urgency), self._time()))
        ready = elapsed() + max(waits)
        while not self._helm.resting:
            left_over = max(ready - elapsed(), self._breakers[channel].wait(elapsed()))
            if left_over <= 0:
                return
            await asyncio.sleep(min(left_over, CONTROL_SECONDS))

    def _answers(
        self, chunk: Sequence[Outgoing], receipts: Sequence[Receipt], attempt: Attempt
    ) -> list[Answer]:
        """What follows from each receipt."""
        policy, most = self._campaign.spec.sending.in_doubt, self._limits.attempts
        return [
            (
                out,
                receipt,
                follow(
                    receipt,
                    out.target.channel,
                    attempt=attempt(out.delivery),
                    attempts=most,
                    policy=policy,
                    chance=self._chance,
                ),
            )
            for out, receipt in zip(chunk, receipts, strict=True)
        ]

    def _results(self, answers: Iterable[Answer], attempt: Attempt) -> list[Result]:
        now = self._time()
        return [
            Result(
                out.uid,
                out.delivery,
                out.target.channel,
                after.mark,
                now + timedelta(seconds=after.wait) if after.wait else now,
                after.reason,
                receipt.code,
                receipt.ref,
                attempt(out.delivery),
            )
            for out, receipt, after in answers
        ]

    def _not_sent(self, out: Outgoing, attempt: Attempt) -> Result:
        """Stopped before the call: certainly not sent. A cancel settles it, anything else puts it off."""
        canceled = self._helm.control is Control.CANCEL
        return Result(
            uid=out.uid,
            delivery=out.delivery,
            channel=out.target.channel,
            mark=Mark.SKIPPED if canceled else Mark.LATER,
            at=self._time(),
            reason=Skip.CANCELED if canceled else "",
            attempt=attempt(out.delivery),
        )

    def _note(self, channel: Channel, receipts: Sequence[Receipt]) -> None:
        useful = any(r.outcome is not Outcome.LATER and r.outcome is not Outcome.DOUBT for r in receipts)
        if not useful and len(receipts) < min(self._limits.flush, 10):
            return
        asked = 0.0 if useful else max((r.retry_after or 0.0 for r in receipts), default=0.0)
        self._breakers[channel].note(useful=useful, now=elapsed(), retry_after=asked)

    async def _obey(self, channel: Channel, answers: Sequence[Answer]) -> None:
        """Dead addresses leave the directory; whoever said STOP gets nothing more on that channel; a provider
        that refuses us altogether ends it. Raises ProviderBlocked."""
        directory, stopped = self._exchange.store.directory, []
        for out, receipt, after in answers:
            if after.prune:
                await insist(directory.prune, out.uid, out.target.address, receipt.dead_since)
            if after.suppress:
                address = ids.address_hash(self._exchange.key, out.target.channel, out.target.address)
                stopped.append(Suppression(address, out.target.channel, after.reason, self._time()))
        if stopped:
            await insist(directory.suppress, stopped)
        for _, receipt, after in answers:
            if after.halt:
                self._helm.halt()
                raise ProviderBlocked(f"{channel}: the provider refuses our credentials ({receipt.code})")

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._exchange.clock(), UTC)


async def every(work: Iterable[Awaitable[None]]) -> None:
    """Run all to their end, also when one fails: a call under way must not be cut off. Raises the first."""
    for ended in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended
