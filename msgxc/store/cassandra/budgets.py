"""Budgets in Cassandra: a compare-and-set on one row a day. See ports.Budgets."""

from __future__ import annotations

import asyncio
from random import random
from weakref import WeakValueDictionary

from msgxc.errors import StoreUnavailable
from msgxc.store.cassandra import statements as cql
from msgxc.store.cassandra.session import Session

#: How often it is tried when others spend at the same moment.
TRIES = 50


class CassandraBudgets:
    """See ports.Budgets."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def spend(self, name: str, day: int, units: int, limit: int) -> int:
        # Of one process, one at a time: many compare-and-sets on one row at once end in timeouts.
        turn = self._turns.setdefault(name, asyncio.Lock())
        async with turn:
            return await self._spend(name, day, units, limit)

    async def _spend(self, name: str, day: int, units: int, limit: int) -> int:
        for tries in range(TRIES):
            rows = await self._session.serial(cql.BUDGET_USED, name, day)
            used = int(rows[0][0]) if rows else 0
            granted = max(min(units, limit - used), 0) if units > 0 else max(units, -used)
            if not granted:
                return 0
            if rows:
                done = await self._session.change(cql.SPEND_MORE, used + granted, name, day, used)
            else:
                done = await self._session.change(cql.SPEND_FIRST, name, day, granted)
            if done:
                return granted
            await asyncio.sleep(random() * min(0.02 * 2**tries, 0.5))  # noqa: S311 - no secret
        raise StoreUnavailable("too many spend of the same budget at once")
