"""The recipient tables, the cohorts and the threads in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgxc import ids
from msgxc.expression import Narrowing
from msgxc.model import Channel, Device, Recipient, Subscription, Thread
from msgxc.store import records
from msgxc.store.ports import BATCH, DEVICES, Suppression
from msgxc.store.sqlite import statements as sql
from msgxc.store.sqlite.connection import Connection, blob, marks

#: Conditions that this store narrows by, and their columns.
_NARROWS = {"lang": "lang", "tz": "tz", "last_seen": "last_seen", "created": "created"}


def _values(recipient: Recipient) -> tuple[object, ...]:
    return (
        recipient.uid.bytes,
        recipient.name,
        recipient.email,
        recipient.cell,
        recipient.lang,
        recipient.tz,
        records.spell_channels(recipient.channels),
        records.spell_devices(recipient.devices),
        " ".join(sorted(recipient.consents)),
        json.dumps(dict(recipient.attributes)),
        records.seconds(recipient.last_seen),
        records.seconds(recipient.created),
    )


def _recipient(row: tuple[Any, ...], own: UUID | None = None) -> Recipient:
    """`own`: the row's uid, where there is one already: what is the same object is compared in no time."""
    uid, name, email, cell, lang, tz, channels, devices, consents, attributes, last_seen, created = row
    return Recipient(
        uid=own or ids.uuid_of(uid),
        name=name,
        email=email,
        cell=cell,
        lang=lang,
        tz=tz,
        channels=None if channels is None else records.read_channels(channels),
        devices=records.read_devices(devices),
        consents=records.read_words(consents),
        attributes=records.from_json(attributes),
        last_seen=records.time_of(last_seen),
        created=records.time_of(created),
    )


class SqliteDirectory:
    """See ports.Directory."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    async def put(self, recipients: Sequence[Recipient]) -> None:
        await self._db.change_many(sql.PUT_RECIPIENT, map(_values, recipients))

    async def get(self, uids: Collection[UUID]) -> dict[UUID, Recipient]:
        found: dict[UUID, Recipient] = {}
        known = {uid.bytes: uid for uid in uids}
        for some in records.batches(known, BATCH):
            statement = sql.GET_RECIPIENTS.format(marks=marks(len(some)))
            for row in await self._db.rows(statement, *map(blob, some)):
                uid = known[row[0]]
                found[uid] = _recipient(row, uid)
        return found

    async def scan(self, narrowing: Narrowing = ()) -> AsyncIterator[list[Recipient]]:
        used = [condition for condition in narrowing if condition.field in _NARROWS]
        where = "".join(f" AND {_NARROWS[c.field]} {c.op} ?" for c in used)
        values = [v.timestamp() if isinstance(v := c.value, datetime) else v for c in used]
        async for page in self._db.pages(sql.SCAN_RECIPIENTS.format(where=where), after=values):
            yield [_recipient(row) for row in page]

    async def scan_uids(self) -> AsyncIterator[list[UUID]]:
        async for page in self._db.pages(sql.SCAN_UIDS):
            yield [ids.uuid_of(row[0]) for row in page]

    async def count(self) -> int:
        return int((await self._db.rows(sql.COUNT_RECIPIENTS))[0][0])

    async def erase(self, uids: Collection[UUID]) -> None:
        keys = [(uid.bytes,) for uid in uids]
        await self._db.write(lambda db: [db.executemany(statement, keys).rowcount for statement in sql.ERASE])

    async def prune(self, uid: UUID, token: str, dead_since: datetime | None) -> bool:
        return await self._db.write(lambda db: _prune(db, uid, token, dead_since))

    async def enlist(self, uid: UUID, device: Device, address: bytes) -> UUID | None:
        return await self._db.write(lambda db: _enlist(db, uid, device, address))

    async def choose(
        self, uid: UUID, consents: Collection[str], channels: Collection[Channel] | None
    ) -> bool:
        chosen = " ".join(sorted(consents)), records.spell_channels(channels)
        return await self._db.change(sql.CHOOSE, *chosen, uid.bytes) == 1

    async def suppress(self, entries: Sequence[Suppression]) -> None:
        rows = [(e.address, e.channel, e.reason, records.seconds(e.since)) for e in entries]
        await self._db.change_many(sql.SUPPRESS, rows)

    async def unsuppress(self, addresses: Collection[bytes]) -> None:
        await self._db.change_many(sql.UNSUPPRESS, [(address,) for address in addresses])

    async def suppressed(self, addresses: Collection[bytes]) -> dict[bytes, str]:
        found: dict[bytes, str] = {}
        for some in records.batches(addresses, BATCH):
            found.update(await self._db.rows(sql.SUPPRESSED.format(marks=marks(len(some))), *some))
        return found


def _batches(uids: Collection[UUID]) -> Iterator[list[bytes]]:
    return records.batches((uid.bytes for uid in uids), BATCH)


def _prune(db: sqlite3.Connection, uid: UUID, token: str, dead_since: datetime | None) -> bool:
    row = db.execute(sql.GET_DEVICES, (uid.bytes,)).fetchone()
    devices = records.read_devices(row[0]) if row else ()
    kept = [d for d in devices if d.token != token or (dead_since is not None and d.registered > dead_since)]
    if len(kept) == len(devices):
        return False
    db.execute(sql.SET_DEVICES, (records.spell_devices(kept), uid.bytes))
    return True


def _enlist(db: sqlite3.Connection, uid: UUID, device: Device, address: bytes) -> UUID | None:
    row = db.execute(sql.OWNER, (address,)).fetchone()
    before = UUID(bytes=row[0]) if row and row[0] != uid.bytes else None
    if before:
        _prune(db, before, device.token, None)
    db.execute(sql.OWN, (address, uid.bytes))
    seen = records.seconds(device.registered)
    db.execute(sql.APPEAR, (uid.bytes, seen, seen))
    found = records.read_devices(db.execute(sql.GET_DEVICES, (uid.bytes,)).fetchone()[0])
    kept = [device, *(other for other in found if other.token != device.token)][:DEVICES]
    db.execute(sql.SET_DEVICES, (records.spell_devices(kept), uid.bytes))
    return before


class SqliteCohorts:
    """See ports.Cohorts."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    async def add(self, cohort: str, uids: Collection[UUID]) -> None:
        await self._db.change_many(sql.ADD_MEMBER, [(cohort, uid.bytes) for uid in uids])

    async def remove(self, cohort: str, uids: Collection[UUID]) -> None:
        await self._db.change_many(sql.REMOVE_MEMBER, [(cohort, uid.bytes) for uid in uids])

    async def drop(self, cohort: str) -> None:
        await self._db.change(sql.DROP_COHORT, cohort)

    async def members(self, cohort: str, uids: Collection[UUID]) -> set[UUID]:
        found: set[UUID] = set()
        for some in _batches(uids):
            rows = await self._db.rows(sql.MEMBERS.format(marks=marks(len(some))), cohort, *some)
            found.update(ids.uuid_of(row[0]) for row in rows)
        return found

    async def scan(self, cohort: str) -> AsyncIterator[list[UUID]]:
        async for page in self._db.pages(sql.SCAN_COHORT, cohort):
            yield [ids.uuid_of(row[0]) for row in page]

    async def sizes(self) -> dict[str, int]:
        return dict(await self._db.rows(sql.COHORT_SIZES))


