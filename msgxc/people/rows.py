"""A file of people to rows, streaming: CSV or JSON Lines, gzipped or not, in bounded memory."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from msgxc.errors import NotFound, WrongInput
from msgxc.people.fields import Twice, no_constant, once, without_invisible
from msgxc.people.record import COLUMNS, DEVICES, IDENTITIES, OLD_NAMES, unknown_column

MAX_LINE = 1 << 20  # bytes
#: A gzip file may grow to this many bytes, and to 200 times its own size if that is more.
MAX_UNZIPPED = 64 << 20
MAX_RATIO = 200
#: A cell with so many whole lines in it, each with as many cells as the header, has an open quote before it.
SUSPECT = 3

_LOOK = 1 << 18  # bytes that are looked at before reading
_SEPARATOR = re.compile(r"\"?sep=(.)\"?[,;\t|]*\s*", re.IGNORECASE)
_SEPARATORS = ",;\t|"
_ODD_ENDS = re.compile("[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_NOTHING = "\0 \t\r\n"
_TEXT = "save it as CSV (UTF-8)"
#: How files begin that are no text.
_BEGINNINGS = {
    b"PK\x03\x04": f"an Excel file or another archive: {_TEXT}",
    b"\xd0\xcf\x11\xe0": f"an Excel file: {_TEXT}",
    b"\xff\xfe": "this file is UTF-16: save it as UTF-8",
    b"\xfe\xff": "this file is UTF-16: save it as UTF-8",
    b"<": f"HTML or XML, not a table of people: {_TEXT}",
    b"%PDF": f"a PDF: {_TEXT}",
    b"{\\rtf": f"a text document (RTF): {_TEXT}",
    b"SQLite format 3": f"a database: {_TEXT}",
    b"PAR1": f"a Parquet file: {_TEXT}",
    b"BZh": "compressed with bzip2: what is read is gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: what is read is gzip",
    b"\xfd7zXZ": "compressed with xz: what is read is gzip",
    b"7z\xbc\xaf": "a 7z archive: what is read is gzip",
}


@dataclass(slots=True)
class Row:
    """One row. `line`, counted from 1, is where it starts; `problem` says why it is no row, or is ""."""

    line: int
    raw: str = field(repr=False)
    cells: list[tuple[str, Any]] = field(repr=False)
    problem: str = ""


class Rows:
    """The rows of a file, once. `typed` tells whether values are JSON's. Use it with `with`.

    Raises NotFound or WrongInput, with the line, for a file that is none of what it should be: then nothing
    after that line can be read.
    """

    def __init__(self, path: Path) -> None:
        if path.is_dir():
            raise WrongInput(f"{path}: a folder: name a file that is in it")
        try:
            self._size = max(path.stat().st_size, 1)
            self._raw: BinaryIO = path.open("rb", _LOOK)
            self._zipped = self._raw.read(2) == b"\x1f\x8b"
            self._raw.seek(0)
        except OSError as error:
            raise NotFound(f"{path}: {(error.strerror or 'not a file on a disk').lower()}") from None
        try:
            self._lines = _Lines(_text(self._opened()), self._bound())
            self.typed = _is_json(path, self._lines.first)
        except WrongInput:
            self._raw.close()
            raise

    def _opened(self) -> io.BufferedReader:
        if not self._zipped:
            return cast(io.BufferedReader, self._raw)
        return io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=self._raw)), _LOOK)

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


def _text(file: io.BufferedReader) -> BinaryIO:
    """The file, with the line ends that everybody has. Raises WrongInput for one that is no text."""
    try:
        start = file.peek(_LOOK)
    except (OSError, EOFError, zlib.error):
        raise WrongInput("after line 0: the file is cut off or damaged") from None
    for beginning, what in _BEGINNINGS.items():
        if start.startswith(beginning):
            raise WrongInput(f"line 1: {what}")
    first = start.partition(b"\n")[0].removesuffix(b"\r")
    if b"\0" in first.rstrip(b"\0"):
        raise WrongInput("line 1: not text, or UTF-16: save it as UTF-8")
    if b"\r" in first and not first.partition(b"\r")[0].count(b'"') % 2:  # not in a cell
        return io.BufferedReader(_OldEnds(file), _LOOK)
    return cast(BinaryIO, file)


class _OldEnds(io.RawIOBase):
    """A file whose lines end as on an old Mac (CR), as lines that end in LF."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._after = b""  # a CR whose LF may come

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if len(buffer) < 2:
            raise ValueError("no room")
        while read := self._file.read1(len(buffer) - 1):
            read = self._after + read
            self._after = read[-1:] if read.endswith(b"\r") else b""
            if text := read.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n"):
                buffer[: len(text)] = text
                return len(text)
        text, self._after = self._after.replace(b"\r", b"\n"), b""
        buffer[: len(text)] = text
        return len(text)


