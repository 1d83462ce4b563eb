"""Several processes on one campaign: together they are as fast as it may be, and no faster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from conftest_engine import NEVER, Ground, brief, crowd, enlist, spec
from machine_fixture import name_of_the_dead
from waiting import until

from msgxc import campaigns
from msgxc.ledger import PLACES
from msgxc.pacing import Throttle
from msgxc.sharing import SLOWLY, Pace, fcm_quota
from msgxc.store.cassandra import CassandraSettings, CassandraStore
from msgxc.store.ports import Store
from msgxc.wiring import Exchange


@asynccontextmanager
async def process(exchange: Exchange) -> AsyncIterator[Exchange]:
    """The exchange as another process has it: the same store, and nothing else in common."""
    other = replace(exchange, paces={}, _providers={})
    yield other
    for pace in other.paces.values():
        await pace.close()
    for provider in other._providers.values():
        await provider.close()


def pace(exchange: Exchange, group: Any, per_second: float = 100.0) -> Pace:
    """This process's part of a rate."""
    return Pace(exchange, group, per_second, Throttle(per_second))


async def test_two_processes_keep_one_throttle(exchange: Exchange, ground: Ground) -> None:
    """A second process comes in the middle: messages leave no faster than one alone may send them."""
    await enlist(exchange, ground, crowd(240))
    found = await campaigns.plan(exchange, spec("together", per_second=40))
    await campaigns.seal(exchange, found.id)
    async with process(exchange) as one, process(exchange) as two:
        first = asyncio.create_task(campaigns.send_rest(one, found, stop=NEVER))
        await asyncio.sleep(1.5)
        await asyncio.gather(first, campaigns.send_rest(two, found, stop=NEVER))
    times = sorted(entry.at for entry in ground.accepted())
    assert len(times) == 240
    assert 240 / (times[-1] - times[0]) < 40 * 1.2


async def test_whoever_comes_halves_and_whoever_goes_doubles(exchange: Exchange) -> None:
    """Alone: all of it; two: a half each, the newcomer slowly and at once; alone again: all."""
    group = uuid4()
    one, two = pace(exchange, group), pace(exchange, group)
    await one.wait(1)
    assert one.throttle.per_second == 100
    assert await two.wait(1) == 0
    assert two.throttle.per_second == 50 * SLOWLY
    await until(lambda: two.throttle.per_second == one.throttle.per_second == 50)
    await two.close()
    await until(lambda: one.throttle.per_second == 100)
    await one.close()


async def test_a_dead_process_counts_until_its_lease_is_over(exchange: Exchange) -> None:
    """Its place is not released: it is somebody else's when the lease has ended, and not before."""
    group, now = uuid4(), exchange.clock()
    assert await exchange.store.ledger.claim(group, PLACES[0], "dead", now, now + 1000)
    one = pace(exchange, group)
    await one.wait(1)
    assert one.throttle.per_second == 50 * SLOWLY
    later = pace(replace(exchange, clock=lambda: exchange.clock() + 2000), group)
    await later.wait(1)
    assert later._place
    assert later._place.shard == PLACES[0]
    await one.close()
    await later.close()


async def test_who_has_surely_died_counts_no_more(exchange: Exchange) -> None:
    """Whoever comes after a process that was killed on this machine has its place, and the whole."""
    group, now = uuid4(), exchange.clock()
    assert await exchange.store.ledger.claim(group, PLACES[0], name_of_the_dead(), now, now + 1000)
    one = pace(exchange, group)
    await one.wait(1)
    assert one._place
    assert (one._place.shard, one.throttle.per_second) == (PLACES[0], 100)
    await one.close()


@pytest.mark.parametrize("many", [9, 20])
async def test_many_processes(exchange: Exchange, many: int) -> None:
    """More than are looked at together: everybody's part is what the number of all makes it."""
    group = uuid4()
    paces = [pace(exchange, group) for _ in range(many)]
    await asyncio.gather(*(one.wait(1) for one in paces))
    await until(lambda: 90 < sum(one.throttle.per_second for one in paces) <= 100.001)
    for one in paces:
        await one.close()


async def test_without_a_place_a_process_takes_the_least(exchange: Exchange) -> None:
    """All places are taken: what is left is less than a place's part, and the share that it was told."""
    group, now = uuid4(), exchange.clock()
    for place in PLACES:
        assert await exchange.store.ledger.claim(group, place, "another", now, now + 1000)
    one = Pace(exchange, group, 100.0, Throttle(100.0), share=0.01)
    await one.wait(1)
    assert one.throttle.per_second == SLOWLY
    await one.close()


async def test_a_place_that_is_not_used_is_given_up(exchange: Exchange) -> None:
    """A paused campaign holds nobody else back; when it goes on it takes a place again."""
    group = uuid4()
    idle = pace(replace(exchange, settings=brief(exchange.settings)), group)
    await idle.wait(1)
    await until(lambda: idle._keeper is not None and idle._keeper.done())
    one = pace(exchange, group)
    await one.wait(1)
    assert one.throttle.per_second == 100
    await idle.wait(1)
    assert idle.throttle.per_second == 50 * SLOWLY
    await idle.close()
    await one.close()


async def test_the_quota_grows_once_in_a_process(exchange: Exchange) -> None:
    """FCM's quota is reached over a minute; the next slice's exchange goes on where this one was, and all
    campaigns of a process share it."""
    exchange.__dict__["sandboxed"] = frozenset()  # as with credentials: the sandbox has no quota
    async with process(exchange) as next_slice:
        next_slice.__dict__["sandboxed"] = frozenset()
        first, second = fcm_quota(exchange, 1.0), fcm_quota(next_slice, 1.0)
        assert first.per_second == exchange.settings.fcm_per_minute / 60
        assert first.throttle.wait(1, 1000.0) == 0
        first.throttle.wait(2000, 1000.1)
        assert second.throttle.wait(1, 1000.2) > 5  # 2 % of 10,000 a second in the beginning
        assert second.throttle.wait(5000, 1061.0) < 0.1
        assert second.throttle.wait(1, 1061.1) < 1


async def test_messages_without_a_throttle_hold_no_place(exchange: Exchange, ground: Ground) -> None:
    """What has no limit costs no lease."""
    await enlist(exchange, ground, crowd(5))
    found = await campaigns.plan(exchange, spec("free"))
    await campaigns.seal(exchange, found.id)
    await campaigns.send_rest(exchange, found, stop=NEVER)
    held = await exchange.store.ledger.unfinished(found.id, PLACES[-1], PLACES[0] + 1)
    assert set(held.values()) == {0.0}
    assert exchange.paces == {}


@pytest.mark.parametrize("kind", ["sqlite", "cassandra"])
async def test_a_forgotten_campaign_has_no_places(
    exchange: Exchange, cassandra_settings: CassandraSettings, kind: str
) -> None:
    """Retention removes the places with the campaign."""
    store: Store = exchange.store if kind == "sqlite" else CassandraStore(cassandra_settings)
    await store.open()
    found = await campaigns.plan(replace(exchange, store=store), spec("placed", per_second=10))
    assert await store.ledger.claim(found.id, PLACES[0], "old", 1.0, 2.0)
    await store.ledger.forget(found.id)
    lease = await store.ledger.claim(found.id, PLACES[0], "new", 3.0, 4.0)
    assert lease
    assert lease.epoch == 1
    if kind == "cassandra":
        await store.close()
