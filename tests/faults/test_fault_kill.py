"""Faults 1, 2, 3, 4, 26 and 30: processes that are killed, frozen, started twice, asked to end.

Most of such a case is waiting, so many run at once: each is a campaign of its own, and is reported by its
name.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
from fault_process import Process, signal_to
from fault_world import World, brief, crowd, on_sqlite, person, together, until
from waiting import lag

import msgxc
from msgxc import campaigns, ids
from msgxc.campaign import Audience, People
from msgxc.ledger import Control
from msgxc.model import Channel
from msgxc.reports.funnel import End

#: Passages that are tried of each step, and whether all is tried on both stores: more by FAULT_SEEDS=20.
SEEDS = int(os.environ.get("FAULT_SEEDS", "1"))
KILLED = -signal.SIGKILL
Case = Callable[[World], Awaitable[None]]
#: Steps that no campaign passes by itself: killed_again_and_again, tests/gateway/test_gateway_crash.py.
ELSEWHERE = {"doubt_settled", "receipts_noted"}


def failpoints() -> list[str]:
    """The names of all steps, made from the source: a new step cannot stay untested. Those of messages are
    tried in tests/messages/test_message_faults.py."""
    found: set[str] = set()
    for file in Path(msgxc.__file__).parent.rglob("*.py"):
        if file.parent.name == "messages":
            continue
        found.update(re.findall(r'^\s+failpoint\("(\w+)"\)', file.read_text(), re.MULTILINE))
    return sorted(found)


# -- fault 1: kill -9


async def killed_once(name: str, seed: int, world: World) -> None:
    """kill -9 at a failpoint, at a passage chosen by chance: the next process finishes; nobody is lost,
    repeats within the bound of one killed process, under one identity (I1, I2, I3, I6)."""
    people = crowd(70)
    what = await world.campaign(f"{name.replace('_', '-')}-{seed}", people)
    passage = random.Random(f"{name} {seed}").randint(1, 2)
    killed = await world.fleet.run(world.settings, what, f"{name}=kill@{passage}") == KILLED
    assert await world.fleet.run(world.settings, what) == 0
    await world.judge(what, people, repeats=world.bound if killed else 0)


async def killed_again_and_again(world: World) -> None:
    """Killed in mid-window, again while the doubt is settled, again at the first call of the third process:
    three times the bound, nobody lost."""
    people = crowd(70)
    what = await world.campaign("thrice", people)
    for points in ("sent=kill@2", "doubt_settled=kill@1", "sending=kill@1"):
        assert await world.fleet.run(world.settings, what, points) == KILLED
    assert await world.fleet.run(world.settings, what) == 0
    await world.judge(what, people, repeats=3 * world.bound)


async def killed_with_hold(name: str, world: World) -> None:
    """Policy `hold`: after a kill nobody gets it twice, and at most a window of people is unknown."""
    people = crowd(70)
    what = await world.campaign(f"hold-{name.replace('_', '-')}", people, in_doubt="hold")
    assert await world.fleet.run(world.settings, what, f"{name}=kill@2") == KILLED
    assert await world.fleet.run(world.settings, what) == 0
    report = await world.judge(what, people, lost=world.settings.window)
    assert report.ends[End.UNKNOWN] > 0 or name != "window_opened"


async def killed_at_random_moments(world: World) -> None:
    """Killed by the clock, not at a chosen step, while it sends on three channels: nobody is lost, so many
    times the bound at most."""
    chance, kills = random.Random(11), 0
    people = [*crowd(90), *crowd(60, Channel.FCM), *crowd(50, Channel.WEBPUSH)]
    what = await world.campaign("moments", people, per_second=120)
    while kills < 3:
        process = world.fleet.start(world.settings, what)
        await world.fleet.linger(process, chance.uniform(0.5, 1.6))
        if process.exitcode is not None:
            break
        process.kill()
        await world.fleet.wait(process)
        kills += 1
    assert await world.fleet.run(world.settings, what) == 0
    await world.judge(what, people, repeats=kills * world.bound)


# -- fault 2: while the audience is expanded


async def killed_while_expanding(points: str, world: World) -> None:
    """Killed while expanding and right before the seal, then begun again: the count and the hash are those of
    an audience that nobody interrupted."""
    people = crowd(1300)
    what = await world.campaign(f"seal-{points.partition('=')[0]}-{points[-1]}", people)
    assert await world.fleet.run(world.settings, what, points) == KILLED
    planned = await world.prepare(what)
    sealed = await campaigns.seal(world.exchange, planned.id)
    digests = (ids.audience_digest(world.exchange.key, planned.id, p.uid) for p in people)
    assert (sealed.count, sealed.digest) == (1300, sum(digests) % 2**64)


# -- fault 3: frozen


async def stopped(process: Process) -> None:
    """Wait until a process has stopped itself."""
    assert process.pid is not None
    seen = psutil.Process(process.pid)
    await until(lambda: seen.status() == psutil.STATUS_STOPPED, process)


async def frozen(name: str, world: World) -> None:
    """SIGSTOP for longer than the lease, at the worst steps: right before a call, with a window open, with
    answers unrecorded. Another process takes over and finishes; then SIGCONT. The sleeper notices before its
    next call: repeats within the bound, both end well, the report is the journal's (I1-I3, I6)."""
    people = crowd(70)
    what = await world.campaign(f"frozen-{name.replace('_', '-')}", people)
    sleeper = world.fleet.start(world.settings, what, f"{name}=stop@2")
    await stopped(sleeper)
    await asyncio.sleep(world.settings.lease_seconds + 0.2)
    assert await world.fleet.run(world.settings, what) == 0
    signal_to(sleeper, signal.SIGCONT)
    assert await world.fleet.wait(sleeper) == 0
    await world.judge(what, people, repeats=world.bound)


