"""Budgets in SQLite. See ports.Budgets."""

from __future__ import annotations

import sqlite3

from msgxc.store.sqlite.connection import Connection

USED = "SELECT used FROM budgets WHERE name = ? AND day = ?"
SPENT = "INSERT OR REPLACE INTO budgets (name, day, used) VALUES (?,?,?)"


class SqliteBudgets:
    """See ports.Budgets."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    async def spend(self, name: str, day: int, units: int, limit: int) -> int:
        return await self._db.write(lambda db: _spend(db, name, day, units, limit), synced=False)


def _spend(db: sqlite3.Connection, name: str, day: int, units: int, limit: int) -> int:
    row = db.execute(USED, (name, day)).fetchone()
    used = int(row[0]) if row else 0
    granted = max(min(units, limit - used), 0) if units > 0 else max(units, -used)
    if granted:
        db.execute(SPENT, (name, day, used + granted))
    return granted
