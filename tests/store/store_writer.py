"""Opening a store by two words; and, run as a program, a process that writes and then waits to be killed.

python store_writer.py sqlite PATH | cassandra PORT,KEYSPACE  UID
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from uuid import UUID

from store_samples import campaign, person, result, window

from msgxc.ledger import Campaign, Lease, Seal, Window
from msgxc.model import Recipient
from msgxc.store.cassandra import CassandraSettings, CassandraStore
from msgxc.store.ports import Store
from msgxc.store.sqlite import SqliteStore


def store_at(kind: str, where: str) -> Store:
    """A store that is not open yet."""
    if kind == "sqlite":
        return SqliteStore(Path(where))
    port, keyspace = where.split(",")
    return CassandraStore(CassandraSettings(port=int(port), keyspace=keyspace))


async def write(store: Store, someone: Recipient, made: Campaign, opened: Window) -> Lease:
    """A person, a sealed campaign for them, a lease, a window and a result; all acknowledged."""
    await store.directory.put([someone])
    await store.ledger.create(made)
    await store.ledger.expand(made.id, [(0, someone.uid)])
    await store.ledger.seal(made.id, Seal(1, 7))
    lease = await store.ledger.claim(made.id, 0, "anna", 100, 130)
    assert lease is not None
    await store.ledger.open_window(lease, opened)
    await store.ledger.record(lease, [result(someone.uid, ref="kept")])
    return lease


async def check(store: Store, someone: Recipient, made: Campaign) -> None:
    """All that `write` wrote is there, and the lease is still held."""
    assert await store.directory.get([someone.uid]) == {someone.uid: someone}
    stored = await store.ledger.campaign(made.id)
    assert stored is not None
    assert stored.seal == Seal(1, 7)
    assert await store.ledger.claim(made.id, 0, "ben", 129, 160) is None
    taken = await store.ledger.claim(made.id, 0, "ben", 130, 160)
    assert taken is not None
    assert taken.epoch == 2
    state = await store.ledger.load(taken)
    assert state.recipients == (someone.uid,)
    assert [w.number for w in state.windows] == [3]
    assert [row.ref for row in state.rows.values()] == ["kept"]


def story(uid: UUID) -> tuple[Recipient, Campaign, Window]:
    """The same records in both processes."""
    made = campaign("restart")
    return person(uid), Campaign(uid, made.spec, made.shards, made.created), window([uid], number=3)


async def _main(kind: str, where: str, uid: str) -> None:
    store = store_at(kind, where)
    await store.open()
    await write(store, *story(UUID(uid)))
    print("written", flush=True)
    await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
