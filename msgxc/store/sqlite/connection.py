"""One SQLite file, one connection, one thread: calls from the event loop take turns there.

What is asked for while the thread is at work waits together and is done together: all writes in one
transaction, and one wake-up of the event loop for all answers.

**Nobody is told before it is on the disk.** Write-ahead logging with `synchronous=NORMAL` alone keeps what
was committed from a killed process, but not from a power cut. So a second thread has the log synced before a
write is answered; what was committed by then waits for one sync together, and reading and rendering go on
meanwhile (decision 020). A write that may ride along (`synced=False`) is answered at once: what is left of
the log is its beginning, so it is there whenever a later one is.

While another process holds the write lock, reads are not held up.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, TypeVar

from msgxc.errors import SchemaMismatch, StoreUnavailable
from msgxc.store.ports import BATCH
from msgxc.store.sqlite.log import Log

T = TypeVar("T")
Rows = list[tuple[Any, ...]]
#: Bytes for a statement that is done many times: for what is not just a bytearray, a str, an int or a float,
#: sqlite3 looks for an adapter first, and that takes half as long as the statement.
blob = bytearray
Work = Callable[[sqlite3.Connection], Any]
BUSY_SECONDS = 20.0  # so long somebody else may hold the file
BUSY_STEP = 0.05  # in steps of so many seconds; between two of them, what only reads is done
QUIET_SECONDS = 5.0  # nothing was asked for so long: what is in the log goes into the file
STAMP_SECONDS = 1.0  # at most so often the store's generation is counted on
SCANT = 100_000  # bytes on the disk: what opens the file needs some, also to read
TOGETHER = 64  # calls that are done in one go
PRAGMAS = (
    "auto_vacuum=INCREMENTAL",  # of a new file; what is free can be given back, a little at a time
    "journal_mode=WAL",
    "synchronous=NORMAL",
    "secure_delete=ON",  # what is removed is overwritten
    "cache_size=-32000",
    "temp_store=MEMORY",
    "wal_autocheckpoint=8000",  # pages: 32 MB are written back at once, not 4; a page is often changed again
)


#: Of a connection that cannot write.
READS = ("locking_mode=EXCLUSIVE", "query_only=ON", "cache_size=-32000", "temp_store=MEMORY")


@dataclass(eq=False, slots=True)
class Call:
    """One call: what is to be done, whether it has to be on the disk before it is answered, who waits."""

    work: Work
    writes: bool
    synced: bool
    loop: asyncio.AbstractEventLoop
    waits: asyncio.Future[Any]
    answer: Any = None
    error: Exception | None = None


class Connection:
    """The file, opened at the first call, made if it is not there; any event loop may call.

    `patience`: seconds for which another process may hold the file. `reading`: it is only read from, which
    goes on when nothing can be written (a full disk) and nobody else has it open.
    """

    def __init__(self, path: Path, patience: float = BUSY_SECONDS, *, reading: bool = False) -> None:
        self._path, self._patience, self._reading = path, patience, reading
        self._worker: Worker | None = None
        self._stamp: tuple[Work, Callable[[int], None]] | None = None

    def stamp(self, count: Work, seen: Callable[[int], None]) -> None:
        """From now on `count` is done with a write, once in a while; `seen` gets its answer when that is on
        the disk, in another thread."""
        self._stamp = count, seen
        if self._worker is not None:
            self._worker.stamp(count, seen)

    async def close(self) -> None:
        """Close the file when all that was asked is done. Twice is once; a later call opens it again."""
        worker, self._worker = self._worker, None
        if worker is not None:
            await asyncio.to_thread(worker.end)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`work` on the connection's thread, which only reads. Raises StoreUnavailable when the file is
        locked or full."""
        answer: T = await self._asked(work, writes=False)
        return answer

    async def write(self, work: Callable[[sqlite3.Connection], T], *, synced: bool = True) -> T:
        """`work` in a transaction that holds the write lock from its start, perhaps with other calls' work.

        It may be done twice: when one of those fails, nothing of the first time is left. `synced`: on the
        disk when this returns. Else it is there as soon as any later write is.
        """
        answer: T = await self._asked(work, writes=True, synced=synced)
        return answer

    async def change(self, statement: str, *values: object, synced: bool = True) -> int:
        """One statement; answers how many rows it changed."""
        return await self.write(lambda db: db.execute(statement, values).rowcount, synced=synced)

    async def change_many(
        self, statement: str, rows: Iterable[Sequence[object]], *, synced: bool = True
    ) -> None:
        """One statement for each row, in one transaction."""
        prepared = list(rows)
        if prepared:
            await self.write(lambda db: each(db, statement, prepared), synced=synced)

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

    def _asked(self, work: Work, *, writes: bool, synced: bool = False) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        call = Call(work, writes, synced, loop, loop.create_future())
        if self._worker is None:
            self._worker = Worker(self._path, self._patience, self._reading)
            if self._stamp:
                self._worker.stamp(*self._stamp)
        self._worker.calls.put(call)
        return call.waits


