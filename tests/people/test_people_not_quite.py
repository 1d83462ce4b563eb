"""Files that are not quite CSV or JSON Lines: read, or refused in a line that says what to do."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pytest
from people_files import everybody, refusals, refused_whole, run

from msgxc.errors import WrongInput
from msgxc.people import rows
from msgxc.store.sqlite import SqliteStore

BOM = "\ufeff"


@pytest.mark.parametrize(
    "text",
    [
        "uid,name,email\rp1,Ada,ada@example.com\rp2,Bob,bob@example.com\r",  # an old Mac
        '"uid","name","email"\r"p1","Ada","ada@example.com"\r"p2","Bob","bob@example.com"',
        'uid,name,email\rp1,"Ada",ada@example.com\r\np2,Bob,bob@example.com\n',  # of three minds
        "sep=;\r\nuid;name;email\r\np1;Ada;ada@example.com\r\np2;Bob;bob@example.com\r\n",  # Excel
        f'{BOM}"sep=\t"\r\nuid\tname\temail\r\np1\tAda\tada@example.com\r\np2\tBob\tbob@example.com',
        "uid|name|email\np1|Ada|ada@example.com\np2|Bob|bob@example.com\n",
        f"{BOM}uid,name,email\np1,Ada,ada@example.com\n{BOM}p2,Bob,bob@example.com\n",  # joined
        "uid,name,email\np1,Ada,ada@example.com\n,,\n ,\t,\u00a0\n,,,,\np2,Bob,bob@example.com\n,,\n,,\n",
        "uid,name,email\np1,Ada,ada@example.com\np2,Bob,bob@example.com\n" + "\0" * (3 << 20),
        "\u200bUID ,Na\u00adme,\u00a0email\np1,Ada,ada@example.com\np2,Bob,bob@example.com\n",
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
async def test_what_is_not_quite_csv_is_read(
    store: SqliteStore, tmp_path: Path, text: str, zipped: bool
) -> None:
    """Line ends, separators, marks, empty rows and fillings of any kind: two people, none refused."""
    data = gzip.compress(text.encode()) if zipped else text.encode()
    summary = await run(store, tmp_path / "in.csv", data)
    assert (summary.rows, summary.imported, summary.refused) == (2, 2, 0)
    assert {(p.name, p.email) for p in await everybody(store)} == {
        ("Ada", "ada@example.com"),
        ("Bob", "bob@example.com"),
    }


async def test_what_is_not_quite_json_lines_is_read(store: SqliteStore, tmp_path: Path) -> None:
    """Old line ends, files that were joined, empty objects and lines."""
    text = f'{BOM}{{"uid": "p1"}}\r{BOM}{{"uid": "p2"}}\r{{}}\r{{"uid": "", "name": null}}\r\0\0'
    summary = await run(store, tmp_path / "in.jsonl", text)
    assert (summary.rows, summary.imported, summary.refused) == (2, 2, 0)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("in.json", json.dumps({"uid": "p1", "name": "Ada"}, indent=1), "goes on in the next line"),
        (
            "in.jsonl",
            json.dumps([{"uid": "p1"}], indent=1),
            "a JSON list; what is read is one",
        ),
        ("in.jsonl", "uid,name\np1,Ada\n", "line 1: not JSON; what is read is one object on each line"),
        ("in.csv", b"PK\x03\x04\x14\0\x06\0", "an Excel file or another archive: save it as CSV"),
        ("in.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel file: save it as CSV (UTF-8)"),
        ("in.xls", "<html><table><tr><td>uid</td></tr></table></html>", "HTML or XML"),
        ("in.csv", "uid,name\np1,Ada\n".encode("utf-16"), "this file is UTF-16: save it as UTF-8"),
        ("in.csv", "uid,name\np1,Ada\n".encode("utf-16-le"), "UTF-16: save it as UTF-8"),
        ("in.csv", "uid,name\np1,Ada\n".encode("utf-32"), "save it as UTF-8"),
        ("in.csv", "uid,name\u2028p1,Ada\u2028", "its lines do not end as lines do"),
        ("in.csv", "uid,name\x85p1,Ada\x85", "its lines do not end as lines do"),
        ("in.csv", "sep=^\nuid^name\n", "cells are separated by commas, semicolons, tabs or |"),
        ("in.csv", "sep=;\n", "line 1: there is no column uid, xid or email"),
        ("in.csv", b"BZh91AY", "bzip2: what is read is gzip"),
    ],
)
async def test_what_cannot_be_read_says_what_to_do(
    store: SqliteStore, tmp_path: Path, name: str, text: str | bytes, says: str
) -> None:
    """At once, in one line, and nobody is imported."""
    said = await refused_whole(store, tmp_path / name, text)
    assert says in said
    assert "\n" not in said


async def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """Neither to read nor for what is refused."""
    with pytest.raises(WrongInput, match="a folder: name a file"):
        rows.Rows(tmp_path)


@pytest.mark.parametrize("second", ["uid,name", f"{BOM}uid,name", "Name,UID", "uid,attr.plan"])
async def test_a_header_in_the_middle_is_nobody(store: SqliteStore, tmp_path: Path, second: str) -> None:
    """Two files that were joined: the second header is refused, what follows it is read."""
    text = f"{BOM}uid,name\r\np1,Ada\r\n{second}\r\np2,Bob\r\n"
    summary = await run(store, tmp_path / "in.csv", text)
    assert (summary.imported, summary.refused) == (2, 1)
    assert refusals(tmp_path / "in.csv")[0][:3] == ["3", "", "names of columns: a second header"]


def people(numbers: range, *, opened: int = 0) -> str:
    """Rows of a file; before the name of one of them stands a quote that nothing closes."""
    quote = {opened: '"'}
    return "".join(f"p{n},{quote.get(n, '')}Person {n},p{n}@example.com\n" for n in numbers)


@pytest.mark.parametrize("last", ["", 'q1,"Person, the last",q1@example.com\n'])
async def test_an_open_quote_costs_its_own_line(store: SqliteStore, tmp_path: Path, last: str) -> None:
    """The lines after it are read by themselves, whether or not another quote ends it."""
    text = "uid,name,email\n" + people(range(1, 1001), opened=3) + last
    summary = await run(store, tmp_path / "in.csv", text)
    assert (summary.imported, summary.refused) == (999 + bool(last), 1)
    ((line, _, reason, row),) = refusals(tmp_path / "in.csv")
    assert (line, row) == ("4", 'p3,"Person 3,p3@example.com')
    assert "is a quote not closed? The lines after it are read by themselves" in reason


async def test_every_line_with_an_open_quote(store: SqliteStore, tmp_path: Path) -> None:
    """One after the other is refused, and read on after it; lines keep their numbers."""
    text = "uid,name\n" + "".join(f'p{n},"open\np{n}b,fine\n' for n in range(300))
    summary = await run(store, tmp_path / "in.csv", text)
    assert (summary.imported, summary.refused) == (300, 300)
    assert [int(row[0]) for row in refusals(tmp_path / "in.csv")] == list(range(2, 602, 2))


async def test_rows_in_a_cell_are_told(store: SqliteStore, tmp_path: Path) -> None:
    """A quote that another line happens to close: the row is suspect, and its lines are named; text of many
    lines is none."""
    swallowed = people(range(1, 9), opened=3).replace("Person 8", 'Person 8"')
    note = "Dear all,\n\nhello,\nall of you,\nand, well, bye.\n"
    text = f'uid,name,email\n{swallowed}n1,"{note}",n1@example.com\n'
    summary = await run(store, tmp_path / "in.csv", text)
    assert (summary.imported, summary.refused) == (3, 1)
    ((line, _, reason, _),) = refusals(tmp_path / "in.csv")
    assert (line, reason) == ("4", "lines 4 to 9 are one row: is a quote not closed?")


async def test_one_column_is_never_cut(store: SqliteStore, tmp_path: Path) -> None:
    """Where every line would be somebody, the lines of a wrong row are told and none of them is read."""
    summary = await run(store, tmp_path / "in.csv", 'uid\na\n"Dear\nall" of you\nb\n')
    assert (summary.imported, summary.refused) == (2, 1)
    assert refusals(tmp_path / "in.csv")[0][2] == "lines 3 to 4 are one row: is a quote not closed?"


@pytest.mark.parametrize("size", [2, 3, 7, 1 << 16])
def test_old_line_ends_at_any_place(size: int) -> None:
    """However the file is cut into pieces, each CR and each CRLF is one line end."""
    text = b"uid,name\rp1,Ada\r\np2,Bob\n\rp3,Cy\r"
    read = rows._OldEnds(io.BufferedReader(io.BytesIO(text)))
    pieces = iter(lambda: read.read(size), b"")
    assert b"".join(pieces) == text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
