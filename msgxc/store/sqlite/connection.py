"""One SQLite file, one connection, one thread: calls from the event loop take turns there.

What is asked for while the thread is at work waits together and is done together: all writes in one
transaction, and one wake-up of the event loop for all answers.

Write-ahead logging, `synchronous=NORMAL`: a killed process loses nothing that was committed; a machine that
loses its power may lose the last commits (then a window's people are in doubt, as after a kill).
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from msgxc.errors import SchemaMismatch, StoreUnavailable
from msgxc.store.ports import BATCH

T = TypeVar("T")
Rows = list[tuple[Any, ...]]
#: Bytes for a statement that is done many times: for what is not just a bytearray, a str, an int or a float,
#: sqlite3 looks for an adapter first, and that takes half as long as the statement.
blob = bytearray
Work = Callable[[sqlite3.Connection], Any]
BUSY_SECONDS = 20
TOGETHER = 64  # calls that are done in one go
PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=NORMAL",
    "cache_size=-32000",
    "temp_store=MEMORY",
    "wal_autocheckpoint=8000",  # pages: 32 MB are written back at once, not 4; a page is often changed again
)


@dataclass(eq=False, slots=True)
class Call:
    """One call: what is to be done, and who waits for it."""

    work: Work
    writes: bool
    loop: asyncio.AbstractEventLoop
    waits: asyncio.Future[Any]
    answer: Any = None
    error: Exception | None = None

    def run(self, db: sqlite3.Connection) -> None:
        """Do it; an error is kept for whoever waits."""
        try:
            self.answer = _transaction(db, self.work) if self.writes else self.work(db)
        except Exception as error:
            self.error = _said(error)


class Connection:
    """The file, opened at the first call, made if it is not there; any event loop may call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._worker: Worker | None = None

    async def close(self) -> None:
        """Close the file when all that was asked is done. Twice is once; a later call opens it again."""
        worker, self._worker = self._worker, None
        if worker is not None:
            await asyncio.to_thread(worker.end)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`work` on the connection's thread. Raises StoreUnavailable when the file is locked or full."""
        answer: T = await self._asked(work, writes=False)
        return answer

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`work` in a transaction that holds the write lock from its start, perhaps with other calls' work.

        It may be done twice: when one of those fails, nothing of the first time is left.
        """
        answer: T = await self._asked(work, writes=True)
        return answer

    async def change(self, statement: str, *values: object) -> int:
        """One statement; answers how many rows it changed."""
        return await self.write(lambda db: db.execute(statement, values).rowcount)

    async def change_many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """One statement for each row, in one transaction."""
        prepared = list(rows)
        if prepared:
            await self.write(lambda db: each(db, statement, prepared))

    async def rows(self, statement: str, *values: object) -> Rows:
        """All rows of a query."""
        return await self.run(lambda db: db.execute(statement, values).fetchall())

    async def pages(
        self, statement: str, *before: object, after: Sequence[object] = ()
    ) -> AsyncIterator[Rows]:
        """A query that ends in `key > ? … ORDER BY key LIMIT ?`, by pages; the key is a blob in column 0."""
        last = b""
        while page := await self.rows(statement, *before, last, *after, BATCH):
            yield page
            last = page[-1][0]

    def _asked(self, work: Work, *, writes: bool) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        call = Call(work, writes, loop, loop.create_future())
        if self._worker is None:
            self._worker = Worker(self._path)
        self._worker.calls.put(call)
        return call.waits


class Worker:
    """The thread, its connection, and what it is asked to do."""

    def __init__(self, path: Path) -> None:
        self.calls: SimpleQueue[Call | None] = SimpleQueue()
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._thread = threading.Thread(target=self._serve, name="msgxc-sqlite", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Wait until all that was asked for is done, and the file is closed."""
        self.calls.put(None)
        self._thread.join()

    def _serve(self) -> None:
        """Until it is told to stop: take what waits, do it, answer."""
        while (call := self.calls.get()) is not None:
            calls = [call]
            with suppress(Empty):
                while len(calls) < TOGETHER and (more := self.calls.get_nowait()):
                    calls.append(more)
                if len(calls) < TOGETHER:
                    self.calls.put(None)  # told to stop while we looked: after these
            self._do(calls)
            for loop in {call.loop for call in calls}:
                with suppress(RuntimeError):  # the loop is closed: nobody waits
                    loop.call_soon_threadsafe(_answer, [call for call in calls if call.loop is loop])
        if self._db is not None:
            self._db.close()
            self._db = None

    def _do(self, calls: Sequence[Call]) -> None:
        """The writes in one transaction, then what reads."""
        try:
            db = self._db or self._connect()
        except Exception as error:
            for call in calls:
                call.error = _said(error)
            return
        writes = [call for call in calls if call.writes]
        if not _together(db, writes):
            for call in writes:
                call.run(db)
        for call in calls:
            if not call.writes:
                call.run(db)

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(
            self._path,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            for pragma in PRAGMAS:
                db.execute(f"PRAGMA {pragma}")
        except sqlite3.DatabaseError as error:
            db.close()
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise SchemaMismatch(f"the embedded store cannot be read: {error}") from None
        self._db = db
        return db


def each(db: sqlite3.Connection, statement: str, rows: list[Sequence[object]]) -> None:
    """No cursor leaves the connection's thread: let go in another one, it would reset a statement in use."""
    db.executemany(statement, rows)


def _together(db: sqlite3.Connection, calls: Sequence[Call]) -> bool:
    """Several calls' work in one transaction; False, and nothing is done, when there are not several, or one
    of them fails."""
    if len(calls) < 2:
        return not calls
    try:
        answers = _transaction(db, lambda db: [call.work(db) for call in calls])
    except Exception:  # whose it is shows when each is done alone
        return False
    for call, answer in zip(calls, answers, strict=True):
        call.answer = answer
    return True


def _transaction(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    db.execute("BEGIN IMMEDIATE")
    try:
        answer = work(db)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return answer


def _said(error: Exception) -> Exception:
    """What the caller gets to see: a file that is locked or full may be asked again."""
    if isinstance(error, sqlite3.OperationalError):
        return StoreUnavailable(f"the embedded store does not answer: {error}")
    return error


def _answer(calls: Iterable[Call]) -> None:
    """In the event loop: whoever waits goes on."""
    for call in calls:
        if call.waits.done():  # cancelled meanwhile
            continue
        if call.error is not None:
            call.waits.set_exception(call.error)
        else:
            call.waits.set_result(call.answer)


def marks(count: int) -> str:
    """`?,?,?` for an IN (...)."""
    return ",".join("?" * count)
