"""Money: text messages stop at the day's budget, of a thread and of the exchange; nothing else does."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import count

from conftest_engine import Ground, crowd, enlist, person, send, spec
from message_world import SERVICE, Room, drain, open_room
from msgspec import structs

from msgxc import campaigns, ids
from msgxc.messages import publishing
from msgxc.messages.records import Draft
from msgxc.model import Channel, Recipient, Urgency
from msgxc.reports.why import why
from msgxc.settings import Settings
from msgxc.wiring import Exchange

SMS = frozenset({Channel.SMS})
NUMBERS = count(1)


def callers(many: int) -> list[Recipient]:
    """People with a number each, which the sandbox takes."""
    return [person(name="Ada", cell=f"+4915100{next(NUMBERS):06}") for _ in range(many)]


def limited(exchange: Exchange, settings: Settings, **more: int) -> None:
    """Other budgets."""
    exchange.settings = settings.model_copy(update=more)


async def _room(exchange: Exchange, ground: Ground, many: int, **more: object) -> Room:
    room = await open_room(exchange, ground, 0, **{"channels": SMS, "urgency": Urgency.HIGH, **more})
    await room.join(callers(many))
    return room


async def test_a_thread_has_a_budget(exchange: Exchange, ground: Ground, settings: Settings) -> None:
    """Of its own, in parts: the rest is skipped as `budget`, told in the report and by `why`; another thread
    goes on, and so does this one tomorrow."""
    limited(exchange, settings, sms_per_thread=10)
    room, other = await _room(exchange, ground, 4), await _room(exchange, ground, 1)
    await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid))
    said = await publishing.publish(exchange, SERVICE, Draft("x" * 200, room.tid))
    await drain(exchange)
    assert len(ground.accepted()) == 4 + 3
    found = await campaigns.report(exchange, ids.message_name(said.mid))
    assert (found.audience, found.adds_up, found.skips) == (4, True, Counter(budget=1))
    told = [await why(exchange, ids.message_name(said.mid), one.uid) for one in room.people]
    assert Counter(one.lines()[0].partition(": ")[2] for one in told) == {
        "reached by sms": 3,
        "skipped by sms (budget)": 1,
    }
    await publishing.publish(exchange, SERVICE, Draft("Hi", other.tid))
    await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid))
    await drain(exchange)
    assert len(ground.accepted()) == 7 + 1
    await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid))
    await drain(exchange, seconds=86_400)
    assert len(ground.accepted()) == 8 + 4


async def test_the_exchange_has_a_budget(exchange: Exchange, ground: Ground, settings: Settings) -> None:
    """Campaigns, messages and fallbacks together; who is skipped falls back; pushes are not counted."""
    limited(exchange, settings, sms_per_day=25, sms_per_thread=20)
    people = callers(18)
    await enlist(exchange, ground, people)
    await send(exchange, spec("first", channels=(Channel.SMS,)))
    assert len(ground.accepted()) == 18
    room = await _room(exchange, ground, 0, fallback=(Channel.EMAIL,))
    await room.join([structs.replace(one, email=f"ok-{one.uid}@example.org") for one in callers(9)])
    said = await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid))
    await drain(exchange)
    report = await campaigns.report(exchange, ids.message_name(said.mid))
    assert {str(end): n for end, n in report.ends.items()} == {"reached": 7, "fell back": 2}
    pushed = crowd(30)
    await enlist(exchange, ground, pushed)
    await send(exchange, spec("second", channels=(Channel.APNS, Channel.SMS)))
    counts = ground.by_person()
    assert all(counts[one.uid] == 1 for one in pushed)
    assert {counts[one.uid] for one in people} == {1}
    second = await campaigns.report(exchange, "second")
    assert second.skips["budget"] == 18 + 9


async def test_processes_that_send_at_once_stay_within_it(
    exchange: Exchange, ground: Ground, settings: Settings
) -> None:
    """Ten messages under way at once, a hundred texts, a budget of 33: 33 leave."""
    limited(exchange, settings, sms_per_day=33)
    room = await _room(exchange, ground, 10)
    drafts = [Draft(f"m{number}", room.tid) for number in range(10)]
    said = await asyncio.gather(*(publishing.publish(exchange, SERVICE, draft) for draft in drafts))
    await drain(exchange)
    assert len(ground.accepted()) == 33
    reports = [await campaigns.report(exchange, ids.message_name(one.mid)) for one in said]
    assert sum(report.skips["budget"] for report in reports) == 67


async def test_without_a_limit_nothing_is_counted(
    exchange: Exchange, ground: Ground, settings: Settings
) -> None:
    """0 is no limit: nobody asks the store."""
    limited(exchange, settings, sms_per_day=0, sms_per_thread=0)
    room = await _room(exchange, ground, 3)
    await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid))
    await drain(exchange)
    assert len(ground.accepted()) == 3
    day = int(exchange.clock() // 86_400)
    assert await exchange.store.budgets.spend("sms", day, -1_000, 1_000) == 0
