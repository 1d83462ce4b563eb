"""A real system for the tests of a folder: server, worker, sandbox; its people are known to the tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

import psutil
import pytest
from armed import armed
from flow_console import COHORTS, PrefectConsole, people
from rich.console import Console

from msgxc.people.importing import import_people
from msgxc.settings import Settings, read_settings
from msgxc.system import Steps, System, running
from msgxc.wiring import open_exchange


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The embedded system, running, in a folder of its own."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:  # Only its processes keep this setting.
            patch.setenv("MSGXC_SANDBOX", "true")
            patch.setenv("MSGXC_LEASE_SECONDS", "120")  # a busy machine is no fault
            patch.setenv("MSGXC_PROVIDER_TIMEOUT", "60")
            settings = read_settings(home=tmp_path_factory.mktemp("system"))
            system = stack.enter_context(running(settings, Steps(Console(quiet=True))))
        asyncio.run(_enlist(settings))
        yield system


@pytest.fixture(scope="package")
def console(system: System) -> Iterator[PrefectConsole]:
    """Its console, as another program uses it."""
    with PrefectConsole(system) as console:
        yield console


@pytest.fixture(scope="package")
def stumbling(console: PrefectConsole) -> Iterator[str]:
    """The campaign's deployment once more, whose runs may be told to stumble."""
    assert console.system.supervisor
    worker = next(child for child in console.system.supervisor.children if child.name == "worker")
    with armed(console.http, psutil.Process(worker.process.pid).environ()) as deployment:
        yield deployment


async def _enlist(settings: Settings) -> None:
    file = settings.home / "people.jsonl"
    file.write_text("".join(json.dumps(person) + "\n" for cohort in COHORTS for person in people(cohort)))
    async with open_exchange(settings) as exchange:
        done = await import_people(
            file,
            exchange.store,
            exchange.key,
            now=datetime.now(UTC),
            refused=settings.home / "refused.csv",
        )
    assert done.refused == 0
    assert done.imported == sum(COHORTS.values())
