"""The journal of what the sandbox accepted: the ground truth of crash tests.

One JSON line a message. An answer leaves only after its lines are on disk; all accepts that come in while
one sync is under way share the next (group commit). A line without its end is a write that a crash cut off:
nobody was answered, `read` passes over it, and the next start removes it.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import partial
from pathlib import Path

from msgxc.sandbox.wire import Accepted

__all__ = ["Accepted", "Journal", "read"]

#: Data and length reach the disk; only times of access may not. Not every system has it.
_sync = getattr(os, "fdatasync", os.fsync)

_FIELDS = tuple(field.name for field in fields(Accepted) if field.name != "at")
_ALWAYS = frozenset({"delivery", "collapse"})

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def read(path: Path, start: int = 0) -> Iterator[Accepted]:
    """The accepted messages so far, oldest first, from byte `start` on; also while the sandbox goes on
    writing."""
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if line.endswith(b"\n"):
                yield Accepted(**json.loads(line))


def encode(accepted: Accepted, at: float) -> bytes:
    """One line of the journal, without what the channel leaves empty."""
    line: dict[str, object] = {"at": at}
    for name in _FIELDS:
        value = getattr(accepted, name)
        if value or value == 0 or name in _ALWAYS:
            line[name] = value
    return _encode(line).encode("utf-8", "backslashreplace") + b"\n"


class Journal:
    """Appends to the file, and calls back once that is safe. Belongs to one running event loop.

    `failed` is called, once, when the file cannot be written: nothing that waits is answered any more.
    Raises OSError when the file cannot be opened.
    """

    def __init__(self, path: Path, failed: Callable[[BaseException], None]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        if (whole := _whole_lines(self._file)) < os.fstat(self._file).st_size:
            os.ftruncate(self._file, whole)
        self._loop = asyncio.get_running_loop()
        self._writer = ThreadPoolExecutor(1, "journal")
        self._failed = failed
        self._lines: list[bytes] = []
        self._then: list[Callable[[], None]] = []
        self._busy = False
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, accepted: Iterable[Accepted], at: float, then: Callable[[], None]) -> None:
        """Write the lines down together with those of this turn of the loop; call `then` once synced."""
        self._lines += [encode(one, at) for one in accepted]
        self._then.append(then)
        if not self._busy:
            self._busy = True
            self._idle.clear()
            self._loop.call_soon(self._commit)

    async def close(self) -> None:
        """Wait for what is under way, then let go of the file."""
        await self._idle.wait()
        self._writer.shutdown()
        os.close(self._file)

    def _commit(self) -> None:
        lines, then = b"".join(self._lines), self._then
        self._lines, self._then = [], []
        written = self._loop.run_in_executor(self._writer, _append, self._file, lines)
        written.add_done_callback(partial(self._committed, then))

    def _committed(self, then: list[Callable[[], None]], written: asyncio.Future[None]) -> None:
        error = written.exception()
        if error is not None:
            self._failed(error)
        else:
            for call in then:
                call()
        if self._then and error is None:
            self._commit()
        else:
            self._busy = error is not None
            self._idle.set()


def _append(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
    _sync(file)


def _whole_lines(file: int) -> int:
    """The file's length up to its last whole line, in bytes."""
    end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - 65_536)
        if (found := os.pread(file, end - start, start).rfind(b"\n")) >= 0:
            return start + found + 1
        end = start
    return 0
