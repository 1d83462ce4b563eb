"""The engine's own steps under faults that come at an exact moment: each was once a way to lose or repeat."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from fault_store import Call
from fault_world import NEVER, PATIENCE, World, brief, crowd, device, fresh, on_sqlite, person, together
from waiting import until

from msgxc import campaigns, standstill
from msgxc.campaign import InDoubt
from msgxc.errors import LeaseLost, StandsStill, StoreUnavailable
from msgxc.follow import follow
from msgxc.holding import Hold
from msgxc.ledger import Control, Lease, Mark, Result
from msgxc.model import Channel, Outcome, Reason, Receipt
from msgxc.reports.funnel import End
from msgxc.standstill import Work
from msgxc.wiring import Exchange


async def a_stale_read_of_the_operators_wish_finishes_no_shard(world: World) -> None:
    """Paused between two windows, while an older look at the wish ("run") comes in late: the rest of the
    shard is not taken for sent. It goes out when the operator says so, and nobody is lost (I1)."""
    people = crowd(50)
    what = await world.campaign("stale-wish", people)
    late, reads = asyncio.Event(), 0

    async def around(name: str, call: Call) -> Any:
        nonlocal reads
        if name == "get" and reads > 1:
            await asyncio.sleep(0.2)  # the third window is still being looked at
        if name != "control":
            return await call()
        reads += 1
        if reads == 1:  # the watcher's first look: made now, heard late
            wish = await call()
            await late.wait()
            return wish
        if reads == 3:  # before the second window
            await campaigns.set_control(world.exchange, what.name, Control.PAUSE)
        wish = await call()
        if reads == 3:
            late.set()
        return wish

    planned = await world.prepare(what)
    slow = world.through(around)
    sending = asyncio.create_task(campaigns.send_slice(slow, planned.id, 0, planned.shards, stop=NEVER))
    await asyncio.wait_for(late.wait(), PATIENCE)
    await asyncio.sleep(1)
    assert 0 < len(world.ground.accepted(people)) < 50
    await campaigns.set_control(world.exchange, what.name, Control.RUN)
    await asyncio.wait_for(sending, PATIENCE)
    await world.judge(what, people)


class _SlowLedger:
    """A ledger whose renewals take their time; `taken`: somebody else has the lease."""

    def __init__(self, clock: list[float], *takes: float) -> None:
        self.clock, self.takes, self.taken, self.renewals = clock, list(takes), False, 0

    async def renew(self, lease: Lease, until: float) -> Lease | None:
        await asyncio.sleep(0)
        self.renewals += 1
        self.clock[0] += self.takes.pop(0) if self.takes else 0.0
        return None if self.taken else Lease(lease.campaign, lease.shard, lease.owner, lease.epoch, until)


def _hold(ledger: Any, clock: list[float], until: float) -> Hold:
    return Hold(Lease(uuid4(), 0, "anna", 1, until), ledger, lambda: clock[0], seconds=30, margin=11)


async def test_the_fence_counts_the_time_that_a_renewal_takes() -> None:
    """A renewal answered after 25 s has 5 of its 30 left: too few for a call of the provider."""
    clock = [100.0]
    hold = _hold(_SlowLedger(clock, 25.0, 1.0), clock, until=105.0)
    await hold.fence()
    assert hold.lease.until - clock[0] >= 11


async def test_many_calls_at_the_fence_renew_once() -> None:
    """Ten calls that find the lease short make one compare-and-set, not ten that fight each other."""
    clock = [100.0]
    ledger = _SlowLedger(clock)
    hold = _hold(ledger, clock, until=105.0)
    await asyncio.gather(*(hold.fence() for _ in range(10)))
    assert ledger.renewals == 1


async def test_a_lease_is_not_renewed_for_ever_without_a_step() -> None:
    """As long as the work moves it is renewed; then so often again, and no more. Who counts no steps keeps
    it."""
    clock = [100.0]
    ledger = _SlowLedger(clock)
    hold = replace(_hold(ledger, clock, until=105.0), seconds=0.006)
    renew = ledger.renew

    async def moves_ten_times(lease: Lease, until: float) -> Lease | None:
        if ledger.renewals < 10:
            hold.work.step()
        return await renew(lease, until)

    ledger.renew = moves_ten_times  # type: ignore[method-assign]
    assert await hold.keep(most=3)
    assert ledger.renewals == 10 + 3
    kept = asyncio.create_task(replace(hold, work=Work()).keep())
    await until(lambda: ledger.renewals >= 50, look=0.01)
    kept.cancel()


async def test_a_lost_lease_stays_lost() -> None:
    """Whoever comes to the fence after the loss is told so too."""
    clock = [100.0]
    ledger = _SlowLedger(clock)
    ledger.taken = True
    hold = _hold(ledger, clock, until=105.0)
    for _ in range(2):
        with pytest.raises(LeaseLost):
            await hold.fence()


async def a_window_is_opened_by_the_owner_alone(world: World) -> None:
    """Somebody whose clock is an hour ahead takes a shard from its living owner, between the owner's look at
    its lease and its next window: the owner notices before it sends, and nobody gets it twice (I2)."""
    people = crowd(50)
    what = await world.campaign("stolen", people)
    planned = await world.prepare(what)
    ahead = world.through(clock=lambda: time.time() + 3600)
    windows = 0

    async def around(name: str, call: Call) -> Any:
        nonlocal windows
        windows += name == "open_window"
        if name == "open_window" and windows == 2:
            await campaigns.send_slice(ahead, planned.id, 0, planned.shards, stop=NEVER)
        return await call()

    robbed = world.through(around)
    await asyncio.wait_for(campaigns.send_slice(robbed, planned.id, 0, planned.shards, stop=NEVER), PATIENCE)
    await world.judge(what, people)


async def many_devices_do_not_stretch_the_bound(world: World) -> None:
    """Five devices each: a killed process repeats at most what it promised, although a window of two
    people has ten deliveries (I3)."""
    people = [person(*(device(Channel.APNS, fresh("ok")) for _ in range(5))) for _ in range(20)]
    what = await world.campaign("devices", people)
    tight = {"window": 2, "in_flight": 50}
    assert await world.fleet.run(world.settings, what, "sent=kill@2", **tight) == -signal.SIGKILL
    assert await world.fleet.run(world.settings, what, **tight) == 0
    assert len({entry.address for entry in world.ground.accepted(people)}) == 100
    assert world.ground.repeats(people) <= 2


def test_a_doubt_that_is_left_at_the_last_try_is_unknown() -> None:
    """No answer at the last try: the message may have gone out, so it has not failed, it is unknown."""
    receipt = Receipt(Outcome.DOUBT, Reason.TIMEOUT)
    last = follow(receipt, Channel.APNS, attempt=3, attempts=3, policy=InDoubt.RESEND, chance=Random(1))
    assert last.mark is Mark.UNKNOWN
    receipt = Receipt(Outcome.LATER, Reason.UNAVAILABLE)
    last = follow(receipt, Channel.APNS, attempt=3, attempts=3, policy=InDoubt.RESEND, chance=Random(1))
    assert last.mark is Mark.FAILED


async def a_canceled_campaign_says_what_is_unknown(world: World) -> None:
    """Killed in mid-window, then canceled: those in doubt are unknown in the report, not "canceled", since
    some of them have it (I6)."""
    people = crowd(60)
    what = await world.campaign("cancel-doubt", people)
    assert await world.fleet.run(world.settings, what, "sent=kill@2") == -signal.SIGKILL
    await campaigns.set_control(world.exchange, what.name, Control.CANCEL)
    planned = await campaigns.plan(world.exchange, what)
    assert await campaigns.finish(world.exchange, planned.id)
    report = await campaigns.report(world.exchange, what.name)
    reached = len(world.ground.by_person(people))
    said = report.channels[Channel.APNS]
    assert said.accepted <= reached <= said.accepted + said.unknown


@on_sqlite
async def test_canceling_does_not_wait_for_what_was_put_off(world: World) -> None:
    """People who were put off for long are no doubt: a canceled campaign is over at once, and says so."""
    people = crowd(60)
    what = await world.campaign("cancel-parked", people)
    planned = await world.prepare(what)
    ledger, now = world.exchange.store.ledger, time.time()
    for shard in range(planned.shards):
        lease = await ledger.claim(planned.id, shard, "gone", now, now + 4)
        assert lease
        in_an_hour = datetime.fromtimestamp(now + 3600, UTC)
        members = await ledger.members(planned.id, shard)
        put_off = [Result(uid, uuid4(), Channel.APNS, Mark.LATER, in_an_hour, attempt=1) for uid in members]
        await ledger.record(lease, put_off)
        await ledger.release(lease, now + 3600)
    await campaigns.set_control(world.exchange, what.name, Control.CANCEL)
    assert await asyncio.wait_for(campaigns.finish(world.exchange, planned.id), PATIENCE)
    report = await campaigns.report(world.exchange, what.name)
    assert report.ends == {End.SKIPPED: 60}


async def a_sealer_that_was_overtaken_starts_afresh(world: World) -> None:
    """Whoever loses the right to seal while expanding does not count what another is still writing, and what
    it still writes adds nobody: also not somebody who has left the audience since it looked."""
    people = crowd(1200)
    what = await world.campaign("overtaken", people)
    planned = await campaigns.plan(world.exchange, what)
    order: list[str] = []
    frozen, sealed = asyncio.Event(), asyncio.Event()

    def noting(who: str) -> Exchange:
        async def around(name: str, call: Call) -> Any:
            if name == "expand" and who == "slow" and not frozen.is_set():
                frozen.set()
                await asyncio.wait_for(sealed.wait(), PATIENCE)
            if name == "renew" and who == "slow" and not sealed.is_set():
                raise StoreUnavailable("told to")
            if name == "seal":
                order.append(f"{who} seal")
            return await call()

        other = world.through(around)
        other.owner = who  # another process, as the lease sees it
        return other

    slow = asyncio.create_task(campaigns.seal(noting("slow"), planned.id))
    await asyncio.wait_for(frozen.wait(), PATIENCE)
    leaver = people.pop()
    cohort = f"overtaken-{world.mark}"
    await world.exchange.store.cohorts.remove(cohort, [leaver.uid])
    quick = await campaigns.seal(noting("quick"), planned.id)
    sealed.set()
    assert await slow == quick
    assert quick.count == 1199
    assert order == ["quick seal"]
    ledger = world.exchange.store.ledger
    members = [uid for shard in range(planned.shards) for uid in await ledger.members(planned.id, shard)]
    assert sorted(members) == sorted(one.uid for one in people)


@on_sqlite
async def test_work_that_stands_still_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a provider has answered is being written down, and that never comes to an end, while the lease is
    renewed: the sender lets go of the shard and says so. Whoever begins anew sends the rest, and repeats no
    more than was under way."""
    people = crowd(70)
    what = await world.campaign("stands-still", people)
    planned = await world.prepare(what)
    brief = world.settings.model_copy(update={"lease_seconds": 1.5, "provider_timeout": 0.7})
    never, renewals = asyncio.Event(), 0

    async def around(name: str, call: Call) -> Any:
        nonlocal renewals
        renewals += name == "renew"
        if name == "record":
            await never.wait()
        return await call()

    with monkeypatch.context() as patch:
        patch.setattr(standstill, "LEASES", 1)
        patch.setattr(standstill, "LEAST_SECONDS", 0.0)
        other = world.through(around, settings=brief)
        stuck = campaigns.send_slice(other, planned.id, 0, planned.shards, stop=NEVER)
        with pytest.raises(StandsStill):
            await asyncio.wait_for(stuck, PATIENCE)
    assert renewals >= standstill.RENEWALS
    sent = campaigns.send_slice(world.exchange, planned.id, 0, planned.shards, stop=NEVER)
    await asyncio.wait_for(sent, PATIENCE)
    await world.judge(what, people, repeats=world.settings.window)


CASES = (
    a_stale_read_of_the_operators_wish_finishes_no_shard,
    a_window_is_opened_by_the_owner_alone,
    many_devices_do_not_stretch_the_bound,
    a_canceled_campaign_says_what_is_unknown,
)


@brief
async def test_2_a_sealer_that_was_overtaken(world: World) -> None:
    """Fault 2, on both stores."""
    await a_sealer_that_was_overtaken_starts_afresh(world)


@on_sqlite
@brief
async def test_steps_of_the_engine(world: World, subtests: pytest.Subtests) -> None:
    """Each of the cases above says what it holds; they wait for leases, so all of them run at once."""
    await together([(case.__name__, partial(case, world)) for case in CASES], subtests)
