"""What one person stores stops nobody: scheduled and hidden messages, marks of reading, names of devices."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from conftest_engine import Ground
from message_world import OPERATOR, SERVICE, drain, open_room, user

from msgxc import ids
from msgxc.errors import Conflict, Forbidden, MsgxcError, NotFound, WrongInput
from msgxc.messages import joining, publishing, reading
from msgxc.messages.joining import JOINS, SUBSCRIPTIONS
from msgxc.messages.publishing import SCHEDULED
from msgxc.messages.records import Draft, Principal, Role
from msgxc.model import Subscription, Thread
from msgxc.store.ports import DEVICES
from msgxc.wiring import Exchange


@pytest.fixture
def settings(settings: Any) -> Any:
    """So that it is not the messages a minute that stop anybody."""
    return settings.model_copy(update={"thread_per_minute": 0})


def at(exchange: Exchange, **later: float) -> datetime:
    """A time from now on."""
    return datetime.fromtimestamp(exchange.clock(), UTC) + timedelta(**later)


FAR = [
    datetime.max.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
    datetime(9999, 1, 1, tzinfo=timezone(timedelta(hours=14))),
    datetime(2099, 1, 1, tzinfo=UTC),
]


@pytest.mark.parametrize("when", FAR, ids=str)
async def test_nothing_is_scheduled_for_years(exchange: Exchange, ground: Ground, when: datetime) -> None:
    """At most a year ahead, whoever asks, also for a time that UTC cannot show."""
    room = await open_room(exchange, ground, 1)
    for who in (SERVICE, OPERATOR, user(room.people[0].uid)):
        with pytest.raises(WrongInput):
            await publishing.publish(exchange, who, Draft("x", room.tid, scheduled=when))
    with pytest.raises(WrongInput):
        await publishing.send(exchange, SERVICE, Draft("x", scheduled=when), room.people[0].uid)
    assert await exchange.store.messages.history(room.tid) == []


async def test_a_time_that_is_over_is_now(exchange: Exchange, ground: Ground) -> None:
    """Also one that UTC cannot show; and what is within a year is taken."""
    room = await open_room(exchange, ground, 1)
    for when in (datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), at(exchange, days=-1)):
        said = await publishing.publish(exchange, SERVICE, Draft("x", room.tid, scheduled=when))
        assert said.scheduled is None
    said = await publishing.publish(exchange, SERVICE, Draft("x", room.tid, scheduled=at(exchange, days=365)))
    assert said.scheduled


async def test_one_person_s_messages_that_wait_are_bounded(exchange: Exchange, ground: Ground) -> None:
    """A hundred in a thread, however many are asked for at once; others, another thread, and services go on;
    what is canceled, recalled, executed or comes out makes room."""
    room, other = await open_room(exchange, ground, 1), await open_room(exchange, ground, 1)
    me, later = user(room.people[0].uid), at(exchange, hours=1)
    answers = await asyncio.gather(
        *(
            publishing.publish(exchange, me, Draft("x", room.tid, scheduled=later))
            for _ in range(SCHEDULED + 30)
        ),
        return_exceptions=True,
    )
    waiting = [one for one in answers if not isinstance(one, BaseException)]
    assert len(waiting) <= SCHEDULED
    assert {one.code for one in answers if isinstance(one, MsgxcError)} == {"too_many_scheduled"}
    while len(waiting) < SCHEDULED:
        waiting.append(await publishing.publish(exchange, me, Draft("x", room.tid, scheduled=later)))
    assert len(await exchange.store.messages.history(room.tid, limit=500)) == SCHEDULED

    async def one_more() -> bool:
        try:
            waiting.append(await publishing.publish(exchange, me, Draft("x", room.tid, scheduled=later)))
        except Conflict:
            return False
        return True

    assert not await one_more()
    await publishing.publish(exchange, me, Draft("now", room.tid))
    await publishing.publish(exchange, me, Draft("x", other.tid, scheduled=later))
    await publishing.publish(exchange, user(uuid4()), Draft("x", room.tid, scheduled=later))
    by_role = Principal(room.people[0].uid, frozenset({Role.SERVICE}))
    await publishing.publish(exchange, by_role, Draft("x", room.tid, scheduled=later))
    await publishing.cancel(exchange, me, room.tid, waiting[0].mid)
    assert [await one_more(), await one_more()] == [True, False]
    await publishing.recall(exchange, me, room.tid, waiting[1].mid)
    assert [await one_more(), await one_more()] == [True, False]
    await publishing.execute(exchange, OPERATOR, room.tid, waiting[2].mid, "q")
    assert [await one_more(), await one_more()] == [True, False]
    await drain(exchange, seconds=3_700)
    later = at(exchange, hours=1)
    assert await one_more()


async def test_a_page_is_one_look_however_much_is_hidden(exchange: Exchange, ground: Ground) -> None:
    """Two thousand scheduled, canceled and recalled messages before, between and after: a page of one, in
    either direction, is one question to the store; unread and missed messages are those that people see."""
    room = await open_room(exchange, ground, 1)
    me = user(room.people[0].uid)
    first = await publishing.publish(exchange, SERVICE, Draft("first", room.tid))
    hidden = [await publishing.publish(exchange, SERVICE, Draft("x", room.tid)) for _ in range(1_000)]
    for number, one in enumerate(hidden):
        when = at(exchange)
        note = {"canceled": when, "completed": when} if number % 2 else {"recalled": when}
        await exchange.store.messages.note(room.tid, one.mid, **note)  # type: ignore[arg-type]
    last = await publishing.publish(exchange, SERVICE, Draft("last", room.tid))
    later = at(exchange, hours=1)
    for _ in range(1_000):
        await publishing.publish(exchange, SERVICE, Draft("x", room.tid, scheduled=later))
    connection, calls = exchange.store.messages._db, list[str]()  # type: ignore[attr-defined]
    rows = connection.rows

    async def counted(statement: str, *values: object) -> Any:
        if "FROM messages" in statement:
            calls.append(statement)
        return await rows(statement, *values)

    connection.rows = counted
    for asked, texts in (
        ({"limit": 1}, ["last"]),
        ({"limit": 2}, ["last", "first"]),
        ({"limit": 1, "before": last.mid}, ["first"]),
        ({"limit": 1, "after": first.mid}, ["last"]),
    ):
        calls.clear()
        page = await reading.history(exchange, me, room.tid, **asked)  # type: ignore[arg-type]
        assert [message.text for message in page] == texts
        assert len(calls) == 1
    assert {one.tid: one.count for one in await reading.unread(exchange, room.people[0].uid)}[room.tid] == 2
    assert [m.text for m in await reading.since(exchange, room.people[0].uid, first.mid)] == ["last"]
    plan = await connection.rows(f"EXPLAIN QUERY PLAN {calls[0]}", room.tid.bytes, first.mid.bytes, 1)
    assert "messages_shown" in plan[0][3]


async def test_reading_is_marked_where_one_may_read(exchange: Exchange, ground: Ground) -> None:
    """A thread that is not there, or is closed to the person, keeps no row; their own, broadcasts and what
    they may read do; a service's person reads what the service may."""
    room = await open_room(exchange, ground, 1)
    me, stranger = room.people[0].uid, uuid4()
    said = await publishing.publish(exchange, SERVICE, Draft("x", room.tid))
    await room.change(open=False)
    with pytest.raises(NotFound):
        await reading.mark_read(exchange, stranger, uuid4(), said.mid)
    with pytest.raises(NotFound):
        await reading.mark_read(exchange, stranger, ids.own_thread(exchange.key, me), said.mid)
    with pytest.raises(Forbidden):
        await reading.mark_read(exchange, stranger, room.tid, said.mid)
    assert await exchange.store.reads.of(stranger) == {}
    everybody = ids.broadcast_thread(exchange.key)
    for tid in (room.tid, ids.own_thread(exchange.key, me), everybody):
        await reading.mark_read(exchange, me, tid, said.mid)
    assert len(await exchange.store.reads.of(me)) == 3
    operator = Principal(stranger, frozenset({Role.ADMIN}))
    await reading.mark_read(exchange, stranger, room.tid, said.mid, principal=operator)


