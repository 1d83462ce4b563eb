"""The write-ahead log on its way to the disk: a thread that syncs it, and then has the callers answered.

One sync is for all who wait by then, and takes along whatever any process has committed before it. SQLite
begins its log anew only when all of it is in the file, and synced there: nothing falls in between.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from msgxc.errors import StoreUnavailable, WrongStore

TAKEN_AWAY = (
    "the store's files were taken away or replaced while msgxc ran; what it had is being saved into the file "
    "that it has open: stop everything, put the files back, then start again"
)


class Waits(Protocol):
    """A call that waits for the sync."""

    error: Exception | None


W = TypeVar("W", bound=Waits)


class Log:
    """The log of one connection. `answer` gets the calls whose writes are on the disk, or have an error;
    `seen` the number that was put in with them."""

    def __init__(self, path: Path, answer: Callable[[Sequence[Any]], None]) -> None:
        self._path, self._wal = path, path.with_name(path.name + "-wal")
        self._answer = answer
        self.seen: Callable[[int], None] = lambda _: None
        self._queue: SimpleQueue[tuple[Sequence[Any], int | None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._file: int | None = None
        self._is: tuple[tuple[int, int], ...] = ()  # which files are open
        self._doubtful = False  # a sync has failed: what it was for may be on the disk or not
        self._lost = False

    def open(self) -> None:
        """The connection is open, and so are its files."""
        self._is = (_identity(self._path),)

    def check(self, db: sqlite3.Connection) -> None:
        """In the connection's thread, before it does anything. Raises WrongStore when the files that are open
        are no longer the store's; StoreUnavailable while it is not known what is on the disk."""
        if not (self._lost or self._doubtful):
            return
        with suppress(sqlite3.Error):  # what is in the log goes into the file, which is synced then
            busy, pages, saved = db.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
            self._doubtful = self._doubtful and (busy or pages != saved)
        if self._lost:
            raise WrongStore(TAKEN_AWAY)
        if self._doubtful:
            raise StoreUnavailable("the embedded store does not answer: the disk did not take it")

    def put(self, calls: Sequence[W], number: int | None) -> None:
        """These were committed: sync, then answer."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="msgxc-sqlite-log", daemon=True)
            self._thread.start()
        self._queue.put((calls, number))

    def end(self) -> None:
        """Wait until everybody is answered, and let go of the file."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _serve(self) -> None:
        ending = False
        while not ending and (first := self._queue.get()) is not None:
            some = [first]
            with suppress(Empty):
                while more := self._queue.get_nowait():
                    some.append(more)
                ending = True
            calls, numbers = (
                [call for part, _ in some for call in part],
                [n for _, n in some if n is not None],
            )
            error = self._synced()
            for call in calls:
                call.error = error
            if error is None and numbers:
                with suppress(OSError):  # seen less than there is: that harms nobody
                    self.seen(max(numbers))
            self._answer(calls)

    def _synced(self) -> Exception | None:
        """Sync; an error is for whoever waits."""
        try:
            if self._file is None:
                # Nobody closes a file that SQLite has locked: of the log, SQLite locks nothing.
                self._file = os.open(self._wal, os.O_RDWR | os.O_CLOEXEC)
                self._is += (_identity(self._wal),)
            to_disk(self._file)
            self._lost = self._lost or self._is != (_identity(self._path), _identity(self._wal))
        except FileNotFoundError:
            self._lost = True
        except OSError as error:
            self._doubtful = True
            return StoreUnavailable(f"the embedded store does not answer: {error.strerror}")
        return WrongStore(TAKEN_AWAY) if self._lost else None


def to_disk(file: int) -> None:
    """Return when what was written is on the disk; macOS would only have it on its way."""
    if full := getattr(fcntl, "F_FULLFSYNC", None):
        fcntl.fcntl(file, full)
    else:
        os.fdatasync(file)


def _identity(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino
