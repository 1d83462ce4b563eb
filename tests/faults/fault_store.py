"""A store that can be told to misbehave: the real one, with something around each of its calls."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from msgxc.errors import StoreUnavailable
from msgxc.wiring import Exchange

Call = Callable[[], Awaitable[Any]]
#: Gets the name of a call and the call itself; answers in its place.
Around = Callable[[str, Call], Awaitable[Any]]

READS = frozenset({"campaign", "control", "members", "unfinished", "load", "rows", "get", "suppressed"})


class _Port:
    def __init__(self, inner: Any, around: Around) -> None:
        self._inner, self._around = inner, around

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(inner):
            return inner

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._around(name, lambda: inner(*args, **kwargs))

        return call


class FaultyStore:
    """See ports.Store."""

    def __init__(self, inner: Any, around: Around) -> None:
        self._inner = inner
        self.directory, self.cohorts = _Port(inner.directory, around), _Port(inner.cohorts, around)
        self.threads, self.ledger = _Port(inner.threads, around), _Port(inner.ledger, around)

    async def close(self) -> None:
        """The store belongs to somebody else."""


async def plainly(_: str, call: Call) -> Any:
    """Nothing is wrong."""
    return await call()


def with_faults(exchange: Exchange, around: Around, **more: Any) -> Exchange:
    """A second exchange over the same store, whose calls go through `around`."""
    return replace(exchange, store=FaultyStore(exchange.store, around), _providers={}, **more)


@dataclass
class EveryThird:
    """Every third write is answered by an error: once before it was made, once after, in turn."""

    writes: int = 0
    failed: int = 0

    async def __call__(self, name: str, call: Call) -> Any:
        if name in READS:
            return await call()
        self.writes += 1
        if self.writes % 3:
            return await call()
        self.failed += 1
        if self.failed % 2:
            await call()
        raise StoreUnavailable("told to")
