"""The recipient tables, the cohorts and the threads in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from msgspec import structs

from msgxc import ids
from msgxc.expression import Narrowing
from msgxc.model import Channel, Device, Recipient, Subscription, Thread
from msgxc.online import Heard, Online
from msgxc.store import records
from msgxc.store.changes import Change, changed, own_after
from msgxc.store.choices import Choice, Choices, Said, lines
from msgxc.store.ports import BATCH, DEVICES, AddressOf, Suppression, Wish, nowhere
from msgxc.store.sqlite import statements as sql
from msgxc.store.sqlite.connection import Connection, blob, each, marks

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
    uid, name, email, cell, lang, tz, channels, devices, consents, attributes, last_seen, created = row[:12]
    made = Recipient(
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
    given, withdrawn = row[12:]
    if not (given or withdrawn):
        return made
    chosen = records.read_choices(given, withdrawn)
    return structs.replace(
        made, consents=chosen.consents(made.consents), channels=chosen.channels(made.channels)
    )


class SqliteDirectory:
    """See ports.Directory."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    async def put(self, recipients: Sequence[Recipient]) -> None:
        await self._db.change_many(sql.PUT_RECIPIENT, map(_values, recipients))

    async def change(self, changes: Sequence[Change]) -> None:
        if changes:
            await self._db.write(lambda db: _change(db, changes))

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

    async def bury(self, people: Collection[bytes], at: datetime) -> None:
        await self._db.change_many(sql.BURY, [(mark, records.seconds(at)) for mark in people])

    async def unbury(self, people: Collection[bytes]) -> None:
        await self._db.change_many(sql.UNBURY, [(mark,) for mark in people])

    async def buried(self, people: Collection[bytes]) -> set[bytes]:
        found: set[bytes] = set()
        for some in records.batches(people, BATCH):
            statement = sql.BURIED.format(marks=marks(len(some)))
            found.update(row[0] for row in await self._db.rows(statement, *some))
        return found

    async def prune(self, uid: UUID, token: str, dead_since: datetime | None, address: bytes = b"") -> bool:
        return await self._db.write(lambda db: _prune(db, uid, token, dead_since, address))

    async def enlist(
        self, uid: UUID, device: Device, address: bytes, address_of: AddressOf = nowhere
    ) -> UUID | None:
        return await self._db.write(lambda db: _enlist(db, uid, device, address, address_of))

    async def seen(self, people: Mapping[UUID, datetime]) -> None:
        rows = [(records.seconds(at), uid.bytes) for uid, at in people.items()]
        await self._db.change_many(sql.SEEN, rows, synced=False)

    async def note_online(self, people: Mapping[UUID, Heard]) -> None:
        if people:
            await self._db.write(lambda db: _note_online(db, people), synced=False)

    async def online(self, uids: Collection[UUID]) -> dict[UUID, int]:
        found: dict[UUID, int] = {}
        for some in _batches(uids):
            rows = await self._db.rows(sql.ONLINE.format(marks=marks(len(some))), *some)
            found.update((ids.uuid_of(uid), total) for uid, total, _ in rows)
        return found

    async def owner(self, address: bytes) -> UUID | None:
        rows = await self._db.rows(sql.OWNER, address)
        return UUID(bytes=rows[0][0]) if rows else None

    async def choose(self, uid: UUID, choice: Choice) -> bool:
        return await self._db.write(lambda db: _choose(db, uid, choice))

    async def ask(self, uid: UUID, choice: Choice) -> None:
        await self._db.change_many(sql.SAY, _lines(uid, lines(choice, "asked")))

    async def choices(self, uids: Collection[UUID]) -> dict[UUID, Choices]:
        found: dict[UUID, Choices] = {}
        for some in _batches(uids):
            for uid, *stored in await self._db.rows(sql.CHOICES.format(marks=marks(len(some))), *some):
                found[ids.uuid_of(uid)] = records.read_choices(*stored)
        return found

    async def said(self, uid: UUID) -> list[Said]:
        return [
            Said(datetime.fromtimestamp(at, UTC), item, act, how, ids.uuid_of(link) if link else None)
            for at, item, act, how, link in await self._db.rows(sql.SAID, uid.bytes)
        ]

    async def suppress(self, entries: Sequence[Suppression]) -> None:
        rows = [(e.address, e.channel, e.reason, records.seconds(e.since)) for e in entries]
        await self._db.change_many(sql.SUPPRESS, rows)

    async def wish(self, wishes: Sequence[Wish]) -> None:
        for stop, statement in sql.WISH.items():
            rows = [(w.address, w.channel, records.seconds(w.at)) for w in wishes if w.stop is stop]
            await self._db.change_many(statement, rows)

    async def suppressed(self, addresses: Collection[bytes]) -> dict[bytes, str]:
        found: dict[bytes, str] = {}
        for some in records.batches(addresses, BATCH):
            found.update(await self._db.rows(sql.SUPPRESSED.format(marks=marks(len(some))), *some))
        return found


