"""What an import from the old system took, changed and refused, and why: counts, and a file with each.

Neither repeats anything of a row: file, line, column and a reason of ours, so that it may be shown around.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

from msgxc.errors import WrongInput
from msgxc.old.columns import Kind, Remark
from msgxc.old.reading import OldRow

HEADER = ("table", "file", "line", "column", "what", "reason")
#: Beyond so many lines of one reason only the count grows.
EACH = 100_000


@dataclass(slots=True)
class Told:
    """What became of one table. rows = taken + unchanged + left + refused; `changed`: of those that are in.

    taken: they were not there, or not so. left: rows of a table that has no place here.
    """

    rows: int = 0
    taken: int = 0
    unchanged: int = 0
    left: int = 0
    changed: int = 0
    refused: int = 0

    def counts(self) -> dict[str, int]:
        """All of them, by name."""
        return asdict(self)


@dataclass(slots=True)
class Reason:
    """How many rows had this remark, and where the first of them is."""

    rows: int
    first: str


@dataclass(slots=True)
class Report:
    """Grows while rows are read; the file at `path` holds the same in full. An older one there goes."""

    path: Path
    tables: dict[str, Told] = field(default_factory=dict)
    reasons: dict[tuple[str, Remark], Reason] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _file: TextIO | None = None

    def open(self) -> None:
        """Raises WrongInput where it cannot be written."""
        if self.path.is_dir():
            raise WrongInput("the report is a folder: name a file")
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="")
        csv.writer(self._file).writerow(HEADER)

    def of(self, table: str) -> Told:
        """What became of this table so far."""
        return self.tables.setdefault(table, Told())

    def row(self, table: str, row: OldRow, how: str, remarks: Iterable[Remark]) -> None:
        """One more row: `how` is taken, unchanged, left or refused."""
        told, changed = self.of(table), False
        told.rows += 1
        setattr(told, how, getattr(told, how) + 1)
        for remark in dict.fromkeys(remarks):
            changed = changed or remark.kind is not Kind.LEFT
            self.remark(table, row, remark)
        told.changed += changed and how in ("taken", "unchanged")

    def remark(self, table: str, row: OldRow, remark: Remark) -> None:
        """One remark about a row. What has no place is told once for its column."""
        key = table, remark
        known = self.reasons.get(key)
        if known is None:
            known = self.reasons[key] = Reason(0, f"{row.file} line {row.line}")
        known.rows += 1
        if remark.kind is not Kind.LEFT and known.rows <= EACH:
            self._write(table, row.file, row.line, remark)

    def _write(self, table: str, file: str, line: object, remark: Remark) -> None:
        if self._file is not None:
            csv.writer(self._file).writerow((table, file, line, remark.column, remark.kind, remark.reason))

    def flush(self) -> None:
        """Put what there is on disk, so that an import that was stopped leaves it behind."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """With what was told once, and the notes, at the end. May be called twice."""
        if self._file is None:
            return
        for (table, remark), reason in self.reasons.items():
            if remark.kind is Kind.LEFT:
                self._write(table, reason.first, f"{reason.rows} rows", remark)
        for note in self.notes:
            csv.writer(self._file).writerow(("", "", "", "", "note", note))
        self._file.close()
        self._file = None

    def told(self) -> str:
        """One line for people."""
        all_ = list(self.tables.values())
        taken, refused = sum(t.taken + t.unchanged for t in all_), sum(t.refused for t in all_)
        changed, rows = sum(t.changed for t in all_), sum(t.rows for t in all_)
        left = sum(t.left for t in all_)
        return (
            f"{rows:,} rows: {taken:,} in ({changed:,} of them changed), {left:,} left, {refused:,} refused"
        )
