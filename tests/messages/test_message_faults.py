"""Dispatch processes that die, stop, and follow each other: nothing is lost, and the bound is kept."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from conftest_engine import Ground, device, person
from message_world import OPERATOR, SERVICE, open_room
from waiting import until

from msgxc import campaigns, ids
from msgxc.messages import publishing, reading
from msgxc.messages.dispatching import queue
from msgxc.messages.records import Draft
from msgxc.messages.succession import vacant
from msgxc.model import Channel, Urgency
from msgxc.settings import ROOT, Settings
from msgxc.wiring import Exchange

HERE = Path(__file__).parent
#: Publishes, and then takes back unless it is killed before.
SAY = """
import asyncio
from uuid import UUID
from msgxc.messages import publishing
from msgxc.messages.records import Draft, Principal, Role
from msgxc.wiring import open_exchange

async def main():
    who = Principal(None, frozenset({{Role.ADMIN}}))
    async with open_exchange() as exchange:
        said = await publishing.publish(exchange, who, Draft("Hi", UUID("{tid}")))
        await publishing.{back}(exchange, who, said.tid, said.mid)

asyncio.run(main())
"""
HIGH = Urgency.HIGH


class Processes:
    """Dispatch processes over one exchange's store; none is left at the end."""

    def __init__(self, settings: Settings) -> None:
        chosen = settings.model_dump(mode="json", exclude_defaults=True)
        self._env = {**os.environ, **{f"MSGXC_{name}".upper(): str(v) for name, v in chosen.items()}}
        self.running: list[subprocess.Popen[str]] = []

    async def start(self, failpoints: str = "") -> subprocess.Popen[str]:
        """One more, ready to drain unless it leaves at once."""
        process = subprocess.Popen(
            [sys.executable, str(HERE / "dispatch_process.py")],
            env={**self._env, "MSGXC_FAILPOINTS": failpoints},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.running.append(process)
        assert process.stdout
        await asyncio.to_thread(process.stdout.readline)
        return process

    def run(self, code: str, failpoints: str) -> subprocess.Popen[str]:
        """Some code in a process of its own."""
        env = {**self._env, "MSGXC_FAILPOINTS": failpoints}
        process = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True)
        self.running.append(process)
        return process

    def end(self) -> None:
        """Kill what is left."""
        for process in self.running:
            process.kill()
            process.communicate()


@pytest.fixture
def processes(settings: Settings) -> Iterator[Processes]:
    """The processes of one test."""
    made = Processes(settings)
    yield made
    made.end()


async def _until_empty(exchange: Exchange) -> None:
    async def empty() -> bool:
        return not await queue(exchange)

    await until(empty, look=0.1)


async def test_what_a_killed_process_had_in_hand_is_not_unsent(
    exchange: Exchange, ground: Ground, processes: Processes
) -> None:
    """Killed when the provider had the first of it, then recalled: whoever has it on a phone is told that it
    was withdrawn, nobody who surely has not; "unsent" is nobody who has it, and the four add up."""
    room = await open_room(exchange, ground, 40)
    said = await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid, urgency=Urgency.HIGH))
    process = await processes.start("sent=kill@1")
    await asyncio.to_thread(process.wait, 120)
    have_it = set(ground.by_person())
    assert 0 < len(have_it) < 40
    found = await publishing.recall(exchange, OPERATOR, room.tid, said.mid)
    assert found.audience == 40
    assert found.seen == found.beyond == 0
    told = {uid for uid, count in ground.by_person().items() if count > 1 or uid not in have_it}
    assert have_it <= told, "it stands on a phone, and was not taken back"
    assert found.withdrawn == len(told) <= exchange.settings.window
    assert found.unsent == 40 - len(told)


#: Steps of dispatch, and of the engine below it.
POINTS = ("taken", "made", "window_opened", "sent", "recorded", "completing", "moving")
#: Steps of whoever publishes, cancels or recalls, and of what comes out at its time.
OTHERS = ("published", "canceling", "recalling", "coming_out")


def test_every_step_of_a_message_is_tried() -> None:
    """The names are in the source: a new step cannot stay untested."""
    found: set[str] = set()
    for file in (ROOT / "msgxc" / "messages").glob("*.py"):
        found.update(re.findall(r'failpoint\("(\w+)"\)', file.read_text()))
    assert found <= {*POINTS, *OTHERS}


@pytest.mark.parametrize("point", POINTS)
async def test_kill_9_in_mid_drain(
    exchange: Exchange, ground: Ground, processes: Processes, point: str
) -> None:
    """Killed at each step, the next process goes on: everybody gets each message, repeats in bounds."""
    room = await open_room(exchange, ground, 6)
    said = [
        await publishing.publish(exchange, SERVICE, Draft(f"m{n}", room.tid, urgency=HIGH)) for n in range(8)
    ]
    killed = await processes.start(f"{point}=kill@4")
    await asyncio.to_thread(killed.wait, 120)
    assert killed.returncode == -signal.SIGKILL
    await processes.start()
    await _until_empty(exchange)
    per_person = ground.by_person()
    assert set(per_person) == {p.uid for p in room.people}
    assert min(per_person.values()) >= 8
    assert sum(per_person.values()) - 8 * 6 <= campaigns.bound(exchange)
    for one in said:
        found = await campaigns.report(exchange, ids.message_name(one.mid))
        assert found.adds_up
        assert found.ends["reached"] == 6  # type: ignore[index]  # an End is its word


