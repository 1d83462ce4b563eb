"""The keyspace and its schema: applying the numbered files, and checking that just these are applied."""

from __future__ import annotations

from uuid import uuid4

from msgxc.errors import SchemaMismatch
from msgxc.store import migrations
from msgxc.store.cassandra import statements as cql
from msgxc.store.cassandra.session import Session
from msgxc.store.cassandra.settings import CassandraSettings

_KEYSPACE = (
    "CREATE KEYSPACE IF NOT EXISTS {ks} WITH replication = "
    "{{'class': 'NetworkTopologyStrategy', '{datacenter}': {replication}}}"
)
#: How far the schema is. `applying` is who is applying now: a static column, one for the whole table.
_VERSION = (
    "CREATE TABLE IF NOT EXISTS schema_version (one boolean, step int, what text, started timestamp, "
    "finished timestamp, applying uuid static, PRIMARY KEY (one, step))"
)
#: One at a time: forgotten after ten minutes, when whoever began was killed.
_LOCK = "UPDATE {ks}.schema_version USING TTL 600 SET applying = ? WHERE one = true IF applying = null"
_UNLOCK = "UPDATE {ks}.schema_version SET applying = null WHERE one = true IF applying = ?"
_STARTED = (
    "UPDATE {ks}.schema_version SET what = ?, started = toTimestamp(now()) WHERE one = true AND step = ?"
)
_FINISHED = "UPDATE {ks}.schema_version SET finished = toTimestamp(now()) WHERE one = true AND step = ?"


def known_steps() -> tuple[migrations.Step, ...]:
    """The steps that this version knows."""
    return migrations.read_steps(migrations.schema_folder(), ".cql")


async def check_schema(session: Session) -> None:
    """Raises SchemaMismatch when the schema is older, newer or half applied."""
    migrations.check(known_steps(), await _recorded(session))


async def apply_schema(settings: CassandraSettings) -> int:
    """Make the keyspace and apply what is missing; answers the version. Twice is the same as once.

    Raises SchemaMismatch when the store is newer, or when somebody else is applying the schema now.
    """
    steps, session = known_steps(), Session(settings)
    await session.open()
    try:
        migrations.pending(steps, await _recorded(session))
        await _make_keyspace(session, settings)
        await _apply(session, settings.keyspace, steps)
    finally:
        await session.close()
    return len(steps)


async def _recorded(session: Session) -> dict[int, bool]:
    """Number of each step -> whether it was finished; nothing when there is no keyspace yet."""
    if not session.has_table("schema_version"):
        return {}
    rows = await session.rows(cql.SCHEMA_STEPS)
    return {step: finished is not None for step, finished in rows if step is not None}


async def _make_keyspace(session: Session, settings: CassandraSettings) -> None:
    keyspace = _KEYSPACE.format(
        ks=settings.keyspace, datacenter=settings.datacenter, replication=settings.replication
    )
    await session.script([keyspace])
    await session.script([_VERSION], settings.keyspace)


async def _apply(session: Session, keyspace: str, steps: tuple[migrations.Step, ...]) -> None:
    lock = uuid4()
    if not await session.change(_LOCK, lock):
        raise SchemaMismatch("the schema is being applied by somebody else: try again in ten minutes")
    try:
        for step in migrations.pending(steps, await _recorded(session)):
            await session.rows(_STARTED, step.what, step.number)
            await session.script(step.statements, keyspace)
            await session.rows(_FINISHED, step.number)
    finally:
        await session.change(_UNLOCK, lock)
