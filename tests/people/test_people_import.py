"""People in: whole files, from the first byte to the stored record."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from msgspec import structs
from people_files import KEY, NOW, P256DH, one, refusals, refused_whole, run

from msgxc import ids
from msgxc.errors import NotFound, StoreUnavailable, WrongInput
from msgxc.model import Channel
from msgxc.people import fields, import_people
from msgxc.store.changes import Change
from msgxc.store.ports import Directory
from msgxc.store.sqlite import SqliteStore

A, B = UUID(int=10), UUID(int=11)


async def test_a_csv_row_becomes_a_whole_record(store: SqliteStore, tmp_path: Path) -> None:
    """Every column of a CSV file arrives in its field."""
    push = {"endpoint": "https://p.example.com/1", "keys": {"p256dh": P256DH, "auth": "A" * 22}}
    cells = {
        "uid": str(A),
        "name": "Anna 🎉",
        "email": "Anna@Example.com",
        "cell": "030 12345678",
        "lang": "de_at",
        "tz": "europe/vienna",
        "channels": "apn;email",
        "consents": "marketing",
        "last_seen": "2026-11-01T10:00:00Z",
        "created": "2025-01-01",
        "suppressed": "email",
        "cohorts": "vip;beta",
        "apns": "aa@2026-10-01T00:00Z;bb",
        "webpush": json.dumps(push),
        "attr.plan": "gold",
        "attr.visits": "12",
        "attributes": '{"vip": true}',
    }
    out = io.StringIO()
    csv.writer(out).writerows([[*cells, "fcm", "fcm"], [*cells.values(), "f:1", "f:2"]])
    summary = await run(store, tmp_path / "in.csv", out.getvalue(), region="DE")
    assert (summary.imported, summary.refused, summary.suppressed) == (1, 0, 1)
    anna = await one(store, A)
    assert (anna.name, anna.email, anna.cell, anna.lang) == (
        "Anna 🎉",
        "anna@example.com",
        "+493012345678",
        "de-AT",
    )
    assert anna.channels == {Channel.APNS, Channel.EMAIL}
    assert anna.attributes == {"plan": "gold", "visits": 12, "vip": True}
    assert [d.token for d in anna.devices] == ["aa", "bb", "https://p.example.com/1", "f:1", "f:2"]
    assert anna.last_seen == datetime(2026, 11, 1, 10, tzinfo=UTC)
    assert anna.created == datetime(2025, 1, 1, tzinfo=UTC)
    blocked = ids.address_hash(KEY, Channel.EMAIL, "anna@example.com")
    assert await store.directory.suppressed([blocked]) == {blocked: "import"}
    assert await store.cohorts.sizes() == {"vip": 1, "beta": 1}


async def test_json_lines_with_the_old_names(store: SqliteStore, tmp_path: Path) -> None:
    """The old system's mdevices and mtypes are read; types of JSON stay what they are."""
    record = {
        "uid": str(A),
        "mtypes": ["apn", "~"],
        "mdevices": [{"mtype": "apn", "did": "aa", "updated": "2026-01-31T09:00:00Z"}],
        "attributes": {"code": "12", "n": 12, "none": None},
        "attr.flag": False,
        "cell": None,
    }
    await run(store, tmp_path / "in.jsonl", json.dumps(record) + "\n\n")
    anna = await one(store, A)
    assert anna.channels == frozenset()
    assert anna.devices[0].registered == datetime(2026, 1, 31, 9, tzinfo=UTC)
    assert anna.attributes == {"code": "12", "n": 12, "none": None, "flag": False}
    assert anna.created == NOW


async def test_what_spreadsheets_write(store: SqliteStore, tmp_path: Path) -> None:
    """A byte order mark, CRLF, ; between cells and a line break inside a cell are read."""
    text = '\ufeffUID;Name;attr.note\r\na1;"Anna\r\nMaria";"x ""y"""\r\n\r\na2;Bea;\r\na3;;;\r\n'
    summary = await run(store, tmp_path / "in.csv", text)
    assert (summary.imported, summary.refused) == (2, 1)
    anna = await one(store, ids.uid_of(KEY, "a1"))
    assert (anna.name, anna.attributes["note"]) == ("Anna Maria", 'x "y"')
    assert refusals(tmp_path / "in.csv") == [["6", "", "4 cells under 3 columns", "a3;;;"]]


