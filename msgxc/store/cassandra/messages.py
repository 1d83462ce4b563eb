"""Messages, reads and joins in Cassandra. A thread's history is cut into buckets of ten days."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgxc.errors import StoreUnavailable
from msgxc.messages.records import Item, Join, JoinState, Message
from msgxc.store import records
from msgxc.store.cassandra import statements as cql
from msgxc.store.cassandra.groups import bucket_of
from msgxc.store.cassandra.session import Session
from msgxc.store.cassandra.times import instant, time_of
from msgxc.store.cassandra.triage import item_writes

#: What one bucket of a thread's history spans, in milliseconds. Written into the keys: never changed.
SPAN = 10 * 86_400_000
#: The latest of the ids that messages can have.
_FIRST, _LAST = UUID(int=0), UUID(int=0xFFFFFFFF_FFFF_7FFF_BFFF_FFFFFFFFFFFF)


def bucket_at(mid: UUID) -> int:
    """The bucket of a message."""
    return (mid.int >> 80) // SPAN


def _values(message: Message) -> tuple[object, ...]:
    record = records.spell_message(message)
    return message.tid, bucket_at(message.mid), message.mid, record, instant(message.scheduled)


def _message(tid: UUID, row: tuple[Any, ...]) -> Message:
    mid, record, scheduled, canceled, completed, recalled, joined, qid = row
    return records.read_message(
        tid,
        mid,
        record,
        scheduled=time_of(scheduled),
        canceled=time_of(canceled),
        completed=time_of(completed),
        recalled=time_of(recalled),
        joined=joined,
        qid=qid or "",
    )


class CassandraMessages:
    """See ports.Messages."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def put(self, message: Message, item: Item | None, copies: Sequence[Message] = ()) -> None:
        for some in records.batches(copies, 50):
            await self._session.partitions(cql.NOTE_BUCKET, [[(c.tid, bucket_at(c.mid))] for c in some])
            await self._session.partitions(cql.PUT_MESSAGE, [[_values(c)] for c in some])
        writes = item_writes(item) if item else []
        writes.append((cql.NOTE_BUCKET, (message.tid, bucket_at(message.mid))))
        writes.append((cql.PUT_MESSAGE, _values(message)))
        await self._session.together(writes)

    async def get(self, tid: UUID, mid: UUID) -> Message | None:
        rows = await self._session.rows(cql.GET_MESSAGE, tid, bucket_at(mid), mid)
        return _message(tid, rows[0]) if rows and rows[0][1] is not None else None

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
        changes: dict[str, object] = {
            "canceled": instant(canceled),
            "completed": instant(completed),
            "recalled": instant(recalled),
        }
        given = {name: value for name, value in changes.items() if value is not None}
        if unscheduled:
            given["scheduled"] = None
        key = tid, bucket_at(mid), mid
        for name, value in given.items():
            await self._session.rows(cql.NOTE_MESSAGE[name], value, *key)
        if joined and await self._session.change(cql.JOIN_MESSAGE, joined, *key) is None:
            raise StoreUnavailable("Cassandra did not say whether the message was joined")

    async def take(self, tid: UUID, mid: UUID, qid: str) -> str | None:
        key = tid, bucket_at(mid), mid
        await self._session.change(cql.TAKE_MESSAGE, qid, *key)
        rows = await self._session.serial(cql.GET_QID, *key)
        return (rows[0][1] or "") if rows and rows[0][0] is not None else None

    async def history(
        self, tid: UUID, before: UUID | None = None, after: UUID | None = None, limit: int = 50
    ) -> list[Message]:
        found: list[Message] = []
        async for bucket in self._buckets(tid, before, after):
            start = after if after is not None else before or _LAST
            statement = cql.MESSAGES_BEFORE if after is None else cql.MESSAGES_AFTER
            rows = await self._session.rows(statement, tid, bucket, start, limit - len(found))
            found += [_message(tid, row) for row in rows if row[1] is not None]
            if len(found) >= limit:
                break
        return found

    async def _buckets(self, tid: UUID, before: UUID | None, after: UUID | None) -> AsyncIterator[int]:
        """The buckets to look into, the nearest first."""
        if after is not None:
            rows = await self._session.rows(cql.BUCKETS_AFTER, tid, bucket_at(after))
        else:
            rows = await self._session.rows(cql.BUCKETS_BEFORE, tid, bucket_at(before or _LAST))
        for (bucket,) in rows:
            yield bucket

    async def count_after(self, tid: UUID, after: UUID | None, limit: int) -> int:
        count, start = 0, after or _FIRST
        async for bucket in self._buckets(tid, None, start):
            count += len(await self._session.rows(cql.IDS_AFTER, tid, bucket, start, limit - count))
            if count >= limit:
                break
        return count

    async def forget(self, tid: UUID) -> None:
        keys = [(tid, bucket) async for bucket in self._buckets(tid, None, None)]
        await self._session.each(cql.FORGET_BUCKET, keys)
        await self._session.each(cql.UNNOTE_BUCKET, keys)


