"""Whose store it is, and whether it is the newest: what is refused in one line, and what goes on."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from store_samples import person
from store_writer import store_at

from msgxc import ids
from msgxc.errors import WrongSettings, WrongStore
from msgxc.settings import Settings, read_settings
from msgxc.store.cassandra import CassandraSettings
from msgxc.store.cassandra.session import Rows, Session
from msgxc.store.ports import Store
from msgxc.store.sqlite import connection
from msgxc.wiring import Exchange, apply_schema, open_exchange

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An embedded exchange of its own, without a key."""
    return read_settings(_env_file=None, home=tmp_path / "home", bus="memory")


@pytest.fixture
def homes(cassandra_settings: CassandraSettings, tmp_path: Path) -> Callable[[str], Settings]:
    """Machines by name, each with a home of its own, over one keyspace that nobody else uses."""
    own = replace(cassandra_settings, keyspace=f"k{uuid4().hex}")

    def machine(name: str) -> Settings:
        return read_settings(
            _env_file=None,
            home=tmp_path / name,
            bus="memory",
            store="cassandra",
            cassandra_port=own.port,
            cassandra_keyspace=own.keyspace,
            secret_key="one key of all these machines, long",
        )

    return machine


@asynccontextmanager
async def opened(settings: Settings, **more: bool) -> AsyncIterator[Exchange]:
    """The exchange, its schema applied."""
    await apply_schema(settings)
    async with open_exchange(settings, **more) as exchange:
        yield exchange


async def test_the_first_fingerprint_stays(store: Store) -> None:
    """Both stores: whoever is first says which key it is."""
    first = await store.fingerprint(uuid4().bytes)
    assert len(first) == 16
    assert await store.fingerprint(uuid4().bytes) == first
    assert await store.fingerprint() == first


async def test_a_fingerprint_does_not_tell_the_key() -> None:
    """It is keyed: another key has another one, and neither holds a piece of its key."""
    one, two = os.urandom(32), os.urandom(32)
    assert ids.fingerprint(one) != ids.fingerprint(two)
    assert not any(one[n : n + 4] in ids.fingerprint(one) for n in range(29))


async def test_a_lost_key_is_not_replaced(settings: Settings) -> None:
    """The key's file is gone: one line, no other key is made, and with the file back it goes on."""
    async with opened(settings) as exchange:
        key = exchange.key
    path = settings.home / "secret.key"
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    for _ in range(2):
        with pytest.raises(WrongStore, match="nothing was made"):
            async with opened(settings):
                pass
        assert not path.exists()
    path.write_bytes(key)
    async with opened(settings) as exchange:
        assert exchange.key == key


async def test_a_lost_key_of_an_older_store_is_missed_too(settings: Settings) -> None:
    """A store from before it knew its key, in use, and no file: no key is made for it either."""
    async with opened(settings) as exchange:
        await exchange.store.directory.put([person()])
    file = sqlite3.connect(settings.home / "msgxc.sqlite3", isolation_level=None)
    file.execute("DELETE FROM identity WHERE name = 'key'")
    file.close()
    (settings.home / "secret.key").unlink()
    with pytest.raises(WrongStore, match="nothing was made"):
        async with opened(settings):
            pass
    assert not (settings.home / "secret.key").exists()


@pytest.mark.parametrize("way", ["setting", "file"])
async def test_another_key_is_refused(settings: Settings, way: str) -> None:
    """By the setting or in the file: one line, without either key in it."""
    async with opened(settings):
        pass
    other = "another key of 32 bytes, or more"
    if way == "setting":
        settings = read_settings(_env_file=None, home=settings.home, bus="memory", secret_key=other)
    else:
        (settings.home / "secret.key").write_bytes(other.encode())
    with pytest.raises(WrongStore, match="another secret key") as caught:
        async with opened(settings):
            pass
    assert other not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_half_a_key_is_refused(settings: Settings) -> None:
    """A file that was cut off is no key."""
    async with opened(settings):
        pass
    (settings.home / "secret.key").write_bytes(b"")
    with pytest.raises(WrongSettings, match="damaged"):
        async with opened(settings):
            pass


async def test_two_who_open_a_new_store_at_once_have_one_key(settings: Settings) -> None:
    """Nobody has opened it before: all get the same key."""
    await apply_schema(settings)

    async def key() -> bytes:
        async with open_exchange(settings) as exchange:
            return exchange.key

    assert len(set(await asyncio.gather(*(key() for _ in range(5))))) == 1