async def test_names_of_devices_are_bounded(exchange: Exchange, ground: Ground) -> None:
    """Sixty names in each of three threads: twenty are kept, and what the others read is kept under none, so
    that nothing of what was read is lost."""
    rooms = [await open_room(exchange, ground, 1) for _ in range(3)]
    me = rooms[0].people[0].uid
    await exchange.store.threads.subscribe([Subscription(room.tid, me) for room in rooms])
    for room in rooms:
        said = [await publishing.publish(exchange, SERVICE, Draft("x", room.tid)) for _ in range(60)]
        for number, one in enumerate(said):
            await reading.mark_read(exchange, me, room.tid, one.mid, f"device {number}")
        assert (await exchange.store.reads.last([(room.tid, me)]))[me] == said[-1].mid
        await reading.mark_read(exchange, me, room.tid, said[-1].mid, "device 3")
    marks = await exchange.store.reads.of(me)
    assert {len(devices) for devices in marks.values()} == {DEVICES + 1}
    assert set.union(*(set(devices) for devices in marks.values())) == {
        "",
        *(f"device {n}" for n in range(DEVICES)),
    }


async def test_memberships_of_one_person_are_bounded(exchange: Exchange, ground: Ground) -> None:
    """A thousand threads: the next is refused, being in one already is fine, leaving makes room; an operator
    puts somebody into one more."""
    room, other = await open_room(exchange, ground, 0), await open_room(exchange, ground, 0)
    me = uuid4()
    await exchange.store.threads.subscribe([Subscription(uuid4(), me) for _ in range(SUBSCRIPTIONS - 1)])
    await joining.subscribe(exchange, user(me), room.tid)
    await joining.subscribe(exchange, user(me), room.tid)
    with pytest.raises(Conflict, match="at most"):
        await joining.subscribe(exchange, user(me), other.tid)
    await joining.unsubscribe(exchange, user(me), room.tid)
    await joining.subscribe(exchange, user(me), other.tid)
    await joining.subscribe(exchange, OPERATOR, room.tid, me)
    assert await exchange.store.threads.count_of(me, 9_999) == SUBSCRIPTIONS + 1


async def test_requests_and_invitations_are_bounded(exchange: Exchange, ground: Ground) -> None:
    """A hundred open requests of one person, and as many invitations; asked again is the same; one that is
    done with makes room."""
    me, owner = uuid4(), uuid4()
    threads = [Thread(uuid4(), owner=owner) for _ in range(JOINS + 1)]
    for thread in threads:
        await exchange.store.threads.put(thread)
    for asks in (True, False):

        async def join(thread: Thread, asks: bool = asks) -> None:
            if asks:
                await joining.ask(exchange, user(me), thread.tid)
            else:
                await joining.invite(exchange, user(owner), thread.tid, me)

        for thread in threads[:JOINS]:
            await join(thread)
        await join(threads[0])
        with pytest.raises(Conflict):
            await join(threads[JOINS])
        await joining.refuse(exchange, user(owner), threads[0].tid, me)
        await join(threads[JOINS])
        for thread in threads[1:]:
            await joining.refuse(exchange, user(owner), thread.tid, me)