class CassandraReads:
    """See ports.Reads."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def mark(self, uid: UUID, tid: UUID, mid: UUID, device: str) -> None:
        at = _microseconds(mid)
        await self._session.together(
            [
                (cql.MARK_OF, (uid, tid, device, mid, at)),
                (cql.MARK_READ, (tid, bucket_of(uid), uid, device, mid, at)),
            ]
        )

    async def last(self, places: Collection[tuple[UUID, UUID]]) -> dict[UUID, UUID]:
        parts: dict[tuple[UUID, int], list[UUID]] = {}
        for tid, uid in places:
            parts.setdefault((tid, bucket_of(uid)), []).append(uid)
        keys = [(*key, some) for key, mine in parts.items() for some in records.batches(mine, 100)]
        found: dict[UUID, UUID] = {}
        for rows in await self._session.each(cql.LAST_READ, keys):
            for uid, mid in rows:
                found[uid] = max(mid, found.get(uid, mid))
        return found

    async def of(self, uid: UUID) -> dict[UUID, dict[str, UUID]]:
        found: dict[UUID, dict[str, UUID]] = {}
        for tid, device, mid in await self._session.rows(cql.READS_OF, uid):
            found.setdefault(tid, {})[device] = mid
        return found


def _microseconds(mid: UUID) -> int:
    """The time at which a message was made, as a write's: 12 bits below the millisecond are in its id."""
    return (mid.int >> 80) * 1000 + (mid.int >> 64 & 0xFFF) * 1000 // 4096


async def forget_people(session: Session, uids: Collection[UUID]) -> None:
    """Erase what people have read, their requests and their invitations."""
    for uid in uids:
        threads = {tid for tid, _, _ in await session.rows(cql.READS_OF, uid)}
        await session.each(cql.ERASE_READS, [(tid, bucket_of(uid), uid) for tid in threads])
        await session.rows(cql.ERASE_READS_OF, uid)
        for tid, *_ in await session.rows(cql.JOINS_OF_PERSON, uid):
            await session.each(cql.REMOVE_JOIN["joins"], [(tid, uid)])
            await session.each(cql.REMOVE_JOIN["joins_by_recipient"], [(tid, uid)])


def _join(row: tuple[Any, ...]) -> Join:
    tid, uid, state, by, at = row
    return Join(tid, uid, JoinState(state), by, time_of(at))


def _oldest_first(rows: Sequence[tuple[Any, ...]]) -> list[Join]:
    return sorted(map(_join, rows), key=lambda join: join.at)


class CassandraJoins:
    """See ports.Joins."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def put(self, join: Join) -> None:
        values = (join.tid, join.uid, join.state, join.by, instant(join.at))
        await self._session.together([(statement, values) for statement in cql.PUT_JOIN.values()])

    async def get(self, tid: UUID, uid: UUID) -> Join | None:
        rows = await self._session.rows(cql.GET_JOIN, tid, uid)
        return _join(rows[0]) if rows else None

    async def of_thread(self, tid: UUID) -> list[Join]:
        return _oldest_first(await self._session.rows(cql.JOINS_OF_THREAD, tid))

    async def of_person(self, uid: UUID) -> list[Join]:
        return _oldest_first(await self._session.rows(cql.JOINS_OF_PERSON, uid))

    async def remove(self, tid: UUID, uid: UUID) -> None:
        await self._session.together([(statement, (tid, uid)) for statement in cql.REMOVE_JOIN.values()])
