"""The same over the shared store: published, joined, recalled, taken over after a kill."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from cassandra_fixture import place_in
from conftest_engine import Ground
from message_world import OPERATOR, SERVICE, drain, open_room

from msgxc import campaigns, ids
from msgxc.messages import publishing, reading
from msgxc.messages.records import Draft, Recalled
from msgxc.model import Urgency
from msgxc.settings import Settings
from msgxc.wiring import Exchange, open_exchange

HIGH = Urgency.HIGH


@pytest_asyncio.fixture
async def shared(settings: Settings, cassandra_settings: Any) -> AsyncIterator[Exchange]:
    """An exchange on Cassandra, open."""
    async with open_exchange(settings.model_copy(update=place_in(cassandra_settings))) as opened:
        yield opened


async def test_a_message_goes_out_once(shared: Exchange, ground: Ground) -> None:
    """Small and large audiences: everybody once, reported, and nothing is left."""
    for count in (3, 70):
        room = await open_room(shared, ground, count)
        said = await publishing.publish(shared, SERVICE, Draft("Hi", room.tid, urgency=HIGH))
        await drain(shared)
        people = Counter(p.uid for p in room.people)
        assert {uid: ground.by_person()[uid] for uid in people} == people
        found = await campaigns.report(shared, ids.message_name(said.mid))
        assert (found.audience, found.adds_up) == (count, True)
        stored = await shared.store.messages.get(room.tid, said.mid)
        assert stored
        assert stored.completed


async def test_what_may_wait_is_joined_and_what_was_read_is_not_sent(
    shared: Exchange, ground: Ground
) -> None:
    """Two at urgency 2 are one push, and none for whoever has read the newer one."""
    room = await open_room(shared, ground, 2, urgency=Urgency.LOW)
    said = [await publishing.publish(shared, SERVICE, Draft(text, room.tid)) for text in ("One", "Two")]
    await reading.mark_read(shared, room.people[0].uid, room.tid, said[1].mid, "web")
    await drain(shared, seconds=61)
    assert ground.by_person() == Counter([room.people[1].uid])
    assert {entry.text for entry in ground.accepted()} == {"Two (+1)"}


async def test_a_recall_adds_up(shared: Exchange, ground: Ground) -> None:
    """Sent and unsent messages, and one that was scheduled."""
    room = await open_room(shared, ground, 3)
    sent = await publishing.publish(shared, SERVICE, Draft("Hi", room.tid, urgency=HIGH))
    await drain(shared)
    waiting = await publishing.publish(shared, SERVICE, Draft("Hi", room.tid))
    assert await publishing.recall(shared, OPERATOR, room.tid, waiting.mid) == Recalled(3, 0, 0, 0)
    assert await publishing.recall(shared, OPERATOR, room.tid, sent.mid) == Recalled(0, 3, 0, 0)
    assert await reading.history(shared, SERVICE, room.tid) == []
