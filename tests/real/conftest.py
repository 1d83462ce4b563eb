"""One real system for all of these tests, started once. A missing server is a failure with its own line."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cassandra_fixture import _script, started
from rich.console import Console

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "engine")]

from real_world import World, people, world  # noqa: E402  # its folder is on the path only now

from msgxc.people.importing import import_people  # noqa: E402
from msgxc.real import postgres_folder, read_secrets, running  # noqa: E402
from msgxc.settings import Settings, read_settings  # noqa: E402
from msgxc.system import Steps  # noqa: E402
from msgxc.wiring import open_exchange  # noqa: E402

#: Small shards and slices, so that a thousand people are many; calls and leases that last.
SMALL = {
    "MSGXC_SANDBOX": "true",
    "MSGXC_SHARD_SIZE": "50",
    "MSGXC_SLICE_SIZE": "200",
    "MSGXC_SPREAD": "2",
    "MSGXC_WINDOW": "20",
    "MSGXC_IN_FLIGHT": "10",
    "MSGXC_FLUSH": "5",
    "MSGXC_LEASE_SECONDS": "24",
    "MSGXC_PROVIDER_TIMEOUT": "12",
}


@pytest.fixture(scope="package")
def real(request: pytest.FixtureRequest) -> Iterator[World]:
    """The real system, running, with its people; kept when a test has failed."""
    home = Path(tempfile.mkdtemp(prefix="msgxc-real-"))
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:  # Only its processes keep these settings.
            for name, value in SMALL.items():
                patch.setenv(name, value)
            settings = read_settings(home=home)
            system = stack.enter_context(running(settings, Steps(Console(quiet=True)), small=True))
        asyncio.run(_enlist(system.settings))
        with world(system).http as http:
            yield World(system, http)
    if request.session.testsfailed:
        print(f"\nThe logs of the real system: {home / 'real' / 'log'}", file=sys.stderr)
    else:
        data = postgres_folder(home / "real", read_secrets(home / "real"))
        if not data.is_relative_to(home):
            shutil.rmtree(data.parent)
        shutil.rmtree(home)


class Ring:
    """Three Cassandra nodes (servers/cassandra_node.py), which may be started long before they are needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: list[Any] = []

    def launch(self) -> None:
        """Start them, unless that was done; they are not ready yet."""
        self.nodes = self.nodes or _script().start_ring(self.folder / "early", small=True)

    def ready(self) -> list[Any]:
        """The nodes, when each takes connections."""
        self.launch()
        early = [self.nodes]

        def start(folder: Path) -> list[Any]:
            self.nodes = early.pop() if early else _script().start_ring(folder, small=True)
            return self.nodes

        return started(_script(), start, self.folder)


@pytest.fixture(scope="package")
def ring(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ring]:
    """The ring, not started yet; its logs are kept on failure."""
    ring = Ring(tmp_path_factory.mktemp("ring"))
    yield ring
    for node in ring.nodes:
        node.kill()
    if request.session.testsfailed:
        print(f"\nThe logs of the ring: {ring.folder}/*/*/cassandra.log", file=sys.stderr)
    else:
        shutil.rmtree(ring.folder, ignore_errors=True)


async def _enlist(settings: Settings) -> None:
    file = settings.home / "people.jsonl"
    file.write_text("".join(json.dumps(person) + "\n" for person in people()))
    async with open_exchange(settings) as exchange:
        now, refused = datetime.now(UTC), settings.home / "refused.csv"
        done = await import_people(file, exchange.store, exchange.key, now=now, refused=refused)
    assert done.refused == 0
