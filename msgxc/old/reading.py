"""A folder with the old system's tables, a file each, to rows: streaming, in bounded memory.

What is read: one JSON object a line (what `SELECT JSON *` gives), the same as cqlsh prints it, and CSV as
`COPY … TO … WITH HEADER = TRUE` writes it; each also with .gz.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from msgxc.errors import NotFound, WrongInput
from msgxc.old.columns import COLUMNS
from msgxc.old.literals import literal
from msgxc.people.fields import no_constant
from msgxc.store.ports import BATCH
from msgxc.store.records import batches

#: Bytes of one line: a thread of a million subscribers takes 40.
MAX_LINE = 256 << 20
_ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".txt")


@dataclass(frozen=True, slots=True)
class OldRow:
    """One row of a table. `line`, from 1: where it stands in `file` (in a keyspace: which one it was).
    `problem` says why it is none, or is ""."""

    file: str
    line: int
    values: Mapping[str, Any] = field(repr=False)
    problem: str = ""


class Source(Protocol):
    """Where the old system's rows come from."""

    async def tables(self) -> Sequence[str]:
        """Which of columns.COLUMNS there are, in that order. Raises NotFound, WrongInput."""

    def rows(self, table: str) -> AsyncIterator[list[OldRow]]:
        """All rows of one, in lists of at most BATCH. Raises WrongInput, StoreUnavailable."""

    def fraction(self) -> float | None:
        """How much has been read, 0 to 1; None: nobody knows."""

    def strange(self) -> Sequence[str]:
        """What stands beside the tables and is none."""

    async def close(self) -> None:
        """Let go."""


class Folder:
    """See Source. A file is called as its table: `users.jsonl`, also `sfpl.users.jsonl` or `users.csv.gz`."""

    def __init__(self, folder: Path) -> None:
        if folder.is_file():
            raise WrongInput(f"{folder}: a file: name the folder that it is in")
        if not folder.is_dir():
            raise NotFound(f"{folder}: no such folder")
        self._files: dict[str, list[Path]] = {}
        self._strange: list[str] = []
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                table = _table_of(path.name)
                if table:
                    self._files.setdefault(table, []).append(path)
                else:
                    self._strange.append(path.name)
        self._size = max(sum(path.stat().st_size for some in self._files.values() for path in some), 1)
        self._read = 0
        if not self._files:
            raise WrongInput(f"{folder}: no table of the old system, such as users.jsonl or mthreads.jsonl")

    async def tables(self) -> Sequence[str]:
        return [table for table in COLUMNS if table in self._files]

    async def rows(self, table: str) -> AsyncIterator[list[OldRow]]:
        for path in self._files[table]:
            before = self._read
            with _Opened(path) as file:
                for some in batches(_rows(path, file.text), BATCH):
                    self._read = before + file.raw.tell()
                    yield some

    def fraction(self) -> float:
        return min(self._read / self._size, 1.0)

    def strange(self) -> Sequence[str]:
        return self._strange

    async def close(self) -> None:
        """Files are closed as they are read."""


def _table_of(name: str) -> str:
    """The table whose file is called so; "" for none."""
    stem = name.lower().removesuffix(".gz")
    ending = next((one for one in _ENDINGS if stem.endswith(one)), "")
    word = stem.removesuffix(ending).rpartition(".")[2]
    return word if ending and word in COLUMNS else ""


class _Opened:
    """A file and, unpacked, its text."""

    def __init__(self, path: Path) -> None:
        self.raw: BinaryIO = path.open("rb")
        zipped = self.raw.read(2) == b"\x1f\x8b"
        self.raw.seek(0)
        file = cast(BinaryIO, gzip.GzipFile(fileobj=self.raw)) if zipped else self.raw
        self.text = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.raw.close()


def _lines(path: Path, text: io.TextIOWrapper) -> Iterator[tuple[int, str]]:
    number = 0
    while True:
        try:
            line = text.readline(MAX_LINE)
        except (OSError, EOFError, zlib.error):
            raise WrongInput(f"{path.name}: after line {number}: the file is cut off or damaged") from None
        if not line:
            return
        number += 1
        if len(line) == MAX_LINE:
            raise WrongInput(f"{path.name}: line {number}: longer than {MAX_LINE:,} characters")
        yield number, line


def _rows(path: Path, text: io.TextIOWrapper) -> Iterator[OldRow]:
    lines = _lines(path, text)
    for number, line in lines:
        start = line.strip()
        if start == "[json]":
            yield from _printed(path.name, lines)
        elif start.startswith("{"):
            yield _object(path.name, number, start)
            for at, another in lines:
                if another.strip():
                    yield _object(path.name, at, another)
        elif start and (path.name.lower().removesuffix(".gz").endswith(".csv")):
            yield from _copied(path, line, lines)
        elif start:
            what = "one JSON object a line, as SELECT JSON gives it, or CSV with a header (COPY … TO)"
            raise WrongInput(f"{path.name}: line {number}: neither {what}")


def _object(file: str, line: int, text: str) -> OldRow:
    try:
        found = json.loads(text, parse_constant=no_constant)
    except (ValueError, RecursionError):
        return OldRow(file, line, {}, "not JSON")
    return OldRow(file, line, found) if isinstance(found, dict) else OldRow(file, line, {}, "no JSON object")


def _printed(file: str, lines: Iterable[tuple[int, str]]) -> Iterator[OldRow]:
    """What cqlsh prints of SELECT JSON: a heading, a rule, the rows, how many they were. It doubles each
    backslash (cqlshlib, formatting.py)."""
    for number, line in lines:
        text = line.strip()
        if text.startswith("{"):
            yield _object(file, number, text.replace("\\\\", "\\"))
        elif text.strip("-") and text != "[json]" and not (text.startswith(("(", "---MORE"))):
            yield OldRow(file, number, {}, "not JSON")


def _copied(path: Path, header: str, lines: Iterator[tuple[int, str]]) -> Iterator[OldRow]:
    """What COPY TO writes: cells in CQL's own literals."""
    taken = [0]

    def text() -> Iterator[str]:
        for number, line in lines:
            taken[0] = number
            yield line

    (names,) = csv.reader([header], escapechar="\\", doublequote=False)
    table = _table_of(path.name)
    if not set(names) & COLUMNS[table]:
        raise WrongInput(f"{path.name}: line 1: no header: COPY {table} TO … WITH HEADER = TRUE")
    reader = csv.reader(text(), escapechar="\\", doublequote=False)
    while True:
        line = taken[0] + 1 if taken[0] else 2
        try:
            cells = next(reader, None)
            if cells is None:
                return
            if len(cells) != len(names):
                yield OldRow(path.name, line, {}, f"{len(cells)} cells under {len(names)} columns")
            elif any(cells):
                yield OldRow(
                    path.name, line, {n: literal(n, c) for n, c in zip(names, cells, strict=True) if c}
                )
        except (csv.Error, ValueError, RecursionError):
            yield OldRow(path.name, line, {}, "not CSV as COPY TO writes it")