async def frozen_among_others(world: World) -> None:
    """The sleeper wakes while its successor is in the middle of the same shard: the bound holds."""
    people = crowd(50)
    what = await world.campaign("frozen-among", people, per_second=40)
    sleeper = world.fleet.start(world.settings, what, "sending=stop@3")
    await stopped(sleeper)
    await asyncio.sleep(world.settings.lease_seconds + 0.2)
    before = len(world.ground.accepted(people))
    successor = world.fleet.start(world.settings, what)
    await until(lambda: len(world.ground.accepted(people)) > before, successor)
    signal_to(sleeper, signal.SIGCONT)
    assert await world.fleet.wait(successor) == 0
    assert await world.fleet.wait(sleeper) == 0
    await world.judge(what, people, repeats=world.bound)


# -- faults 26 and 30


async def duplicate_uids(world: World) -> None:
    """A list that names everybody three times, sent through a kill: one message each (and within the bound of
    the kill), and the audience counts each once."""
    people = crowd(60)
    what = await world.campaign("dupes", people)
    uids = tuple(p.uid for p in people) * 3
    what = what.model_copy(update={"audience": Audience(to=People(uids=uids))})
    assert await world.fleet.run(world.settings, what, "sent=kill@2") == KILLED
    assert await world.fleet.run(world.settings, what) == 0
    report = await world.judge(what, people, repeats=world.bound)
    assert report.audience == 60


async def asked_to_end_and_killed(world: World) -> None:
    """Killed while it ends politely: within the bound, like any other kill."""
    people = crowd(100)
    what = await world.campaign("impatient", people, per_second=100)
    process = world.fleet.start(world.settings, what)
    await until(lambda: len(world.ground.accepted(people)) >= 30, process)
    signal_to(process, signal.SIGTERM)
    signal_to(process, signal.SIGKILL)
    assert await world.fleet.wait(process) == KILLED
    assert await world.fleet.run(world.settings, what) == 0
    await world.judge(what, people, repeats=world.bound)


WORST = ("window_opened", "sending", "sent")


def kills(kind: str) -> list[tuple[str, Case]]:
    """By name. What does not depend on the store is tried on one, unless there is time for more."""
    names = [name for name in failpoints() if name not in ELSEWHERE]
    found: list[tuple[str, Case]] = [
        (f"1 kill {name} {seed}", partial(killed_once, name, seed)) for seed in range(SEEDS) for name in names
    ]
    steps = ("begun=kill@1", "expanding=kill@1", "expanded=kill@1")
    found += [(f"2 {step}", partial(killed_while_expanding, step)) for step in steps]
    if kind == "sqlite" or SEEDS > 1:
        found += [(f"1 hold {name}", partial(killed_with_hold, name)) for name in WORST if name != "sending"]
        found += [("1 again and again", killed_again_and_again), ("1 moments", killed_at_random_moments)]
        found += [("26 duplicates", duplicate_uids), ("30 impatient", asked_to_end_and_killed)]
    return found


