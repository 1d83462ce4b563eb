"""A whole campaign to a million people, phase by phase: `python -m benchmarks.million [--store cassandra]`.

Plan, seal, send and report, as the flow does it, by one process on core 0, ledger on, personal texts; the
fake provider (fake/main.go) on core 1. SQLite in the sender's process; or a Cassandra node of its own, which
takes what both leave it of the two cores. Enlisting the people comes before, and is not counted.

    --recipients 1000000   how many
    --staged               the CPU told apart by stage, which costs a few per cent
    --set name=value       settings besides those of benchmarks.peers
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.crash_run import cassandra
from benchmarks.engine import Job, apart
from benchmarks.fake import Fake, build_fake, fake_provider
from benchmarks.http2 import keep
from benchmarks.machine import process_cpu
from benchmarks.peers.__main__ import TUNED, setting
from msgxc.model import Channel

PHASES = ("seal", "send", "report")
LATENCY_MS = 20


@contextmanager
def _store(name: str, folder: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """The settings of a store of its own, and the process that it runs in (0: the sender's)."""
    if name == "sqlite":
        yield {}, 0
        return
    node = cassandra(folder / "cassandra")
    try:
        yield (
            {"store": "cassandra", "cassandra_port": node.port, "secret_key": uuid4().hex},
            node.process.pid,
        )
    finally:
        node.kill()


def _campaign(fake: Fake, job: Job, server: int) -> dict[str, Any]:
    """One campaign, and what each phase cost."""
    begun = time.monotonic()
    apart(replace(job, enlist=True))
    enlisted, taken = time.monotonic() - begun, fake.taken()
    before = process_cpu(server) if server else 0.0
    found = apart(job)
    if fake.taken() - taken != job.recipients:
        raise SystemExit(f"the provider took {fake.taken() - taken} of {job.recipients}")
    each = 1e6 / job.recipients
    return {
        "enlist_seconds": enlisted,
        "seconds": {phase: found["wall"][phase] for phase in PHASES},
        "whole_seconds": sum(found["wall"].values()),
        "cpu_us": {phase: each * found["cpu"][phase] for phase in PHASES},
        "server_cpu_us": each * (process_cpu(server) - before) if server else 0.0,
        "stages_us": {stage: each * seconds for stage, seconds in found["stages"].items()},
        "peak_mb": found["peak_mb"],
        "others_had": found["core_taken"],
        "tuned": job.tuned,
    }


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """The whole of it."""
    build_fake()
    with (
        tempfile.TemporaryDirectory(prefix="msgxc-million-") as name,
        _store(asked.store, Path(name)) as (of_store, server),
        fake_provider(Path(name) / "sandbox", Channel.APNS, LATENCY_MS) as fake,
    ):
        job = Job(
            home=name,
            name="million",
            recipients=asked.recipients,
            channels={str(Channel.APNS): 1},
            staged=asked.staged,
            template="spring-sale",
            tuned={**TUNED, **of_store, **dict(asked.set)},
        )
        found = _campaign(fake, job, server)
    found["tuned"].pop("secret_key", None)
    return {"store": asked.store, "recipients": asked.recipients, "staged": asked.staged, **found}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.million",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--store", choices=("sqlite", "cassandra"), default="sqlite")
    parser.add_argument("--recipients", type=int, default=1_000_000)
    parser.add_argument("--staged", action="store_true")
    parser.add_argument("--set", type=setting, action="append", default=[], metavar="NAME=VALUE")
    return parser.parse_args()


def show(row: dict[str, Any]) -> None:
    """The figures, a line each."""
    people = row["recipients"]
    print(f"{people:,} people, {row['store']}: {row['whole_seconds']:.1f} s, peak {row['peak_mb']:.0f} MB")
    for phase in PHASES:
        print(f"  {phase:7} {row['seconds'][phase]:7.1f} s {row['cpu_us'][phase]:6.1f} µs CPU each")
    if row["server_cpu_us"]:
        print(f"  Cassandra         {row['server_cpu_us']:6.1f} µs CPU each")
    for stage, spent in sorted(row["stages_us"].items(), key=lambda pair: -pair[1]):
        print(f"    {stage:16} {spent:6.1f} µs")


def main() -> None:
    """Measure, keep, print."""
    row = measure(arguments())
    keep("million", [row], ("store", "recipients", "staged"))
    show(row)


if __name__ == "__main__":
    main()