@pytest.fixture
def always_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write that is synced counts the generation on, not one a second."""
    monkeypatch.setattr(connection, "STAMP_SECONDS", -1.0)


@pytest.mark.usefixtures("always_counted")
@pytest.mark.parametrize("way", ["copied over", "log removed", "number removed", "store removed"])
async def test_an_older_store_is_noticed(settings: Settings, tmp_path: Path, way: str) -> None:
    """A copy of the file brought back over the newer one, the log lost, the number beside it lost, another
    file in its place: one line each, nobody is sent to. What is then accepted goes on."""
    home, file = settings.home, settings.home / "msgxc.sqlite3"
    async with opened(settings) as exchange:
        await exchange.store.directory.put([person()])
        keep = sqlite3.connect(file)
        keep.execute("SELECT count(*) FROM recipients").fetchone()  # so that the log is there at the end
        shutil.copy(file, tmp_path / "copy")
        shutil.copy(f"{file}-wal", tmp_path / "copy-wal")
        await exchange.store.directory.put([person()])
        if way == "log removed":
            shutil.copy(file, tmp_path / "alone")
    keep.close()
    async with opened(settings) as exchange:  # nothing is wrong so far
        assert await exchange.store.directory.count() == 2
    if way == "copied over":
        shutil.copy(tmp_path / "copy", file)
        shutil.copy(tmp_path / "copy-wal", f"{file}-wal")
    elif way == "log removed":
        shutil.copy(tmp_path / "alone", file)
        await apply_schema(settings)
    elif way == "number removed":
        (home / "msgxc.seen").unlink()
    else:
        file.unlink()
    for _ in range(2):
        with pytest.raises(WrongStore, match="msgxc restore"):
            async with opened(settings):
                pass
    expected = {"copied over": 1, "log removed": 0, "number removed": 2, "store removed": 0}[way]
    async with opened(settings, restored=True) as exchange:
        assert await exchange.store.directory.count() == expected
        await exchange.store.accept()
    async with opened(settings) as exchange:
        assert await exchange.store.directory.count() == expected


async def test_a_new_store_may_be_killed_at_any_time(settings: Settings) -> None:
    """Its first writer dies between counting on and writing the number beside it: it opens again."""
    async with opened(settings) as exchange:
        await exchange.store.directory.put([person()])
    (settings.home / "msgxc.seen").write_bytes(b"0".zfill(20))
    async with opened(settings) as exchange:
        assert await exchange.store.directory.count() == 1


async def test_the_number_is_there_before_the_store_counts(tmp_path: Path) -> None:
    """To open a new store is to write it: so it is never missing beside a store that has counted."""
    store = store_at("sqlite", str(tmp_path / "new.sqlite3"))
    await store.apply_schema()
    assert not (tmp_path / "new.seen").exists()
    await store.open()
    assert int((tmp_path / "new.seen").read_bytes()) == 0
    await store.close()


async def test_the_store_counts_on_while_it_is_written(settings: Settings) -> None:
    """Once a second at most, and after the first write of a process: what is read counts nothing."""
    seen = settings.home / "msgxc.seen"
    async with opened(settings) as exchange:
        first = seen.read_bytes()
        for _ in range(20):
            await exchange.store.directory.get([uuid4()])
        assert seen.read_bytes() == first
    async with opened(settings) as exchange:
        await exchange.store.directory.put([person()])
    assert int(seen.read_bytes()) > int(first)


async def test_a_store_that_others_write_to_is_no_older(settings: Settings) -> None:
    """Opened again and again while another process counts on: never called older."""
    async with opened(settings) as exchange:
        path = settings.home / "msgxc.sqlite3"
        writing = asyncio.create_task(_write(exchange, 50))
        while not writing.done():
            other = store_at("sqlite", str(path))
            await other.open()
            await other.close()
        await writing


async def test_an_older_keyspace_is_noticed(homes: Callable[[str], Settings]) -> None:
    """Cassandra: a keyspace that was brought back is refused by each machine that has seen a newer one, and
    then by machines that are new; whatever others have written to it meanwhile. Accepted on one, it goes on
    on all; brought back once more, it is noticed once more."""
    one, two, new = map(homes, ("one", "two", "new"))
    async with opened(one):
        copy = await _facts(one)
    for settings in (two, one):
        async with opened(settings):
            pass
    for again in range(2):
        await _bring_back(one, copy)
        if not again:
            async with opened(homes("nobody-knows")):  # nobody has told it so far
                pass
        for settings in (one, new, one):
            with pytest.raises(WrongStore, match="msgxc restore"):
                async with opened(settings):
                    pass
        async with opened(two if again else one, restored=True):  # begun, and not accepted
            pass
        with pytest.raises(WrongStore, match="msgxc restore"):
            async with opened(one):
                pass
        async with opened(new, restored=True) as exchange:
            await exchange.store.accept()
        for settings in (one, two, new, one):
            async with opened(settings):
                pass


async def test_a_keyspace_that_many_write_to_is_no_older(homes: Callable[[str], Settings]) -> None:
    """Opened again and again, by processes of one home and of others, also at once: never called older."""
    machines = [homes(name) for name in ("one", "one", "two")]
    await apply_schema(machines[0])

    async def again(settings: Settings) -> None:
        for _ in range(5):
            async with open_exchange(settings):
                pass

    await asyncio.gather(*map(again, machines))


async def test_a_home_that_is_cut_off_is_no_proof(homes: Callable[[str], Settings]) -> None:
    """A number beside the store that cannot be read: one line, as for the embedded store."""
    one = homes("one")
    async with opened(one):
        pass
    (seen,) = one.home.glob("cassandra-*.seen")
    seen.write_text("half")
    with pytest.raises(WrongStore, match="cannot be read"):
        async with opened(one):
            pass


async def _facts(settings: Settings) -> Rows:
    """What the keyspace knows of itself, each with the time at which it was written."""
    session = Session(CassandraSettings.of(settings))
    await session.open()
    rows = await session.rows("SELECT name, value, writetime(value) FROM {ks}.identity")
    await session.close()
    return rows


async def _bring_back(settings: Settings, facts: Rows) -> None:
    """The table as it was: emptied, then written as a snapshot's files are, with their own times."""
    session = Session(CassandraSettings.of(settings))
    await session.open()
    await session.script(["TRUNCATE identity"], settings.cassandra_keyspace)
    for row in facts:
        await session.rows("INSERT INTO {ks}.identity (name, value) VALUES (?,?) USING TIMESTAMP ?", *row)
    await session.close()


async def _write(exchange: Exchange, times: int) -> None:
    for _ in range(times):
        await exchange.store.accept()