async def test_identity_comes_from_uid_then_xid_then_email(store: SqliteStore, tmp_path: Path) -> None:
    """A UUID stands for itself, a foreign id or an email for its pseudonym; a row needs one of them."""
    text = f"uid,xid,email,name\n{A},x1,a@example.com,\n,x2,b@example.com,\n,,C@example.com,\n,,,Di\nu4,,,\n"
    summary = await run(store, tmp_path / "in.csv", text)
    assert (summary.imported, summary.refused) == (4, 1)
    expected = [A, *(ids.uid_of(KEY, text) for text in ("x2", "c@example.com", "u4"))]
    assert set(await store.directory.get(expected)) == set(expected)
    assert (await one(store, A)).attributes == {"xid": "x1"}


async def test_refused_rows_are_kept_with_line_column_and_reason(store: SqliteStore, tmp_path: Path) -> None:
    """Each wrong row is refused alone; its neighbours get in."""
    rows = [
        "uid,email,cell,channels,suppressed",
        "u1,not an address,,,",
        "u2,,0301,,",
        "u3,,,pigeon,",
        "u4,a@example.com,,,sms",
        "u5,b@example.com,,,push",
        'u6,"open quote,,,',
        "u7,c@example.com,,,",
    ]
    summary = await run(store, tmp_path / "in.csv", "\n".join(rows))
    found = refusals(tmp_path / "in.csv")
    columns = ["email", "cell", "channels", "suppressed", "suppressed", ""]
    assert [(row[0], row[1]) for row in found] == [(str(n), column) for n, column in enumerate(columns, 2)]
    assert found[0][3] == rows[1]
    assert "unexpected end" in found[-1][2]
    assert summary.refused == 6
    assert summary.reasons["suppressed", "there is no sms address to suppress"] == 1


async def test_a_field_without_end_costs_only_itself(store: SqliteStore, tmp_path: Path) -> None:
    """A quote that is never closed is given up at the limit of a field, and costs its own line alone."""
    filler = "".join(f"u{n},{'x' * 90}\n" for n in range(2000))
    summary = await run(store, tmp_path / "in.csv", f'uid,name\nu,"open\n{filler}')
    assert (summary.refused, summary.imported) == (1, 2000)
    assert "field larger" in refusals(tmp_path / "in.csv")[0][2]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("in.csv", "uid,emial\n", "line 1, column 2 (emial): not a known column; did you mean email"),
        ("in.csv", "uid,plan\n", "or an attribute (attr.plan)?"),
        ("in.csv", "uid,name,name\n", "line 1, column 3 (name): stands there twice"),
        ("in.csv", "name,lang\n", "no column uid, xid or email"),
        ("in.csv", "uid,\n", "line 1, column 2 (empty)"),
        ("in.csv", "", "the file is empty"),
        ("in.csv", "uid,name\n".encode("utf-16"), "UTF-16"),
        (
            "in.jsonl",
            '{"uid": "1", "emial": 2}\n',
            "line 1: key 2 (emial): not a known column",
        ),
        ("in.json", '[{"uid": "1"}]', "JSON Lines"),
        ("in.csv.gz", b"\x1f\x8b\x08garbage", "damaged"),
        ("in.csv", b"uid,name\na," + b"x" * (1 << 20), "line 2: longer than 1048576 bytes"),
    ],
)
async def test_a_wrong_file_is_refused_at_once(
    store: SqliteStore, tmp_path: Path, name: str, text: str | bytes, says: str
) -> None:
    """A file that is none says so with its line, and nobody is imported."""
    assert says in await refused_whole(store, tmp_path / name, text)


async def test_a_missing_header_is_not_repeated(store: SqliteStore, tmp_path: Path) -> None:
    """When the first line is data, the error does not show it."""
    with pytest.raises(WrongInput) as caught:
        await run(store, tmp_path / "in.csv", "anna@example.com,+12025550123\n")
    assert "anna" not in str(caught.value)
    assert "555" not in str(caught.value)


async def test_a_missing_file_is_not_found(store: SqliteStore, tmp_path: Path) -> None:
    """No file, no import."""
    with pytest.raises(NotFound, match="no such file"):
        await import_people(tmp_path / "no.csv", store, KEY, now=NOW, refused=tmp_path / "r.csv")


