"""The contract of store.gateway.Gateway, and of devices in ports.Directory."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from msgxc.model import Channel, Device
from msgxc.store.gateway import News, Received
from msgxc.store.ports import DEVICES, Store

pytestmark = pytest.mark.asyncio(loop_scope="session")
NOW = datetime.now(UTC).timestamp()
LATER = NOW + 86_400


def key() -> bytes:
    """A fresh key."""
    return uuid4().bytes


# -- idempotency


async def test_whose_a_device_was_is_forgotten_with_it(store: Store) -> None:
    """Pushed out by newer ones, or dead: somebody else who enlists it afterwards takes it from nobody."""
    uid, other, name = uuid4(), uuid4(), uuid4().hex

    def address_of(one: Device) -> bytes:
        return one.token.encode()

    for number in range(DEVICES + 5):
        one = device(f"{name}-{number}", number)
        await store.directory.enlist(uid, one, address_of(one), address_of)
    assert len((await store.directory.get([uid]))[uid].devices) == DEVICES
    for number in range(5):
        gone = device(f"{name}-{number}", 100)
        assert await store.directory.enlist(other, gone, address_of(gone), address_of) is None
    dead = device(f"{name}-9", 9)
    assert await store.directory.owner(address_of(dead)) == uid
    assert await store.directory.prune(uid, dead.token, None, address_of(dead))
    assert await store.directory.owner(address_of(dead)) is None
    assert not await store.directory.prune(uid, dead.token, None, address_of(dead))
    assert await store.directory.enlist(other, dead, address_of(dead), address_of) is None
    theirs = device(f"{name}-10", 10)
    assert await store.directory.enlist(other, theirs, address_of(theirs), address_of) == uid
    assert not await store.directory.prune(uid, dead.token, None, address_of(dead))
    assert await store.directory.enlist(uid, dead, address_of(dead), address_of) == other


async def test_a_key_is_taken_once(store: Store) -> None:
    """Of many at once one has it; the others see its digest."""
    name = key()
    found = await asyncio.gather(
        *(store.gateway.reserve(name, bytes([n]) * 24, NOW, LATER) for n in range(8))
    )
    (mine,) = [one for one in found if one.mine]
    assert {one.digest for one in found} == {mine.digest}
    assert {one.answer for one in found} == {None}


async def test_an_answer_is_kept(store: Store) -> None:
    """Whoever comes later gets it, and a release does not take it away."""
    name, digest = key(), b"d" * 24
    await store.gateway.reserve(name, digest, NOW, LATER)
    await store.gateway.answered(name, b"[200]", LATER)
    await store.gateway.release(name)
    found = await store.gateway.reserve(name, b"e" * 24, NOW, LATER)
    assert (found.mine, found.digest, found.answer) == (False, digest, b"[200]")


async def test_a_released_key_is_free(store: Store) -> None:
    """Twice is the same as once; one that nobody has is passed over."""
    name = key()
    await store.gateway.reserve(name, b"d" * 24, NOW, LATER)
    for _ in range(2):
        await store.gateway.release(name)
    assert (await store.gateway.reserve(name, b"e" * 24, NOW, LATER)).mine


# -- revocations


async def test_the_later_revocation_holds(store: Store) -> None:
    """In whatever order they are written; names that are not there are left out."""
    one, two = f"jti:{uuid4()}", f"uid:{uuid4()}"
    for before in (NOW, NOW + 100, NOW + 50):
        await store.gateway.revoke(one, before, LATER, NOW)
    found = await store.gateway.revoked([one, two])
    assert dict(found) == {one: pytest.approx(NOW + 100)}
    assert await store.gateway.revoked([]) == {}
    await store.gateway.tidy(NOW)
    assert one in await store.gateway.revoked([one])


async def test_what_was_revoked_lately_is_told(store: Store) -> None:
    """From a time on, over the hour, with the time at which it was said last; each name once."""
    now = time.time()
    names = old, again, new = [f"uid:{uuid4()}" for _ in range(3)]
    for name, at in ((old, now - 7000), (again, now - 7000), (again, now - 1000), (new, now)):
        await store.gateway.revoke(name, at, now + 3600, at)

    async def since(at: float) -> dict[str, float]:
        return {name: at for name, at in (await store.gateway.revoked_since(at)).items() if name in names}

    assert await since(now - 5000) == {again: now - 1000, new: now}
    assert set(await since(now - 7000)) == set(names)
    assert await since(now + 1) == {}


# -- the inbox


def received(number: int = 0) -> Received:
    """A receipt with everything."""
    return Received(
        id=uuid4(),
        news=tuple(News)[number % len(News)],
        channel=Channel.SMS,
        at=datetime(2026, 11, 22, 12, number % 60, tzinfo=UTC),
        campaign=uuid4(),
        uid=uuid4(),
        delivery=uuid4(),
        address=uuid4().bytes,
        reason="bounced",
        code="5.1.1",
    )


async def emptied(store: Store) -> list[Received]:
    """Everything in the inbox, taken out."""
    everything: list[Received] = []
    while some := await store.gateway.inbox():
        everything += some
        await store.gateway.merged(some, LATER)
    return everything


async def test_the_inbox_hands_out_what_came_in(store: Store) -> None:
    """Every receipt whole, until it is merged; many more than a page. What comes twice is handed out twice at
    most, and merging twice is the same as once: Cassandra keeps it by the minute, and one may end here."""
    await emptied(store)
    some = [received(number) for number in range(1300)]
    some.append(replace(some[0], id=uuid4(), campaign=None, uid=None, delivery=None, address=b""))
    await store.gateway.receive(some)
    await store.gateway.receive(some[:100])
    found = await emptied(store)
    assert {one.id: one for one in found} == {one.id: one for one in some}
    assert len(found) <= len(some) + 100
    assert await store.gateway.inbox() == []


async def test_what_is_not_merged_is_handed_out_again(store: Store) -> None:
    """Merging some leaves the others; merging twice is the same as once."""
    await emptied(store)
    one, two = received(), received()
    await store.gateway.receive([one, two])
    assert {r.id for r in await store.gateway.inbox()} == {one.id, two.id}
    for _ in range(2):
        await store.gateway.merged([one], LATER)
    assert [r.id for r in await store.gateway.inbox()] == [two.id]
    await emptied(store)


async def test_what_was_merged_does_not_come_again(store: Store) -> None:
    """A repetition of a receipt that was merged is none, hours later; others of the same request are."""
    await emptied(store)
    old, new = received(), received()
    await store.gateway.receive([old])
    await emptied(store)
    await store.gateway.receive([replace(old, at=old.at + timedelta(hours=5)), new])
    assert [one.id for one in await emptied(store)] == [new.id]


async def test_a_wish_counts_from_when_it_came_first(store: Store) -> None:
    """Sent again before it was merged, with a later time: the first time stays, once or twice."""
    await emptied(store)
    wish = replace(received(), news=News.STARTED, campaign=None, uid=None, delivery=None)
    for seconds in (0, 30, 60):
        await store.gateway.receive([replace(wish, at=wish.at + timedelta(seconds=seconds))])
    found = [(one.id, one.at) for one in await emptied(store)]
    assert set(found) == {(wish.id, wish.at)}


# -- devices


def device(token: str, seconds: int = 0) -> Device:
    """A phone."""
    return Device(
        Channel.APNS, token, datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC) + timedelta(seconds=seconds)
    )


async def devices(store: Store, uid: UUID) -> list[Device]:
    """Somebody's devices, in their order."""
    return list((await store.directory.get([uid]))[uid].devices)


