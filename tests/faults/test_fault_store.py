"""Faults 12, 13, 14 and 18: a store that is away, slow, killed, full, or answers wrongly."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from fault_process import Process
from fault_proxy import Proxy, proxy
from fault_store import Call, EveryThird
from fault_world import NEVER, PATIENCE, World, brief, crowd, on_sqlite, until
from lossy_proxy import lossy_proxy

from msgxc import campaigns
from msgxc.campaign import CampaignSpec
from msgxc.campaigns import Planned
from msgxc.errors import StoreUnavailable
from msgxc.settings import Settings
from msgxc.store.cassandra import CassandraStore
from msgxc.store.cassandra.settings import CassandraSettings
from msgxc.wiring import Exchange

on_cassandra = pytest.mark.parametrize("kind", ["cassandra"], indirect=True)


class SqliteLock:
    """Keeps the store's file locked against writers, as a stuck process would: SQLite's own blackhole."""

    def __init__(self, settings: Settings) -> None:
        self._db = sqlite3.connect(settings.home / "msgxc.sqlite3", isolation_level=None)

    def blackhole(self) -> None:
        """Nobody can write."""
        self._db.execute("BEGIN IMMEDIATE")

    def heal(self) -> None:
        """Everybody can."""
        self._db.execute("ROLLBACK")
        self._db.close()


@asynccontextmanager
async def way_to_store(world: World) -> AsyncIterator[tuple[Settings, Proxy | SqliteLock]]:
    """Settings whose store can be made to vanish, and what makes it vanish."""
    if world.settings.store == "sqlite":
        yield world.settings, SqliteLock(world.settings)
        return
    async with proxy(world.settings.cassandra_port) as way:
        yield world.settings.model_copy(update={"cassandra_port": way.port}), way


@brief
async def test_12_the_store_is_away_for_longer_than_the_lease(world: World) -> None:
    """Fault 12. Blackholed for one and a half leases in mid-campaign: the process waits, writes down what it
    knows when the store is back, and goes on. Nobody had taken over, so nobody is repeated (I1, I2, I6)."""
    people = crowd(150)
    what = await world.campaign("away", people, per_second=150)
    async with way_to_store(world) as (settings, way):
        process = world.fleet.start(settings, what)
        await until(lambda: len(world.ground.accepted()) >= 20, process)
        way.blackhole()
        ends = world.settings.provider_timeout + 0.5  # what was under way has ended then
        await asyncio.sleep(ends)
        under_way = len(world.ground.accepted())
        await asyncio.sleep(world.settings.lease_seconds * 1.5 - ends)
        assert len(world.ground.accepted()) == under_way, "sent without being able to write it down"
        way.heal()
        assert await world.fleet.wait(process) == 0
    await world.judge(what, people)


@on_cassandra
@brief
async def test_12_the_store_is_away_for_one_of_two(world: World) -> None:
    """Fault 12. Blackholed for one process alone: the other takes its shard over when the lease is over, and
    finishes. The first one's late results change nothing: repeats within the bound (I1, I3, I6)."""
    people = crowd(100)
    what = await world.campaign("cut-off", people, per_second=80)
    async with way_to_store(world) as (settings, way):
        cut_off = world.fleet.start(settings, what)
        await until(lambda: len(world.ground.accepted()) >= 20, cut_off)
        way.blackhole()
        assert await world.fleet.run(world.settings, what) == 0
        await world.judge(what, people, repeats=world.bound)
        way.heal()
        assert await world.fleet.wait(cut_off) == 0
    await world.judge(what, people, repeats=world.bound)


@on_cassandra
async def test_12_the_store_is_slow(world: World) -> None:
    """Fault 12. Every answer of the store takes 2 s more, for a while: slow, and nobody lost or repeated."""
    people = crowd(100)
    what = await world.campaign("slow-store", people, per_second=25)
    async with way_to_store(world) as (settings, way):
        assert isinstance(way, Proxy)
        process = world.fleet.start(settings, what)
        await until(lambda: len(world.ground.accepted()) >= 5, process)
        way.delay(2)
        await asyncio.sleep(6)
        assert process.exitcode is None
        way.heal()
        assert await world.fleet.wait(process) == 0
    await world.judge(what, people)


@brief
async def test_12_every_third_write_is_answered_by_an_error(world: World) -> None:
    """Fault 12. Every third write fails, in turn before and after it was made: every call is made again, and
    everybody gets it once (I1, I2, I6)."""
    people = crowd(120)
    what = await world.campaign("third", people)
    planned = await world.prepare(what)
    faults = EveryThird()
    through = world.through(faults)
    await asyncio.wait_for(campaigns.send_slice(through, planned.id, 0, planned.shards, stop=NEVER), PATIENCE)
    assert faults.failed > 10
    await world.judge(what, people)


