"""Writes of one place go one after the other, and what waits goes together. No server is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from msgxc.errors import StoreUnavailable
from msgxc.store.cassandra.together import Together


class Store:
    """Takes writes, and ends each when told: `fails` says which writes (from 1) do."""

    def __init__(self, *fails: int) -> None:
        self.writes: list[tuple[str, tuple[int, ...]]] = []
        self.gate = asyncio.Semaphore(0)
        self.under_way: set[str] = set()
        self._fails = fails
        self.together = Together(self.write)

    async def write(self, key: str, items: Sequence[int]) -> None:
        assert key not in self.under_way
        self.under_way.add(key)
        self.writes.append((key, tuple(items)))
        number = len(self.writes)
        try:
            await self.gate.acquire()
            if number in self._fails:
                raise StoreUnavailable(f"write {number}")
        finally:
            self.under_way.discard(key)

    def call(self, key: str, *items: int) -> asyncio.Task[None]:
        return asyncio.create_task(self.together(key, items))

    async def end(self, writes: int = 1) -> None:
        """Let so many writes end, and everybody hear of it."""
        for _ in range(writes):
            self.gate.release()
        await turn()


async def turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_comes_meanwhile_is_one_write() -> None:
    """The first goes at once, the others wait for it and go together; each returns when it is written."""
    store = Store()
    first, second, third = store.call("a", 1), store.call("a", 2, 3), store.call("a", 4)
    await turn()
    assert store.writes == [("a", (1,))]
    await store.end()
    assert first.done()
    assert not second.done()
    assert not third.done()
    assert store.writes == [("a", (1,)), ("a", (2, 3, 4))]
    fourth = store.call("a", 5)
    await turn()
    await store.end()
    assert second.done()
    assert third.done()
    assert not fourth.done()
    await store.end()
    await asyncio.gather(first, second, third, fourth)
    assert store.writes[2:] == [("a", (5,))]


async def test_places_do_not_wait_for_each_other() -> None:
    """Two places, two writes at once."""
    store = Store()
    calls = [store.call("a", 1), store.call("b", 2)]
    await turn()
    assert store.writes == [("a", (1,)), ("b", (2,))]
    await store.end(2)
    await asyncio.gather(*calls)


async def test_a_failed_write_is_everybodys() -> None:
    """All whose items were in it are told; whoever comes later is not, and nothing is written by itself."""
    store = Store(2)
    calls = [store.call("a", 1), store.call("a", 2), store.call("a", 3)]
    await turn()
    await store.end()
    later = store.call("a", 4)
    await turn()
    await store.end()
    told = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in told] == [type(None), StoreUnavailable, StoreUnavailable]
    await store.end()
    await later
    assert store.writes == [("a", (1,)), ("a", (2, 3)), ("a", (4,))]


@pytest.mark.parametrize("when", ["waiting", "writing"])
async def test_a_canceled_leader_leaves_nobody_waiting(when: str) -> None:
    """Those who went along hear that the store did not answer, and their next call is written."""
    store = Store()
    first, leader, other = store.call("a", 1), store.call("a", 2), store.call("a", 3)
    await turn()
    if when == "writing":
        await store.end()
    leader.cancel()
    told = await asyncio.gather(leader, other, return_exceptions=True)
    assert [type(one) for one in told] == [asyncio.CancelledError, StoreUnavailable]
    again = store.call("a", 3)
    await store.end(2)
    await asyncio.gather(first, again)
    assert store.writes[-1] == ("a", (3,))


async def test_a_canceled_follower_changes_nothing() -> None:
    """The others are written as before."""
    store = Store()
    first, leader, gone, other = (store.call("a", n) for n in range(4))
    await turn()
    gone.cancel()
    await store.end(2)
    await asyncio.gather(first, leader, other)
    assert gone.cancelled()
    assert store.writes == [("a", (0,)), ("a", (1, 2, 3))]
