"""Idempotency keys, revocations and the inbox in Cassandra. See store.gateway.Gateway.

The inbox is split by minute, so that what was merged (tombstones) is never read again once its minute is
over; `inbox_slots` says which minutes hold something, so that none is forgotten whoever dies when.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from math import ceil
from uuid import UUID

from msgxc.errors import StoreUnavailable
from msgxc.store.cassandra.session import AT_ONCE, Session
from msgxc.store.cassandra.times import instant, time_of
from msgxc.store.gateway import INBOX_PAGE, WISHES, Received, Reserved
from msgxc.store.receipts import read_receipt, spell_receipt
from msgxc.store.records import batches

BUCKETS = 4
WISH_SECONDS = 400 * 86_400  # that the first time of a wish is kept
HOUR, LATELY = 3_600.0, 86_400.0  # seconds: a partition of what is new, and for how long it is
SETTLED = 5  # minutes after which nobody writes into a slot any more

#: Take a key; a compare-and-set. Forgotten by itself.
RESERVE = "INSERT INTO {ks}.idempotency (key, digest) VALUES (?,?) IF NOT EXISTS USING TTL ?"
FIND = "SELECT digest, answer FROM {ks}.idempotency WHERE key = ?"
#: The answer; by compare-and-set, as the key was taken.
ANSWERED = "UPDATE {ks}.idempotency USING TTL ? SET answer = ?, digest = ? WHERE key = ? IF EXISTS"
RELEASE = "DELETE FROM {ks}.idempotency WHERE key = ? IF answer = null"
#: The write time is the time in question, so that the later one holds.
REVOKE = "INSERT INTO {ks}.revocations (name, before) VALUES (?,?) USING TTL ? AND TIMESTAMP ?"
#: It is new: for an hour's partition.
REVOKED_NOW = "INSERT INTO {ks}.revoked_lately (hour, at, name) VALUES (?,?,?)"
REVOKED_SINCE = "SELECT name, at FROM {ks}.revoked_lately WHERE hour = ? AND at >= ?"
REVOKED = "SELECT name, before FROM {ks}.revocations WHERE name IN ?"
#: Say that a minute holds something; before the receipt is written.
NOTE_SLOT = "INSERT INTO {ks}.inbox_slots (one, slot) VALUES (true, ?)"
SLOTS = "SELECT slot FROM {ks}.inbox_slots WHERE one = true"
FORGET_SLOT = "DELETE FROM {ks}.inbox_slots WHERE one = true AND slot = ?"
RECEIVE = "INSERT INTO {ks}.inbox (slot, bucket, id, record) VALUES (?,?,?,?)"
#: Some receipts of a minute.
INBOX = "SELECT id, record FROM {ks}.inbox WHERE slot = ? AND bucket = ? LIMIT ?"
#: When a wish came in first: by compare-and-set, so that it counts from there however often it comes.
FIRST = "INSERT INTO {ks}.receipts_seen (id, at) VALUES (?,?) IF NOT EXISTS USING TTL ?"
KNOWN = "SELECT at, done FROM {ks}.receipts_seen WHERE id = ?"
#: Remember what was merged; which of some were.
SEEN = "INSERT INTO {ks}.receipts_seen (id, done) VALUES (?,true) USING TTL ?"
WHICH_SEEN = "SELECT id, done FROM {ks}.receipts_seen WHERE id IN ?"
MERGED = "DELETE FROM {ks}.inbox WHERE slot = ? AND bucket = ? AND id = ?"


class CassandraGateway:
    """See store.gateway.Gateway."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._noted = -1  # the newest slot that this process has noted
        self._found: dict[UUID, int] = {}  # the slots of what was handed out

    # -- idempotency

    async def reserve(self, key: bytes, digest: bytes, now: float, until: float) -> Reserved:
        if await self._session.change(RESERVE, key, digest, _seconds(until - now)):
            return Reserved(True, digest)
        rows = await self._session.serial(FIND, key)
        if not rows:
            raise StoreUnavailable("Cassandra did not say whether the key was taken")
        return Reserved(False, *rows[0])

    async def answered(self, key: bytes, answer: bytes, until: float) -> None:
        rows = await self._session.serial(FIND, key)
        if (
            rows
            and await self._session.change(ANSWERED, _seconds(until - time.time()), answer, rows[0][0], key)
            is None
        ):
            raise StoreUnavailable("Cassandra did not say whether the answer was kept")

    async def release(self, key: bytes) -> None:
        await self._session.change(RELEASE, key)

    async def tidy(self, now: float) -> None:
        """Nothing: rows of these tables end by themselves."""

    # -- revocations

    async def revoke(self, name: str, before: float, until: float, at: float) -> None:
        stamp, seconds = int(min(before, 2**33) * 1e6), _seconds(until - time.time())
        held = name, before, seconds, stamp
        await self._session.together([(REVOKE, held), (REVOKED_NOW, (int(at // HOUR), at, name))])

    async def revoked(self, names: Collection[str]) -> dict[str, float]:
        if not names:
            return {}
        return dict(await self._session.rows(REVOKED, list(names)))

    async def revoked_since(self, at: float) -> dict[str, float]:
        now = time.time()
        hours = range(int(max(at, now - LATELY) // HOUR), int(now // HOUR) + 2)  # a clock may be ahead
        answers = await self._session.each(REVOKED_SINCE, [(hour, at) for hour in hours])
        return {name: said for rows in answers for name, said in rows}

    # -- the inbox

    async def receive(self, receipts: Sequence[Received]) -> None:
        slot = int(time.time()) // 60
        if slot != self._noted:
            await self._session.rows(NOTE_SLOT, slot)
            self._noted = slot
        chunks = [(some,) for some in batches([receipt.id for receipt in receipts], AT_ONCE)]
        seen = {row[0] for rows in await self._session.each(WHICH_SEEN, chunks) for row in rows if row[1]}
        parts: dict[int, list[tuple[object, ...]]] = {}
        for received in receipts:
            if received.id in seen:
                continue
            receipt = await self._first(received) if received.news in WISHES else received
            bucket = receipt.id.int % BUCKETS
            parts.setdefault(bucket, []).append((slot, bucket, receipt.id, spell_receipt(receipt)))
        await self._session.partitions(RECEIVE, parts.values())

    async def _first(self, wish: Received) -> Received:
        """The wish with the time at which it came in first."""
        if await self._session.settle(FIRST, wish.id, instant(wish.at), WISH_SECONDS):
            return wish
        rows = await self._session.serial(KNOWN, wish.id)
        return replace(wish, at=time_of(rows[0][0])) if rows and rows[0][0] else wish

    async def inbox(self) -> list[Received]:
        found: list[Received] = []
        self._found.clear()
        for (slot,) in await self._session.rows(SLOTS):
            some = await self._slot(slot)
            found += some
            self._found.update((receipt.id, slot) for receipt in some)
            if not some and slot < int(time.time()) // 60 - SETTLED:
                await self._session.rows(FORGET_SLOT, slot)
            if len(found) >= INBOX_PAGE:
                break
        return found

    async def _slot(self, slot: int) -> list[Received]:
        keys = [(slot, bucket, INBOX_PAGE // BUCKETS) for bucket in range(BUCKETS)]
        answers = await self._session.each(INBOX, keys)
        return [read_receipt(identity, record) for rows in answers for identity, record in rows]

    async def merged(self, receipts: Collection[Received], until: float) -> None:
        seconds = _seconds(until - time.time())
        await self._session.partitions(SEEN, [[(receipt.id, seconds)] for receipt in receipts])
        keys = [(self._found[r.id], r.id.int % BUCKETS, r.id) for r in receipts if r.id in self._found]
        parts: dict[tuple[object, object], list[tuple[object, ...]]] = {}
        for key in keys:
            parts.setdefault(key[:2], []).append(key)
        await self._session.partitions(MERGED, parts.values())


def _seconds(span: float) -> int:
    return max(1, ceil(span))
