"""Taking back: what is unsent stops, what has arrived is replaced under the same identity, and it adds up."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from threading import Event
from uuid import uuid4

import pytest
from conftest_engine import Ground, device, person
from message_world import OPERATOR, SERVICE, Ears, drain, open_room, user
from waiting import until

from msgxc.errors import Forbidden, NotFound
from msgxc.messages import publishing, reading
from msgxc.messages.dispatching import Dispatcher, queue
from msgxc.messages.records import Draft, Recalled
from msgxc.model import Channel, Urgency
from msgxc.wiring import Exchange

HIGH = Urgency.HIGH


async def test_what_is_unsent_stops(exchange: Exchange, ground: Ground) -> None:
    """Before dispatch has it: everybody is unsent, nothing is accepted afterwards, the history is silent."""
    room = await open_room(exchange, ground, 4)
    said = await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid))
    assert await publishing.recall(exchange, OPERATOR, room.tid, said.mid) == Recalled(4, 0, 0, 0)
    await drain(exchange, seconds=5)
    assert not ground.accepted()
    assert await queue(exchange) == []
    assert await reading.history(exchange, user(room.people[0].uid), room.tid) == []


@pytest.mark.parametrize("channel", [Channel.APNS, Channel.FCM, Channel.WEBPUSH])
async def test_what_has_arrived_is_replaced(exchange: Exchange, ground: Ground, channel: Channel) -> None:
    """On each push channel the second message has the first one's identity, so that it takes its place."""
    room = await open_room(exchange, ground, 0)
    await room.join([person(device(channel, f"ok-{uuid4().hex}"))])
    said = await publishing.publish(exchange, SERVICE, Draft("Secret", room.tid, urgency=HIGH))
    await drain(exchange)
    assert await publishing.recall(exchange, OPERATOR, room.tid, said.mid) == Recalled(0, 1, 0, 0)
    first, second = ground.accepted()
    assert first.collapse == second.collapse != ""
    await drain(exchange)
    assert len(ground.accepted()) == 2
    assert await queue(exchange) == []


async def test_a_recall_adds_up(exchange: Exchange, ground: Ground) -> None:
    """Pushed, read, by email, without an address: each is counted once; again, it counts the same."""
    room = await open_room(exchange, ground, 5, fallback=(Channel.EMAIL,))
    await room.join([person(email=f"ok-{uuid4().hex}@example.org"), person()])
    said = await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid, urgency=HIGH))
    await drain(exchange)
    await drain(exchange)
    await reading.mark_read(exchange, room.people[0].uid, room.tid, said.mid, "web")
    found = await publishing.recall(exchange, OPERATOR, room.tid, said.mid)
    assert found == Recalled(unsent=1, withdrawn=4, seen=1, beyond=1)
    assert found.audience == len(room.people)
    accepted = len(ground.accepted())
    assert await publishing.recall(exchange, OPERATOR, room.tid, said.mid) == found
    assert len(ground.accepted()) == accepted


async def test_open_screens_take_it_off(exchange: Exchange, ground: Ground) -> None:
    """Connections get /withdraw with the message's id."""
    room = await open_room(exchange, ground, 1)
    said = await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid))
    async with Ears(exchange, "thread.>") as ears:
        await publishing.recall(exchange, OPERATOR, room.tid, said.mid)
    (subject, told), *others = ears.heard
    assert not others
    assert (subject, told["slug"], told["opts"]["mid"]) == (f"thread.{room.tid}", "/withdraw", str(said.mid))


async def test_a_recall_in_the_middle_stops_the_rest(exchange: Exchange, ground: Ground) -> None:
    """While a large message is sent: nothing is accepted later than two seconds after, and it adds up."""
    room = await open_room(exchange, ground, 0)
    await room.join([person(device(Channel.APNS, f"slow300-{uuid4().hex}")) for _ in range(120)])
    said = await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid, urgency=HIGH))
    stop = Event()
    running = asyncio.create_task(Dispatcher(exchange, stop).run())
    await until(lambda: len(ground.accepted()) >= 5, running)
    found = await publishing.recall(exchange, OPERATOR, room.tid, said.mid)
    stop.set()
    await running
    assert found.audience == 120
    assert found.unsent > 0
    assert found.withdrawn > 0
    people = ground.by_person()
    assert max(people.values()) <= 2
    assert len(people) == found.withdrawn + found.beyond


async def test_a_scheduled_message_is_recalled_by_either_id(exchange: Exchange, ground: Ground) -> None:
    """Before its time nothing leaves; after it, the id that the operator knows finds what came out."""
    room = await open_room(exchange, ground, 2)
    at = datetime.fromtimestamp(exchange.clock() + 30, UTC)
    first = await publishing.publish(exchange, SERVICE, Draft("One", room.tid, scheduled=at, urgency=HIGH))
    second = await publishing.publish(exchange, SERVICE, Draft("Two", room.tid, scheduled=at, urgency=HIGH))
    assert await publishing.recall(exchange, OPERATOR, room.tid, first.mid) == Recalled(2, 0, 0, 0)
    await drain(exchange, seconds=31)
    await drain(exchange)
    assert ground.by_person() == Counter(p.uid for p in room.people)
    assert await publishing.recall(exchange, OPERATOR, room.tid, second.mid) == Recalled(0, 2, 0, 0)
    assert await reading.history(exchange, SERVICE, room.tid) == []


async def test_only_whoever_may_takes_back(exchange: Exchange, ground: Ground) -> None:
    """Its sender and the thread's admins, not other subscribers; what is not there is not found."""
    room = await open_room(exchange, ground, 3)
    sender, admin, other = (p.uid for p in room.people)
    await room.change(admins=frozenset({admin}))
    for caller in (sender, admin):
        said = await publishing.publish(exchange, user(sender), Draft("Hi", room.tid))
        await publishing.recall(exchange, user(caller), room.tid, said.mid)
    with pytest.raises(Forbidden):
        await publishing.recall(exchange, user(other), room.tid, said.mid)
    with pytest.raises(NotFound):
        await publishing.recall(exchange, OPERATOR, room.tid, uuid4())
