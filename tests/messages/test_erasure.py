"""A person is erased: nothing of them is left, nothing that was theirs leaves, nothing brings them back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from cassandra_fixture import place_in
from conftest_engine import Ground
from message_world import OPERATOR, SERVICE, Room, drain, open_room, user

from msgxc import ids
from msgxc.errors import Forbidden, NotFound
from msgxc.messages import joining, publishing, reading
from msgxc.messages.records import Draft, Join, JoinState, Message
from msgxc.model import Urgency
from msgxc.people import enlisting, import_people, import_threads
from msgxc.privacy.erasure import Erased, erase, readmit, without
from msgxc.settings import Settings
from msgxc.wiring import Exchange, open_exchange

HIGH = Urgency.HIGH


@pytest_asyncio.fixture(params=["sqlite", "cassandra"])
async def place(
    request: pytest.FixtureRequest, settings: Settings, exchange: Exchange
) -> AsyncIterator[Exchange]:
    """An exchange on either store, open."""
    if request.param == "sqlite":
        yield exchange
        return
    shared = request.getfixturevalue("cassandra_settings")
    async with open_exchange(settings.model_copy(update=place_in(shared))) as opened:
        yield opened


async def everything(exchange: Exchange, room: Room, uid: UUID) -> list[Message]:
    """What still names somebody, in the thread, in their own, and anywhere."""
    own = ids.own_thread(exchange.key, uid)
    said = [*await exchange.store.messages.history(room.tid), *await exchange.store.messages.history(own)]
    named = [message async for page in exchange.store.messages.naming(uid) for message in page]
    return [*(message for message in said if message.names(uid)), *named]


async def test_what_they_said_stays_as_an_id(place: Exchange, ground: Ground) -> None:
    """What was sent stands in the thread without sender, text, subject, data and link; what had not left, and
    what was to come out later, never does; what others said stays, word for word."""
    room = await open_room(place, ground, 3)
    ann, bob = room.people[0].uid, room.people[1].uid
    full = Draft("Ann was here", room.tid, subject="Ann", data={"who": "ann"}, url="/ann", urgency=HIGH)
    sent = await publishing.publish(place, SERVICE, replace(full, urgency=HIGH))
    await place.store.messages.rewrite(replace(sent, sender=ann))
    await drain(place)
    before = len(ground.accepted())
    soon = publishing.now_of(place) + timedelta(seconds=30)
    waiting = await publishing.publish(place, user(ann), Draft("Ann waits", room.tid))
    later = await publishing.publish(place, user(ann), Draft("Ann later", room.tid, scheduled=soon))
    other = await publishing.publish(place, user(bob), Draft("Bob stays", room.tid))

    assert await erase(place, ann) == Erased(True, 3, 2, 0)
    assert await erase(place, ann) == Erased(False, 0, 0, 0)

    assert await everything(place, room, ann) == []
    for message in (sent, waiting, later):
        left = await place.store.messages.get(room.tid, message.mid)
        assert left
        assert (left.sender, left.text, left.subject, dict(left.data), left.url) == (None, "", "", {}, "")
    shown = await reading.history(place, user(bob), room.tid)
    assert [(m.mid, m.text, m.sender) for m in shown] == [
        (other.mid, "Bob stays", bob),
        (sent.mid, "", None),
    ]
    await drain(place, seconds=120)
    texts = [entry.text for entry in ground.accepted()][before:]
    assert texts == ["Bob stays"] * 2  # to Bob and the third one


async def test_somebody_without_a_record(place: Exchange, ground: Ground) -> None:
    """A multicast to several no longer names them, one to them alone says nothing; their own thread is empty;
    they are on no thread's staff, and nobody's invitation tells of them."""
    room = await open_room(place, ground, 2)
    nobody, bob, carl = uuid4(), room.people[0].uid, uuid4()
    await room.change(owner=nobody, admins=frozenset({nobody, bob}), publishers=frozenset({nobody}))
    many = await publishing.multicast(place, SERVICE, Draft("to many"), [nobody, bob])
    alone = await publishing.multicast(place, SERVICE, Draft("to one"), [nobody])
    await place.store.joins.put(Join(room.tid, carl, JoinState.INVITED, nobody, publishing.now_of(place)))

    found = await erase(place, nobody)
    assert (found.record, found.messages, found.threads) == (False, 2, 1)

    assert await everything(place, room, nobody) == []
    kept, gone = [await place.store.messages.get(m.mid, m.mid) for m in (many, alone)]
    assert kept
    assert gone
    assert (kept.text, kept.uids, kept.canceled) == ("to many", (bob,), None)
    assert (gone.text, gone.uids, gone.canceled is None) == ("", (), False)
    thread = await place.store.threads.get(room.tid)
    assert thread
    assert (thread.owner, thread.admins, thread.publishers) == (None, {bob}, frozenset())
    assert [(one.uid, one.by) for one in await place.store.joins.of_thread(room.tid)] == [(carl, None)]
    assert [one.by for one in await place.store.joins.of_person(carl)] == [None]
    assert await place.store.messages.history(ids.own_thread(place.key, nobody)) == []
    await drain(place, seconds=5)
    assert {entry.text for entry in ground.accepted()} == {"to many"}
    assert ground.by_person()[bob] == 1


async def test_nothing_brings_them_back(place: Exchange, ground: Ground, tmp_path: Path) -> None:
    """Their app, a file of people, a file of threads, somebody who subscribes or sends to them: refused,
    until an operator readmits them, as somebody new. The device is then nobody's."""
    room = await open_room(place, ground, 2)
    ann, device = room.people[0].uid, enlisting.native("android", f"ok-{uuid4().hex}")
    await enlisting.enlist(place, ann, device)
    await erase(place, ann)

    async def imported() -> tuple[int, int]:
        file = tmp_path / "in.csv"
        file.write_text(f"uid,name\n{ann},Ann\n{uuid4()},Eve\n")
        now, refused = publishing.now_of(place), tmp_path / "refused.csv"
        done = await import_people(file, place.store, place.key, now=now, refused=refused)
        return done.imported, done.refused

    async def threads() -> int:
        file = tmp_path / "threads.jsonl"
        file.write_text(f'{{"tid": "{room.tid}", "open": true, "subscribers": ["{ann}"]}}\n')
        return (await import_threads(file, place.store, place.key)).subscriptions

    with pytest.raises(Forbidden) as caught:
        await enlisting.enlist(place, ann, device)
    assert caught.value.code == "erased"
    assert await imported() == (1, 1)
    assert await threads() == 0
    with pytest.raises(Forbidden):
        await joining.subscribe(place, OPERATOR, room.tid, ann)
    with pytest.raises(NotFound):
        await publishing.send(place, SERVICE, Draft("Hi"), ann)
    with pytest.raises(NotFound):
        await publishing.multicast(place, SERVICE, Draft("Hi"), [ann])
    both = await publishing.multicast(place, SERVICE, Draft("Hi"), [ann, room.people[1].uid])
    assert both.uids == (room.people[1].uid,)
    assert await place.store.directory.get([ann]) == {}
    assert await place.store.threads.of(ann) == []

    await readmit(place, ann)
    assert await enlisting.enlist(place, uuid4(), device) is False
    assert await imported() == (2, 0)
    assert await threads() == 1
    again = (await place.store.directory.get([ann]))[ann]
    assert (again.name, again.devices) == ("Ann", ())