def freezes(kind: str) -> list[tuple[str, Case]]:
    """By name, as kills."""
    found: list[tuple[str, Case]] = [(f"3 frozen {name}", partial(frozen, name)) for name in WORST]
    if kind == "sqlite" or SEEDS > 1:
        found += [(f"3 frozen {n}", partial(frozen, n)) for n in ("claimed", "recorded", "window_sent")]
        found += [("3 among others", frozen_among_others)]
    return found


async def test_1_2_26_30_killed(world: World, subtests: pytest.Subtests) -> None:
    """Faults 1, 2, 26, 30: each case above says what it expects."""
    found = kills(world.settings.store)
    names = " ".join(name for name, _ in found)
    assert all(step in names for step in ("claimed", "window_opened", "sending", "sent", "finishing"))
    await together([(name, partial(case, world)) for name, case in reversed(found)], subtests)


@brief
async def test_3_frozen(world: World, subtests: pytest.Subtests) -> None:
    """Fault 3: each case above says what it expects."""
    await together([(name, partial(case, world)) for name, case in freezes(world.settings.store)], subtests)


async def test_4_started_twice_at_once(world: World) -> None:
    """Fault 4. The same campaign started by three processes in the same moment, and once more when it is
    over: everybody gets it once (I2)."""
    people = crowd(200)
    what = await world.campaign("double", people)
    codes = await asyncio.gather(*(world.fleet.run(world.settings, what) for _ in range(3)))
    assert codes == [0, 0, 0]
    assert await world.fleet.run(world.settings, what) == 0
    await world.judge(what, people)


@on_sqlite
async def test_26_people_who_share_an_address(world: World) -> None:
    """Fault 26. Two records with one address are two people: each has their own delivery, and both count."""
    shared = crowd(1)[0].devices
    people = [person(*shared), person(*shared)]
    what = await world.campaign("shared", people)
    await world.send(what)
    report = await campaigns.report(world.exchange, what.name)
    assert report.ends == {End.REACHED: 2}
    assert len({entry.delivery for entry in world.ground.accepted()}) == 2


async def test_30_asked_to_end_twice(world: World) -> None:
    """Fault 30. SIGTERM while sending, and again at once: what was under way is written down, nothing is in
    doubt, the lease is let go of. The next process goes on without waiting, and repeats nobody."""
    people = crowd(200)
    what = await world.campaign("polite", people, per_second=60)
    process = world.fleet.start(world.settings, what)
    await until(lambda: len(world.ground.accepted()) >= 30, process)
    signal_to(process, signal.SIGTERM)
    signal_to(process, signal.SIGTERM)
    assert await world.fleet.wait(process) == 0
    assert len(world.ground.accepted()) < 200
    assert await world.fleet.run(world.settings, what) == 0
    await world.judge(what, people)


@on_sqlite
async def test_i4_a_cancel_reaches_every_process(world: World) -> None:
    """I4. Three processes send, one cancels: nothing is accepted later than 2 s after the cancel, also by a
    process that starts afterwards, and everybody left has that reason. (2 s of a machine that has time: what
    this process is held up by is added.)"""
    people = crowd(200)
    what = await world.campaign("cancel", people, per_second=30)
    senders = [world.fleet.start(world.settings, what) for _ in range(3)]
    await until(lambda: len(world.ground.accepted()) >= 30, *senders)
    async with lag() as late:
        await campaigns.set_control(world.exchange, what.name, Control.CANCEL)
        canceled = time.time()
        await asyncio.sleep(2)
    assert [await world.fleet.wait(sender) for sender in senders] == [0, 0, 0]
    assert await world.fleet.run(world.settings, what) == 0
    entries = world.ground.accepted()
    assert max(entry.at for entry in entries) < canceled + 2 + late.seconds
    assert world.ground.repeats() == 0
    report = await campaigns.report(world.exchange, what.name)
    assert report.adds_up
    assert report.ends == {End.REACHED: len(entries), End.SKIPPED: 200 - len(entries)}
