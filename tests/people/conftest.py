"""One embedded store for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from msgxc.store.sqlite import SqliteStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An empty embedded store."""
    made = SqliteStore(tmp_path / "people.sqlite3")
    await made.apply_schema()
    await made.open()
    yield made
    await made.close()
