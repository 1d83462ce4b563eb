"""Fixtures of the fault suite: one exchange a test, on both stores where the store matters.

`settings` is parametrised by the fixture `kind`; a test that does not care about the store marks itself with
`@on_sqlite`, see fault_world.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cassandra_fixture import place_in

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "engine"), str(HERE.parent / "store")]

from conftest_engine import home  # noqa: E402  # its folder is on the path only now
from fault_process import Fleet  # noqa: E402
from fault_world import Ground, Opened, World  # noqa: E402

from msgxc.sandbox.launch import Sandbox  # noqa: E402
from msgxc.settings import Settings, read_settings  # noqa: E402
from msgxc.wiring import apply_schema, open_exchange  # noqa: E402

__all__ = ["home"]


@pytest.fixture(params=["sqlite", "cassandra"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which store holds the record."""
    chosen: str = request.param
    return chosen


@pytest.fixture
def place(kind: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The settings that name the store; a key of its own for each test, so that no campaign meets another."""
    if kind == "sqlite":
        return {}
    return place_in(request.getfixturevalue("cassandra_settings"))


@pytest.fixture
def lease() -> float:
    """Seconds of a lease, and twice those of a call: so many that a busy machine is no fault. The dead hold
    nothing, so hardly any test waits for it; those in which it runs out are marked as `brief`."""
    return 120


@pytest.fixture
def settings(home: Path, place: dict[str, Any], lease: float) -> Settings:
    """Small windows; W/C/F = 20/10/5, so the bound is 14."""
    return read_settings(
        _env_file=None,
        home=home,
        templates=home.parent / "templates",
        shard_size=50,
        slice_size=200,
        window=20,
        in_flight=10,
        flush=5,
        lease_seconds=lease,
        provider_timeout=lease / 2,
        attempts=4,
        **place,
    )


@pytest.fixture
def ground(sandbox: Sandbox) -> Ground:
    """The provider's side of the truth, from now on."""
    journal = sandbox.endpoints.journal
    return Ground({journal: journal.stat().st_size})


@pytest_asyncio.fixture
async def world(settings: Settings, ground: Ground, fleet: Fleet, sandbox: Sandbox) -> AsyncIterator[World]:
    """An open exchange, its people, and the processes that send for it."""
    await apply_schema(settings)
    async with open_exchange(settings) as exchange:
        opened = World(settings, exchange, ground, fleet, sandbox)
        yield opened
        await opened.close()


@pytest.fixture
def opened(settings: Settings, ground: Ground, fleet: Fleet, sandbox: Sandbox) -> Opened:
    """A world for a while, for tests in which the store is closed, cut off or replaced in between."""

    @asynccontextmanager
    async def for_a_while() -> AsyncIterator[World]:
        await apply_schema(settings)
        async with open_exchange(settings) as exchange:
            yield World(settings, exchange, ground, fleet, sandbox, mark="opened")

    return for_a_while


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """Starts processes that may be killed; none of them outlives the test."""
    started = Fleet()
    yield started
    started.end()
