"""History, unread counts, what a connection missed; coming into a thread and leaving it."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from conftest_engine import Ground, crowd, enlist
from message_world import OPERATOR, SERVICE, open_room, user

from msgxc import ids
from msgxc.errors import Forbidden, NotFound, WrongInput
from msgxc.messages import joining, publishing, reading
from msgxc.messages.records import Draft, JoinState, Message
from msgxc.model import Channel
from msgxc.wiring import Exchange


async def _say(exchange: Exchange, tid: UUID, count: int) -> list[Message]:
    return [await publishing.publish(exchange, SERVICE, Draft(f"m{n}", tid)) for n in range(count)]


async def test_history_is_paged_without_what_was_taken_back(exchange: Exchange, ground: Ground) -> None:
    """A page is full where there is enough; canceled messages are gaps for people and not for operators."""
    room = await open_room(exchange, ground, 1)
    said = await _say(exchange, room.tid, 9)
    for one in said[3:6]:
        await publishing.cancel(exchange, OPERATOR, room.tid, one.mid)
    me = user(room.people[0].uid)
    shown = [*said[:3], *said[6:]]
    newest = await reading.history(exchange, me, room.tid, limit=4)
    assert [m.mid for m in newest] == [m.mid for m in shown[:1:-1]]
    older = await reading.history(exchange, me, room.tid, before=newest[-1].mid, limit=4)
    assert [m.mid for m in older] == [m.mid for m in shown[1::-1]]
    newer = await reading.history(exchange, me, room.tid, after=said[0].mid, limit=3)
    assert [m.mid for m in newer] == [m.mid for m in shown[1:4]]
    assert len(await reading.history(exchange, OPERATOR, room.tid)) == 9


async def test_history_is_for_readers(exchange: Exchange, ground: Ground) -> None:
    """A closed thread is its subscribers' own; an own thread its person's; broadcasts are everybody's."""
    room = await open_room(exchange, ground, 1)
    await room.change(open=False)
    stranger, member = uuid4(), room.people[0].uid
    await reading.history(exchange, user(member), room.tid)
    with pytest.raises(Forbidden):
        await reading.history(exchange, user(stranger), room.tid)
    own = ids.own_thread(exchange.key, member)
    assert await reading.history(exchange, user(member), own) == []
    with pytest.raises(NotFound):
        await reading.history(exchange, user(stranger), own)
    assert await reading.history(exchange, user(stranger), ids.broadcast_thread(exchange.key)) == []


async def test_unread_is_counted_per_thread_and_device(exchange: Exchange, ground: Ground) -> None:
    """The furthest device counts; an older mark changes nothing; own messages count in the own thread."""
    room = await open_room(exchange, ground, 1)
    me = room.people[0].uid
    said = await _say(exchange, room.tid, 5)
    await publishing.send(exchange, SERVICE, Draft("You"), me)
    own = ids.own_thread(exchange.key, me)

    async def counts() -> dict[UUID, int]:
        return {one.tid: one.count for one in await reading.unread(exchange, me)}

    assert await counts() == {room.tid: 5, own: 1}
    await reading.mark_read(exchange, me, room.tid, said[2].mid, "web")
    await reading.mark_read(exchange, me, room.tid, said[3].mid, "phone")
    await reading.mark_read(exchange, me, room.tid, said[0].mid, "phone")
    assert await counts() == {room.tid: 1, own: 1}
    with pytest.raises(WrongInput):
        await reading.mark_read(exchange, me, room.tid, ids.message_id(exchange.clock() + 3600, b"12345678"))
    with pytest.raises(WrongInput):
        await reading.mark_read(exchange, me, room.tid, uuid4())