@pytest.mark.parametrize("point", ["published", "canceling", "recalling"])
async def test_whoever_publishes_or_takes_back_is_killed(
    exchange: Exchange, ground: Ground, processes: Processes, point: str
) -> None:
    """What was stored is sent by dispatch; what was noted as canceled or recalled is not."""
    room = await open_room(exchange, ground, 2)
    back = {"canceling": "cancel"}.get(point, "recall")
    code = SAY.format(tid=room.tid, back=back)
    killed = processes.run(code, f"{point}=kill")
    assert await asyncio.to_thread(killed.wait, 120) == -signal.SIGKILL
    assert len(await queue(exchange)) == 1
    await processes.start()
    await _until_empty(exchange)
    assert ground.by_person() == (Counter(p.uid for p in room.people) if point == "published" else Counter())


async def test_a_kill_while_it_comes_out_sends_it_once(
    exchange: Exchange, ground: Ground, processes: Processes
) -> None:
    """A scheduled message whose dispatcher is killed between its fresh id and the message: one comes out."""
    room = await open_room(exchange, ground, 2)
    at = datetime.fromtimestamp(exchange.clock() + 1, UTC)
    await publishing.publish(exchange, SERVICE, Draft("Later", room.tid, scheduled=at, urgency=HIGH))
    killed = await processes.start("coming_out=kill")
    assert await asyncio.to_thread(killed.wait, 120) == -signal.SIGKILL
    await processes.start()
    await _until_empty(exchange)
    assert ground.by_person() == Counter(p.uid for p in room.people)
    assert len(await reading.history(exchange, SERVICE, room.tid)) == 1


async def test_a_killed_process_leaves_no_more_in_doubt_than_a_campaign(
    exchange: Exchange, ground: Ground, processes: Processes
) -> None:
    """Many slow messages at once: those under way when it is killed stay within the bound."""
    room = await open_room(exchange, ground, 0)
    await room.join([person(device(Channel.APNS, f"slow500-{uuid4().hex}")) for _ in range(4)])
    for n in range(30):
        await publishing.publish(exchange, SERVICE, Draft(f"m{n}", room.tid, urgency=HIGH))
    killed = await processes.start()
    await until(lambda: len(ground.accepted()) >= 12, killed)
    killed.kill()
    await asyncio.sleep(0.6)
    before = Counter(ground.by_person())
    await processes.start()
    await _until_empty(exchange)
    total = sum(ground.by_person().values())
    assert sum(before.values()) <= total
    assert total - 30 * 4 <= campaigns.bound(exchange)
    assert min(ground.by_person().values()) >= 30


async def test_the_next_run_takes_over_without_a_gap(
    exchange: Exchange, ground: Ground, processes: Processes
) -> None:
    """The second tells the first to go and moves up; a third leaves at once; messages flow all the while."""
    room = await open_room(exchange, ground, 1)
    first = await processes.start()

    async def talk(count: int) -> None:
        for n in range(count):
            await publishing.publish(exchange, SERVICE, Draft(f"m{n}", room.tid, urgency=HIGH))
            await asyncio.sleep(0.1)

    talking = asyncio.create_task(talk(40))
    second = await processes.start()
    await asyncio.to_thread(first.wait, 120)
    assert first.returncode == 0
    await talking
    await _until_empty(exchange)
    assert ground.by_person() == Counter({room.people[0].uid: 40})
    assert second.poll() is None
    assert await vacant(exchange) is None
    second.send_signal(signal.SIGTERM)
    await asyncio.to_thread(second.wait, 120)
    assert await vacant(exchange) is not None


async def test_a_third_run_is_not_needed(exchange: Exchange, processes: Processes) -> None:
    """With both seats held it ends at once, without a word to the others."""
    key = ids.dispatch_seats(exchange.key)
    now = exchange.clock()
    for seat in (0, 1):
        assert await exchange.store.ledger.claim(key, seat, "others", now, now + 60)
    third = await processes.start()
    assert await asyncio.to_thread(third.wait, 120) == 0


async def test_the_seat_of_a_killed_process_is_free_again(exchange: Exchange, processes: Processes) -> None:
    """Within its lease: who looks after the runs sees that nobody dispatches, and since when."""
    assert await vacant(exchange) == 0.0
    killed = await processes.start()
    assert await vacant(exchange) is None
    killed.kill()
    await asyncio.sleep(3.5)
    since = await vacant(exchange)
    assert since
    assert since < exchange.clock()


async def test_a_message_between_drain_and_subscribe_is_not_missed(
    exchange: Exchange, ground: Ground
) -> None:
    """Fault 16: whoever reads what it missed, then listens, then reads again from the same place, has all."""
    room = await open_room(exchange, ground, 1)
    me = room.people[0].uid
    first = await publishing.publish(exchange, SERVICE, Draft("0", room.tid))
    drained = await reading.since(exchange, me, first.mid)
    gap = await publishing.publish(exchange, SERVICE, Draft("1", room.tid))  # Nobody listens yet.
    async with exchange.bus.subscribe(f"thread.{room.tid}"):
        again = await reading.since(exchange, me, first.mid)
    assert drained == []
    assert [m.mid for m in again] == [gap.mid]


async def test_dispatch_needs_no_bus(exchange: Exchange, ground: Ground, processes: Processes) -> None:
    """Published by another process over a bus that reaches nobody: found in the store by itself."""
    room = await open_room(exchange, ground, 1)
    dispatching = await processes.start()
    await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid, urgency=HIGH))
    await until(lambda: bool(ground.accepted()), dispatching)