class Worker:
    """The thread, its connection, and what it is asked to do."""

    def __init__(self, path: Path, patience: float, reading: bool) -> None:
        self.calls: SimpleQueue[Call | None] = SimpleQueue()
        self._path, self._patience, self._reading = path, patience, reading
        self._count: Work | None = None
        self._stamped = float("-inf")
        self._log = Log(path, answer_all)
        self._db: sqlite3.Connection | None = None
        self._kept: list[Call] = []  # writes that came while another process held the lock
        self._ending = self._written = False
        self._thread = threading.Thread(target=self._serve, name="msgxc-sqlite", daemon=True)
        self._thread.start()

    def stamp(self, count: Work, seen: Callable[[int], None]) -> None:
        """See Connection.stamp."""
        self._count, self._log.seen = count, seen

    def end(self) -> None:
        """Wait until all that was asked for is done, and the file is closed."""
        self.calls.put(None)
        self._thread.join()

    def _serve(self) -> None:
        """Until it is told to stop: take what waits, do it, answer."""
        while calls := self._taken():
            self._do(calls)
        self._log.end()
        if self._db is not None:
            self._db.close()
            self._db = None

    def _taken(self) -> list[Call]:
        """What waits, at least one call; none when it is told to end, and all is done."""
        calls, self._kept = self._kept, []
        while len(calls) < TOGETHER:
            try:
                more = self.calls.get_nowait() if calls or self._ending else self._awaited()
            except Empty:
                break
            if more is None:
                self._ending = True  # after what was asked before
            else:
                calls.append(more)
        return calls

    def _awaited(self) -> Call | None:
        """The next call. In a quiet hour the log is written into the file, so that the file is never old."""
        if self._written:
            with suppress(Empty):
                return self.calls.get(timeout=QUIET_SECONDS)
            self._written = False
            with suppress(sqlite3.Error):
                if self._db is not None:
                    self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        return self.calls.get()

    def _do(self, calls: Sequence[Call]) -> None:
        """The writes in one transaction, then what reads."""
        reads = [call for call in calls if not call.writes]
        writes = [call for call in calls if call.writes]
        try:
            db = self._db or self._connect()
            self._log.check(db)
        except Exception as error:
            _failed(calls, error)
            answer_all(calls)
            return
        if writes:
            number = self._write(db, writes, reads)
            wait = [call for call in writes if call.synced and call.error is None]
            if wait:
                self._log.put(wait, number)
                writes = [call for call in writes if not call.synced or call.error]
        self._read(db, reads)
        answer_all([*writes, *reads])

    def _read(self, db: sqlite3.Connection, reads: Sequence[Call]) -> None:
        for call in reads:
            try:
                call.answer = self._patiently(lambda call=call: call.work(db))  # type: ignore[misc]
            except Exception as error:
                call.error = _said(error)

    def _write(self, db: sqlite3.Connection, writes: Sequence[Call], reads: list[Call]) -> int | None:
        """Do the writes, in one transaction if none of them fails; answers the generation if it was counted.

        `reads` are done, answered and taken out of the list while somebody else holds the lock.
        """

        def meanwhile() -> None:
            with suppress(Empty):
                while more := self.calls.get_nowait():
                    (self._kept if more.writes else reads).append(more)
                self._ending = True
            self._read(db, reads)
            answer_all(reads)
            reads.clear()

        works = [call.work for call in writes]
        if self._count and self._stamped + STAMP_SECONDS < monotonic() and any(c.synced for c in writes):
            works.append(self._count)
        self._written = True
        try:
            self._patiently(lambda: db.execute("BEGIN IMMEDIATE"), meanwhile)
        except sqlite3.Error as error:
            _failed(writes, error)
            return None
        try:
            answers = _committed(db, works)
        except Exception as error:
            if len(works) == 1:
                _failed(writes, error)
                return None
        else:
            for call, answer in zip(writes, answers, strict=False):
                call.answer = answer
            if len(works) == len(writes):
                return None
            self._stamped = monotonic()
            return int(answers[-1])
        for call in writes:  # whose error it is shows when each is done alone
            try:
                self._patiently(lambda: db.execute("BEGIN IMMEDIATE"), meanwhile)
                (call.answer,) = _committed(db, [call.work])
            except Exception as error:
                call.error = _said(error)
        return None

    def _patiently(self, attempt: Callable[[], T], meanwhile: Callable[[], None] = lambda: None) -> T:
        """Try again while somebody else holds the file, in steps of BUSY_STEP."""
        until = None
        while True:
            try:
                return attempt()
            except sqlite3.OperationalError as error:
                until = until or monotonic() + self._patience
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() >= until:
                    raise
            meanwhile()

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        db = connect(self._path, self._patience)
        try:
            for pragma in (*PRAGMAS, f"busy_timeout={int(min(BUSY_STEP, self._patience) * 1000)}"):
                db.execute(f"PRAGMA {pragma}").fetchall()
        except sqlite3.DatabaseError as error:
            db.close()
            if self._reading and self._path.exists() and (alone := self._alone()):
                self._db = alone
                return alone
            if shutil.disk_usage(self._path.parent).free < SCANT:
                raise StoreUnavailable("the embedded store does not answer: the disk is full") from None
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise SchemaMismatch(f"the embedded store cannot be read: {error}") from None
        self._log.open()
        self._db = db
        return db

    def _alone(self) -> sqlite3.Connection | None:
        """A connection that writes nothing at all, not even the file by which those who have the store open
        know of each other: for as long, nobody else has. None: that does not help."""
        db = connect(self._path, self._patience)
        try:
            for pragma in READS:
                db.execute(f"PRAGMA {pragma}").fetchall()
            db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
        except sqlite3.DatabaseError:
            db.close()
            return None
        return db


