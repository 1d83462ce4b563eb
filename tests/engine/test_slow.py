"""Slow recipients hold nobody else up, and what they cost in a crash is known. The journal is the judge."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from conftest_engine import Ground, crowd, enlist, person, rows_of, send, spec, start_process
from waiting import until

from msgxc import campaigns
from msgxc.errors import NotFound
from msgxc.ledger import Lease, Mark, in_doubt
from msgxc.model import Channel, Recipient
from msgxc.reports.funnel import End
from msgxc.reports.tables import markdown
from msgxc.sandbox.run import RELEASE
from msgxc.settings import Settings
from msgxc.wiring import Exchange, open_exchange

SENDS = [Channel.APNS, Channel.FCM, Channel.WEBPUSH, Channel.SMS, Channel.EMAIL]
#: Milliseconds: below the tests' timeout of a call, and long beside every other answer.
SLOW = "slow1100"


def some_slow(
    channel: Channel, count: int, slow: int, word: str = SLOW, code: str = "3011"
) -> tuple[list[Recipient], set[UUID]]:
    """So many people, and which of them are answered late: by the word of a token, the code of a number."""
    if channel is Channel.SMS:
        late = [person(cell=f"+4930{n:04d}555{code}") for n in range(slow)]
        others = [person(cell=f"+4930{n:04d}5550102") for n in range(slow, count)]
    elif channel is Channel.EMAIL:
        late = [person(email=f"{word}-{uuid4().hex}@example.com") for _ in range(slow)]
        others = [person(email=f"u{uuid4().hex}@example.com") for _ in range(slow, count)]
    else:
        late, others = crowd(slow, channel, word), crowd(count - slow, channel)
    return [*late, *others], {someone.uid for someone in late}


async def answered(exchange: Exchange, name: str) -> set[UUID]:
    """Who has a result in the ledger by now."""
    try:
        return {row.uid for row in await rows_of(exchange, name) if row.state is Mark.ACCEPTED}
    except NotFound:
        return set()


async def open_windows(exchange: Exchange, name: str) -> list[set[UUID]]:
    """Who has an intent and no result, by window: what a crash now would leave in doubt."""
    try:
        campaign = await campaigns.campaign_named(exchange, name)
    except NotFound:
        return []
    nobody = [Lease(campaign.id, n, "", 2**31, 0.0) for n in range(campaign.shards)]
    states = [await exchange.store.ledger.load(lease) for lease in nobody]
    return [
        {intent.uid for intent in in_doubt(replace(state, windows=(window,)), 2**31)}
        for state in states
        for window in state.windows
    ]


async def under_way(exchange: Exchange, name: str) -> int:
    """How many deliveries that are."""
    return sum(map(len, await open_windows(exchange, name)))


@pytest.mark.parametrize("channel", SENDS)
async def test_nothing_waits_for_the_slow_ones(
    settings: Settings, exchange: Exchange, ground: Ground, channel: Channel
) -> None:
    """One in thirty is answered when all others have been, and not before; there is one of them in nearly
    every window of every shard. Windows, or shards, that waited for theirs would wait without end. Emails of
    one request are answered together: those who share one with somebody late are late, and nobody else."""
    people, late = some_slow(channel, 150, 5, "held", "7000")
    await enlist(exchange, ground, people)
    patient = settings.model_copy(update={"provider_timeout": 300, "lease_seconds": 600})
    release, everybody, name = ground.journal.with_name(RELEASE), {p.uid for p in people}, f"slow-{channel}"
    async with open_exchange(patient) as other:
        sending = asyncio.create_task(send(other, spec(name, channels=(channel,))))
        try:

            async def all_others_answered() -> bool:
                with_late = set(late)
                if channel is Channel.EMAIL:
                    with_late.update(*(w for w in await open_windows(exchange, name) if w & late))
                return await answered(exchange, name) | with_late == everybody

            await until(all_others_answered, sending, look=0.05)
            assert not late & await answered(exchange, name)
            release.touch()
            await sending
        finally:
            release.unlink(missing_ok=True)
            sending.cancel()
    assert ground.by_person() == dict.fromkeys([p.uid for p in people], 1)
    report = await campaigns.report(exchange, f"slow-{channel}")
    assert report.ends == {End.REACHED: 150}
    assert report.sent_again == 0


@pytest.mark.parametrize("most", [0, 5])
async def test_no_more_are_slow_at_once_than_allowed(
    settings: Settings, exchange: Exchange, ground: Ground, most: int
) -> None:
    """With room for none, never more than a window is under way, whoever is slow; with room for five, no more
    than these and those of the call that was last. Everybody gets it once."""
    people, _ = some_slow(Channel.APNS, 120, 30)
    await enlist(exchange, ground, people)
    async with open_exchange(settings.model_copy(update={"slow_calls": most})) as narrow:
        sending, widest = asyncio.create_task(send(narrow, spec("narrow"))), 0
        before: set[UUID] = set()
        while not sending.done():
            # Two looks: shards are read one after the other, and one may end and the next begin in between.
            now = set[UUID]().union(*(await open_windows(exchange, "narrow")))
            widest, before = max(widest, len(now & before)), now
            await asyncio.sleep(0.01)
        await sending
    assert 0 < widest <= settings.window + (most + 2 * settings.flush if most else 0)
    assert ground.by_person() == dict.fromkeys([p.uid for p in people], 1)


async def test_a_kill_costs_the_bound_and_the_slow_calls(
    exchange: Exchange, ground: Ground, settings: Settings
) -> None:
    """Killed while slow calls are under way: nobody is lost, no more is repeated than the bound and these,
    each under its first identity; the report says how many, and how many there may be."""
    people, slow = some_slow(Channel.APNS, 200, 8)
    await enlist(exchange, ground, people)
    process = start_process(settings, spec("killed"))
    await until(lambda: len(ground.accepted()) >= 120, process, look=0.01)
    process.kill()
    assert await asyncio.to_thread(process.wait, 120) == -signal.SIGKILL
    await send(exchange, spec("killed"))
    accepted = ground.by_person()
    assert set(accepted) == {p.uid for p in people}
    repeats = sum(accepted.values()) - len(accepted)
    assert repeats <= campaigns.bound(exchange) + len(slow)
    assert len({(e.address, e.delivery) for e in ground.accepted()}) == len(people)
    report = await campaigns.report(exchange, "killed")
    assert repeats <= report.sent_again
    assert f"at most {settings.slow_calls}" in markdown(report)


async def test_a_stop_waits_for_the_slow_ones(exchange: Exchange, ground: Ground, settings: Settings) -> None:
    """A polite end while slow calls are under way: their answers are written down, and nobody is in doubt."""
    people, _ = some_slow(Channel.APNS, 200, 8)
    await enlist(exchange, ground, people)
    process = start_process(settings, spec("stopped"))
    await until(lambda: len(ground.accepted()) >= 80, process, look=0.01)
    process.terminate()
    assert await asyncio.to_thread(process.wait, 120) == 0
    assert await under_way(exchange, "stopped") == 0
    await send(exchange, spec("stopped"))
    assert ground.by_person() == dict.fromkeys([p.uid for p in people], 1)
