"""The embedded store: one SQLite file. Shared by processes of one machine, not over a network."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from msgxc.store import migrations
from msgxc.store.sqlite import schema
from msgxc.store.sqlite import statements as sql
from msgxc.store.sqlite.budgets import SqliteBudgets
from msgxc.store.sqlite.connection import Connection
from msgxc.store.sqlite.directory import SqliteCohorts, SqliteDirectory, SqliteThreads
from msgxc.store.sqlite.gateway import SqliteGateway
from msgxc.store.sqlite.ledger import SqliteLedger
from msgxc.store.sqlite.messages import SqliteJoins, SqliteMessages, SqliteReads, SqliteTriage
from msgxc.store.sqlite.seen import Seen

#: Pages that are given back in one transaction; bytes that are written anew in one, in a few seconds.
PAGES_AT_ONCE, WRITTEN_ANEW = 1000, 256_000_000


class SqliteStore:
    """See ports.Store."""

    def __init__(self, path: Path, *, reading: bool = False) -> None:
        """`reading`: see Connection."""
        self._db, self._seen = Connection(path, reading=reading), Seen(path)
        self.directory = SqliteDirectory(self._db)
        self.cohorts = SqliteCohorts(self._db)
        self.threads = SqliteThreads(self._db)
        self.ledger = SqliteLedger(self._db)
        self.messages = SqliteMessages(self._db)
        self.reads = SqliteReads(self._db)
        self.triage = SqliteTriage(self._db)
        self.joins = SqliteJoins(self._db)
        self.budgets = SqliteBudgets(self._db)
        self.gateway = SqliteGateway(self._db)

    async def open(self, *, restored: bool = False) -> None:
        migrations.check(schema.steps(), await self._db.run(schema.recorded))
        if not restored:
            seen = self._seen.read()
            self._seen.check(seen, await self._db.run(_generation))
        self._db.stamp(_count, self._seen.note)

    async def fingerprint(self, own: bytes = b"") -> bytes:
        if own:
            await self._db.change(sql.NOTE_ONCE, "key", own)
        rows = await self._db.rows(sql.GET_FACT, "key")
        return bytes(rows[0][0]) if rows else b""

    async def accept(self) -> None:
        self._seen.note(await self._db.write(_count))

    async def scrub(self) -> bool:
        """What is deleted is overwritten (secure_delete), in the log as well once that is written back."""
        (busy, *_), *_ = await self._db.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        return not busy

    async def shrink(self) -> int:
        """By steps of 4 MB, each a short transaction, when an eighth of the file is free. A file from before
        it could do so is written anew once, unless that would hold writers up for more than a few seconds."""
        pages, free, size = await self._db.run(_room)
        if free * 8 < pages:
            return 0
        if not (await self._db.rows("PRAGMA auto_vacuum"))[0][0]:
            if (pages - free) * size > WRITTEN_ANEW:
                return 0
            await self._db.run(_written_anew)
        while await self._db.write(_given_back, synced=False):
            pass
        await self.scrub()
        return (pages - (await self._db.run(_room))[0]) * size

    async def apply_schema(self) -> int:
        """Bring the file to the newest schema, in one transaction. Answers the version."""
        return await self._db.write(schema.apply)

    async def close(self) -> None:
        await self._db.close()


def _room(db: sqlite3.Connection) -> tuple[int, int, int]:
    """Pages of the file, those of them that are free, bytes of a page."""
    names = ("page_count", "freelist_count", "page_size")
    pages, free, size = (int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in names)
    return pages, free, size


def _written_anew(db: sqlite3.Connection) -> None:
    for statement in ("temp_store=FILE", "auto_vacuum=INCREMENTAL"):
        db.execute(f"PRAGMA {statement}")
    try:
        db.execute("VACUUM")
    finally:
        db.execute("PRAGMA temp_store=MEMORY")


def _given_back(db: sqlite3.Connection) -> bool:
    """One step; whether there is more. The statement takes a page each time that it is stepped, and Python's
    module steps a statement without rows once."""
    free = _room(db)[1]
    for _ in range(min(free, PAGES_AT_ONCE)):
        db.execute("PRAGMA incremental_vacuum(1)")
    return free > PAGES_AT_ONCE


def _generation(db: sqlite3.Connection) -> int:
    row = db.execute(sql.GET_FACT, ("generation",)).fetchone()
    return int(row[0]) if row else 0


def _count(db: sqlite3.Connection) -> int:
    return int(db.execute(sql.COUNT_ON).fetchone()[0])
