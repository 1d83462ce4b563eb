"""Triage in Cassandra: a partition for each urgency and minute, so that nobody reads over what is done.

Only adding and removing, never a compare-and-set: who works on an item is told by the ledger's leases.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

from msgxc.messages.records import Item, Kind
from msgxc.model import Urgency
from msgxc.store import records
from msgxc.store.cassandra import statements as cql
from msgxc.store.cassandra.session import Session
from msgxc.store.ports import BATCH

#: An empty minute is forgotten when it is that much over: no clock that adds to it is so late.
OLD_MINUTES = 30
_END = 2**31 - 1


def minute_of(due: float) -> int:
    """The minute, counted from 1970."""
    return int(due // 60)


def item_writes(item: Item) -> list[tuple[str, tuple[object, ...]]]:
    """The writes that add an item."""
    urgency, minute = int(item.urgency), minute_of(item.due)
    where = (minute, urgency, item.due, item.mid, item.step)
    values = (*where, item.tid, item.kind, item.since, item.tries, item.turn)
    return [(cql.NOTE_MINUTE, (urgency, minute)), (cql.ADD_ITEM, values)]


def _item(row: tuple[Any, ...]) -> Item:
    urgency, due, mid, step, tid, kind, since, tries, turn = row
    return Item(Urgency(urgency), due, mid, tid, Kind(kind), since, tries, step, turn)


def _place(item: Item) -> tuple[float, UUID, str]:
    return item.due, item.mid, item.step


class CassandraTriage:
    """See ports.Triage."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, items: Sequence[Item]) -> None:
        for some in records.batches(items, 20):
            await self._session.together([write for item in some for write in item_writes(item)])

    async def due(self, now: float, limit: int) -> list[Item]:
        found: list[Item] = []
        urgencies = sorted(Urgency, reverse=True)
        known = await asyncio.gather(*(self._minutes(urgency, minute_of(now)) for urgency in urgencies))
        for urgency, minutes in zip(urgencies, known, strict=True):
            for minute in minutes:
                if len(found) >= limit:
                    return found
                found += await self._due(urgency, minute, now, limit - len(found))
        return found

    async def _minutes(self, urgency: Urgency, last: int) -> list[int]:
        return [minute for (minute,) in await self._session.rows(cql.MINUTES, int(urgency), last)]

    async def _due(self, urgency: Urgency, minute: int, now: float, limit: int) -> list[Item]:
        rows = await self._session.rows(cql.DUE_ITEMS, int(urgency), minute, now, limit)
        if not rows and minute < minute_of(now) - OLD_MINUTES:
            await self._session.rows(cql.UNNOTE_MINUTE, int(urgency), minute)
        return [_item(row) for row in rows]

    async def remove(self, items: Sequence[Item]) -> None:
        keys = [(int(i.urgency), minute_of(i.due), i.due, i.mid, i.step) for i in items]
        await self._session.partitions(cql.REMOVE_ITEM, [[key] for key in keys])

    async def scan(self) -> AsyncIterator[list[Item]]:
        for urgency in sorted(Urgency, reverse=True):
            for minute in await self._minutes(urgency, _END):
                rows = await self._session.rows(cql.MINUTE_ITEMS, int(urgency), minute)
                for some in records.batches(sorted(map(_item, rows), key=_place), BATCH):
                    yield some
