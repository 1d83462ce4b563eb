"""Logs that do not grow without end, and lose no line for it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

LIMIT = 10_000_000
KEPT = 4
LOST = b"--- %s some %d bytes of this log are lost: %s\n"


def now_text() -> bytes:
    """The time, as it stands in a log."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()).encode()


@dataclass(slots=True)
class Log:
    """A file that is added to. Once it has `limit` bytes, it becomes NAME.1, that one NAME.2, and so on; of
    those `kept` stay. It is divided between lines. What the disk does not take is counted, and said when it
    does again.
    """

    path: Path
    limit: int = LIMIT
    kept: int = KEPT
    _file: int = -1
    _size: int = 0
    _within: bool = False  # within a line
    _lost: int = 0
    _reason: str = field(default="")

    def write(self, data: bytes) -> None:
        """Add to it. Never raises for the disk's sake."""
        try:
            if self._lost:
                self._add(LOST % (now_text(), self._lost, self._reason.encode()))
                self._lost = 0
            self._open()
            while len(data) > (room := self.limit - self._size):
                cut = data.rfind(b"\n", 0, max(room, 0)) + 1
                if not cut and not self._within:
                    if self._size == 0:
                        break  # One line that is longer than a file.
                    self._turn()
                    continue
                cut = cut or data.find(b"\n") + 1
                if not cut and room > -self.limit:
                    break  # The line that is being written goes on.
                cut = cut or len(data)
                self._add(data[:cut])
                data = data[cut:]
                self._turn()
            self._add(data)
        except OSError as error:
            self._lost, self._reason = self._lost + len(data), error.strerror or type(error).__name__

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        if self._file < 0:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._size = os.fstat(self._file).st_size

    def _add(self, data: bytes) -> None:
        self._open()
        while data:
            written = os.write(self._file, data)
            self._size += written
            self._within = data[written - 1 : written] != b"\n"
            data = data[written:]

    def _turn(self) -> None:
        self.close()
        for number in range(self.kept, 0, -1):
            old = self.path if number == 1 else self._old(number - 1)
            if old.exists():
                old.replace(self._old(number))
        self._size, self._within = 0, False

    def _old(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")
