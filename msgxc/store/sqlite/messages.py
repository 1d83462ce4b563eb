"""Messages, reads, triage and joins in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from msgxc.messages.records import Item, Join, JoinState, Kind, Message
from msgxc.model import Urgency
from msgxc.store import records
from msgxc.store.ports import BATCH, DEVICES, LOOKED_AT
from msgxc.store.sqlite import statements as sql
from msgxc.store.sqlite.connection import Connection

_FIRST, _LAST = b"", b"\xff" * 16


def _values(message: Message) -> tuple[object, ...]:
    scheduled = records.seconds(message.scheduled)
    return message.tid.bytes, message.mid.bytes, records.spell_message(message), scheduled


def _message(tid: UUID, row: tuple[Any, ...]) -> Message:
    mid, record, scheduled, canceled, completed, recalled, joined, qid = row
    return records.read_message(
        tid,
        UUID(bytes=mid),
        record,
        scheduled=records.time_of(scheduled),
        canceled=records.time_of(canceled),
        completed=records.time_of(completed),
        recalled=records.time_of(recalled),
        joined=UUID(bytes=joined) if joined else None,
        qid=qid,
    )


def _put(db: sqlite3.Connection, rows: list[tuple[object, ...]], item: tuple[object, ...] | None) -> None:
    db.executemany(sql.PUT_MESSAGE, rows)
    if item:
        db.execute(sql.ADD_ITEM, item)


class SqliteMessages:
    """See ports.Messages."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    async def put(self, message: Message, item: Item | None, copies: Sequence[Message] = ()) -> None:
        rows = [_values(one) for one in (message, *copies)]
        await self._db.write(lambda db: _put(db, rows, _item_values(item) if item else None))

    async def get(self, tid: UUID, mid: UUID) -> Message | None:
        rows = await self._db.rows(sql.GET_MESSAGE, tid.bytes, mid.bytes)
        return _message(tid, rows[0]) if rows else None

    async def note(
        self,
        tid: UUID,
        mid: UUID,
        *,
        canceled: datetime | None = None,
        completed: datetime | None = None,
        recalled: datetime | None = None,
        joined: UUID | None = None,
        unscheduled: bool = False,
    ) -> None:
        """That it is completed or joined rides along: after a power cut it is found again."""
        times = [records.seconds(time) for time in (canceled, completed, recalled)]
        values = *times, joined and joined.bytes, unscheduled, tid.bytes, mid.bytes
        withdrawn = canceled is not None or recalled is not None or unscheduled
        await self._db.change(sql.NOTE_MESSAGE, *values, synced=withdrawn)

    async def take(self, tid: UUID, mid: UUID, qid: str) -> str | None:
        await self._db.change(sql.TAKE_MESSAGE, qid, tid.bytes, mid.bytes)
        message = await self.get(tid, mid)
        return message.qid if message else None

    async def history(
        self,
        tid: UUID,
        before: UUID | None = None,
        after: UUID | None = None,
        limit: int = 50,
        *,
        shown: bool = False,
    ) -> list[Message]:
        if after is not None:
            statement = sql.SHOWN_AFTER if shown else sql.MESSAGES_AFTER
            rows = await self._db.rows(statement, tid.bytes, after.bytes, limit)
        else:
            statement = sql.SHOWN_BEFORE if shown else sql.MESSAGES_BEFORE
            rows = await self._db.rows(statement, tid.bytes, before.bytes if before else _LAST, limit)
        return [_message(tid, row) for row in rows]

    async def count_after(self, tid: UUID, after: UUID | None, limit: int) -> int:
        first = after.bytes if after else _FIRST
        found = await self._db.rows(sql.COUNT_MESSAGES, tid.bytes, first, limit * LOOKED_AT)
        return min(int(found[0][0]), limit)

    async def plan(self, sender: UUID, tid: UUID, mid: UUID, due: float, now: float) -> tuple[int, int]:
        row = sender.bytes, tid.bytes, mid.bytes, due
        return await self._db.write(lambda db: _plan(db, row, now), synced=False)

    async def unplan(self, sender: UUID, tid: UUID, mid: UUID) -> None:
        await self._db.change(sql.UNPLAN, sender.bytes, tid.bytes, mid.bytes, synced=False)

    async def forget(self, tid: UUID) -> None:
        await self._db.change(sql.FORGET_MESSAGES, tid.bytes)

    async def naming(self, uid: UUID) -> AsyncIterator[list[Message]]:
        async for rows in self._scan():
            named = [_message(UUID(bytes=row[0]), row[1:]) for row in rows if uid.hex in row[2]]
            if found := [message for message in named if message.names(uid)]:
                yield found

    async def people(self) -> AsyncIterator[set[UUID]]:
        async for rows in self._scan():
            yield {uid for row in rows for uid in _message(UUID(bytes=row[0]), row[1:]).people}

    async def _scan(self) -> AsyncIterator[list[tuple[Any, ...]]]:
        """The rows of all messages, each after its thread."""
        last: tuple[bytes, bytes] = (_FIRST, _FIRST)
        while rows := await self._db.rows(sql.SCAN_MESSAGES, *last, BATCH):
            yield rows
            last = rows[-1][0], rows[-1][1]

    async def rewrite(self, message: Message) -> None:
        record = records.spell_message(message)
        await self._db.change(sql.REWRITE_MESSAGE, record, message.tid.bytes, message.mid.bytes)


