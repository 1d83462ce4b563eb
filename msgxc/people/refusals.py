"""The file of refused rows: CSV with line, column, reason and the row itself. It holds personal data."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TextIO

from msgxc.errors import WrongInput
from msgxc.people.record import Refused

HEADER = ("line", "column", "reason", "row")
MAX_ROW = 100_000  # characters; readers of CSV refuse a cell of 128 KiB


class Refusals:
    """Made with the first refusal; an older one at the path goes. Only its owner may read it."""

    def __init__(self, path: Path, source: Path) -> None:
        if path.resolve() == source.resolve():
            raise WrongInput("the file of refused rows cannot be the file that is read")
        if path.is_dir():
            raise WrongInput("the file of refused rows is a folder")
        path.unlink(missing_ok=True)
        self._path = path
        self._file: TextIO | None = None

    def add(self, line: int, refused: Refused, row: str) -> None:
        """One more refused row; a row longer than MAX_ROW is cut."""
        if self._file is None:
            self._file = self._open()
        csv.writer(self._file).writerow((line, refused.column, refused.reason, row[:MAX_ROW]))

    def _open(self) -> TextIO:
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        file = os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="")
        csv.writer(file).writerow(HEADER)
        return file

    def flush(self) -> None:
        """Put what there is on disk, so that an aborted import leaves it behind."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """May be called twice."""
        if self._file is not None:
            self._file.close()
