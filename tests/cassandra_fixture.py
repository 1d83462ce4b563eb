"""One real Cassandra for the whole test session, on free ports; other test folders may use it too.

`cassandra_node` is the running node; `cassandra_settings` points at a keyspace on it with our schema. There
is no skip: where Java or Maven is missing, the tests that need Cassandra fail and say so.
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from msgxc.store.cassandra import CassandraSettings, apply_schema
from msgxc.store.cassandra.session import Session

SCRIPT = Path(__file__).resolve().parent.parent / "servers" / "cassandra_node.py"


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cassandra_node", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cassandra_node"] = module
    spec.loader.exec_module(module)
    return module


def started(script: ModuleType, start: Callable[[Path], list[Any]], folder: Path) -> list[Any]:
    """Nodes that are ready. One that ends before has lost a port to somebody: all begin anew."""
    for again in range(3):
        nodes = start(folder / str(again))
        try:
            for node in nodes:
                node.wait_until_ready(180)
            return nodes
        except script.CannotRun:
            for node in nodes:
                node.kill()
            if again == 2 or "in use" not in "".join(node.log.read_text() for node in nodes):
                raise
    raise AssertionError("not reached")


@pytest.fixture(scope="session")
def cassandra_node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A running node (see servers/cassandra_node.py:Node); stopped at the end, its log kept on failure."""
    script = _script()
    folder = tmp_path_factory.mktemp("cassandra")
    (node,) = started(script, lambda place: [script.start(place, small=True)], folder)
    try:
        yield node
    finally:
        node.kill()  # quicker than asking, and nobody needs the data
        if request.session.testsfailed:
            print(f"\nCassandra's log: {node.log}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cassandra_settings(cassandra_node: Any) -> CassandraSettings:
    """A keyspace with the newest schema on the session's node."""
    settings = CassandraSettings(hosts=("127.0.0.1",), port=cassandra_node.port, keyspace="msgxc_test")
    with ThreadPoolExecutor(1) as thread:  # a thread of its own: this may be asked for inside a running loop
        thread.submit(asyncio.run, apply_schema(settings)).result()
    return settings


def place_in(node: CassandraSettings) -> dict[str, Any]:
    """The settings of an exchange there: with a key of its own, so that it meets no other test's records."""
    return {
        "store": "cassandra",
        "cassandra_port": node.port,
        "cassandra_keyspace": node.keyspace,
        "secret_key": SecretStr(fresh_key(node)),
    }


def fresh_key(settings: CassandraSettings) -> str:
    """A key that a keyspace takes for its own from now on: tests that share one are told apart by their keys,
    while a store knows only one."""

    async def forget() -> None:
        session = Session(settings)
        await session.open()
        await session.script(["DELETE FROM identity WHERE name = 'key'"], settings.keyspace)
        await session.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, forget()).result()
    return uuid4().hex
