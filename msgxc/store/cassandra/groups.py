"""Cohorts and threads in Cassandra: each in 16 buckets by uid, so that ten million members stay readable."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID
from zlib import crc32

from msgxc.model import Channel, Subscription, Thread, Urgency
from msgxc.store import records
from msgxc.store.cassandra import statements as cql
from msgxc.store.cassandra.binding import UNSET
from msgxc.store.cassandra.session import Rows, Session

BUCKETS = 16  # Written into the partition keys: never changed.


def bucket_of(uid: UUID) -> int:
    """A checksum, because parts of a uid may be the same for all (imported time UUIDs)."""
    return crc32(uid.bytes) % BUCKETS


def _by_bucket(uids: Iterable[UUID]) -> dict[int, list[UUID]]:
    buckets: dict[int, list[UUID]] = {}
    for uid in uids:
        buckets.setdefault(bucket_of(uid), []).append(uid)
    return buckets


async def _among(session: Session, statement: str, group: object, uids: Collection[UUID]) -> Rows:
    """The rows of a statement `… bucket = ? AND uid IN ?` for these uids."""
    chunks = [
        (group, bucket, some)
        for bucket, mine in _by_bucket(uids).items()
        for some in records.batches(mine, 100)
    ]
    return [row for rows in await session.each(statement, chunks) for row in rows]


async def _uids(session: Session, statement: str, group: object) -> AsyncIterator[list[UUID]]:
    async for page in session.read(statement, [(group, bucket) for bucket in range(BUCKETS)]):
        yield [uid for (uid,) in page]


class CassandraCohorts:
    """See ports.Cohorts."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, cohort: str, uids: Collection[UUID]) -> None:
        if uids:
            await self._session.rows(cql.NAME_COHORT, cohort)
            await self._in_buckets(cql.ADD_MEMBER, cohort, uids)

    async def remove(self, cohort: str, uids: Collection[UUID]) -> None:
        await self._in_buckets(cql.REMOVE_MEMBER, cohort, uids)

    async def _in_buckets(self, statement: str, cohort: str, uids: Collection[UUID]) -> None:
        parts = [[(cohort, bucket, uid) for uid in mine] for bucket, mine in _by_bucket(uids).items()]
        await self._session.partitions(statement, parts)

    async def drop(self, cohort: str) -> None:
        await self._session.each(cql.DROP_BUCKET, [(cohort, bucket) for bucket in range(BUCKETS)])
        await self._session.rows(cql.UNNAME_COHORT, cohort)

    async def members(self, cohort: str, uids: Collection[UUID]) -> set[UUID]:
        return {uid for (uid,) in await _among(self._session, cql.MEMBERS, cohort, uids)}

    def scan(self, cohort: str) -> AsyncIterator[list[UUID]]:
        return _uids(self._session, cql.SCAN_BUCKET, cohort)

    async def sizes(self) -> dict[str, int]:
        """Counted now; a cohort whose last member has left is none."""
        sizes = {}
        for name in sorted(await self._names()):
            counts = await self._session.each(cql.COUNT_BUCKET, [(name, n) for n in range(BUCKETS)])
            sizes[name] = sum(count for ((count,),) in counts)
        return {name: size for name, size in sizes.items() if size}

    async def leave_all(self, uids: Collection[UUID]) -> None:
        """Take people out of every cohort."""
        for name in await self._names():
            await self.remove(name, await self.members(name, uids))

    async def _names(self) -> list[str]:
        return [name for (name,) in await self._session.rows(cql.COHORTS)]


#: The fields of a thread, in the order of its columns.
_FIELDS = (
    *("tid", "name", "owner", "open", "open_to_publish", "channels", "fallback", "child_channels", "urgency"),
    *("archived", "admins", "publishers", "system", "ephemeral", "template"),
)


def _values(thread: Thread) -> tuple[object, ...]:
    return (
        thread.tid,
        thread.name,
        thread.owner,
        thread.open,
        thread.open_to_publish,
        records.spell_channels(thread.channels),
        None if thread.fallback is None else " ".join(thread.fallback),
        records.spell_channels(thread.child_channels),
        int(thread.urgency),
        thread.archived,
        thread.admins,
        thread.publishers,
        thread.system,
        thread.ephemeral,
        thread.template,
    )


def _thread(row: tuple[Any, ...]) -> Thread:
    tid, name, owner, is_open, open_to_publish, channels, fallback, child_channels, urgency, archived = row[
        :10
    ]
    admins, publishers, system, ephemeral, template = row[10:]
    return Thread(
        tid=tid,
        name=name or "",
        owner=owner,
        open=bool(is_open),
        open_to_publish=bool(open_to_publish),
        channels=records.read_channels(channels),
        fallback=None if fallback is None else tuple(map(Channel, fallback.split())),
        child_channels=records.read_channels(child_channels),
        urgency=Urgency(urgency or Urgency.NORMAL),
        archived=bool(archived),
        admins=frozenset(admins or ()),
        publishers=frozenset(publishers or ()),
        system=bool(system),
        ephemeral=bool(ephemeral),
        template=template or "",
    )


