"""Calls that wait for the embedded store's thread are done together; each gets its own answer."""

from __future__ import annotations

import asyncio
import errno
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from msgxc.errors import StoreUnavailable, WrongStore
from msgxc.store.sqlite import connection, log
from msgxc.store.sqlite.connection import Connection


@pytest_asyncio.fixture
async def db(tmp_path: Path) -> AsyncIterator[Connection]:
    """A file with one table, for which nobody waits long."""
    made = Connection(tmp_path / "a.sqlite3", patience=0.3)
    await made.change("CREATE TABLE t (n INTEGER PRIMARY KEY)")
    yield made
    await made.close()


def add(number: int) -> Callable[[sqlite3.Connection], int]:
    return lambda db: db.execute("INSERT INTO t VALUES (?)", (number,)).rowcount


async def crowd(db: Connection, works: list[Callable[[sqlite3.Connection], int]]) -> list[object]:
    """These writes, all waiting while the thread is held up."""
    free = threading.Event()
    held = asyncio.ensure_future(db.run(lambda _: free.wait(60)))
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
    other = sqlite3.connect(tmp_path / "a.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answers = await crowd(db, [add(1), add(2)])
    assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    other.execute("ROLLBACK")
    other.close()
    assert await crowd(db, [add(1), add(2)]) == [1, 1]


async def test_reads_are_answered_while_the_file_is_locked(tmp_path: Path) -> None:
    """Another process holds the write lock: a write waits for it, what only reads is answered before, also
    when it comes later; then the write is made."""
    db = Connection(tmp_path / "b.sqlite3", patience=120)
    await db.change("CREATE TABLE t (n INTEGER PRIMARY KEY)")
    other = sqlite3.connect(tmp_path / "b.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writes = [asyncio.ensure_future(db.write(add(number))) for number in (1, 2)]
    for _ in range(3):
        assert await asyncio.wait_for(db.rows("SELECT n FROM t"), 60) == []
        writes.append(asyncio.ensure_future(db.write(add(len(writes) + 1))))
    assert not any(write.done() for write in writes)
    other.execute("ROLLBACK")
    other.close()
    assert await asyncio.gather(*writes) == [1] * 5
    assert await db.rows("SELECT count(*) FROM t") == [(5,)]
    await db.close()


async def test_nobody_is_told_while_the_disk_takes_nothing(
    db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that fails: the write is not said to be done. What may be lost then is written down another way
    before anything else is answered; a write that rides along is told at once."""
    broken = OSError(errno.EIO, "Input/output error")

    def refuse(_: int) -> None:
        raise broken

    monkeypatch.setattr(log, "to_disk", refuse)
    with pytest.raises(StoreUnavailable, match="Input/output error"):
        await db.write(add(1))
    assert await db.write(add(2), synced=False) == 1
    monkeypatch.undo()
    assert await db.write(add(3)) == 1
    assert await db.rows("SELECT n FROM t ORDER BY n") == [(1,), (2,), (3,)]


@pytest.mark.parametrize("gone", ["a.sqlite3-wal", "a.sqlite3"])
async def test_files_that_are_taken_away_are_missed(db: Connection, tmp_path: Path, gone: str) -> None:
    """The log, or the file, is removed while it is in use: no write is said to be done from then on, and what
    was in a log that is gone is in the file."""
    await db.write(add(1))
    (tmp_path / gone).unlink()
    for _ in range(2):
        with pytest.raises(WrongStore, match="taken away"):
            await db.write(add(2))
    with pytest.raises(WrongStore, match="taken away"):
        await db.rows("SELECT n FROM t")
    await db.close()
    if gone.endswith("-wal"):
        left = sqlite3.connect(tmp_path / "a.sqlite3")
        assert left.execute("SELECT n FROM t").fetchall() == [(1,), (2,)]
        left.close()


async def test_what_is_in_the_log_goes_into_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nothing has been asked for a while, the file alone has everything."""
    monkeypatch.setattr(connection, "QUIET_SECONDS", 0.1)
    db = Connection(tmp_path / "c.sqlite3")
    await db.change("CREATE TABLE t (n INTEGER PRIMARY KEY)")
    await db.write(add(7))

    def alone() -> list[tuple[int]]:
        shutil.copy(tmp_path / "c.sqlite3", tmp_path / "copy.sqlite3")
        copy = sqlite3.connect(tmp_path / "copy.sqlite3")
        try:
            return copy.execute("SELECT n FROM t").fetchall()
        except sqlite3.OperationalError:
            return []  # no such table, yet
        finally:
            copy.close()

    for _ in range(600):
        if alone() == [(7,)]:
            break
        await asyncio.sleep(0.1)
    assert alone() == [(7,)]
    await db.close()


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
    held = asyncio.ensure_future(db.run(lambda _: free.wait(60)))
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
        assert await asyncio.wait_for(db.write(add(2 * number + 1)), 60) == 1
        await asyncio.wait_for(closing, 60)
        assert await asked == 1
    assert await db.rows("SELECT count(*) FROM t") == [(60,)]