async def test_whoever_comes_at_that_moment_is_erased_too(place: Exchange, tmp_path: Path) -> None:
    """30 people are erased while their apps enlist and a file with them is imported: whatever comes first,
    nobody of them is there afterwards, and no device is theirs."""
    people = [uuid4() for _ in range(30)]
    file = tmp_path / "in.csv"
    file.write_text("uid,name,cohorts\n" + "".join(f"{uid},Ann,c\n" for uid in people))
    devices = [enlisting.native("android", f"ok-{uid.hex}") for uid in people]

    async def app(uid: UUID, n: int) -> None:
        for _ in range(3):
            try:
                await enlisting.enlist(place, uid, devices[n])
            except Forbidden:
                return

    work: list[Any] = [app(uid, n) for n, uid in enumerate(people)]
    work += [
        import_people(
            file, place.store, place.key, now=publishing.now_of(place), refused=tmp_path / f"{n}.refused"
        )
        for n in range(3)
    ]
    await asyncio.gather(*work, *(erase(place, uid) for uid in people))
    assert await place.store.directory.get(people) == {}
    assert await place.store.cohorts.members("c", people) == set()
    for device in devices:
        assert await enlisting.enlist(place, uuid4(), device) is False


def test_only_what_is_theirs_is_blanked() -> None:
    """A message to several loses one name; what it says and who said it stay. What they said loses all."""
    ann, bob = uuid4(), uuid4()
    said = Message(mid=uuid4(), tid=uuid4(), text="Hi", sender=bob, uids=(ann, bob), broadcast=True)
    assert without(said, ann) == replace(said, uids=(bob,))
    assert without(said, bob) == replace(said, uids=(), sender=None, text="", broadcast=False)
