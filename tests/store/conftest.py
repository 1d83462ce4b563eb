"""The contract suite runs over both stores: each test gets `store`, once for each adapter.

The stores live as long as the session, so tests use fresh ids instead of an empty store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from store_writer import store_at

from msgxc.store.ports import Ledger, Store
from msgxc.store.sqlite import SqliteStore


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=["sqlite", "cassandra"])
async def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A store with the newest schema, in the words of `store_at`."""
    if request.param == "cassandra":
        settings = request.getfixturevalue("cassandra_settings")
        return "cassandra", f"{settings.port},{settings.keyspace}"
    path = tmp_path_factory.mktemp("sqlite") / "store.db"
    first = SqliteStore(path)
    await first.apply_schema()
    await first.close()
    return "sqlite", str(path)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def store(place: tuple[str, str]) -> AsyncIterator[Store]:
    """An open store."""
    opened = store_at(*place)
    await opened.open()
    yield opened
    await opened.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def other(place: tuple[str, str]) -> AsyncIterator[Store]:
    """The same store, opened a second time, as another process has it."""
    opened = store_at(*place)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def ledger(store: Store) -> Ledger:
    """The open store's ledger."""
    return store.ledger
