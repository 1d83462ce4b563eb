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
from msgxc.store.ports import DEVICES, LOOKED_AT

#: What one bucket of a thread's history spans, in milliseconds. Written into the keys: never changed.
SPAN = 10 * 86_400_000
#: The latest of the ids that messages can have.
_FIRST, _LAST = UUID(int=0), UUID(int=0xFFFFFFFF_FFFF_7FFF_BFFF_FFFFFFFFFFFF)


#: For how long a message that waits counts, at most, in seconds: what is published waits a year at most,
#: and the time of what was imported may lie beyond what a row can live.
COUNTED = 400 * 86_400

#: How many messages are passed over at once that may be hidden.
STATES = 2_000


def _seen(state: Sequence[object]) -> bool:
    """Whether people see it: the message is there, not scheduled, canceled or recalled."""
    written, *hidden = state
    return written is not None and not any(hidden)


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
        self,
        tid: UUID,
        before: UUID | None = None,
        after: UUID | None = None,
        limit: int = 50,
        *,
        shown: bool = False,
    ) -> list[Message]:
        found: list[Message] = []
        async for bucket in self._buckets(tid, before, after):
            found += await self._page(tid, bucket, before, after, limit - len(found), shown)
            if len(found) >= limit:
                break
        return found

    async def _page(
        self, tid: UUID, bucket: int, before: UUID | None, after: UUID | None, limit: int, shown: bool
    ) -> list[Message]:
        """A page of one bucket. Where much of it is hidden, what is hidden is passed over thousands at a
        time, without reading it."""
        start = after if after is not None else before or _LAST
        statement = cql.MESSAGES_BEFORE if after is None else cql.MESSAGES_AFTER
        states = cql.STATES_BEFORE if after is None else cql.STATES_AFTER
        rows, most = await self._session.rows(statement, tid, bucket, start, limit), limit
        page = [_message(tid, row) for row in rows if row[1] is not None]
        if not shown:
            return page
        page = [message for message in page if message.is_shown]
        while len(page) < limit and len(rows) == most:
            rows, most = await self._session.rows(states, tid, bucket, rows[-1][0], STATES), STATES
            mids = [mid for mid, *state in rows if _seen(state)][: limit - len(page)]
            if mids:
                more = await self._session.rows(cql.GET_MESSAGES, tid, bucket, mids)
                by_mid = {row[0]: _message(tid, row) for row in more}
                page += [by_mid[mid] for mid in mids if mid in by_mid]
        return page

    async def _buckets(self, tid: UUID, before: UUID | None, after: UUID | None) -> AsyncIterator[int]:
        """The buckets to look into, the nearest first."""
        if after is not None:
            rows = await self._session.rows(cql.BUCKETS_AFTER, tid, bucket_at(after))
        else:
            rows = await self._session.rows(cql.BUCKETS_BEFORE, tid, bucket_at(before or _LAST))
        for (bucket,) in rows:
            yield bucket

    async def count_after(self, tid: UUID, after: UUID | None, limit: int) -> int:
        count, looked_at, start = 0, 0, after or _FIRST
        async for bucket in self._buckets(tid, None, start):
            place, most = start, limit
            while count < limit and looked_at < limit * LOOKED_AT:
                rows = await self._session.rows(cql.STATES_AFTER, tid, bucket, place, most)
                mids = [mid for mid, *state in rows if _seen(state)]
                looked_at += len(mids)
                for some in records.batches(mids, 100):
                    if count < limit:
                        said = await self._session.rows(cql.GET_MESSAGES, tid, bucket, some)
                        count += sum(not _message(tid, row).is_silent for row in said)
                if len(rows) < most:
                    break
                place, most = rows[-1][0], STATES
        return min(count, limit)

    async def plan(self, sender: UUID, tid: UUID, mid: UUID, due: float, now: float) -> tuple[int, int]:
        await self._session.rows(cql.PLAN, sender, tid, mid, min(max(int(due - now), 1), COUNTED))
        threads = [row[0] for row in await self._session.rows(cql.PLANNED, sender)]
        return threads.count(tid), len(threads)

    async def unplan(self, sender: UUID, tid: UUID, mid: UUID) -> None:
        await self._session.rows(cql.UNPLAN, sender, tid, mid)

    async def forget(self, tid: UUID) -> None:
        keys = [(tid, bucket) async for bucket in self._buckets(tid, None, None)]
        await self._session.each(cql.FORGET_BUCKET, keys)
        await self._session.each(cql.UNNOTE_BUCKET, keys)

    async def naming(self, uid: UUID) -> AsyncIterator[list[Message]]:
        async for page in self._session.scan(cql.SCAN_MESSAGES):
            rows = [row for row in page if row[2] is not None and uid.hex in row[2]]
            named = [_message(row[0], row[1:]) for row in rows]
            if found := [message for message in named if message.names(uid)]:
                yield found

    async def people(self) -> AsyncIterator[set[UUID]]:
        async for page in self._session.scan(cql.SCAN_MESSAGES):
            written = [row for row in page if row[2] is not None]
            yield {uid for row in written for uid in _message(row[0], row[1:]).people}

    async def rewrite(self, message: Message) -> None:
        key = message.tid, bucket_at(message.mid), message.mid
        await self._session.settle(cql.REWRITE_MESSAGE, records.spell_message(message), *key)


class CassandraReads:
    """See ports.Reads."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def mark(self, uid: UUID, tid: UUID, mid: UUID, device: str) -> None:
        at, device = _microseconds(mid), await self._named(uid, device)
        await self._session.together(
            [
                (cql.MARK_OF, (uid, tid, device, mid, at)),
                (cql.MARK_READ, (tid, bucket_of(uid), uid, device, mid, at)),
            ]
        )

    async def _named(self, uid: UUID, device: str) -> str:
        """Under which name it is kept."""
        known = {row[0] for row in await self._session.rows(cql.READING_DEVICES, uid)} if device else {""}
        if device in known or len(known) >= DEVICES:
            return device if device in known else ""
        await self._session.rows(cql.ADD_READING_DEVICE, uid, device)
        return device

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
    """Erase what people have read, their requests and their invitations; in those by them, who it was."""
    for uid in uids:
        threads = {tid for tid, _, _ in await session.rows(cql.READS_OF, uid)}
        await session.each(cql.ERASE_READS, [(tid, bucket_of(uid), uid) for tid in threads])
        await session.rows(cql.ERASE_READS_OF, uid)
        await session.rows(cql.ERASE_READING_DEVICES, uid)
        await session.rows(cql.ERASE_PLANS, uid)
        for tid, *_ in await session.rows(cql.JOINS_OF_PERSON, uid):
            await session.each(cql.REMOVE_JOIN["joins"], [(tid, uid)])
            await session.each(cql.REMOVE_JOIN["joins_by_recipient"], [(tid, uid)])
    async for page in session.scan(cql.SCAN_JOINS):
        for tid, uid, inviter in page:
            if inviter in uids:
                writes = [(statement, (tid, uid)) for statement in cql.UNNAME_INVITER.values()]
                await session.together(writes)


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
