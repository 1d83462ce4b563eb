"""Writes of one place that come while another one of it is under way: they go together, as the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from msgxc.errors import StoreUnavailable

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class _Group(Generic[T]):
    """What waits for its turn. `written`: for those who came after the first one, if any did."""

    def __init__(self, items: Sequence[T]) -> None:
        self.items = list(items)
        self.written: asyncio.Future[None] | None = None


class Together(Generic[K, T]):
    """One write for each place at a time, made by `write`; each call returns when its items are written.

    When a write fails, everybody whose items were in it is told. Whoever is no longer waited for may have
    been written all the same.
    """

    def __init__(self, write: Callable[[K, Sequence[T]], Awaitable[None]]) -> None:
        self._write = write
        self._turns: WeakValueDictionary[K, asyncio.Lock] = WeakValueDictionary()
        self._waiting: dict[K, _Group[T]] = {}

    async def __call__(self, key: K, items: Sequence[T]) -> None:
        group = self._waiting.get(key)
        if group is None:
            await self._lead(key, _Group(items))
            return
        group.items += items
        if group.written is None:
            group.written = asyncio.get_running_loop().create_future()
        await asyncio.shield(group.written)

    async def _lead(self, key: K, group: _Group[T]) -> None:
        turn = self._turns.setdefault(key, asyncio.Lock())
        self._waiting[key] = group
        error: Exception | None = StoreUnavailable("Cassandra: nobody waits for the write any more")
        try:
            async with turn:
                del self._waiting[key]
                await self._write(key, group.items)
            error = None
        except Exception as failed:
            error = failed
            raise
        finally:
            if self._waiting.get(key) is group:  # cancelled before its turn
                del self._waiting[key]
            if group.written is not None and not group.written.done():
                if error is None:
                    group.written.set_result(None)
                else:
                    group.written.set_exception(error)
                    group.written.exception()  # whoever waited may have been cancelled