async def test_an_enlisted_device_comes_first(store: Store) -> None:
    """In place of its older entry; whoever is not there comes into being, and is seen."""
    uid, names = uuid4(), [uuid4().hex for _ in range(3)]
    for number, name in enumerate([*names, names[0]]):
        assert await store.directory.enlist(uid, device(name, number), name.encode()) is None
    found = await devices(store, uid)
    assert [one.token for one in found] == [names[0], names[2], names[1]]
    assert found[0].registered == device("", 3).registered
    person = (await store.directory.get([uid]))[uid]
    assert (person.last_seen, person.name) == (found[0].registered, "")


async def test_a_device_is_one_persons(store: Store) -> None:
    """Who enlists it takes it from whoever had it; the others of that person stay."""
    one, two, name, other = uuid4(), uuid4(), uuid4().hex, uuid4().hex
    for token in (name, other):
        await store.directory.enlist(one, device(token), token.encode())
    assert await store.directory.enlist(two, device(name, 1), name.encode()) == one
    assert await store.directory.enlist(two, device(name, 2), name.encode()) is None
    assert [d.token for d in await devices(store, one)] == [other]
    assert [d.token for d in await devices(store, two)] == [name]


async def test_devices_of_one_person_are_bounded(store: Store) -> None:
    """The newest stay."""
    uid = uuid4()
    names = [uuid4().hex for _ in range(DEVICES + 3)]
    for number, name in enumerate(names):
        await store.directory.enlist(uid, device(name, number), name.encode())
    assert [d.token for d in await devices(store, uid)] == names[:2:-1]
