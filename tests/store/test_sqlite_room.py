"""What was removed leaves the embedded store's files: its room, and every byte of it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from msgspec import structs
from store_samples import campaign, person

from msgxc.store import sqlite as embedded
from msgxc.store.sqlite import SqliteStore


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A new store."""
    made = SqliteStore(tmp_path / "room.sqlite3")
    await made.apply_schema()
    await made.open()
    yield made
    await made.close()


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("room.sqlite3*") if "-shm" not in file.name)


async def test_retention_gives_the_room_back(store: SqliteStore, tmp_path: Path) -> None:
    """A campaign of 20,000 people in 40 shards is forgotten: nothing of it is left, and the files are as
    small as before, while somebody else writes."""
    before = size(tmp_path)
    made = await store.ledger.create(campaign(shards=40))
    kept = await store.ledger.create(campaign(shards=40))
    for one in (made, kept):
        for shard in range(40):
            count = 500 if one is made else 1
            await store.ledger.expand(one.id, [(shard, uuid4()) for _ in range(count)])
    assert size(tmp_path) > before + 500_000
    await store.ledger.forget(made.id)
    assert await store.ledger.campaign(made.id) is None
    assert [await store.ledger.members(made.id, shard) for shard in (0, 19, 20, 39)] == [[]] * 4
    assert len(await store.ledger.members(kept.id, 39)) == 1
    writing = asyncio.gather(*(store.directory.put([person()]) for _ in range(50)))
    assert await store.shrink() > 500_000
    await writing
    assert await store.directory.count() == 50
    assert size(tmp_path) < before + 200_000
    assert await store.shrink() == 0


async def test_a_file_of_an_older_version_is_written_anew_once(tmp_path: Path) -> None:
    """It could not give room back: it does now. One that is too large for that stays as it is."""
    path = tmp_path / "old.sqlite3"
    with closing(sqlite3.connect(path)) as old:
        old.execute("PRAGMA auto_vacuum=NONE")
        old.execute("CREATE TABLE filler (n INTEGER PRIMARY KEY, t TEXT)")
        old.executemany("INSERT INTO filler (t) VALUES (?)", [("x" * 4000,)] * 500)
        old.commit()
        old.execute("DROP TABLE filler")
    store = SqliteStore(path)
    await store.apply_schema()
    await store.open()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(embedded, "WRITTEN_ANEW", 0)
            assert await store.shrink() == 0
        assert await store.shrink() > 1_500_000
        await store.directory.put([person()])
        assert await store.shrink() == 0
    finally:
        await store.close()
    assert path.stat().st_size < 500_000
    with closing(sqlite3.connect(path)) as now:
        assert now.execute("PRAGMA auto_vacuum").fetchone() == (2,)


async def test_nothing_of_what_was_erased_is_left_in_the_files(store: SqliteStore, tmp_path: Path) -> None:
    """Not in the file, nor in its log: names, addresses, tokens. While somebody reads it says so, and is
    asked again."""
    name, someone = f"Zebedee-{uuid4().hex}", person()
    await store.directory.put([structs.replace(someone, name=name)])
    await store.directory.put([person() for _ in range(50)])

    def found() -> bool:
        return any(name.encode() in file.read_bytes() for file in tmp_path.glob("room.sqlite3*"))

    assert found()
    with closing(sqlite3.connect(tmp_path / "room.sqlite3", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM recipients").fetchone()
        await store.directory.erase([someone.uid])
        assert not await store.scrub()
        assert found()
    assert await store.scrub()
    assert not found()
