"""Calls that wait for the embedded store's thread are done together; each gets its own answer."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest_asyncio

from msgxc.errors import StoreUnavailable
from msgxc.store.sqlite.connection import Connection


@pytest_asyncio.fixture
async def db(tmp_path: Path) -> AsyncIterator[Connection]:
    """A file with one table."""
    made = Connection(tmp_path / "a.sqlite3")
    await made.change("CREATE TABLE t (n INTEGER PRIMARY KEY)")
    yield made
    await made.close()


def add(number: int) -> Callable[[sqlite3.Connection], int]:
    return lambda db: db.execute("INSERT INTO t VALUES (?)", (number,)).rowcount


async def crowd(db: Connection, works: list[Callable[[sqlite3.Connection], int]]) -> list[object]:
    """These writes, all waiting while the thread is held up."""
    free = threading.Event()
    held = asyncio.ensure_future(db.run(lambda _: free.wait(10)))
    await asyncio.sleep(0.05)
    asked = [asyncio.ensure_future(db.write(work)) for work in works]
    await asyncio.sleep(0)
    free.set()
    await held
    return await asyncio.gather(*asked, return_exceptions=True)


async def test_a_call_that_fails_harms_no_other(db: Connection) -> None:
    """A crowd of writes in one transaction: whose statement is wrong gets the error, the others their row."""
    answers = await crowd(db, [add(1), add(2), add(1), add(3)])
    assert answers[:2] == [1, 1]
    assert isinstance(answers[2], sqlite3.IntegrityError)
    assert answers[3] == 1
    assert await db.rows("SELECT n FROM t ORDER BY n") == [(1,), (2,), (3,)]


async def test_a_crowd_is_one_transaction(db: Connection, tmp_path: Path) -> None:
    """Another connection sees all of a crowd's rows at once, never some of them."""
    seen: set[int] = set()
    other = sqlite3.connect(tmp_path / "a.sqlite3", check_same_thread=False)

    def look(number: int) -> Callable[[sqlite3.Connection], int]:
        def work(db: sqlite3.Connection) -> int:
            seen.add(other.execute("SELECT count(*) FROM t").fetchone()[0])
            return add(number)(db)

        return work

    await crowd(db, [look(number) for number in range(20)])
    other.close()
    assert seen == {0}
    assert await db.rows("SELECT count(*) FROM t") == [(20,)]


async def test_a_locked_file_is_unavailable_and_comes_back(db: Connection, tmp_path: Path) -> None:
    """While another process holds the file, every write says so; then it goes on."""
    await db.run(lambda db: db.execute("PRAGMA busy_timeout = 10").fetchall())
    other = sqlite3.connect(tmp_path / "a.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answers = await crowd(db, [add(1), add(2)])
    assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    other.execute("ROLLBACK")
    other.close()
    assert await crowd(db, [add(1), add(2)]) == [1, 1]


async def test_a_closed_store_opens_again(db: Connection) -> None:
    """Closing waits for what was asked, may be done twice, and a later call opens the file."""
    asked = asyncio.ensure_future(db.write(add(7)))
    await asyncio.sleep(0)
    await db.close()
    await db.close()
    assert await asked == 1
    assert await db.rows("SELECT n FROM t") == [(7,)]


async def test_whoever_gives_up_waiting_stops_nobody(db: Connection) -> None:
    """A cancelled call may be done or not; the calls beside it are answered."""
    free = threading.Event()
    held = asyncio.ensure_future(db.run(lambda _: free.wait(10)))
    await asyncio.sleep(0.05)
    given_up, stays = asyncio.ensure_future(db.write(add(1))), asyncio.ensure_future(db.write(add(2)))
    await asyncio.sleep(0)
    given_up.cancel()
    free.set()
    assert await stays == 1
    assert await held


async def test_a_call_while_the_store_is_closing_opens_it_again(db: Connection) -> None:
    """Closing ends although others go on asking, and whoever asks is answered."""
    for number in range(30):
        asked = asyncio.ensure_future(db.write(add(2 * number)))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(db.close())
        await asyncio.sleep(0)
        assert await asyncio.wait_for(db.write(add(2 * number + 1)), 10) == 1
        await asyncio.wait_for(closing, 10)
        assert await asked == 1
    assert await db.rows("SELECT count(*) FROM t") == [(60,)]
