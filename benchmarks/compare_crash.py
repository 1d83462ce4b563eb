"""The same kills against several senders, lost and repeated side by side: `benchmarks/compare_crash.py`

Each sends to the same people over the same connections, alone, and is killed (SIGKILL) at the same moments of
its progress. The provider is the sandbox, which answers after 20 ms; its journal is what is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console

from benchmarks.crash_run import Journal, Workers, moments, run_and_kill, worker_command, write
from benchmarks.crash_worker import settings_of
from benchmarks.naive_sender import BATCH, prepare
from benchmarks.people import people
from msgxc import campaigns
from msgxc.model import Channel
from msgxc.reports.funnel import End
from msgxc.sandbox.launch import start as start_sandbox
from msgxc.wiring import apply_schema, open_exchange

SEED, LATENCY_MS = 7, 20
LEASE_SECONDS = 4.0
SENDERS = {
    "cursor": "moves its cursor when it reads a batch",
    "after": "records a batch after it was sent",
    "msgxc": "msgxc, as it comes (a repeat replaces the first copy on the screen)",
    "msgxc-10": "msgxc with 10 calls in flight",
    "msgxc-hold": "msgxc with policy `hold`",
}


def job_of(kind: str, home: Path) -> tuple[str, dict[str, Any]]:
    """Which program, and what it is told."""
    if not kind.startswith("msgxc"):
        return "naive_sender", {
            "kind": kind,
            "table": str(home / "table.sqlite3"),
            "sandbox": str(home / "sandbox"),
        }
    settings: dict[str, Any] = {"home": str(home), "lease_seconds": LEASE_SECONDS}
    settings |= {"provider_timeout": LEASE_SECONDS / 2}
    settings |= {"in_flight": 10} if kind == "msgxc-10" else {}
    policy = "hold" if kind == "msgxc-hold" else "resend"
    return "crash_worker", {"name": "compare", "settings": settings, "turn": 0.0, "in_doubt": policy}


async def _ready(job: dict[str, Any], count: int) -> int:
    """The people in our directory; answers the bound for one kill."""
    settings = settings_of(job)
    await apply_schema(settings)
    async with open_exchange(settings) as exchange:
        everybody = list(people(count, {Channel.APNS: 1}))
        for start in range(0, count, 500):
            await exchange.store.directory.put(everybody[start : start + 500])
        return campaigns.bound(exchange)


async def _unknown(job: dict[str, Any]) -> int:
    """Of how many the report says that nobody knows. It has to account for everybody."""
    async with open_exchange(settings_of(job)) as exchange:
        report = await campaigns.report(exchange, job["name"])
    if report.ends[End.REACHED] + report.ends[End.UNKNOWN] != report.audience:
        raise SystemExit(f"the report does not account for everybody: {dict(report.ends)}")
    return report.ends[End.UNKNOWN]


def measure(kind: str, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One sender, from the first message to the last."""
    home = folder / kind
    home.mkdir()
    module, job = job_of(kind, home)
    sandbox = start_sandbox(home / "sandbox", latency_ms=LATENCY_MS)
    try:
        bound, unknown = None, 0
        if kind.startswith("msgxc"):
            bound = asyncio.run(_ready(job, given.recipients))
        else:
            everybody = people(given.recipients, {Channel.APNS: 1})
            prepare(home / "table.sqlite3", (person.devices[0].token for person in everybody))
        journal = Journal(sandbox.endpoints.journal)
        at = moments(given.recipients, given.kills, Random(SEED))
        workers = Workers([worker_command(module, job)])
        killed, wall = run_and_kill(workers, journal, at, Random(SEED))
        if bound is not None:
            unknown = asyncio.run(_unknown(job))
    finally:
        sandbox.stop()
    return {
        "sender": kind,
        "how": SENDERS[kind],
        "recipients": given.recipients,
        "killed": killed,
        "lost": max(0, given.recipients - journal.people - unknown),
        "unknown": unknown,
        "repeated": journal.repeated,
        "bound": None if bound is None else bound * killed,
        "wall_seconds": round(wall, 1),
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table for the README."""
    title = f"{rows[0]['recipients']:,} people, killed {rows[0]['killed']} times"
    lines = [f"| {title} | lost in silence | repeated | known as unknown |", "|---|--:|--:|--:|"]
    for row in rows:
        promise = f" of {row['bound']} allowed" if row["bound"] and row["sender"] != "msgxc-hold" else ""
        lines.append(
            f"| {row['how']} | {row['lost']:,} | {row['repeated']:,}{promise} | {row['unknown']:,} |"
        )
    return "\n".join(lines)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--recipients", type=int, default=5_000)
    parser.add_argument("--kills", type=int, default=6)
    given = parser.parse_args()
    console, folder = Console(), Path(tempfile.mkdtemp(prefix="msgxc-compare-"))
    try:
        rows = []
        for kind in SENDERS:
            with console.status(kind):
                rows.append(measure(kind, given, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    path = write("crash", {"latency_ms": LATENCY_MS, "batch_of_the_naive": BATCH, "senders": rows})
    print(markdown(rows))
    print(f"\nwritten to {path}")
    ours = [row for row in rows if row["bound"] is not None]
    return 0 if all(row["lost"] == 0 and row["repeated"] <= row["bound"] for row in ours) else 1


if __name__ == "__main__":
    sys.exit(main())
