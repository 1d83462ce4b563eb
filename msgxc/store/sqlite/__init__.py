"""The embedded store: one SQLite file. Shared by processes of one machine, not over a network."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from msgxc.store import migrations
from msgxc.store.sqlite.connection import Connection
from msgxc.store.sqlite.directory import SqliteCohorts, SqliteDirectory, SqliteThreads
from msgxc.store.sqlite.gateway import SqliteGateway
from msgxc.store.sqlite.ledger import SqliteLedger
from msgxc.store.sqlite.messages import SqliteJoins, SqliteMessages, SqliteReads, SqliteTriage


class SqliteStore:
    """See ports.Store."""

    def __init__(self, path: Path) -> None:
        self._db = Connection(path)
        self.directory = SqliteDirectory(self._db)
        self.cohorts = SqliteCohorts(self._db)
        self.threads = SqliteThreads(self._db)
        self.ledger = SqliteLedger(self._db)
        self.messages = SqliteMessages(self._db)
        self.reads = SqliteReads(self._db)
        self.triage = SqliteTriage(self._db)
        self.joins = SqliteJoins(self._db)
        self.gateway = SqliteGateway(self._db)

    async def open(self) -> None:
        migrations.check(_steps(), await self._db.run(_recorded))

    async def apply_schema(self) -> int:
        """Bring the file to the newest schema, in one transaction. Answers the version."""
        return await self._db.write(_apply)

    async def close(self) -> None:
        await self._db.close()


def _steps() -> tuple[migrations.Step, ...]:
    return migrations.read_steps(migrations.schema_folder() / "sqlite", ".sql")


def _recorded(db: sqlite3.Connection) -> dict[int, bool]:
    """Every step up to the file's version is finished: a transaction leaves none half applied."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    return dict.fromkeys(range(1, version + 1), True)


def _apply(db: sqlite3.Connection) -> int:
    steps = _steps()
    for step in migrations.pending(steps, _recorded(db)):
        for statement in step.statements:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {step.number}")
    return len(steps)
