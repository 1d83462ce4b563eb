"""Everybody is throttled for a while: time counts, not tries. The journal is the judge."""

from __future__ import annotations

import asyncio

import pytest
from conftest_engine import NEVER, Ground, crowd, enlist, person, send, spec

from msgxc import campaigns
from msgxc.delivery import Counts
from msgxc.model import Channel
from msgxc.reports.funnel import End
from msgxc.reports.tables import progress
from msgxc.settings import Settings
from msgxc.wiring import Exchange, open_exchange

#: Tries that a delivery has: fewer than each is throttled.
TRIES = 4


@pytest.mark.parametrize("channel", [Channel.WEBPUSH, Channel.FCM, Channel.EMAIL])
async def test_everybody_is_throttled_seven_times(
    settings: Settings, exchange: Exchange, ground: Ground, channel: Channel
) -> None:
    """Retry-After: 1 each time, and more often than a delivery has tries: everybody gets it, once."""
    people = crowd(20, channel, "throttled7")
    if channel is Channel.EMAIL:
        people = [person(email=f"throttled7-{n}@example.com") for n in range(20)]
    await enlist(exchange, ground, people)
    async with open_exchange(settings.model_copy(update={"attempts": TRIES})) as other:
        await asyncio.wait_for(send(other, spec("full", channels=(channel,))), 120)
    assert ground.by_person() == dict.fromkeys([p.uid for p in people], 1)
    report = await campaigns.report(exchange, "full")
    assert report.ends == {End.REACHED: 20}
    assert report.sent_again == 0


async def test_a_device_that_is_throttled_among_others_uses_up_its_tries(
    settings: Settings, exchange: Exchange, ground: Ground
) -> None:
    """Three of sixty: that is about them. They are given up after their tries; nobody waits for them."""
    few, others = crowd(3, Channel.WEBPUSH, "throttled99"), crowd(57, Channel.WEBPUSH)
    await enlist(exchange, ground, [*few, *others])
    async with open_exchange(settings.model_copy(update={"attempts": TRIES})) as other:
        await asyncio.wait_for(send(other, spec("few", channels=(Channel.WEBPUSH,))), 120)
    assert ground.by_person() == dict.fromkeys([p.uid for p in others], 1)
    assert (await campaigns.report(exchange, "few")).ends == {End.REACHED: 57, End.FAILED: 3}


async def test_whoever_waits_is_counted_once_however_often(
    settings: Settings, exchange: Exchange, ground: Ground
) -> None:
    """The live funnel shows deliveries that wait now, not each time that one was put off."""
    await enlist(exchange, ground, crowd(20, Channel.FCM, "throttled3"))
    seen: list[tuple[int, int]] = []

    def look(counts: Counts) -> None:
        (row,) = progress(counts) or [{"waiting": 0, "accepted": 0}]
        seen.append((int(row["waiting"]), int(row["accepted"])))

    planned = await campaigns.plan(exchange, spec("waiting", channels=(Channel.FCM,)))
    await campaigns.seal(exchange, planned.id)
    await asyncio.wait_for(campaigns.send_rest(exchange, planned, stop=NEVER, on_progress=look), 120)
    assert max(waiting for waiting, _ in seen) == 20
    assert all(waiting + accepted <= 20 for waiting, accepted in seen)
    assert seen[-1] == (0, 20)
