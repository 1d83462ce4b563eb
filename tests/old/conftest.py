"""An exchange on SQLite, one on Cassandra, and a keyspace of the old system beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from cassandra_fixture import place_in

from msgxc.settings import Settings, read_settings
from msgxc.store.cassandra.settings import CassandraSettings
from msgxc.wiring import Exchange, apply_schema, open_exchange


@pytest.fixture
def embedded(tmp_path: Path) -> Settings:
    """An exchange on SQLite, with a folder of its own."""
    return read_settings(_env_file=None, home=tmp_path / "home")


@pytest_asyncio.fixture
async def exchange(embedded: Settings) -> AsyncIterator[Exchange]:
    """An empty exchange, open."""
    await apply_schema(embedded)
    async with open_exchange(embedded) as opened:
        yield opened


@pytest_asyncio.fixture
async def shared(embedded: Settings, cassandra_settings: CassandraSettings) -> AsyncIterator[Exchange]:
    """An exchange on Cassandra, open; others may have left something there."""
    async with open_exchange(embedded.model_copy(update=place_in(cassandra_settings))) as opened:
        yield opened