async def test_the_refusals_never_overwrite_the_file(store: SqliteStore, tmp_path: Path) -> None:
    """A careless --refused does not destroy what is read."""
    with pytest.raises(WrongInput, match="cannot be the file"):
        await run(store, tmp_path / "in.csv", "uid\na\n", refused=tmp_path / "in.csv")
    assert (tmp_path / "in.csv").read_text() == "uid\na\n"


async def test_a_gzip_bomb_is_given_up(store: SqliteStore, tmp_path: Path) -> None:
    """A small file that unpacks without end stops at its bound, says where, and keeps what came before."""
    bomb = gzip.compress(b'{"uid": "u1"}\n' + (b" " * 99_999 + b"\n") * 800, 1)
    with pytest.raises(WrongInput, match="unpacks to more than") as caught:
        await run(store, tmp_path / "in.jsonl.gz", bomb)
    assert "stopped after 1 rows: 1 imported" in caught.value.__notes__[0]
    assert await store.directory.count() == 1


async def test_bytes_that_are_no_utf8_refuse_their_row(store: SqliteStore, tmp_path: Path) -> None:
    """A Latin-1 name and a lone surrogate of JSON are refused; the row's bytes are kept."""
    summary = await run(store, tmp_path / "in.csv", b"uid,name\nu1,M\xfcller\nu2,Bea\n")
    assert (summary.imported, summary.refused) == (1, 1)
    assert b"M\xfcller" in (tmp_path / "refused.csv").read_bytes()
    summary = await run(store, tmp_path / "in.jsonl", '{"uid": "u3", "attributes": {"a": "\\ud800"}}\n')
    assert summary.reasons == {("attributes", "not UTF-8"): 1}


async def test_wrong_json_lines_refuse_their_row(store: SqliteStore, tmp_path: Path) -> None:
    """Not JSON, not an object, NaN, nested without end, an unknown key later on: one refusal each."""
    lines = [
        '{"uid": "u1"}',
        "{",
        "[1]",
        '{"uid": "u2", "attr.x": NaN}',
        "[" * 100_000,
        '{"uid": "u3", "nmae": "x"}',
    ]
    lines += ['{"uid": {"a": 1}}', '{"uid": "u4", "attr.n": 1e999}', '{"uid": "u5", "attributes": {"a": {}}}']
    summary = await run(store, tmp_path / "in.jsonl", "\n".join(lines))
    assert (summary.imported, summary.refused) == (1, 8)
    assert [row[0] for row in refusals(tmp_path / "in.jsonl")] == [str(n) for n in range(2, 10)]


async def test_duplicates_merge_wherever_they_stand(store: SqliteStore, tmp_path: Path) -> None:
    """Later rows of a person win field by field, devices add up; 3 rows apart or 600 makes no difference."""
    for gap in (1, 600):
        others = "".join(f"o{n},,,\n" for n in range(gap))
        first, last = f"dup{gap},Anna,de,t1@2026-01-01\n", f"dup{gap},,fr,t2@2026-02-01;t1\n"
        summary = await run(store, tmp_path / "in.csv", f"uid,name,lang,apns\n{first}{others}{last}")
        assert summary.updated == 1
        anna = await one(store, ids.uid_of(KEY, f"dup{gap}"))
        assert (anna.name, anna.lang) == ("Anna", "fr")
        assert [(d.token, d.registered.month) for d in anna.devices] == [("t2", 2), ("t1", 1)]


async def test_importing_twice_is_importing_once(store: SqliteStore, tmp_path: Path) -> None:
    """A repeated import changes nothing and says so, also a day later."""
    text = "uid,email,last_seen,apns,attr.n,cohorts,suppressed\n"
    text += "u1,a@example.com,2026-01-01,t1,5,vip,email\nu2,,,,,,\n"
    first = await run(store, tmp_path / "in.csv", text)
    before = [person async for page in store.directory.scan() for person in page]
    again = await run(store, tmp_path / "in.csv", text, now=NOW + timedelta(days=1))
    assert (first.imported, again.unchanged) == (2, 2)
    assert [person async for page in store.directory.scan() for person in page] == before


