"""The promise, counted: a million recipients, ten processes killed, nobody lost. `make audit`

Real servers on this machine: Cassandra (or the embedded store), the sandbox's providers over TLS, worker
processes that send what the flow sends. One worker is killed (SIGKILL) at each of ten moments chosen by
chance, the first while the audience is sealed, and started again. Then the provider's journal is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.crash_run import Journal, Workers, cassandra, moments, run_and_kill, worker_command, write
from benchmarks.crash_worker import settings_of
from benchmarks.people import PUSH_MIX, people
from msgxc import campaigns
from msgxc.reports.funnel import End
from msgxc.sandbox.launch import start as start_sandbox
from msgxc.store.records import batches
from msgxc.wiring import apply_schema, open_exchange

SEED = 20261122


def job_of(given: argparse.Namespace, home: Path, port: int) -> dict[str, Any]:
    """The campaign, and the exchange that it is sent by."""
    settings: dict[str, Any] = {
        "home": str(home),
        "lease_seconds": 10.0,
        "provider_timeout": 5.0,
        "store": given.store,
    }
    if given.store == "cassandra":
        settings |= {"cassandra_port": port, "secret_key": uuid4().hex}
    return {"name": "audit", "settings": settings, "turn": 0.0}


def audit(given: argparse.Namespace, home: Path, console: Console) -> dict[str, Any]:
    """All of it; answers what was counted."""
    chance = Random(given.seed)
    node = cassandra(home / "cassandra") if given.store == "cassandra" else None
    sandbox = start_sandbox(home / "sandbox")
    try:
        job = job_of(given, home, node.port if node else 0)
        began = time.monotonic()
        with console.status(f"putting {given.recipients:,} people into the directory"):
            asyncio.run(_enlist(job, given.recipients))
        enlisted = time.monotonic() - began
        journal = Journal(sandbox.endpoints.journal)
        turns = [number / given.workers for number in range(given.workers)]
        workers = Workers([worker_command("crash_worker", job | {"turn": turn}) for turn in turns])
        at = moments(given.recipients, given.kills - 1, chance)
        killed, wall = _run(workers, journal, at, chance, given.recipients, console)
        report, bound = asyncio.run(_report(job))
    finally:
        sandbox.stop()
        if node:
            node.kill()
    return {
        "store": given.store,
        "workers": given.workers,
        "planned": given.recipients,
        "sealed": report.audience,
        "accepted": journal.people,
        "lost": given.recipients - journal.people,
        "killed": killed,
        "killed_at": at,
        "repeated": journal.repeated,
        "bound_per_kill": bound,
        "bound": killed * bound,
        "report_reached": report.ends[End.REACHED],
        "report_adds_up": report.adds_up and report.ends == {End.REACHED: given.recipients},
        "wall_seconds": round(wall, 1),
        "enlist_seconds": round(enlisted, 1),
        "per_second": round(given.recipients / wall),
        "peak_mb": round(workers.peak_mb),
        "seed": given.seed,
        "lease_seconds": job["settings"]["lease_seconds"],
    }


def _run(
    workers: Workers, journal: Journal, at: list[int], chance: Random, recipients: int, console: Console
) -> tuple[int, float]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("accepted", total=recipients)

        def show(accepted: int, killed: int) -> None:
            bar.update(task, completed=accepted, description=f"accepted, {killed} killed")

        early = chance.uniform(1.5, 2.5 + recipients / 30_000)  # most likely while the audience is sealed
        return run_and_kill(workers, journal, at, chance, show, early)


async def _enlist(job: dict[str, Any], recipients: int) -> None:
    settings = settings_of(job)
    await apply_schema(settings)
    async with open_exchange(settings) as exchange:
        for some in batches(people(recipients, PUSH_MIX), 8000):
            await asyncio.gather(*(exchange.store.directory.put(part) for part in batches(some, 500)))


async def _report(job: dict[str, Any]) -> tuple[Any, int]:
    async with open_exchange(settings_of(job)) as exchange:
        return await campaigns.report(exchange, job["name"]), campaigns.bound(exchange)


def show(found: dict[str, Any], console: Console) -> None:
    """The figures, one a line."""
    for name in (
        "store",
        "workers",
        "planned",
        "sealed",
        "accepted",
        "lost",
        "killed",
        "repeated",
        "bound",
        "report_adds_up",
        "wall_seconds",
        "per_second",
        "peak_mb",
    ):
        value = found[name]
        text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
        console.print(f"{name.replace('_', ' '):16} {text:>12}", highlight=False)


def holds(found: dict[str, Any]) -> bool:
    """Whether the promise was kept."""
    return (
        found["lost"] == 0
        and found["sealed"] == found["planned"]
        and found["repeated"] <= found["bound"]
        and bool(found["report_adds_up"])
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--recipients", type=int, default=int(os.environ.get("AUDIT_PEOPLE", "1_000_000")))
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--store", choices=("cassandra", "sqlite"), default="cassandra")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--keep", action="store_true", help="write the result under benchmarks/results")
    given = parser.parse_args()
    console, home = Console(), Path(tempfile.mkdtemp(prefix="msgxc-audit-"))
    try:
        found = audit(given, home, console)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    show(found, console)
    if given.keep or given.recipients >= 1_000_000:
        console.print(f"written to {write('audit', found)}", highlight=False)
    console.print("the promise holds" if holds(found) else "THE PROMISE IS BROKEN")
    return 0 if holds(found) else 1


if __name__ == "__main__":
    sys.exit(main())
