"""kill -9: nothing is lost, and repeats stay within the bound. The provider's journal is the judge."""

from __future__ import annotations

import asyncio
import random
import re
import signal
import subprocess
from pathlib import Path

import pytest
from conftest_engine import Ground, brief, crowd, enlist, person, rows_of, send, spec, start_process
from waiting import until

import msgxc
from msgxc import campaigns
from msgxc.campaign import CampaignSpec
from msgxc.ledger import Control, Mark
from msgxc.model import Channel, Reason, Recipient
from msgxc.reports.funnel import End
from msgxc.settings import Settings
from msgxc.wiring import Exchange

SOURCE = Path(msgxc.__file__).parent
FAILPOINTS = sorted(
    {
        name
        for file in SOURCE.rglob("*.py")
        for name in re.findall(r'^\s+failpoint\("(\w+)"\)', file.read_text(), re.MULTILINE)
    }
)
PEOPLE = 120


def bound(settings: Settings) -> int:
    """What one killed process may repeat."""
    return min(settings.window * settings.windows_at_once, settings.in_flight + settings.flush - 1)


async def run_to_end(settings: Settings, what: CampaignSpec, failpoints: str = "", **more: object) -> int:
    """The campaign in a process of its own; answers its exit code. `more`: further settings."""
    process = start_process(settings, what, failpoints, **more)
    return await asyncio.to_thread(process.wait, 120)


async def check(exchange: Exchange, ground: Ground, people: list[Recipient], name: str, repeats: int) -> None:
    """I1, I2, I3 and I6, from the journal."""
    rows = await rows_of(exchange, name)
    # What this machine did not answer in time is allowed for, if the ledger knows of it.
    repeats += sum(row.doubts for row in rows if row.reason == Reason.TIMEOUT)
    accepted = ground.by_person()
    assert set(accepted) == {p.uid for p in people}, "I1: somebody was lost"
    assert sum(accepted.values()) - len(accepted) <= repeats, "I3: more repeats than the bound"
    identities = {(entry.address, entry.delivery) for entry in ground.accepted()}
    assert len(identities) == len(people), "a repeat carries another identity"
    report = await campaigns.report(exchange, name)
    assert report.adds_up
    assert report.ends == {End.REACHED: len(people)}, "I6: the report is not the journal"


def test_the_list_of_failpoints_is_not_empty() -> None:
    """The list is made from the source: every step of a window is among them."""
    assert {"window_opened", "sending", "sent", "recorded", "window_sent", "finishing"} <= set(FAILPOINTS)


@pytest.mark.parametrize("name", FAILPOINTS)
async def test_kill_at_every_failpoint(
    exchange: Exchange, ground: Ground, settings: Settings, name: str
) -> None:
    """Killed at a step, at a passage chosen by chance; the next process finishes the campaign."""
    people = crowd(PEOPLE)
    await enlist(exchange, ground, people)
    what = spec(f"kill-{name.replace('_', '-')}")
    passage = random.Random(name).randint(1, 2)
    first = await run_to_end(settings, what, f"{name}=kill@{passage}")
    second = await run_to_end(settings, what)
    assert second == 0
    killed = first == -signal.SIGKILL
    if not killed:  # The step is passed only after a crash, or once: kill there on the way back.
        assert first == 0
    await check(exchange, ground, people, what.name, bound(settings) if killed else 0)


@pytest.mark.parametrize("name", ["expanded", "claimed", "sent"])
async def test_who_comes_next_does_not_wait_for_the_dead(
    exchange: Exchange, ground: Ground, settings: Settings, name: str
) -> None:
    """Killed with a lease that has an hour to go, while sealing or sending: the next process finishes the
    campaign all the same."""
    people = crowd(PEOPLE)
    await enlist(exchange, ground, people)
    what = spec(f"dead-{name}")
    assert await run_to_end(settings, what, f"{name}=kill@1", lease_seconds=3600) == -signal.SIGKILL
    assert await run_to_end(settings, what, lease_seconds=3600) == 0
    await check(exchange, ground, people, what.name, bound(settings))


async def test_kill_at_doubt(exchange: Exchange, ground: Ground, settings: Settings) -> None:
    """Killed in mid-window, and again while settling the doubt: twice the bound, nobody lost."""
    people = crowd(PEOPLE)
    await enlist(exchange, ground, people)
    what = spec("kill-doubt")
    assert await run_to_end(settings, what, "sent=kill@3") == -signal.SIGKILL
    assert await run_to_end(settings, what, "doubt_settled=kill@1") == -signal.SIGKILL
    assert await run_to_end(settings, what) == 0
    await check(exchange, ground, people, what.name, 2 * bound(settings))


async def test_hold_repeats_nobody(exchange: Exchange, ground: Ground, settings: Settings) -> None:
    """Policy `hold`: after a kill nobody is sent to twice, and at most a window is unknown."""
    people = crowd(PEOPLE)
    await enlist(exchange, ground, people)
    what = spec("kill-hold", in_doubt="hold")
    assert await run_to_end(settings, what, "sent=kill@4") == -signal.SIGKILL
    assert await run_to_end(settings, what) == 0
    accepted = ground.by_person()
    assert set(accepted.values()) == {1}
    report = await campaigns.report(exchange, what.name)
    assert report.ends[End.REACHED] + report.ends[End.UNKNOWN] == PEOPLE
    assert 0 < report.ends[End.UNKNOWN] <= settings.window


async def test_two_processes_at_once(exchange: Exchange, ground: Ground, settings: Settings) -> None:
    """The same campaign started twice at the same moment: everybody gets it once."""
    people = crowd(400)
    await enlist(exchange, ground, people)
    what = spec("double")
    codes = await asyncio.gather(run_to_end(settings, what), run_to_end(settings, what))
    assert codes == [0, 0]
    await check(exchange, ground, people, what.name, 0)