class _Lines:
    """Text lines with their ends, bounded. `started` and `taken` tell of the row that is being read."""

    def __init__(self, file: BinaryIO, bound: int | None) -> None:
        self._file = file
        self._bound = bound
        self._read = 0
        self._again: deque[str] = deque()
        self.number = 0
        self.started = 1
        self.taken: list[str] = []
        self.first = self._next()

    def _next(self) -> str:
        """The next line, without the byte order mark of a file that was appended; "" at the end."""
        if self._again:
            self.number += 1
            return self._again.popleft()
        return self._line().removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")

    def _line(self) -> bytes:
        try:
            line = self._file.readline(MAX_LINE + 1)
        except (OSError, EOFError, zlib.error):
            raise WrongInput(f"after line {self.number}: the file is cut off or damaged") from None
        self._read += len(line)
        if len(line) > MAX_LINE:
            if not line.strip(b"\0"):  # a file that was cut off is filled up with them
                return b""
            raise WrongInput(f"line {self.number + 1}: longer than {MAX_LINE} bytes")
        if self._bound is not None and self._read > self._bound:
            raise WrongInput(f"after line {self.number}: unpacks to more than {self._bound} bytes")
        self.number += bool(line)
        return line

    def __iter__(self) -> Iterator[str]:
        text = self.first if self.number == 1 and not self.taken else self._next()
        while text:
            self.taken.append(text)
            yield text
            text = self._next()

    def row(self, cells: list[tuple[str, Any]], problem: str = "") -> Row:
        """The lines taken since the last row make this one."""
        row = Row(self.started, "".join(self.taken).rstrip("\r\n"), cells, problem)
        self.skip()
        return row

    def skip(self) -> None:
        """The lines taken since the last row were none."""
        self.taken.clear()
        self.started = self.number + 1

    def alone(self, problem: str) -> Row:
        """Of the lines taken, only the first is this row; the others are handed out again."""
        rest = self.taken[1:]
        self._again.extendleft(reversed(rest))
        self.number -= len(rest)
        del self.taken[1:]
        return self.row([], problem)


def _is_json(path: Path, first: str) -> bool:
    suffix = next((s for s in reversed(path.suffixes) if s != ".gz"), "").lower()
    start = first.lstrip()[:1]
    if not first.strip("\0"):
        raise WrongInput("line 1: the file is empty")
    if not first.strip(_NOTHING):
        raise WrongInput("line 1: this line is empty")
    if start == "[":
        raise WrongInput(f"line 1: a JSON list; {_WHAT_IS_READ}")
    if start == "{" and not first.rstrip().endswith("}"):
        raise WrongInput(f"line 1: JSON that goes on in the next line; {_WHAT_IS_READ}")
    return suffix in (".jsonl", ".ndjson", ".json") or start == "{"


_WHAT_IS_READ = "what is read is one object on each line (JSON Lines)"

# -- CSV ----------------------------------------------------------------------------------------------------


def _csv_rows(lines: _Lines) -> Iterator[Row]:
    """Rows without any value are passed over. A row that goes wrong over several lines has an open quote: it
    is refused with its first line alone, and the others are read as rows of their own."""
    text = iter(lines)
    delimiter = _delimiter(lines, text)
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    header = _header(reader)
    lines.skip()
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            cells, wrong = [], f"not CSV: {error}"
        else:
            if cells is None:
                return
            if _is_empty(cells):
                lines.skip()
                continue
            wrong = _wrong(cells, len(header))
        several = len(lines.taken) > 1
        if wrong and several and len(header) > 1:
            yield lines.alone(wrong + _OPEN)
            reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
            continue
        if several and (wrong or _swallowed(lines.taken, delimiter, len(header))):
            wrong = f"lines {lines.started} to {lines.number} are one row: is a quote not closed?"
        yield lines.row([], wrong) if wrong else lines.row(list(zip(header, cells, strict=True)))


def _is_empty(cells: list[str]) -> bool:
    return not any(cells) or not (cells[0].strip() or "".join(cells).strip().strip("\0"))


def _wrong(cells: list[str], width: int) -> str:
    """Why this is no row of a file with so many columns; "" when it is one."""
    if len(cells) != width:
        return f"{len(cells)} cells under {width} columns"
    if _is_name(cells[0]) and all(map(_is_name, cells)):
        return "names of columns: a second header"
    return ""


_OPEN = "; is a quote not closed? The lines after it are read by themselves"


def _delimiter(lines: _Lines, text: Iterator[str]) -> str:
    """What stands between cells: what Excel's first line `sep=` says, or what the header has most of."""
    if said := _SEPARATOR.fullmatch(lines.first):
        if said[1] not in _SEPARATORS:
            raise WrongInput("line 1: cells are separated by commas, semicolons, tabs or |")
        next(text)
        return said[1]
    if _ODD_ENDS.search(lines.first):
        raise WrongInput("line 1: its lines do not end as lines do (LF or CRLF): save it anew as CSV (UTF-8)")
    return max(_SEPARATORS, key=lines.first.count)


def _is_name(cell: str) -> bool:
    name = _folded(cell)
    return name in COLUMNS or (name.startswith("attr.") and not unknown_column(name))


def _swallowed(taken: list[str], delimiter: str, width: int) -> bool:
    """Whether whole rows stand in a cell of this one."""
    inner = taken[1:-1]
    if len(inner) < SUSPECT or width == 1:
        return False
    return all(line.count(delimiter) == width - 1 for line in inner)


def _header(reader: Iterator[list[str]]) -> list[str]:
    """The names of the columns. Raises WrongInput for the first that cannot be used."""
    try:
        names = [_folded(name) for name in next(reader, [])]
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
    name = name.strip() if name.isascii() else without_invisible(name).strip()
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
        if not line.strip(_NOTHING):
            lines.skip()
            continue
        try:
            found = json.loads(line, parse_constant=no_constant, object_pairs_hook=once)
        except Twice as error:
            yield lines.row([], str(error))
            continue
        except (ValueError, RecursionError):
            if lines.started == 1 and line.lstrip()[:1] != "{":
                raise WrongInput(f"line 1: not JSON; {_WHAT_IS_READ}") from None
            yield lines.row([], "not JSON")
            continue
        if not isinstance(found, dict):
            yield lines.row([], "not a JSON object")
            continue
        if not any(found.values()):
            lines.skip()
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
