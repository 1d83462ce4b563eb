"""Whose turn it is: of those who speak, whoever has had least. Over many queues, and for real."""

from __future__ import annotations

from collections import Counter
from uuid import UUID, uuid4

from conftest_engine import Ground
from hypothesis import given
from hypothesis import strategies as st
from message_world import OPERATOR, SERVICE, drain, open_room, user

from msgxc import ids
from msgxc.messages import publishing
from msgxc.messages.dispatching import queue
from msgxc.messages.records import Draft, Item, Kind, Principal, Role
from msgxc.messages.triage import Turns, beyond
from msgxc.model import Urgency
from msgxc.settings import Settings
from msgxc.wiring import Exchange

WHO = [UUID(int=n) for n in range(6)]


def item(number: int, turn: UUID, urgency: Urgency = Urgency.NORMAL) -> Item:
    """The `number`-th in the queue."""
    return Item(urgency, float(number), UUID(int=number), uuid4(), Kind.NEARLINE, 0.0, turn=turn)


queues = st.lists(st.tuples(st.sampled_from(WHO), st.sampled_from(Urgency)), max_size=60).map(
    lambda some: [item(number, turn, urgency) for number, (turn, urgency) in enumerate(some)]
)


@given(queues)
def test_everything_comes_once_the_most_urgent_first(items: list[Item]) -> None:
    """An order of the same items: by urgency; and within one turn by their time."""
    ordered = list(Turns().order(items))
    assert sorted(ordered, key=lambda one: one.mid) == items
    assert [one.urgency for one in ordered] == sorted((one.urgency for one in items), reverse=True)
    for turn in WHO:
        for urgency in Urgency:
            mine = [one.due for one in ordered if (one.turn, one.urgency) == (turn, urgency)]
            assert mine == sorted(mine)


@given(queues, st.integers(0, 59))
def test_nobody_is_two_turns_ahead_of_somebody_who_waits(items: list[Item], served: int) -> None:
    """Of those who still have something waiting, none has had two turns more than another, however long their
    queues are."""
    for urgency in Urgency:
        mine = [one for one in items if one.urgency is urgency]
        turns, order = Turns(), list(Turns().order(mine))
        for one in order[:served]:
            turns.began(one)
        waiting = {one.turn for one in order[served:]}
        had = Counter(one.turn for one in order[:served])
        counts = [had[turn] for turn in waiting]
        assert not counts or max(had.values(), default=0) - min(counts) <= 1


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.integers(1, 30))
def test_a_newcomer_is_next_but_one(flood: list[int], at: int) -> None:
    """While others flood the queue, before and after: one's first message goes within one turn of each."""
    turns, newcomer = Turns(), uuid4()
    waiting = [item(number, WHO[who]) for number, who in enumerate(flood * 5)]
    for step in range(at):
        if not waiting:
            return
        first = next(turns.order(waiting))
        turns.began(first)
        waiting.remove(first)
        waiting.append(item(10_000 + step, first.turn or uuid4()))
    waiting.append(item(20_000, newcomer))
    for _ in range(len(set(flood)) + 1):
        first = next(turns.order(waiting))
        if first.turn == newcomer:
            return
        turns.began(first)
        waiting.remove(first)
        waiting.append(item(30_000, first.turn or uuid4()))
    raise AssertionError("it did not have its turn")


@given(st.integers(1, 9))
def test_much_work_is_many_turns(work: int) -> None:
    """Whose messages go to many people has a turn more rarely: of equal work, not of equal number."""
    turns, (large, small) = Turns(), WHO[:2]
    waiting = [item(number, (large, small)[number % 2]) for number in range(400)]
    for _ in range(100):
        first = next(turns.order(waiting))
        turns.began(first)
        turns.cost(first, work if first.turn == large else 0)
        waiting.remove(first)
    had = Counter(one.turn for one in waiting)
    done = {turn: 200 - had[turn] for turn in (large, small)}
    assert abs(done[large] * (work + 1) - done[small]) <= work + 1


@given(queues, st.integers(0, 30), st.integers(1, 6), st.integers(1, 3))
def test_a_longer_look_adds_those_who_stand_behind(
    items: list[Item], near: int, turns: int, each: int
) -> None:
    """Nobody who is in the short look, at most so many others, each with their first ones."""
    known = items[:near]
    found = beyond(items, known, turns, each)
    assert not {one.turn for one in found} & {one.turn for one in known}
    counts = Counter(one.turn for one in found)
    assert len(counts) == min(turns, len({one.turn for one in items} - {one.turn for one in known}))
    assert max(counts.values(), default=0) <= each
    for turn in counts:
        assert [o for o in found if o.turn == turn] == [o for o in items if o.turn == turn][:each]


async def test_whose_turn_a_message_takes(exchange: Exchange, ground: Ground) -> None:
    """A person's own, wherever they speak; for who speaks by right of a role the thread's, so that a service
    that sends to many people is not one among them all."""
    room, other = await open_room(exchange, ground, 1), await open_room(exchange, ground, 1)
    me, service = room.people[0].uid, Principal(uuid4(), frozenset({Role.SERVICE}))
    for tid in (room.tid, other.tid):
        await publishing.publish(exchange, user(me), Draft("Hi", tid))
        await publishing.publish(exchange, service, Draft("Hi", tid))
    await publishing.send(exchange, OPERATOR, Draft("Hi"), me)
    turns = Counter(one.turn for one in await queue(exchange))
    assert turns == {me: 2, room.tid: 1, other.tid: 1, ids.own_thread(exchange.key, me): 1}


async def test_a_flood_stands_behind_who_says_one_thing(
    exchange: Exchange, ground: Ground, settings: Settings
) -> None:
    """One person has 200 messages due, over many threads, before another's only one: that goes after a
    handful, although the queue is longer than a look; what is urgent goes before both."""
    exchange.settings = settings.model_copy(update={"messages_at_once": 4})
    rooms = [await open_room(exchange, ground, 1) for _ in range(10)]
    victim, hurried = await open_room(exchange, ground, 1), await open_room(exchange, ground, 1)
    flooder = user(uuid4())
    for number in range(200):
        await publishing.publish(exchange, flooder, Draft("Flood", rooms[number % 10].tid))
    await publishing.publish(exchange, user(victim.people[0].uid), Draft("One", victim.tid))
    await publishing.publish(exchange, SERVICE, Draft("Now", hurried.tid, urgency=Urgency.HIGH))
    assert await drain(exchange, seconds=5) == 202
    order = [entry.text for entry in ground.accepted()]
    assert Counter(order) == {"Flood": 200, "One": 1, "Now": 1}
    assert order.index("Now") < 4
    assert order.index("One") < 12