def connect(path: Path, patience: float = BUSY_SECONDS) -> sqlite3.Connection:
    """A connection as the exchange uses it: transactions are begun and ended by hand."""
    return sqlite3.connect(
        path, timeout=patience, isolation_level=None, check_same_thread=False, cached_statements=256
    )


def each(db: sqlite3.Connection, statement: str, rows: list[Sequence[object]]) -> None:
    """No cursor leaves the connection's thread: let go in another one, it would reset a statement in use."""
    db.executemany(statement, rows)


def _committed(db: sqlite3.Connection, works: Sequence[Work]) -> list[Any]:
    """All the work in the transaction that has been begun; none of it when some of it fails."""
    try:
        answers = [work(db) for work in works]
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return answers


def _failed(calls: Iterable[Call], error: Exception) -> None:
    for call in calls:
        call.error = _said(error)


def _said(error: Exception) -> Exception:
    """What the caller gets to see: a file that is locked or full may be asked again."""
    if isinstance(error, sqlite3.OperationalError):
        return StoreUnavailable(f"the embedded store does not answer: {error}")
    return error


def answer_all(calls: Sequence[Call]) -> None:
    """Whoever waits goes on: one wake-up of each event loop."""
    for loop in {call.loop for call in calls}:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(_answer, [call for call in calls if call.loop is loop])


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