def _held(channels: str | None, without: Collection[str] | None) -> frozenset[Channel] | None:
    """A subscriber's channels, but for those that they took back."""
    return records.read_held(channels, " ".join(sorted(without or ())))


class CassandraThreads:
    """See ports.Threads."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def put(self, thread: Thread) -> None:
        await self._session.rows(cql.PUT_THREAD, *_values(thread))

    async def get(self, tid: UUID) -> Thread | None:
        rows = await self._session.rows(cql.GET_THREAD, tid)
        return _thread(rows[0]) if rows else None

    async def change(self, tid: UUID, fields: Mapping[str, Any]) -> None:
        """Only the columns that are named are written."""
        said = {"tid", *fields}
        whole = zip(_FIELDS, _values(replace(Thread(tid), **fields)), strict=True)
        await self._session.rows(cql.PUT_THREAD, *(value if name in said else UNSET for name, value in whole))

    async def scan(self) -> AsyncIterator[list[Thread]]:
        async for page in self._session.scan(cql.SCAN_THREADS):
            yield [_thread(row) for row in page]

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        last = {(s.uid, s.tid): s for s in subscriptions}  # one request has one time for all
        await self._session.partitions(cql.NOTE_THREAD, [[key] for key in last])
        parts: dict[tuple[UUID, int], list[tuple[object, ...]]] = {}
        for s in last.values():
            key = s.tid, bucket_of(s.uid)
            parts.setdefault(key, []).append((*key, s.uid, records.spell_channels(s.channels)))
        await self._session.partitions(cql.SUBSCRIBE, parts.values())

    async def enter(self, subscriptions: Sequence[Subscription]) -> None:
        last = {(s.uid, s.tid): s for s in subscriptions}
        await self._session.partitions(cql.NOTE_THREAD, [[key] for key in last])
        parts: dict[tuple[UUID, int], list[tuple[object, ...]]] = {}
        for s in last.values():
            key, told = (s.tid, bucket_of(s.uid)), records.spell_channels(s.channels)
            parts.setdefault(key, []).append((*key, s.uid, UNSET if told is None else told))
        await self._session.partitions(cql.ENTER, parts.values())

    async def leave(self, tid: UUID, uid: UUID, channels: Collection[Channel]) -> bool:
        named = frozenset(map(str, channels))
        return await self._session.settle(cql.LEAVE, named, tid, bucket_of(uid), uid)

    async def dismiss(self, uid: UUID) -> int:
        count = 0
        async for page in self.scan():
            for thread in page:
                if uid == thread.owner or uid in thread.admins | thread.publishers:
                    count, left = count + 1, thread.without(uid)
                    staff = left.owner, left.admins, left.publishers
                    await self._session.rows(cql.PUT_STAFF, *staff, left.tid)
        return count

    async def unsubscribe(self, tid: UUID, uids: Collection[UUID]) -> None:
        parts = [[(tid, bucket, uid) for uid in mine] for bucket, mine in _by_bucket(uids).items()]
        await self._session.partitions(cql.UNSUBSCRIBE, parts)
        await self._session.partitions(cql.UNNOTE_THREAD, [[(uid, tid)] for uid in uids])

    async def subscriptions(self, tid: UUID, uids: Collection[UUID]) -> dict[UUID, Subscription]:
        rows = await _among(self._session, cql.SUBSCRIPTIONS, tid, uids)
        return {uid: Subscription(tid, uid, _held(*held)) for uid, *held in rows}

    def subscribers(self, tid: UUID) -> AsyncIterator[list[UUID]]:
        return _uids(self._session, cql.SCAN_SUBSCRIBERS, tid)

    async def count_of(self, uid: UUID, most: int) -> int:
        return len(await self._session.rows(cql.SOME_THREADS_OF, uid, most))

    async def size(self, tid: UUID, most: int) -> int:
        """No bucket holds twice its share, unless there are few: none is read further than that."""
        share = most * 2 // BUCKETS + 50
        found = await self._session.each(
            cql.SOME_SUBSCRIBERS, [(tid, bucket, min(share, most)) for bucket in range(BUCKETS)]
        )
        return min(sum(len(rows) for rows in found), most)

    async def of(self, uid: UUID) -> list[Subscription]:
        threads = [tid for (tid,) in await self._session.rows(cql.THREADS_OF, uid)]
        keys = [(tid, bucket_of(uid), uid) for tid in threads]
        found = await self._session.each(cql.SUBSCRIPTION, keys)
        return [
            Subscription(tid, uid, _held(*rows[0])) for tid, rows in zip(threads, found, strict=True) if rows
        ]

    async def leave_all(self, uids: Collection[UUID]) -> None:
        """Take people out of every thread."""
        people = list(uids)
        noted = await self._session.each(cql.THREADS_OF, [(uid,) for uid in people])
        for uid, threads in zip(people, noted, strict=True):
            for (tid,) in threads:
                await self.unsubscribe(tid, [uid])