async def test_a_connection_is_told_what_it_missed(exchange: Exchange, ground: Ground) -> None:
    """From all threads of the person, their own and broadcasts, in order, page by page, each once."""
    room, other = await open_room(exchange, ground, 1), await open_room(exchange, ground, 1)
    me = room.people[0].uid
    first = (await _say(exchange, room.tid, 1))[0]
    await _say(exchange, other.tid, 2)
    await _say(exchange, room.tid, 3)
    await publishing.send(exchange, SERVICE, Draft("You"), me)
    await publishing.broadcast(exchange, SERVICE, Draft("All"))
    missed = await reading.since(exchange, me, first.mid)
    assert [m.text for m in missed] == ["m0", "m1", "m2", "You", "All"]
    page = await reading.since(exchange, me, first.mid, limit=2)
    rest = await reading.since(exchange, me, page[-1].mid)
    assert [m.mid for m in (*page, *rest)] == [m.mid for m in missed]
    assert await reading.since(exchange, me, missed[-1].mid) == []
    assert set(await reading.audible(exchange, me)) == {room.tid, ids.own_thread(exchange.key, me)}


async def test_an_open_thread_lets_in_and_a_closed_one_asks(exchange: Exchange, ground: Ground) -> None:
    """Subscribe, ask and be accepted, be invited and accept, refuse: each leaves what it should."""
    room = await open_room(exchange, ground, 1)
    people = crowd(4)
    await enlist(exchange, ground, people)
    first, asks, invited, refused = (p.uid for p in people)
    await joining.subscribe(exchange, user(first), room.tid)
    await room.change(open=False, admins=frozenset({room.people[0].uid}))
    admin = user(room.people[0].uid)
    with pytest.raises(Forbidden) as error:
        await joining.subscribe(exchange, user(asks), room.tid)
    assert error.value.code == "not_invited"

    asked = await joining.ask(exchange, user(asks), room.tid)
    assert asked
    assert asked.state is JoinState.ASKED
    with pytest.raises(Forbidden):
        await joining.joins(exchange, user(asks), room.tid)
    with pytest.raises(NotFound):
        await joining.accept(exchange, user(asks), room.tid)  # Nobody accepts their own request.
    await joining.accept(exchange, admin, room.tid, asks)

    with pytest.raises(Forbidden):
        await joining.invite(exchange, user(asks), room.tid, invited)
    await joining.invite(exchange, admin, room.tid, invited)
    await joining.subscribe(exchange, user(invited), room.tid)

    await joining.invite(exchange, admin, room.tid, refused)
    await joining.refuse(exchange, user(refused), room.tid)
    with pytest.raises(Forbidden):
        await joining.subscribe(exchange, user(refused), room.tid)

    assert await joining.joins(exchange, admin, room.tid) == []
    inside = {room.people[0].uid, first, asks, invited}
    uids = [p.uid for p in people] + [room.people[0].uid]
    assert set(await exchange.store.threads.subscriptions(room.tid, uids)) == inside


async def test_somebody_else_is_subscribed_by_who_may(exchange: Exchange, ground: Ground) -> None:
    """An admin, a service and an operator may; a user may not; leaving twice is leaving once."""
    room = await open_room(exchange, ground, 1)
    newcomer = uuid4()
    with pytest.raises(Forbidden):
        await joining.subscribe(exchange, user(room.people[0].uid), room.tid, newcomer)
    with pytest.raises(WrongInput):
        await joining.subscribe(exchange, SERVICE, room.tid)
    for caller in (SERVICE, OPERATOR):
        await joining.subscribe(exchange, caller, room.tid, newcomer)
        for _ in range(2):
            await joining.unsubscribe(exchange, caller, room.tid, newcomer)
    assert await exchange.store.threads.subscriptions(room.tid, [newcomer]) == {}


async def test_preferences_are_the_subscriber_s_own(exchange: Exchange, ground: Ground) -> None:
    """Set, kept when subscribing again, and not for whoever is outside."""
    room = await open_room(exchange, ground, 1)
    me = user(room.people[0].uid)
    wanted = await joining.prefer(exchange, me, room.tid, [Channel.EMAIL])
    await joining.subscribe(exchange, me, room.tid)
    assert await exchange.store.threads.of(room.people[0].uid) == [wanted]
    with pytest.raises(NotFound):
        await joining.prefer(exchange, user(uuid4()), room.tid, None)