async def test_a_frozen_process_wakes_up_harmlessly(
    exchange: Exchange, ground: Ground, settings: Settings
) -> None:
    """SIGSTOP for longer than the lease, then SIGCONT: another process has taken over; nobody is repeated
    beyond the window that was under way."""
    people = crowd(300)
    await enlist(exchange, ground, people)
    what, settings = spec("frozen", per_second=200), brief(settings)
    process = start_process(settings, what)
    await until(lambda: bool(ground.accepted()), process)
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(settings.lease_seconds + 0.5)
    other = asyncio.create_task(run_to_end(settings, what))
    await asyncio.sleep(1)
    process.send_signal(signal.SIGCONT)
    assert await other == 0
    assert await asyncio.to_thread(process.wait, 120) == 0
    await check(exchange, ground, people, what.name, bound(settings))


async def test_sigterm_loses_and_repeats_nothing(
    exchange: Exchange, ground: Ground, settings: Settings
) -> None:
    """A polite end flushes what was sent and lets go of the shard: the next process repeats nobody."""
    people = crowd(300)
    await enlist(exchange, ground, people)
    what = spec("polite", per_second=150)
    process = start_process(settings, what)
    await until(lambda: len(ground.accepted()) >= 30, process)
    process.terminate()
    assert await asyncio.to_thread(process.wait, 120) == 0
    assert len(ground.accepted()) < 300
    await send(exchange, what)
    await check(exchange, ground, people, what.name, 0)


async def test_polite_stops_leave_no_text_message_unknown(
    exchange: Exchange, ground: Ground, settings: Settings
) -> None:
    """Text messages are held in doubt, and a stop makes none: stopped again and again while the throttle is
    waited for, everybody gets it once, and nobody is unknown."""
    people = [person(cell=f"+4930{n:04d}5550101") for n in range(200)]
    await enlist(exchange, ground, people)
    what = spec("polite-sms", channels=(Channel.SMS,), per_second=80)
    for _ in range(4):
        process, before = start_process(settings, what), len(ground.accepted())
        await until(lambda before=before: len(ground.accepted()) >= before + 20, process)
        process.terminate()
        assert await asyncio.to_thread(process.wait, 120) == 0
        rows = await rows_of(exchange, what.name)
        # Put off is what of a window under way had not begun; what only waited has no row.
        assert {row.state for row in rows} <= {Mark.ACCEPTED, Mark.LATER}
        assert len(rows) <= len(ground.accepted()) + settings.window
    assert len(ground.accepted()) < 200
    await send(exchange, what)
    assert ground.by_person() == dict.fromkeys([p.uid for p in people], 1)
    report = await campaigns.report(exchange, what.name)
    assert report.ends == {End.REACHED: 200}
    assert report.sent_again == 0


async def test_crash_after_crash_does_not_repeat_for_ever(
    exchange: Exchange, ground: Ground, settings: Settings
) -> None:
    """One window whose process dies each time after the provider has it: three copies at most, then unknown;
    the report counts each repeat."""
    people = crowd(5)
    await enlist(exchange, ground, people)
    what = spec("again-and-again")
    for _ in range(5):
        await run_to_end(settings, what, "sent=kill@1")
    assert await run_to_end(settings, what) == 0
    assert ground.by_person() == dict.fromkeys([p.uid for p in people], 3)
    report = await campaigns.report(exchange, what.name)
    assert report.ends == {End.UNKNOWN: 5}
    assert report.sent_again == 10


async def test_what_is_in_doubt_when_it_is_canceled_is_not_called_unsent(
    exchange: Exchange, ground: Ground, settings: Settings
) -> None:
    """Killed with a window in hand, then canceled: those of the window are unknown, at once and when it is
    closed, which does not wait for the dead; skipped as canceled is nobody who has it."""
    people = crowd(60)
    await enlist(exchange, ground, people)
    what = spec("doubt-canceled")
    assert await run_to_end(settings, what, "sent=kill@2") == -signal.SIGKILL
    await campaigns.set_control(exchange, what.name, Control.CANCEL)
    campaign = await campaigns.campaign_named(exchange, what.name)
    for _ in range(2):
        report = await campaigns.report(exchange, what.name)
        assert report.adds_up
        have_it = len(ground.by_person())
        assert report.ends[End.REACHED] + report.ends[End.UNKNOWN] >= have_it > 0
        assert report.ends[End.SKIPPED] == 60 - report.ends[End.REACHED] - report.ends[End.UNKNOWN]
        assert 0 < report.ends[End.UNKNOWN] <= settings.window
        await campaigns.finish(exchange, campaign.id)


async def test_kills_at_random_moments(exchange: Exchange, ground: Ground, settings: Settings) -> None:
    """Killed five times by the clock, not at a chosen step: nobody lost, five times the bound at most."""
    chance, kills = random.Random(7), 0
    people = [*crowd(250), *crowd(150, Channel.FCM), *[person(email=f"k{n}@example.com") for n in range(50)]]
    await enlist(exchange, ground, people)
    what = spec("random", channels=(Channel.APNS, Channel.FCM, Channel.EMAIL), per_second=300)
    while kills < 5:
        process = start_process(settings, what)
        try:
            await asyncio.to_thread(process.wait, chance.uniform(0.8, 2.2))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    assert await run_to_end(settings, what) == 0
    accepted = ground.by_person()
    assert set(accepted) == {p.uid for p in people}
    assert sum(accepted.values()) - len(accepted) <= kills * bound(settings)
    report = await campaigns.report(exchange, what.name)
    assert report.ends == {End.REACHED: len(people)}
