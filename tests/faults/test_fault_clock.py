"""Fault 19: clocks that jump, days of 23 and 25 hours, local times that do not exist.

What is promised: a clock that is wrong loses nobody. It repeats nobody that a kill would not repeat, per
shard that is taken from its living owner. What it may cost is time: see docs/faults.md.
"""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from fault_world import NEVER, PATIENCE, World, brief, crowd, on_sqlite, until

from msgxc import campaigns
from msgxc.campaign import fill_name
from msgxc.model import Channel, Urgency
from msgxc.pacing import quarter_wait

HOUR = 3600.0


class Clock:
    """The wall clock, which somebody may set."""

    def __init__(self, off: float = 0.0) -> None:
        self.off = off

    def __call__(self) -> float:
        return time.time() + self.off


@on_sqlite
@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_19_the_clock_jumps_while_sending(world: World, jump: float) -> None:
    """Fault 19. An hour ahead or back in mid-campaign, with a throttle: the campaign goes on at its pace,
    does not wait for the hour to pass, and nobody is lost or repeated (I1, I2, I6)."""
    people = crowd(90)
    what = await world.campaign("jump", people, per_second=60)
    clock = Clock()
    sending = asyncio.create_task(world.send(what, world.through(clock=clock)))
    await until(lambda: len(world.ground.accepted()) >= 15, sending)
    clock.off = jump
    await asyncio.wait_for(sending, PATIENCE)
    await world.judge(what, people)


@pytest.mark.parametrize(
    ("kind", "apart"), [("sqlite", HOUR), ("sqlite", -HOUR), ("cassandra", HOUR)], indirect=["kind"]
)
async def test_19_two_machines_an_hour_apart(world: World, apart: float) -> None:
    """Fault 19. Two processes whose clocks are an hour apart send the same campaign: to the one ahead every
    lease looks over, and it takes shards from their living owner. The owner notices with its next window:
    for each shard so taken at most one window is repeated, nobody is lost, the report is right."""
    people = crowd(150)
    what = await world.campaign("apart", people, per_second=60)
    processes = [world.fleet.start(world.settings, what, clock=off) for off in (0.0, apart)]
    assert [await world.fleet.wait(process) for process in processes] == [0, 0]
    campaign = await campaigns.campaign_named(world.exchange, what.name)
    await world.judge(what, people, repeats=campaign.shards * world.settings.window)


@on_sqlite
@brief
async def test_19_a_lease_from_the_future_delays_and_loses_nothing(world: World) -> None:
    """Fault 19. A process of another machine whose clock is ahead by four seconds dies: its lease looks four
    seconds longer. The next one waits that long, and finishes (I1, I3)."""
    people = crowd(50)
    what = await world.campaign("future", people)
    planned = await world.prepare(what)
    now = time.time()
    ends = now + world.settings.lease_seconds + 4.0
    for shard in range(planned.shards):
        assert await world.exchange.store.ledger.claim(planned.id, shard, "another-machine-1", now, ends)
    assert await world.fleet.run(world.settings, what) == 0
    assert min(entry.at for entry in world.ground.accepted()) >= ends
    await world.judge(what, people)


@on_sqlite
async def test_19_a_lease_from_the_future_of_a_process_that_was_here(world: World) -> None:
    """Fault 19. The same on this machine, with a clock that is an hour ahead: that the process has died is
    seen, and its lease is over (I1, I3)."""
    people = crowd(50)
    what = await world.campaign("future-here", people)
    assert await world.fleet.run(world.settings, what, "sent=kill@2", clock=HOUR) == -signal.SIGKILL
    assert await world.fleet.run(world.settings, what) == 0
    await world.judge(what, people, repeats=world.bound)


@on_sqlite
async def test_19_put_off_by_a_clock_that_is_set_back(world: World) -> None:
    """Fault 19. What was put off a minute before the clock was set right comes when the clock says so: later
    by the jump, and not lost."""
    people = crowd(1, Channel.APNS, "throttled1")
    what = await world.campaign("put-off", people)
    planned = await world.prepare(what)
    wrong = time.time() + 4.0
    ahead = world.through(clock=lambda: wrong)  # stands still: what is put off by it is not due by it
    await campaigns.send_slice(ahead, planned.id, 0, planned.shards, stop=NEVER, patient=False)
    assert world.ground.accepted() == []
    await asyncio.wait_for(
        campaigns.send_slice(world.exchange, planned.id, 0, planned.shards, stop=NEVER), PATIENCE
    )
    assert [entry.at >= wrong + 1 for entry in world.ground.accepted()] == [True]
    await world.judge(what, people)


#: Days on which Europe/Berlin has 23 and 25 hours, and a zone that once skipped a whole day.
MOMENTS = [
    (datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC), "Europe/Berlin", "2026-03-29"),
    (datetime(2026, 3, 29, 1, 0, 0, tzinfo=UTC), "Europe/Berlin", "2026-03-29"),
    (datetime(2026, 10, 24, 22, 30, tzinfo=UTC), "Europe/Berlin", "2026-10-25"),
    (datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "Europe/Berlin", "2026-10-25"),
    (datetime(2011, 12, 30, 9, 59, tzinfo=UTC), "Pacific/Apia", "2011-12-29"),
    (datetime(2011, 12, 30, 10, 1, tzinfo=UTC), "Pacific/Apia", "2011-12-31"),
]


@pytest.mark.parametrize(("moment", "zone", "day"), MOMENTS)
def test_19_the_name_of_a_day_in_a_zone(moment: datetime, zone: str, day: str) -> None:
    """Fault 19. A scheduled campaign's name is of the local day, also when the clocks change or a day is left
    out: the same run always gets the same name, and so is the same campaign."""
    assert fill_name("digest-{date}", moment.astimezone(ZoneInfo(zone))) == f"digest-{day}"


def test_19_the_hour_that_comes_twice_is_two_times() -> None:
    """Fault 19. 02:30 in Berlin on 2026-10-25 comes twice: as instants they stay an hour apart, so a campaign
    that waits for one of them does not start at the other."""
    berlin = ZoneInfo("Europe/Berlin")
    first = datetime(2026, 10, 25, 2, 30, tzinfo=berlin)
    second = first.replace(fold=1)
    assert second.timestamp() - first.timestamp() == HOUR
    assert first.astimezone(UTC) + timedelta(hours=1) == second.astimezone(UTC)


def test_19_the_quarters_do_not_depend_on_the_zone() -> None:
    """Fault 19. Keeping off the quarters of the hour is the same in a zone that is 45 minutes off."""
    for minute in range(60):
        utc = datetime(2026, 11, 22, 10, minute, tzinfo=UTC)
        kathmandu = utc.astimezone(ZoneInfo("Asia/Kathmandu"))
        assert quarter_wait(Urgency.LOW, utc) == quarter_wait(Urgency.LOW, kathmandu)
