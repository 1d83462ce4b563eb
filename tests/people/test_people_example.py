"""The example people: made the same every time, imported as they are meant to be, and nobody real."""

from __future__ import annotations

import csv
import gzip
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import phonenumbers
import pytest
import pytest_asyncio

from msgxc.model import Channel, Device, Recipient
from msgxc.people import import_people, import_threads
from msgxc.sandbox.steering import Word, steer, steer_cell
from msgxc.store.sqlite import SqliteStore

pytestmark = pytest.mark.asyncio(loop_scope="module")
FOLDER = Path(__file__).resolve().parents[2] / "schema" / "example"
KEY = b"k" * 32


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[SqliteStore, Path]]:
    """A store with the example people, and the file of refused rows."""
    folder = tmp_path_factory.mktemp("example")
    store, refused = SqliteStore(folder / "people.sqlite3"), folder / "refused.csv"
    await store.apply_schema()
    await store.open()
    now = datetime(2026, 11, 22, tzinfo=UTC)
    summary = await import_people(FOLDER / "people.jsonl.gz", store, KEY, now=now, refused=refused)
    counts = (summary.rows, summary.imported, summary.updated, summary.unchanged, summary.refused)
    assert counts == (5000, 4933, 60, 0, 7)
    yield store, refused
    await store.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(filled: tuple[SqliteStore, Path]) -> list[Recipient]:
    """The example people, as they are stored."""
    return [person async for page in filled[0].directory.scan() for person in page]


async def test_the_committed_files_are_what_the_script_makes(tmp_path: Path) -> None:
    """Whoever changes the script commits what it makes."""
    subprocess.run([sys.executable, FOLDER / "make_people.py", tmp_path], check=True)
    for name in ("people.jsonl.gz", "threads.jsonl"):
        made, kept = (tmp_path / name).read_bytes(), (FOLDER / name).read_bytes()
        if name.endswith(".gz"):
            made, kept = gzip.decompress(made), gzip.decompress(kept)
        assert made == kept


def word(device: Device) -> Word:
    """What the sandbox will do with a device."""
    return steer(device.token.rpartition("/")[2]).word


async def test_they_look_like_real_life(people: list[Recipient]) -> None:
    """Each situation that a sender has to bear is there, often enough to be seen."""
    devices = [device for person in people for device in person.devices]
    assert {person.lang for person in people} == {"en", "de", "fr", "ar", "ja"}
    assert sum(len(person.devices) > 1 for person in people) > 1500
    assert sum(not (p.devices or p.email or p.cell) for p in people) > 80
    assert sum(person.channels == frozenset() for person in people) > 100
    assert sum(bool(person.channels) for person in people) > 400
    assert sum(not person.consents for person in people) > 300
    assert {device.channel for device in devices} == {Channel.APNS, Channel.FCM, Channel.WEBPUSH}
    assert {word(d) for d in devices} == set(Word) - {Word.STOP, Word.REFUSES, Word.EXPIRED, Word.HELD}
    assert 150 < sum(word(d) is Word.GONE for d in devices) < 350
    assert {steer_cell(p.cell).word for p in people if p.cell} > {Word.ACCEPT, Word.STOP, Word.GONE}
    assert any("\u202e" in person.name for person in people)
    assert any(len(person.name) > 280 for person in people)


async def test_nobody_in_them_is_real(people: list[Recipient]) -> None:
    """Every address lies where nobody lives: RFC 2606 and 6761 domains, fictional numbers that are valid."""
    for person in people:
        assert re.fullmatch(r"|.*@example\.(com|org)", person.email)
        assert re.fullmatch(r"|\+1\d{3}555(01\d\d|[1236]\d{3})", person.cell)
        assert not person.cell or phonenumbers.is_valid_number(phonenumbers.parse(person.cell))
        for device in person.devices:
            if device.channel is Channel.WEBPUSH:
                assert device.token.startswith("https://push.sandbox.invalid/push/")


async def test_the_refused_rows_say_why(filled: tuple[SqliteStore, Path]) -> None:
    """Seven rows are wrong on purpose, each in its own way."""
    with filled[1].open(newline="") as file:
        columns = [row["column"] for row in csv.DictReader(file)]
    assert columns == ["email", "cell", "tz", "channels", "", "", "uid"]


async def test_the_example_threads(filled: tuple[SqliteStore, Path], people: list[Recipient]) -> None:
    """The threads are there, with wishes of their own; every subscriber is somebody."""
    store, _ = filled
    summary = await import_threads(FOLDER / "threads.jsonl", store, KEY)
    assert (summary.threads, summary.subscriptions) == (5, 455)
    known, wishes = {person.uid for person in people}, set()
    async for page in store.threads.scan():
        for thread in page:
            async for uids in store.threads.subscribers(thread.tid):
                assert known.issuperset(uids)
                found = await store.threads.subscriptions(thread.tid, uids)
                wishes |= {subscription.channels for subscription in found.values()}
    assert {None, frozenset(), frozenset({Channel.EMAIL})} <= wishes


async def test_every_line_but_one_is_json() -> None:
    """The file is plain JSON Lines that any tool reads."""
    with gzip.open(FOLDER / "people.jsonl.gz", "rt", encoding="utf-8") as file:
        lines = list(file)
    broken = [line for line in lines if not line.endswith("}\n")]
    assert len(broken) == 1
    assert all(json.loads(line) for line in lines if line not in broken)