class SqliteThreads:
    """See ports.Threads."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    async def put(self, thread: Thread) -> None:
        await self._db.change(sql.PUT_THREAD, thread.tid.bytes, records.spell_thread(thread))

    async def get(self, tid: UUID) -> Thread | None:
        rows = await self._db.rows(sql.GET_THREAD, tid.bytes)
        return records.read_thread(tid, rows[0][0]) if rows else None

    async def scan(self) -> AsyncIterator[list[Thread]]:
        async for page in self._db.pages(sql.SCAN_THREADS):
            yield [records.read_thread(ids.uuid_of(tid), record) for tid, record in page]

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        rows = [(s.tid.bytes, s.uid.bytes, records.spell_channels(s.channels)) for s in subscriptions]
        await self._db.change_many(sql.SUBSCRIBE, rows)

    async def unsubscribe(self, tid: UUID, uids: Collection[UUID]) -> None:
        await self._db.change_many(sql.UNSUBSCRIBE, [(tid.bytes, uid.bytes) for uid in uids])

    async def subscriptions(self, tid: UUID, uids: Collection[UUID]) -> dict[UUID, Subscription]:
        found: dict[UUID, Subscription] = {}
        for some in _batches(uids):
            statement = sql.SUBSCRIPTIONS.format(marks=marks(len(some)))
            for raw, channels in await self._db.rows(statement, tid.bytes, *some):
                uid = ids.uuid_of(raw)
                found[uid] = Subscription(tid, uid, records.read_channels(channels))
        return found

    async def subscribers(self, tid: UUID) -> AsyncIterator[list[UUID]]:
        async for page in self._db.pages(sql.SCAN_SUBSCRIBERS, tid.bytes):
            yield [ids.uuid_of(row[0]) for row in page]

    async def of(self, uid: UUID) -> list[Subscription]:
        rows = await self._db.rows(sql.SUBSCRIPTIONS_OF, uid.bytes)
        return [
            Subscription(ids.uuid_of(tid), uid, records.read_channels(channels)) for tid, channels in rows
        ]
