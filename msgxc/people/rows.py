"""A file of people to rows, streaming: CSV or JSON Lines, gzipped or not, in bounded memory."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from msgxc.errors import NotFound, WrongInput
from msgxc.people.fields import no_constant
from msgxc.people.record import DEVICES, IDENTITIES, OLD_NAMES, unknown_column

MAX_LINE = 1 << 20  # bytes
#: A gzip file may grow to this many bytes, and to 200 times its own size if that is more.
MAX_UNZIPPED = 64 << 20
MAX_RATIO = 200


@dataclass(slots=True)
class Row:
    """One row. `line`, counted from 1, is where it starts; `problem` says why it is no row, or is ""."""

    line: int
    raw: str
    cells: list[tuple[str, Any]]
    problem: str = ""


class Rows:
    """The rows of a file, once. `typed` tells whether values are JSON's. Use it with `with`.

    Raises NotFound or WrongInput, with the line, for a file that is none of what it should be: then nothing
    after that line can be read.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._size = max(path.stat().st_size, 1)
            self._raw: BinaryIO = path.open("rb")
        except OSError as error:
            raise NotFound(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
        self._zipped = self._raw.read(2) == b"\x1f\x8b"
        self._raw.seek(0)
        try:
            self._lines = _Lines(self._opened(), self._bound())
            self.typed = _is_json(path, self._lines.first)
        except WrongInput:
            self._raw.close()
            raise

    def _opened(self) -> BinaryIO:
        if not self._zipped:
            return self._raw
        return cast(BinaryIO, io.BufferedReader(gzip.GzipFile(fileobj=self._raw), 1 << 18))

    def _bound(self) -> int | None:
        return max(MAX_UNZIPPED, MAX_RATIO * self._size) if self._zipped else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw.close()

    def __iter__(self) -> Iterator[Row]:
        return _json_rows(self._lines) if self.typed else _csv_rows(self._lines)

    def fraction(self) -> float:
        """How much of the file has been read, 0 to 1."""
        return min(self._raw.tell() / self._size, 1.0)


class _Lines:
    """Text lines with their ends, bounded. `started` and `taken` tell of the row that is being read."""

    def __init__(self, file: BinaryIO, bound: int | None) -> None:
        self._file = file
        self._bound = bound
        self._read = 0
        self.number = 0
        self.started = 1
        self.taken: list[str] = []
        self.first = self._first()

    def _first(self) -> str:
        """The first line without its byte order mark; it is handed out again by iteration."""
        line = self._line()
        if line[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise WrongInput("line 1: this file is UTF-16: save it as UTF-8")
        return line.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")

    def _line(self) -> bytes:
        try:
            line = self._file.readline(MAX_LINE + 1)
        except (OSError, EOFError, zlib.error):
            raise WrongInput(f"after line {self.number}: the file is cut off or damaged") from None
        self._read += len(line)
        if len(line) > MAX_LINE:
            raise WrongInput(f"line {self.number + 1}: longer than {MAX_LINE} bytes")
        if self._bound is not None and self._read > self._bound:
            raise WrongInput(f"after line {self.number}: unpacks to more than {self._bound} bytes")
        self.number += bool(line)
        return line

    def __iter__(self) -> Iterator[str]:
        text = self.first
        while text:
            self.taken.append(text)
            yield text
            text = self._line().decode(errors="surrogateescape")

    def row(self, cells: list[tuple[str, Any]], problem: str = "") -> Row:
        """The lines taken since the last row make this one."""
        row = Row(self.started, "".join(self.taken).rstrip("\r\n"), cells, problem)
        self.skip()
        return row

    def skip(self) -> None:
        """The lines taken since the last row were none."""
        self.taken.clear()
        self.started = self.number + 1


def _is_json(path: Path, first: str) -> bool:
    suffix = next((s for s in reversed(path.suffixes) if s != ".gz"), "").lower()
    start = first.lstrip()[:1]
    if not first.strip():
        raise WrongInput("line 1: the file is empty" if not first else "line 1: this line is empty")
    if start == "[":
        raise WrongInput("line 1: a JSON list; what is read is one object on each line (JSON Lines)")
    return suffix in (".jsonl", ".ndjson", ".json") or (suffix != ".csv" and start == "{")


# -- CSV ----------------------------------------------------------------------------------------------------


def _csv_rows(lines: _Lines) -> Iterator[Row]:
    delimiter = max(",;\t", key=lines.first.count)
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    header = _header(reader)
    lines.skip()
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield lines.row([], f"not CSV: {error}")
            continue
        if cells is None:
            return
        if not cells:
            lines.skip()
        elif len(cells) == len(header):
            yield lines.row(list(zip(header, cells, strict=True)))
        else:
            yield lines.row([], f"{len(cells)} cells under {len(header)} columns")


def _header(reader: Iterator[list[str]]) -> list[str]:
    """The names of the columns. Raises WrongInput for the first that cannot be used."""
    try:
        names = [_folded(name) for name in next(reader)]
    except csv.Error as error:
        raise WrongInput(f"line 1: not CSV: {error}") from None
    for number, name in enumerate(names, 1):
        wrong = unknown_column(name)
        if name in names[: number - 1] and name not in DEVICES:
            wrong = "stands there twice"
        if wrong:
            raise WrongInput(f"line 1, column {number}{_shown(name)}: {wrong}")
    if not set(names) & set(IDENTITIES):
        raise WrongInput("line 1: there is no column uid, xid or email, so nobody can be told apart")
    return names


def _folded(name: str) -> str:
    name = name.strip()
    return name if name.startswith("attr.") else name.lower()


def _shown(name: str) -> str:
    """The name for an error, unless it looks like data: then the file lacks its header."""
    word = name.replace("_", "").replace(".", "").replace("-", "").replace(" ", "")
    if word.isalpha() and len(name) <= 40:
        return f" ({name})"
    return "" if word else " (empty)"


# -- JSON Lines ---------------------------------------------------------------------------------------------


def _json_rows(lines: _Lines) -> Iterator[Row]:
    known: set[str] = set()
    for line in lines:
        if not line.strip():
            lines.skip()
            continue
        try:
            found = json.loads(line, parse_constant=no_constant)
        except (ValueError, RecursionError):
            yield lines.row([], "not JSON")
            continue
        if not isinstance(found, dict):
            yield lines.row([], "not a JSON object")
            continue
        wrong = "" if known.issuperset(found) else _unknown_key(found)
        if wrong and not known:
            raise WrongInput(f"line {lines.started}: {wrong}")
        if not wrong:
            known.update(found)
        yield lines.row([(OLD_NAMES.get(name, name), value) for name, value in found.items()], wrong)


def _unknown_key(found: dict[str, Any]) -> str:
    for number, name in enumerate(found, 1):
        wrong = unknown_column(OLD_NAMES.get(name, name))
        if wrong:
            return f"key {number}{_shown(name)}: {wrong}"
    return ""
