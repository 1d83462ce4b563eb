"""How a worker's runs end: asked first, whoever it is that ends the worker. The journal is the judge."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

import psutil
import pytest
from flow_console import COHORTS, UNHURRIED, PrefectConsole, until

from msgxc import campaigns
from msgxc.operations.processes import lives
from msgxc.reports.funnel import Report
from msgxc.supervise import Child
from msgxc.wiring import open_exchange


def _worker(console: PrefectConsole) -> Child:
    """The part of the system that campaigns are run by."""
    assert console.system.supervisor
    return next(child for child in console.system.supervisor.children if child.name == "worker")


def _under(child: Child) -> tuple[psutil.Process, list[psutil.Process]]:
    """Prefect's own worker, and its runs."""
    (worker,) = psutil.Process(child.process.pid).children()
    return worker, worker.children()


def _tended(console: PrefectConsole, look: Callable[[], object]) -> None:
    """Tend the system, as `make up` does, until it is so."""

    def tend() -> object:
        console.system.tend()
        return look()

    until(tend, 400)


def _report(console: PrefectConsole, name: str) -> Report:
    async def ask() -> Report:
        async with open_exchange(console.system.settings) as exchange:
            return await campaigns.report(exchange, name)

    return asyncio.run(ask())


def _begun(console: PrefectConsole, name: str, channel: str) -> float:
    """Start a campaign to the slow ones; the time before, once some of them have got it."""
    since = time.time()
    console.start(name, "slow", sending={**UNHURRIED, "channels": [channel]})
    until(lambda: len(console.accepted("slow", since)) > 60, 400)
    return since


def _finished(console: PrefectConsole, name: str, since: float) -> list[str]:
    """Start it again; what was accepted in all, once it is over."""
    console.start(name, "slow", sending=UNHURRIED)
    until(lambda: _report(console, name).finished, 400)
    return console.accepted("slow", since)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_stop_leaves_nobody_in_doubt(console: PrefectConsole, number: signal.Signals) -> None:
    """SIGTERM of a worker in mid-campaign, as `docker stop` sends it, and Ctrl-C: what was under way is put
    down, nobody gets two, and another worker is started. Prefect's own worker would kill its runs."""
    name, child = f"polite-{number.name.lower()}", _worker(console)
    since = _begun(console, name, "apns")
    first = child.process
    worker, runs = _under(child)
    first.send_signal(number)
    first.wait(240)
    assert first.returncode == 0
    assert not any(lives(one) for one in (worker, *runs))
    _tended(console, lambda: child.process is not first)
    accepted = _finished(console, name, since)
    assert len(accepted) == len(set(accepted)) == COHORTS["slow"]
    assert sum(line.unknown for line in _report(console, name).channels.values()) == 0


def test_a_stop_leaves_no_red_run(console: PrefectConsole) -> None:
    """What dispatches when its system is stopped has not failed: its run ends as completed, and says why."""
    wanted = {
        "flows": {"name": {"any_": ["dispatch"]}},
        "flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}},
    }

    def alone() -> list[str]:
        runs = console.json("POST", "/flow_runs/filter", wanted)
        return [run["id"] for run in runs] if len(runs) == 1 else []

    (run,) = until(alone, 400)  # Each quarter of an hour one takes over from another.
    assert console.system.supervisor
    some = [child for child in console.system.supervisor.children if child.name.startswith("worker")]
    first = [child.process for child in some]
    for process in first:
        process.terminate()
    for process in first:
        assert process.wait(240) == 0
    state = console.state(run)
    assert state["type"] == "COMPLETED"
    assert state["message"].startswith("Stopped with its system") or "has taken over" in state["message"]
    _tended(console, lambda: all(c.process is not p for c, p in zip(some, first, strict=True)))


def test_a_killed_worker_takes_its_runs_along(console: PrefectConsole) -> None:
    """kill -9 of Prefect's worker: its run does not go on unseen, but ends in good order; so does the program
    around it, and both are started again. Nobody gets two."""
    child = _worker(console)
    since = _begun(console, "orphaned", "apns")
    first = child.process
    worker, runs = _under(child)
    worker.kill()
    _tended(console, lambda: child.process is not first)
    assert not any(lives(run) for run in runs)
    accepted = _finished(console, "orphaned", since)
    assert len(accepted) == len(set(accepted)) == COHORTS["slow"]


def test_a_killed_program_around_it_takes_all_along(console: PrefectConsole) -> None:
    """kill -9 of the program around Prefect's worker: that one ends; its run sees that, and ends well."""
    child = _worker(console)
    since = _begun(console, "orphans", "apns")
    first = child.process
    worker, runs = _under(child)
    first.kill()
    until(lambda: not any(lives(one) for one in (worker, *runs)), 400)
    _tended(console, lambda: child.process is not first)
    accepted = _finished(console, "orphans", since)
    assert len(accepted) == len(set(accepted)) == COHORTS["slow"]
