"""A Cassandra that asks for a login, as make up-real starts it: its default superuser is closed, the exchange
has a role that may do what it needs and nothing else, and there is no other way in."""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from cassandra_fixture import _script, started

from msgxc.errors import MsgxcError, StoreUnavailable, WrongSettings
from msgxc.store.cassandra import CassandraSettings, CassandraStore, apply_schema
from msgxc.store.cassandra.roles import SUPERUSER, make_role
from msgxc.store.cassandra.session import Session

ADMIN = "an-admin's-password"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A node of its own, new."""
    script, folder = _script(), tmp_path_factory.mktemp("login")
    (node,) = started(script, lambda place: [script.start(place, small=True, login=True)], folder)
    yield node
    node.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def settings(node: Any) -> CassandraSettings:
    """The exchange's own login there; its schema is applied."""
    own = CassandraSettings(port=node.port, username="msgxc", password="it's a role")
    await made(own)
    return own


async def made(settings: CassandraSettings) -> None:
    """Make the role. The superuser is there a moment after the node takes connections, and a password is
    changed at most every five seconds."""
    end = time.monotonic() + 120
    while True:
        try:
            return await make_role(settings, ADMIN)
        except StoreUnavailable:
            assert time.monotonic() < end
            await asyncio.sleep(1)


async def lets_in(settings: CassandraSettings, username: str, password: str) -> bool:
    """Whether a login opens the node."""
    session = Session(replace(settings, username=username, password=password))
    try:
        await session.open()
    except StoreUnavailable:
        return False
    await session.close()
    return True


async def test_only_who_has_a_login_comes_in(settings: CassandraSettings) -> None:
    """Nobody without one, nor by the name and password that every Cassandra has at first."""
    assert not await lets_in(settings, "", "")
    assert not await lets_in(settings, SUPERUSER, SUPERUSER)
    assert not await lets_in(settings, "msgxc", "wrong")
    assert await lets_in(settings, "msgxc", settings.password)
    assert await lets_in(settings, SUPERUSER, ADMIN)


async def test_the_role_makes_its_keyspace_and_works_in_it(settings: CassandraSettings) -> None:
    """`msgxc schema apply` and the store need no more than the role has."""
    assert await apply_schema(settings) > 0
    store = CassandraStore(settings)
    await store.open()
    assert await store.fingerprint() == b""
    await store.close()


async def test_the_role_may_do_nothing_else(settings: CassandraSettings) -> None:
    """It makes no roles, gives itself no rights, reads no logins, and leaves other keyspaces alone."""
    session = Session(settings)
    await session.open()
    for statement in (
        "CREATE ROLE other WITH PASSWORD = 'x' AND LOGIN = true",
        "ALTER ROLE msgxc WITH SUPERUSER = true",
        "GRANT ALL PERMISSIONS ON ALL KEYSPACES TO msgxc",
        "ALTER ROLE cassandra WITH PASSWORD = 'x'",
        "SELECT * FROM system_auth.roles",
        "DROP KEYSPACE system_traces",
    ):
        with pytest.raises(Exception, match=r"(?i)permission|unauthorized|superuser|not authorized|cannot"):
            await session.script([statement])
    await session.close()


async def test_again_is_the_same_and_a_new_password_counts(settings: CassandraSettings) -> None:
    """Each start of the system does it again."""
    fresh = replace(settings, password="another one")
    await made(fresh)
    end = time.monotonic() + 60
    while not await lets_in(fresh, "msgxc", "another one"):  # Cassandra keeps logins for two seconds
        assert time.monotonic() < end
    await made(settings)
    for nothing in (replace(settings, username=""), replace(settings, password="")):
        with pytest.raises(WrongSettings):
            await make_role(nothing, ADMIN)
    with pytest.raises(MsgxcError):
        await make_role(settings, "not the admin's")


def test_there_is_no_other_door(node: Any) -> None:
    """The node listens for clients and for other nodes, and has no JMX, which would ask for no login."""
    process = psutil.Process(node.process.pid)
    tree = [process, *process.children(recursive=True)]
    ports = {c.laddr.port for it in tree for c in it.net_connections() if c.status == psutil.CONN_LISTEN}
    assert ports == {node.port, node.place.storage}
    assert not [word for it in tree for word in it.cmdline() if word.startswith("-D") and "jmx" in word]
    socket.create_connection(("127.0.0.1", node.port), 5).close()


def test_the_node_s_files_are_its_owner_s_alone(node: Any) -> None:
    """Its tables, its commit log and its configuration."""
    folder: Path = node.folder
    assert folder.stat().st_mode & 0o077 == 0
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert len(written) > 20
    assert [str(path) for path in written if path.exists() and path.stat().st_mode & 0o077] == []