async def test_an_empty_cell_keeps_what_was_there(store: SqliteStore, tmp_path: Path) -> None:
    """An empty cell never unmutes or erases; `all` and `~` say so; nobody becomes less recently seen."""
    await run(store, tmp_path / "in.csv", "uid,channels,consents,last_seen\nu1,~,marketing,2026-05-01\n")
    await run(store, tmp_path / "in.csv", "uid,channels,consents,last_seen\nu1,,,2026-01-01\n")
    uid = ids.uid_of(KEY, "u1")
    kept = await one(store, uid)
    assert (kept.channels, kept.consents, kept.last_seen) == (
        frozenset(),
        {"marketing"},
        datetime(2026, 5, 1, tzinfo=UTC),
    )
    await run(store, tmp_path / "in.csv", "uid,channels,consents\nu1,all,~\n")
    changed = await one(store, uid)
    assert (changed.channels, changed.consents) == (None, frozenset())


async def test_a_dry_run_writes_nothing(store: SqliteStore, tmp_path: Path) -> None:
    """It counts and refuses as the real one would, and the store stays empty."""
    text = "uid,email,cohorts,suppressed\nu1,a@example.com,vip,email\nu2,nobody,,\n"
    summary = await run(store, tmp_path / "in.csv", text, dry_run=True)
    assert (summary.imported, summary.refused) == (1, 1)
    assert await store.directory.count() == 0
    assert await store.cohorts.sizes() == {}
    assert len(refusals(tmp_path / "in.csv")) == 1


class FailsAfter:
    """A directory whose writes fail after some: a store that goes away in the middle."""

    def __init__(self, inner: Directory, writes: int) -> None:
        self.inner = inner
        self.left = writes

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    async def change(self, changes: Sequence[Change]) -> None:
        self.left -= 1
        if self.left < 0:
            raise StoreUnavailable("gone")
        await self.inner.change(changes)


async def test_an_aborted_import_says_how_far_and_can_be_repeated(store: SqliteStore, tmp_path: Path) -> None:
    """After the store goes away the note counts exactly what is in; the second import finishes it."""
    text = "uid,email\n" + "".join(
        f"u{n},{'wrong' if n % 100 == 0 else f'p{n}@example.com'}\n" for n in range(1700)
    )
    whole = store.directory
    store.directory = FailsAfter(whole, 2)  # type: ignore[assignment]
    with pytest.raises(StoreUnavailable) as caught:
        await run(store, tmp_path / "in.csv", text)
    assert (
        "stopped after 1,000 rows: 990 imported, 0 updated, 0 unchanged, 10 refused"
        in caught.value.__notes__[0]
    )
    assert await whole.count() == 990
    assert len(refusals(tmp_path / "in.csv")) == 10
    store.directory = whole
    again = await run(store, tmp_path / "in.csv", text)
    assert (again.unchanged, again.imported, again.refused) == (990, 693, 17)


async def test_a_canceled_import_says_how_far(store: SqliteStore, tmp_path: Path) -> None:
    """Ctrl-C leaves whole batches and the note."""
    file, refused, seen = tmp_path / "in.csv", tmp_path / "r.csv", asyncio.Event()
    file.write_text("uid\n" + "".join(f"u{n}\n" for n in range(5000)))
    importing = import_people(file, store, KEY, now=NOW, refused=refused, progress=lambda *_: seen.set())
    task = asyncio.create_task(importing)
    await seen.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert "may be started again" in str(caught.value.__notes__)
    assert await store.directory.count() % 500 == 0


async def test_progress_moves_to_the_end(store: SqliteStore, tmp_path: Path) -> None:
    """Progress is told after every batch, grows, and ends at the whole file."""
    seen: list[tuple[int, float]] = []
    text = gzip.compress(("uid\n" + "".join(f"u{n}\n" for n in range(1200))).encode())
    await run(store, tmp_path / "in.csv.gz", text, progress=lambda s, f: seen.append((s.rows, f)))
    assert [rows for rows, _ in seen] == [500, 1000, 1200]
    assert seen[-1][1] == 1.0


def test_devices_of_unknown_age_are_older_than_any_news() -> None:
    """A token without a registration time can always be pruned: its time is before any provider's answer."""
    (device,) = fields.tokens("t", Channel.APNS)
    assert device.registered < datetime(2000, 1, 1, tzinfo=UTC)
    assert structs.replace(device, registered=NOW).registered > device.registered