def _batches(uids: Collection[UUID]) -> Iterator[list[bytes]]:
    return records.batches((uid.bytes for uid in uids), BATCH)


def _prune(
    db: sqlite3.Connection, uid: UUID, token: str, dead_since: datetime | None, address: bytes
) -> bool:
    row = db.execute(sql.GET_DEVICES, (uid.bytes,)).fetchone()
    devices = records.read_devices(row[0]) if row else ()
    kept = [d for d in devices if d.token != token or (dead_since is not None and d.registered > dead_since)]
    if len(kept) == len(devices):
        return False
    db.execute(sql.SET_DEVICES, (records.spell_devices(kept), uid.bytes))
    if address:
        db.execute(sql.DISOWN, (address, uid.bytes))
    return True


def _enlist(
    db: sqlite3.Connection, uid: UUID, device: Device, address: bytes, address_of: AddressOf
) -> UUID | None:
    row = db.execute(sql.OWNER, (address,)).fetchone()
    before = UUID(bytes=row[0]) if row and row[0] != uid.bytes else None
    if before:
        _prune(db, before, device.token, None, b"")
    db.execute(sql.OWN, (address, uid.bytes))
    seen = records.seconds(device.registered)
    db.execute(sql.APPEAR, (uid.bytes, seen, seen))
    found = records.read_devices(db.execute(sql.GET_DEVICES, (uid.bytes,)).fetchone()[0])
    others = [other for other in found if other.token != device.token]
    kept, gone = [device, *others[: DEVICES - 1]], others[DEVICES - 1 :]
    db.execute(sql.SET_DEVICES, (records.spell_devices(kept), uid.bytes))
    for old in gone:
        db.execute(sql.DISOWN, (address_of(old), uid.bytes))
    return before


def _note_online(db: sqlite3.Connection, people: Mapping[UUID, Heard]) -> None:
    """Read and written in one transaction: of several gateways one comes after the other."""
    written: list[Sequence[object]] = []
    for some in records.batches(people, BATCH):
        keys = [uid.bytes for uid in some]
        rows = db.execute(sql.ONLINE.format(marks=marks(len(keys))), keys)
        kept = {uid: records.read_online(total, json.loads(lately)) for uid, total, lately in rows}
        for uid, key in zip(some, keys, strict=True):
            now = kept.get(key, Online()).after(people[uid])
            written.append((key, now.total, json.dumps(records.spell_online(now))))
    each(db, sql.SET_ONLINE, written)


def _change(db: sqlite3.Connection, changes: Sequence[Change]) -> None:
    """Read and written in one transaction: nothing comes in between."""
    before: dict[bytes, tuple[Any, ...]] = {}
    for some in _batches([change.uid for change in changes]):
        rows = db.execute(sql.GET_RECIPIENTS.format(marks=marks(len(some))), some)
        before.update((row[0], row) for row in rows)
    written: list[Sequence[object]] = []
    for change in changes:
        row = before.get(change.uid.bytes)
        said = (
            _recipient((*row[:12], "", "")) if row else None
        )  # what is written, not what they chose besides
        written.append(_values(changed(said, change)))
    each(db, sql.PUT_RECIPIENT, written)
    for change in changes:
        if not (change.agreed or change.dropped):
            continue
        row = before.get(change.uid.bytes)
        own = own_after(records.read_choices(*row[12:]) if row else Choices(), change)
        spelled = records.spell_choices(own.given), records.spell_choices(own.withdrawn)
        db.execute(sql.SET_CHOICES, (*spelled, change.uid.bytes))


def _choose(db: sqlite3.Connection, uid: UUID, choice: Choice) -> bool:
    row = db.execute(sql.GET_CHOICES, (uid.bytes,)).fetchone()
    if row is None:
        return False
    now = records.read_choices(*row).after(choice)
    spelled = records.spell_choices(now.given), records.spell_choices(now.withdrawn)
    db.execute(sql.SET_CHOICES, (*spelled, uid.bytes))
    each(db, sql.SAY, _lines(uid, lines(choice)))
    return True