def _plan(db: sqlite3.Connection, row: tuple[bytes, bytes, bytes, float], now: float) -> tuple[int, int]:
    sender, tid, *_ = row
    db.execute(sql.FORGET_PLANS, (sender, now))
    db.execute(sql.PLAN, row)
    here, everywhere = db.execute(sql.COUNT_PLANS, (tid, sender)).fetchone()
    return here, everywhere


def _mark(db: sqlite3.Connection, uid: bytes, tid: bytes, mid: bytes, device: str) -> None:
    known = {row[0] for row in db.execute(sql.READING_DEVICES, (uid,))} if device else {""}
    if device not in known and len(known) >= DEVICES:
        device = ""
    elif device not in known:
        db.execute(sql.ADD_READING_DEVICE, (uid, device))
    db.execute(sql.MARK_READ, (tid, uid, device, mid))


class SqliteReads:
    """See ports.Reads."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    async def mark(self, uid: UUID, tid: UUID, mid: UUID, device: str) -> None:
        await self._db.write(lambda db: _mark(db, uid.bytes, tid.bytes, mid.bytes, device))

    async def last(self, places: Collection[tuple[UUID, UUID]]) -> dict[UUID, UUID]:
        found: dict[UUID, UUID] = {}
        for some in records.batches(places, BATCH):
            values = [part.bytes for place in some for part in place]
            rows = await self._db.rows(sql.LAST_READ.format(pairs=",".join(["(?,?)"] * len(some))), *values)
            found.update((UUID(bytes=uid), UUID(bytes=mid)) for uid, mid in rows)
        return found

    async def of(self, uid: UUID) -> dict[UUID, dict[str, UUID]]:
        found: dict[UUID, dict[str, UUID]] = {}
        for tid, device, mid in await self._db.rows(sql.READS_OF, uid.bytes):
            found.setdefault(UUID(bytes=tid), {})[device] = UUID(bytes=mid)
        return found


def _item_values(item: Item) -> tuple[object, ...]:
    key = int(item.urgency), item.due, item.mid.bytes, item.step
    return (*key, item.tid.bytes, item.kind, item.since, item.tries, item.turn and item.turn.bytes)


def _item(row: tuple[Any, ...]) -> Item:
    urgency, due, mid, step, tid, kind, since, tries, turn = row
    return Item(
        urgency=Urgency(urgency),
        due=due,
        mid=UUID(bytes=mid),
        tid=UUID(bytes=tid),
        kind=Kind(kind),
        since=since,
        tries=tries,
        step=step,
        turn=UUID(bytes=turn) if turn else None,
    )


def _due(db: sqlite3.Connection, now: float, limit: int) -> list[tuple[Any, ...]]:
    """Urgency by urgency: each is a range of the key, so that nothing that waits is read."""
    found: list[tuple[Any, ...]] = []
    for urgency in sorted(Urgency, reverse=True):
        if len(found) < limit:
            found += db.execute(sql.DUE_ITEMS, (int(urgency), now, limit - len(found))).fetchall()
    return found


class SqliteTriage:
    """See ports.Triage."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    async def add(self, items: Sequence[Item]) -> None:
        await self._db.change_many(sql.ADD_ITEM, map(_item_values, items))

    async def due(self, now: float, limit: int) -> list[Item]:
        return [_item(row) for row in await self._db.run(lambda db: _due(db, now, limit))]

    async def remove(self, items: Sequence[Item]) -> None:
        keys = [(int(item.urgency), item.due, item.mid.bytes, item.step) for item in items]
        await self._db.change_many(sql.REMOVE_ITEM, keys, synced=False)

    async def scan(self) -> AsyncIterator[list[Item]]:
        for urgency in sorted(Urgency, reverse=True):
            last: tuple[object, ...] = (-1.0, _FIRST, "")
            while rows := await self._db.rows(sql.SCAN_ITEMS, int(urgency), *last, BATCH):
                yield [_item(row) for row in rows]
                last = rows[-1][1:4]


def _join(row: tuple[Any, ...]) -> Join:
    tid, uid, state, by, at = row
    since = datetime.fromtimestamp(at, UTC)
    return Join(UUID(bytes=tid), UUID(bytes=uid), JoinState(state), UUID(bytes=by) if by else None, since)


class SqliteJoins:
    """See ports.Joins."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    async def put(self, join: Join) -> None:
        by = join.by.bytes if join.by else None
        at = records.seconds(join.at)
        await self._db.change(sql.PUT_JOIN, join.tid.bytes, join.uid.bytes, join.state, by, at)

    async def get(self, tid: UUID, uid: UUID) -> Join | None:
        rows = await self._db.rows(sql.GET_JOIN, tid.bytes, uid.bytes)
        return _join(rows[0]) if rows else None

    async def of_thread(self, tid: UUID) -> list[Join]:
        return [_join(row) for row in await self._db.rows(sql.JOINS_OF_THREAD, tid.bytes)]

    async def of_person(self, uid: UUID) -> list[Join]:
        return [_join(row) for row in await self._db.rows(sql.JOINS_OF_PERSON, uid.bytes)]

    async def remove(self, tid: UUID, uid: UUID) -> None:
        await self._db.change(sql.REMOVE_JOIN, tid.bytes, uid.bytes)
