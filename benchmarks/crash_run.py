"""What the crash measurements share: people, processes that are killed at chosen moments, the journal.

The moments are chosen by how many messages the provider has accepted, so that they fall anywhere in a run of
any length. The truth is the journal of the sandbox, which is synced before anybody is answered.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

import psutil

from benchmarks import machine

ROOT = Path(__file__).resolve().parent.parent
POLL_SECONDS = 0.02
#: A kill comes so much later than its moment at most: else it would always come between accept and answer.
LATE_SECONDS = 0.2


@dataclass
class Journal:
    """What was accepted so far. Addresses are kept as 8 bytes each, so that a million of them fit."""

    path: Path
    accepted: int = 0
    times: Counter[bytes] = field(default_factory=Counter)
    _at: int = 0

    def read(self) -> int:
        """Take in what is new; answers how many messages were accepted in all."""
        if not self.path.exists():
            return 0
        with self.path.open("rb") as file:
            file.seek(self._at)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._at += len(line)
                entry = json.loads(line)
                key = f"{entry['channel']} {entry['address']}".encode()
                self.times[blake2b(key, digest_size=8).digest()] += 1
                self.accepted += 1
        return self.accepted

    @property
    def people(self) -> int:
        """How many addresses got at least one message."""
        return len(self.times)

    @property
    def repeated(self) -> int:
        """How many messages came again."""
        return self.accepted - self.people


@dataclass
class Workers:
    """Processes that send. One that is killed is started again at once."""

    commands: Sequence[Sequence[str]]
    running: list[psutil.Popen] = field(default_factory=list)
    peak_mb: float = 0.0
    _looked: float = 0.0

    def start(self) -> None:
        """All of them."""
        self.running = [self._start(command) for command in self.commands]

    @staticmethod
    def _start(command: Sequence[str]) -> psutil.Popen:
        return psutil.Popen(list(command), cwd=ROOT)

    def kill(self, which: int) -> None:
        """SIGKILL, and a successor."""
        self.running[which].kill()
        self.running[which].wait()
        self.running[which] = self._start(self.commands[which])

    def alive(self) -> list[int]:
        """Those that have not ended. Raises SystemExit when one has failed."""
        codes = [worker.poll() for worker in self.running]
        if any(code not in (None, 0) for code in codes):
            self.end()
            raise SystemExit(f"a worker ended with status {next(code for code in codes if code)}")
        return [which for which, code in enumerate(codes) if code is None]

    def look(self) -> None:
        """Note how much memory the largest takes; about twice a second is enough."""
        if time.monotonic() - self._looked < 0.5:
            return
        self._looked = time.monotonic()
        for worker in self.running:
            try:
                self.peak_mb = max(self.peak_mb, worker.memory_info().rss / 1e6)
            except psutil.Error:
                continue

    def end(self) -> None:
        """Nothing of it is left."""
        for worker in self.running:
            if worker.poll() is None:
                worker.kill()
                worker.wait()


def moments(recipients: int, kills: int, chance: Random) -> list[int]:
    """How many messages have been accepted when the next process is killed: ascending, never at the end."""
    return sorted(chance.randrange(max(1, int(recipients * 0.95))) for _ in range(kills))


def run_and_kill(
    workers: Workers,
    journal: Journal,
    at: Sequence[int],
    chance: Random,
    show: Callable[[int, int], None] = lambda *_: None,
    early: float | None = None,
) -> tuple[int, float]:
    """Run the workers to their end, and kill one at each of the moments: how many were killed, seconds.

    `early`: and one after so many seconds, or with the first message, whichever comes sooner.
    """
    started, left, killed = time.monotonic(), list(at), 0
    workers.start()
    try:
        while alive := workers.alive():
            workers.look()
            accepted = journal.read()
            due = left and accepted >= left[0]
            if early is not None and (accepted or time.monotonic() - started > early):
                early, due = None, True
            elif due:
                left.pop(0)
            if due:
                time.sleep(chance.uniform(0, LATE_SECONDS))
                workers.kill(chance.choice(alive))
                killed += 1
            show(accepted, killed)
            time.sleep(POLL_SECONDS)
    finally:
        workers.end()
    journal.read()
    return killed, time.monotonic() - started


def cassandra(folder: Path) -> Any:
    """A Cassandra node of its own, ready; `kill()` ends it, `port` is where it is."""
    script = ROOT / "servers" / "cassandra_node.py"
    spec = importlib.util.spec_from_file_location("cassandra_node", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cassandra_node"] = module
    spec.loader.exec_module(module)
    node = module.start(folder)
    try:
        node.wait_until_ready(180)
    except BaseException:
        node.kill()
        raise
    return node


def write(name: str, found: dict[str, Any]) -> Path:
    """Keep a result under benchmarks/results, with the machine it was measured on."""
    date = time.strftime("%Y-%m-%d")
    path = ROOT / "benchmarks" / "results" / f"{date}-{name}.json"
    path.parent.mkdir(exist_ok=True)
    about = {"date": date, "machine": machine.described(), "versions": machine.versions()}
    path.write_text(json.dumps({**about, **found}, indent=1) + "\n")
    return path


def worker_command(module: str, job: dict[str, Any]) -> list[str]:
    """Runs a module of the benchmarks with its job."""
    return [sys.executable, "-m", f"benchmarks.{module}", json.dumps(job)]


def quietly(command: Sequence[str]) -> None:
    """Run a command to its end. Raises CalledProcessError."""
    subprocess.run(command, cwd=ROOT, check=True)
