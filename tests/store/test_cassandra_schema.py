"""Applying the schema to a real Cassandra, and starting on the wrong one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import DCAwareRoundRobinPolicy

from msgxc.errors import SchemaMismatch
from msgxc.store.cassandra import CassandraSettings, CassandraStore, apply_schema
from msgxc.store.cassandra.schema import known_steps


async def _run(settings: CassandraSettings, *statements: str) -> list[tuple[object, ...]]:
    """CQL as an operator's shell would send it; the rows of the last statement."""

    def work() -> list[tuple[object, ...]]:
        near = DCAwareRoundRobinPolicy(settings.datacenter)
        cluster = Cluster(
            list(settings.hosts),
            port=settings.port,
            protocol_version=4,
            control_connection_timeout=60,
            execution_profiles={EXEC_PROFILE_DEFAULT: ExecutionProfile(load_balancing_policy=near)},
        )
        session, rows = cluster.connect(), []
        for statement in statements:
            rows = [tuple(row) for row in session.execute(statement.format(ks=settings.keyspace), timeout=60)]
        cluster.shutdown()
        return rows

    return await asyncio.to_thread(work)


async def _opening(settings: CassandraSettings) -> str:
    """Why the store does not open, or ""."""
    store = CassandraStore(settings)
    try:
        await store.open()
    except SchemaMismatch as mismatch:
        return str(mismatch)
    finally:
        await store.close()
    return ""


async def test_a_keyspace_through_its_life(cassandra_settings: CassandraSettings) -> None:
    """None, applied, applied again, half applied, healed, newer: each start says what to do, in one line."""
    settings = replace(cassandra_settings, keyspace=f"life_{uuid4().hex[:8]}")
    newest = len(known_steps())
    assert f"schema 0, {newest} is needed: run `msgxc schema apply`" in await _opening(settings)
    assert await apply_schema(settings) == newest
    assert await apply_schema(settings) == newest
    assert await _opening(settings) == ""
    applied = await _run(settings, "SELECT step, started, finished FROM {ks}.schema_version")
    assert [row[0] for row in applied] == list(range(1, newest + 1))
    assert all(started is not None and finished is not None for _, started, finished in applied)

    unfinished = f"DELETE finished FROM {{ks}}.schema_version WHERE one = true AND step = {newest}"
    await _run(settings, unfinished, "DROP TABLE {ks}.ledger")
    assert "was begun and not finished: run `msgxc schema apply` again" in await _opening(settings)
    assert await apply_schema(settings) == newest
    assert await _opening(settings) == ""

    newer = f"INSERT INTO {{ks}}.schema_version (one, step, what) VALUES (true, {newest + 1}, 'later')"
    await _run(settings, newer)
    for start in (_opening(settings), _applying(settings)):
        assert f"schema {newest + 1}, this msgxc knows {newest}: install a newer msgxc" in await start
    await _run(settings, "DROP KEYSPACE {ks}")


async def _applying(settings: CassandraSettings) -> str:
    with pytest.raises(SchemaMismatch) as caught:
        await apply_schema(settings)
    return str(caught.value)


async def test_only_one_applies_the_schema(cassandra_settings: CassandraSettings) -> None:
    """While somebody else's apply is under way, a second one is refused and changes nothing."""
    lock = "UPDATE {ks}.schema_version SET applying = uuid() WHERE one = true"
    unlock = "UPDATE {ks}.schema_version SET applying = null WHERE one = true"
    await _run(cassandra_settings, lock)
    assert "somebody else" in await _applying(cassandra_settings)
    await _run(cassandra_settings, unlock)
    assert await apply_schema(cassandra_settings) == len(known_steps())


async def test_the_keyspace_is_replicated_as_set(cassandra_settings: CassandraSettings) -> None:
    """The data centre's name and the number of replicas come from the settings."""
    ask = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = '{ks}'"
    ((replication,),) = await _run(cassandra_settings, ask)
    assert dict(replication) == {  # type: ignore[call-overload]
        "class": "org.apache.cassandra.locator.NetworkTopologyStrategy",
        "datacenter1": "1",
    }