def _lines(uid: UUID, said: Sequence[Said]) -> list[Sequence[object]]:
    return [
        (uid.bytes, records.seconds(s.at), s.item, s.act, s.how, s.link.bytes if s.link else None)
        for s in said
    ]


def _change_thread(db: sqlite3.Connection, tid: UUID, fields: Mapping[str, Any]) -> None:
    row = db.execute(sql.GET_THREAD, (tid.bytes,)).fetchone()
    thread = replace(records.read_thread(tid, row[0]) if row else Thread(tid), **fields)
    db.execute(sql.PUT_THREAD, (tid.bytes, records.spell_thread(thread)))


def _dismiss(db: sqlite3.Connection, uid: UUID) -> int:
    named = db.execute(sql.THREADS_NAMING, (str(uid),)).fetchall()
    for tid, record in named:
        thread = records.read_thread(ids.uuid_of(tid), record).without(uid)
        db.execute(sql.PUT_THREAD, (tid, records.spell_thread(thread)))
    return len(named)


def _leave(db: sqlite3.Connection, tid: UUID, uid: UUID, channels: Collection[Channel]) -> bool:
    row = db.execute(sql.GET_WITHOUT, (tid.bytes, uid.bytes)).fetchone()
    if row is None:
        return False
    without = (records.read_channels(row[0]) or frozenset()) | frozenset(channels)
    db.execute(sql.SET_WITHOUT, (records.spell_channels(without), tid.bytes, uid.bytes))
    return True


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

    async def change(self, tid: UUID, fields: Mapping[str, Any]) -> None:
        await self._db.write(lambda db: _change_thread(db, tid, fields))

    async def get(self, tid: UUID) -> Thread | None:
        rows = await self._db.rows(sql.GET_THREAD, tid.bytes)
        return records.read_thread(tid, rows[0][0]) if rows else None

    async def scan(self) -> AsyncIterator[list[Thread]]:
        async for page in self._db.pages(sql.SCAN_THREADS):
            yield [records.read_thread(ids.uuid_of(tid), record) for tid, record in page]

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        rows = [(s.tid.bytes, s.uid.bytes, records.spell_channels(s.channels)) for s in subscriptions]
        await self._db.change_many(sql.SUBSCRIBE, rows)

    async def enter(self, subscriptions: Sequence[Subscription]) -> None:
        bare = [(s.tid.bytes, s.uid.bytes) for s in subscriptions if s.channels is None]
        told = [
            (s.tid.bytes, s.uid.bytes, records.spell_channels(s.channels))
            for s in subscriptions
            if s.channels is not None
        ]
        await self._db.change_many(sql.ENTER, bare)
        await self._db.change_many(sql.ENTER_WITH, told)

    async def leave(self, tid: UUID, uid: UUID, channels: Collection[Channel]) -> bool:
        return await self._db.write(lambda db: _leave(db, tid, uid, channels))

    async def dismiss(self, uid: UUID) -> int:
        return await self._db.write(lambda db: _dismiss(db, uid))

    async def unsubscribe(self, tid: UUID, uids: Collection[UUID]) -> None:
        await self._db.change_many(sql.UNSUBSCRIBE, [(tid.bytes, uid.bytes) for uid in uids])

    async def subscriptions(self, tid: UUID, uids: Collection[UUID]) -> dict[UUID, Subscription]:
        found: dict[UUID, Subscription] = {}
        for some in _batches(uids):
            statement = sql.SUBSCRIPTIONS.format(marks=marks(len(some)))
            for raw, channels, without in await self._db.rows(statement, tid.bytes, *some):
                uid = ids.uuid_of(raw)
                found[uid] = Subscription(tid, uid, records.read_held(channels, without))
        return found

    async def subscribers(self, tid: UUID) -> AsyncIterator[list[UUID]]:
        async for page in self._db.pages(sql.SCAN_SUBSCRIBERS, tid.bytes):
            yield [ids.uuid_of(row[0]) for row in page]

    async def count_of(self, uid: UUID, most: int) -> int:
        return int((await self._db.rows(sql.COUNT_SUBSCRIPTIONS, uid.bytes, most))[0][0])

    async def size(self, tid: UUID, most: int) -> int:
        return int((await self._db.rows(sql.COUNT_SUBSCRIBERS, tid.bytes, most))[0][0])

    async def of(self, uid: UUID) -> list[Subscription]:
        rows = await self._db.rows(sql.SUBSCRIPTIONS_OF, uid.bytes)
        return [
            Subscription(ids.uuid_of(tid), uid, records.read_held(channels, without))
            for tid, channels, without in rows
        ]