@on_cassandra
async def test_13_the_store_is_killed_and_comes_back(world: World, cassandra_node: Any) -> None:
    """Fault 13. kill -9 of Cassandra in mid-campaign, and a restart: the process waits and goes on; what the
    store had acknowledged is there, so nobody is lost and nobody repeated (I1, I2, I6)."""
    people = crowd(200)
    what = await world.campaign("store-killed", people, per_second=100)
    process = world.fleet.start(world.settings, what)
    await until(lambda: len(world.ground.accepted()) >= 40, process)
    await asyncio.to_thread(cassandra_node.kill)
    await asyncio.sleep(1)
    cassandra_node.launch()
    await asyncio.to_thread(cassandra_node.wait_until_ready, 300)
    assert await world.fleet.wait(process, 240) == 0
    await settled(world, what.name)
    await world.judge(what, people)


async def settled(world: World, name: str) -> None:
    """Wait until this process, too, has found the store again."""
    for _ in range(900):
        try:
            await campaigns.report(world.exchange, name)
            return
        except StoreUnavailable:
            await asyncio.sleep(0.1)
    raise AssertionError("the store stays away")


CHANGES = ("claim", "renew", "finish", "release")


@on_sqlite
@brief
@pytest.mark.parametrize("change", CHANGES)
async def test_14_a_change_whose_answer_is_lost(world: World, change: str) -> None:
    """Fault 14. Every first and third compare-and-set of a kind is applied and answered by an error: it is
    made again or waited for, nobody is lost or repeated."""
    people = crowd(70)
    what = await world.campaign(f"lost-{change}", people, per_second=30)
    planned = await world.prepare(what)
    asked = 0

    async def around(name: str, call: Call) -> Any:
        nonlocal asked
        answer = await call()
        asked += name == change
        if name == change and asked in (1, 3):
            raise StoreUnavailable("told to")
        return answer

    through = world.through(around)
    await asyncio.wait_for(campaigns.send_slice(through, planned.id, 0, planned.shards, stop=NEVER), PATIENCE)
    if change != "release":
        assert asked
    await world.judge(what, people)


@pytest.mark.parametrize("lease", [1000.0])
async def test_14_a_claim_whose_answer_is_lost_is_not_waited_for(world: World) -> None:
    """Fault 14. Of each shard the first claim is applied and answered by an error, with a lease of a quarter
    of an hour: its own process has it all the same, and nobody is lost or repeated."""
    people = crowd(70)
    what = await world.campaign("lost-claim", people)
    planned = await world.prepare(what)
    lost = 0

    async def around(name: str, call: Call) -> Any:
        nonlocal lost
        answer = await call()
        if name == "claim" and answer and answer.epoch == 1:
            lost += 1
            raise StoreUnavailable("told to")
        return answer

    through = world.through(around)
    await asyncio.wait_for(campaigns.send_slice(through, planned.id, 0, planned.shards, stop=NEVER), PATIENCE)
    assert lost == planned.shards
    await world.judge(what, people)


@on_cassandra
async def test_14_compare_and_sets_whose_answers_are_lost(world: World) -> None:
    """Fault 14. On the wire: Cassandra makes the change, its answer is swallowed. The adapter reads back what
    holds: no lease is lost and no shard sent twice (I1, I2)."""
    people = crowd(120)
    what = await world.campaign("lost-on-the-wire", people)
    planned = await world.prepare(what)
    async with lossy_proxy(world.settings.cassandra_port) as way:
        at = replace(CassandraSettings.of(world.settings), port=way.port, timeout=1.0)
        store = CassandraStore(at)
        await store.open()
        other = replace(world.exchange, store=store, _providers={})
        way.lose = 4
        await asyncio.wait_for(_send(other, planned), PATIENCE)
        assert way.lost == 4
        for provider in ("apns",):
            await other.provider(provider).close()  # type: ignore[arg-type]  # its value is the channel
        await store.close()
    await world.judge(what, people)


async def _send(exchange: Exchange, planned: Planned) -> None:
    await campaigns.send_slice(exchange, planned.id, 0, planned.shards, stop=NEVER)


@on_sqlite
async def test_18_the_disk_is_full(world: World) -> None:
    """Fault 18. The file may not grow (RLIMIT_FSIZE) in mid-campaign: nothing is sent that cannot be written
    down. Killed in that state: repeats within the bound. Full again, and then room again: the process goes
    on by itself. Nobody is lost (I1, I3, I6)."""
    people = crowd(300)
    what = await world.campaign("full", people, per_second=300)
    await world.prepare(what)
    first = await _full(world, what)
    first.kill()
    await world.fleet.wait(first)
    second = await _full(world, what)
    assert second.exitcode is None
    assert second.pid is not None
    resource.prlimit(second.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    assert await world.fleet.wait(second) == 0
    await world.judge(what, people, repeats=world.bound)


async def _full(world: World, what: CampaignSpec) -> Process:
    """A process that sends until it may write no more."""
    before = len(world.ground.accepted())
    largest = max(file.stat().st_size for file in world.settings.home.glob("msgxc.sqlite3*"))
    process = world.fleet.start(world.settings, what, largest_file=largest + 60_000)
    await until(lambda: len(world.ground.accepted()) >= before + 20, process)
    while len(world.ground.accepted()) != before:
        before = len(world.ground.accepted())
        assert process.exitcode is None
        assert before < 300, "it was never full"
        await asyncio.sleep(1)
    return process
