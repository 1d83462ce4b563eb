"""A lease in hand, and a store that may be away: what the delivery engine holds on to while it sends."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from math import inf
from typing import ParamSpec, TypeVar
from uuid import UUID, uuid4

from msgxc.errors import LeaseLost, StoreUnavailable
from msgxc.ledger import Lease, Window
from msgxc.standstill import RENEWALS, Work
from msgxc.store.ports import Ledger
from msgxc.this_machine import has_died

P = ParamSpec("P")
T = TypeVar("T")
LONGEST_PAUSE = 5.0
#: What is being done under a lease, for whoever does a part of it.
WORK: ContextVar[Work] = ContextVar("work")


async def insist(call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """A call of the store, again and again while it is away; each time is a step of the work that it belongs
    to. Every call may be made twice."""
    pause = 0.1
    while True:
        try:
            return await call(*args, **kwargs)
        except StoreUnavailable:
            await asyncio.sleep(pause)
            if work := WORK.get(None):
                work.step()
            pause = min(pause * 2, LONGEST_PAUSE)


async def take(
    ledger: Ledger, campaign: UUID, shard: int, owner: str, now: float, until: float
) -> Lease | None:
    """The lease, where nobody holds it, or whoever does has surely died; as Ledger.claim.

    `owner`: a name that nobody else has, of somebody who does not know that it holds the lease. If it does,
    an earlier claim was applied and its answer lost, or the work under it has failed: that lease ends, too,
    and this one has the next epoch, so that what was under way in the other is in doubt.
    """
    lease = await ledger.claim(campaign, shard, owner, now, until)
    if lease is None and await end_of_the_dead(ledger, campaign, shard, shard + 1, now, owner):
        lease = await ledger.claim(campaign, shard, owner, now, until)
    return lease


def name_within(process: str) -> str:
    """An owner's name for one of the things that a process does; whoever does another has another name."""
    return f"{process}/{uuid4().hex[:8]}"


async def end_of_the_dead(
    ledger: Ledger, campaign: UUID, first: int, last: int, now: float, own: str = ""
) -> dict[int, float]:
    """Have the leases in [first, last) whose owners have surely died (msgxc/owners.py) end now; and those of
    `own`, who has lost them. Answers those shards -> when the lease ended: now, or before.

    By the owner's own compare-and-set: somebody who has taken it over meanwhile is not disturbed, and who
    takes it over next gets the next epoch, as after any other end.
    """
    held, ends = await ledger.held(campaign, first, last), {}
    owners = {lease.owner for lease in held}  # each is looked at once
    dead = {owner for owner in owners if owner == own or has_died(owner)}
    for lease in held:
        if lease.owner in dead and (lease.until <= now or await ledger.renew(lease, now)):
            ends[lease.shard] = min(lease.until, now)
    return ends


@dataclass(slots=True)
class Hold:
    """A lease: kept up in the background, and looked at before every call of a provider.

    `seconds`: how long it runs unrenewed. `margin`: what it must still have when a call begins; longer than
    the call's own timeout, so that nothing of ours reaches a provider after somebody else has taken over.
    `done`: windows whose results are all recorded, and that the store does not yet know as done.
    `late`: windows that wait for slow calls; `aside`: nothing else is left, so that others may go on.
    `work`: the steps of what is done under it.
    """

    lease: Lease
    ledger: Ledger
    clock: Callable[[], float]
    seconds: float
    margin: float
    done: deque[Window] = field(default_factory=deque)
    late: set[asyncio.Task[None]] = field(default_factory=set)
    aside: asyncio.Event = field(default_factory=asyncio.Event)
    work: Work = field(default_factory=Work)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def keep(self, most: float = inf) -> bool:
        """Renew at a third of the lease, until it is lost, or was renewed more than `most` times without a
        step of the work: then True."""
        with suppress(LeaseLost):
            while not self.work.stands_still(most):
                await asyncio.sleep(self.seconds / RENEWALS)
                with suppress(StoreUnavailable):
                    async with self._turn:
                        await self._renew()
                    self.work.renewed()
            return True
        return False

    async def fence(self) -> None:
        """Return only while the lease outlives a provider call. Raises LeaseLost.

        Renewals take turns: two at once could be applied in the wrong order and shorten the lease. One whose
        answer was so long in coming that too little is left is made again.
        """
        self.work.step()
        while self._short():
            async with self._turn:
                if self._short():
                    await insist(self._renew)

    async def confirm(self, ours: bool | None = None) -> None:
        """Return only if the store says that the lease is ours still. Raises LeaseLost.

        Asked once a window's intent is written: whoever takes the shard over from now on finds the intent.
        It does not matter here how far apart the clocks of two machines are. `ours`: what the store has just
        said; False may mean that the lease was renewed meanwhile.
        """
        if ours is None:
            shard = self.lease.shard
            held = await insist(self.ledger.unfinished, self.lease.campaign, shard, shard + 1)
            ours = held.get(shard) == self.lease.until
        if not ours:
            async with self._turn:
                await insist(self._renew)

    def _short(self) -> bool:
        return self.lease.until - self.clock() < self.margin

    async def _renew(self) -> None:
        renewed = await self.ledger.renew(self.lease, self.clock() + self.seconds)
        if renewed is None:
            self.lease = replace(self.lease, until=0.0)
            raise LeaseLost(f"shard {self.lease.shard} is somebody else's now")
        self.lease = renewed
