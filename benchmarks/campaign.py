"""`make bench`: a campaign's speed, memory and CPU, beside the bare client libraries, in one run.

One sender process on core 0 at a time, the sandbox on core 1; the embedded default, in a folder that is
removed at the end. Everything that is measured runs in a fresh process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import machine, prefect_share, table
from benchmarks.engine import Job, apart, settings
from benchmarks.people import PUSH_MIX
from benchmarks.ways import WAYS
from msgxc.errors import MsgxcError
from msgxc.model import Channel
from msgxc.sandbox.launch import Sandbox, start

LATENCY_MS = 20
WIDTH = 110  # where there is no terminal
RESULTS = Path(__file__).parent / "results"
PUSH = {str(channel): share for channel, share in PUSH_MIX.items()}


@dataclass
class Ground:
    """A folder with a running sandbox, and one home for each campaign."""

    folder: Path
    sandbox: Sandbox

    def home(self, name: str) -> Path:
        """An empty exchange of its own, with this sandbox."""
        home = self.folder / name
        home.mkdir()
        (home / "sandbox").symlink_to(self.sandbox.directory, target_is_directory=True)
        return home

    def engine(self, job: Job, *, enlist: bool = True) -> dict[str, Any]:
        """A campaign through the engine, its people enlisted by another process before."""
        if enlist:
            self._child("benchmarks.engine", job, enlist=True)
        found = self._child("benchmarks.engine", job)
        if found["journal"] != job.recipients:
            raise SystemExit(f"{job.name}: the sandbox accepted {found['journal']} of {job.recipients}")
        return found | {"name": job.name, "windows_at_once": job.windows_at_once}

    def bare(self, channel: Channel, name: str, messages: int, in_flight: int) -> dict[str, Any]:
        """One channel through a client library alone."""
        job = {
            "sandbox": str(self.sandbox.directory),
            "way": f"{channel}:{name}",
            "messages": messages,
            "in_flight": in_flight,
        }
        return self._child("benchmarks.bare", job) | {"channel": str(channel), "way": name}

    def _child(self, module: str, job: Any, **more: object) -> dict[str, Any]:
        """Run one job in a process of its own; what it found, and what it cost the sandbox."""
        document = job if isinstance(job, dict) else {name: getattr(job, name) for name in job.__slots__}
        ca = str(self.sandbox.endpoints.ca)
        command = [sys.executable, "-m", module, json.dumps({**document, **more})]
        journal, cpu = self._journal(), machine.process_cpu(self.sandbox.process.pid)
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            env={**os.environ, "SSL_CERT_FILE": ca, "REQUESTS_CA_BUNDLE": ca},
            cwd=machine.ROOT,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{module} failed: {command[-1]}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        found["sandbox_cpu"] = machine.process_cpu(self.sandbox.process.pid) - cpu
        return found | {"journal": self._journal() - journal, "load": machine.load()}

    def _journal(self) -> int:
        """How many messages the sandbox has accepted so far."""
        if not self.sandbox.endpoints.journal.exists():
            return 0
        with self.sandbox.endpoints.journal.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


@contextmanager
def ground(latency_ms: int = 0) -> Iterator[Ground]:
    """The folder and the sandbox, whose answers take so much longer; both gone at the end."""
    with tempfile.TemporaryDirectory(prefix="msgxc-bench-") as folder:
        sandbox = start(Path(folder) / "sandbox", latency_ms=latency_ms)
        try:
            yield Ground(Path(folder), sandbox)
        finally:
            sandbox.stop()


class Bench:
    """The parts, in order; each adds its own to the results."""

    def __init__(self, asked: argparse.Namespace, console: Console) -> None:
        self.asked, self.console = asked, console
        self.results: dict[str, Any] = {}

    def campaigns(self, ground: Ground) -> None:
        """The small one, then the large one; then the small one again with more windows at once."""
        self.results["campaigns"] = found = []
        for name, count, windows in (
            ("small", self.asked.small, 1),
            ("large", self.asked.recipients, 1),
            ("wide", self.asked.small, 4),
        ):
            job = Job(str(ground.home(name)), f"bench-{name}", count, PUSH, windows_at_once=windows)
            more = f", {windows} windows at once" if windows > 1 else ""
            with self._says(f"Campaign to {count:,}, push mix{more}"):
                found.append(ground.engine(job))

    def distant(self) -> None:
        """A provider that is further away: with one window at once, and with several."""
        with ground(LATENCY_MS) as at:
            for windows in (1, 4):
                name, count = f"distant-{windows}", max(1, self.asked.small // 2)
                job = Job(str(at.home(name)), f"bench-{name}", count, PUSH, windows_at_once=windows)
                with self._says(f"Campaign to {count:,}, answers after {LATENCY_MS} ms, {windows} at once"):
                    found = at.engine(job) | {"latency_ms": LATENCY_MS}
                    self.results.setdefault("distant", []).append(found)

    def stages(self, ground: Ground) -> None:
        """Where the CPU goes: once more, smaller and metered."""
        job = Job(str(ground.home("stages")), "bench-stages", self.asked.small, PUSH, staged=True)
        with self._says(f"Campaign to {job.recipients:,}, metered by stage"):
            self.results["stages"] = ground.engine(job)

    def channels(self, ground: Ground) -> None:
        """Each channel through the engine, and at once through its library alone."""
        self.results["channels"], self.results["bare"] = [], []
        count = self.asked.bare
        limits = settings(Job(str(ground.folder), "", 0, {}))
        for channel, ways in WAYS.items():
            job = Job(str(ground.home(channel)), f"bench-{channel}", count, {str(channel): 1})
            with self._says(f"{channel}: the engine, then {', '.join(ways)}"):
                self.results["channels"].append(ground.engine(job) | {"channel": str(channel)})
                self.results["bare"] += [ground.bare(channel, name, count, limits.in_flight) for name in ways]

    def prefect(self) -> None:
        """The campaign through the real deployment; its own sandbox, so that all starts as `make up` does."""
        with tempfile.TemporaryDirectory(prefix="msgxc-bench-") as folder:
            job = Job(folder, "", self.asked.prefect_recipients, PUSH)
            with self._says(f"People for {job.recipients:,} through Prefect"):
                apart(replace(job, enlist=True))
            self.console.print(f"Campaign to {job.recipients:,} through Prefect's server and worker")
            self.results["prefect"] = prefect_share.measure(settings(job), job.recipients, self.console)

    @contextmanager
    def _says(self, doing: str) -> Iterator[None]:
        begun = time.monotonic()
        with self.console.status(doing):
            yield
        self.console.print(f"{doing}  [dim]{time.monotonic() - begun:.0f} s[/dim]", highlight=False)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaign", description=__doc__)
    add = parser.add_argument
    add("--recipients", type=int, default=100_000, help="of the large campaign (100,000)")
    add("--small", type=int, default=10_000, help="of the small campaigns (10,000)")
    add("--bare", type=int, default=5_000, help="messages for each channel's library alone (5,000)")
    add("--prefect-recipients", type=int, help="of the campaign through Prefect (as --recipients)")
    add("--parts", default="campaigns,stages,channels,distant,prefect", help="which parts to run, by commas")
    add("--out", type=Path, default=RESULTS, help="folder for the results, as JSON (benchmarks/results)")
    add("--note", default="", help="what was special about this run, for the results")
    asked = parser.parse_args()
    asked.prefect_recipients = asked.prefect_recipients or asked.recipients
    asked.parts = asked.parts.split(",")
    return asked


def run(asked: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Everything asked for."""
    for name in [name for name in os.environ if name.startswith("MSGXC_")]:
        del os.environ[name]
    machine.pin(machine.PROVIDER_CORE)
    bench, begun = Bench(asked, console), time.monotonic()
    limits = settings(Job("unused", "", 0, {}))
    before, versions = machine.load(), machine.versions()
    with ground() as at:
        for part in ("campaigns", "stages", "channels"):
            if part in asked.parts:
                getattr(bench, part)(at)
    if "distant" in asked.parts:
        bench.distant()
    if "prefect" in asked.parts:
        bench.prefect()
    shown = ("window", "in_flight", "flush", "windows_at_once", "shard_size", "slice_size")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", "-m", "benchmarks.campaign", *sys.argv[1:]]),
        "note": asked.note,
        "seconds": round(time.monotonic() - begun),
        "load": {"before": before, "after": machine.load()},
        "machine": machine.described(),
        "versions": {**versions, "commit_after": machine.versions()["commit"]},
        "settings": {name: getattr(limits, name) for name in shown},
        **bench.results,
    }


def written(results: dict[str, Any], folder: Path) -> Path:
    """Keep the results under their date."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{results['date'][:10]}-campaign.json"
    file.write_text(json.dumps(results, indent=1) + "\n")
    return file


def main() -> int:
    """Measure, write, show; 0 when it came to its end."""
    asked = arguments()
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    try:
        results = run(asked, console)
    except KeyboardInterrupt:
        return 130
    except MsgxcError as error:
        console.print(str(error), markup=False)
        return 1
    file = written(results, asked.out)
    table.show(results, console)
    console.print(f"\n{results['seconds']} s in all; {file}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
