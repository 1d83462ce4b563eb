"""Idempotency keys, revocations and the inbox in SQLite. See store.gateway.Gateway."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from uuid import UUID

from msgxc.store.gateway import INBOX_PAGE, Received, Reserved
from msgxc.store.receipts import read_receipt, spell_receipt
from msgxc.store.sqlite.connection import Connection, each, marks

#: What stands under a key, if it still counts.
FIND = "SELECT digest, answer FROM idempotency WHERE key = ? AND until > ?"
RESERVE = "INSERT OR REPLACE INTO idempotency (key, digest, answer, until) VALUES (?,?,NULL,?)"
ANSWERED = "UPDATE idempotency SET answer = ?, until = ? WHERE key = ?"
#: An answer that is there stays.
RELEASE = "DELETE FROM idempotency WHERE key = ? AND answer IS NULL"
#: The later time holds.
REVOKE = (
    "INSERT INTO revocations (name, before, until, at) VALUES (?,?,?,?) ON CONFLICT (name) DO UPDATE SET "
    "before = max(before, excluded.before), until = max(until, excluded.until), at = max(at, excluded.at)"
)
#: Which names have tokens that are refused; `{marks}` is one `?` each.
REVOKED = "SELECT name, before FROM revocations WHERE name IN ({marks})"
REVOKED_SINCE = "SELECT name, at FROM revocations WHERE at >= ?"
#: A repetition is the same receipt, also of one that was merged.
RECEIVE = (
    "INSERT OR IGNORE INTO inbox (id, record) "
    "SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM receipts_seen WHERE id = ?1)"
)
#: The oldest receipts.
INBOX = "SELECT id, record FROM inbox ORDER BY place LIMIT ?"
MERGED = "DELETE FROM inbox WHERE id = ?"
SEEN = "INSERT OR IGNORE INTO receipts_seen (id, until) VALUES (?,?)"
#: What is past its time.
TIDY = (
    "DELETE FROM idempotency WHERE until <= ?",
    "DELETE FROM revocations WHERE until <= ?",
    "DELETE FROM receipts_seen WHERE until <= ?",
    "DELETE FROM scheduled WHERE due <= ?",
    "DELETE FROM budgets WHERE day <= ? / 86400 - 7",
)


class SqliteGateway:
    """See store.gateway.Gateway."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    async def reserve(self, key: bytes, digest: bytes, now: float, until: float) -> Reserved:
        return await self._db.write(lambda db: _reserve(db, key, digest, now, until))

    async def answered(self, key: bytes, answer: bytes, until: float) -> None:
        await self._db.change(ANSWERED, answer, until, key)

    async def release(self, key: bytes) -> None:
        await self._db.change(RELEASE, key, synced=False)

    async def revoke(self, name: str, before: float, until: float, at: float) -> None:
        await self._db.change(REVOKE, name, before, until, at)

    async def revoked(self, names: Collection[str]) -> dict[str, float]:
        if not names:
            return {}
        return dict(await self._db.rows(REVOKED.format(marks=marks(len(names))), *names))

    async def revoked_since(self, at: float) -> dict[str, float]:
        return dict(await self._db.rows(REVOKED_SINCE, at))

    async def receive(self, receipts: Sequence[Received]) -> None:
        await self._db.change_many(RECEIVE, [(r.id.bytes, spell_receipt(r)) for r in receipts])

    async def inbox(self) -> list[Received]:
        rows = await self._db.rows(INBOX, INBOX_PAGE)
        return [read_receipt(UUID(bytes=identity), record) for identity, record in rows]

    async def merged(self, receipts: Collection[Received], until: float) -> None:
        if receipts:
            await self._db.write(lambda db: _merged(db, [receipt.id.bytes for receipt in receipts], until))

    async def tidy(self, now: float) -> None:
        await self._db.write(
            lambda db: [db.execute(statement, (now,)).rowcount for statement in TIDY], synced=False
        )


def _merged(db: sqlite3.Connection, receipts: Sequence[bytes], until: float) -> None:
    each(db, SEEN, [(identity, until) for identity in receipts])
    each(db, MERGED, [(identity,) for identity in receipts])


def _reserve(db: sqlite3.Connection, key: bytes, digest: bytes, now: float, until: float) -> Reserved:
    found = db.execute(FIND, (key, now)).fetchone()
    if found:
        return Reserved(False, found[0], found[1])
    db.execute(RESERVE, (key, digest, until))
    return Reserved(True, digest)
