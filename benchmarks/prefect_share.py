"""What Prefect itself costs: the same campaign through the real deployment, as `make up` runs it.

Server, worker and flow run are processes of their own. Within the flow run's, the threads that send are told
from Prefect's by their names (thread_names/sitecustomize.py). What is not surely ours counts as Prefect's:
its server and worker, also what they take when idle; the flow run's start but for our own imports (measured
apart); heartbeats, artifacts, the looks at what the operator does. Nobody has the console open meanwhile.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from rich.console import Console

from benchmarks.machine import (
    PROVIDER_CORE,
    SENDER_CORE,
    command_line,
    descendants,
    load,
    pin_process,
    process_cpu,
    stat_cpu,
)
from msgxc.demo import PrefectApi
from msgxc.deploying import Api
from msgxc.settings import Settings
from msgxc.system import Steps, System, running

#: Threads of the flow run's process that do the exchange's work.
OURS = ("engine", "msgxc-sqlite", "sendgrid")
SAMPLE_SECONDS = 0.1
PATIENCE_SECONDS = 900.0


@dataclass
class Watched:
    """CPU seconds of a flow run's process, while it lives and after."""

    pid: int
    total: float = 0.0
    threads: dict[int, tuple[str, float]] = field(default_factory=dict)
    peak_mb: float = 0.0
    start: float | None = None  # until the exchange's first thread

    def sample(self) -> bool:
        """Look at it; False when it has ended."""
        home = Path(f"/proc/{self.pid}")
        with suppress(OSError, StopIteration):
            status = (home / "status").read_text()
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            self.peak_mb = int(peak.split()[1]) * 1024 / 1_000_000
            self.total = stat_cpu((home / "stat").read_text())
            for task in (home / "task").iterdir():
                with suppress(OSError):
                    stat = (task / "stat").read_text()
                    name = stat[stat.index("(") + 1 : stat.rindex(")")]
                    self.threads[int(task.name)] = (name, stat_cpu(stat))
            if self.start is None and self.ours():
                self.start = self.total - self.ours()
            return True
        return False

    def ours(self) -> float:
        """Of the threads that do the exchange's work."""
        return sum(cpu for name, cpu in self.threads.values() if name.startswith(OURS))


@contextmanager
def named_threads() -> Iterator[None]:
    """Processes that are started meanwhile tell the system the names of their threads."""
    before = os.environ.get("PYTHONPATH")
    folder = str(Path(__file__).parent / "thread_names")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (folder, before)))
    try:
        yield
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


def measure(settings: Settings, recipients: int, console: Console) -> dict[str, object]:
    """Start the system on a home whose people are there already; run one campaign; answer the shares."""
    with named_threads(), running(settings, Steps(console)) as system:
        idle = _idle(system)
        return _campaign(system, recipients) | {"idle_cpu_per_minute": idle * 60}


def _idle(system: System) -> float:
    """CPU seconds a second of an idle server and worker; waits until their start is over, at most 30 s."""
    pids = [_child(system, name) for name in ("server", "worker")]
    least = 1.0
    for _ in range(3):
        before, begun = sum(map(_tree_cpu, pids)), time.monotonic()
        time.sleep(10)
        least = min(least, (sum(map(_tree_cpu, pids)) - before) / (time.monotonic() - begun))
    return least


def _campaign(system: System, recipients: int) -> dict[str, object]:
    server, worker, name = _child(system, "server"), _child(system, "worker"), f"bench-{uuid4().hex[:8]}"
    before = {pid: _tree_cpu(pid) for pid in (server, worker)}
    with Api(system.api, system.login).client() as http:
        prefect, begun = PrefectApi(http), time.monotonic()
        parameters = {
            "name": name,
            "template": "spring-sale",
            "audience": {"to": {"kind": "everyone"}},
            "fallback": {"enabled": False},
            "values": {"code": "SPRING26"},
        }
        run = prefect.start("campaign/campaign", parameters, name)
        flows = _watch(system, worker, run, begun)
        wall = time.monotonic() - begun
        server_cpu, worker_cpu = (_tree_cpu(pid) - before[pid] for pid in (server, worker))
        said = prefect.run(run)["state"]
    if said["type"] != "COMPLETED":
        raise SystemExit(f"the campaign through Prefect ended as {said['name']}: {said.get('message')}")
    return _shares(recipients, wall, server_cpu, worker_cpu, flows) | {"said": said.get("message")}


def _watch(system: System, worker: int, run: str, begun: float) -> list[Watched]:
    """The processes of the flow run, from the first one's start to its end; moved to the sender's core."""
    flows: dict[int, Watched] = {}
    while time.monotonic() - begun < PATIENCE_SECONDS:
        system.check()
        for pid in filter(_runs_flow, descendants(worker)):
            if pid not in flows and _is_of(pid, run):
                flows[pid] = Watched(pid)
                pin_process(pid, SENDER_CORE)
        alive = [flow.sample() for flow in flows.values()]
        if alive and not any(alive):
            return list(flows.values())
        time.sleep(SAMPLE_SECONDS)
    raise SystemExit(f"the campaign through Prefect has not ended after {PATIENCE_SECONDS:.0f} s")


def _runs_flow(pid: int) -> bool:
    return "prefect.engine" in command_line(pid)


def _is_of(pid: int, run: str) -> bool:
    """Whether it is a process of this run, and not of the one that dispatches messages."""
    with suppress(OSError):
        return f"PREFECT__FLOW_RUN_ID={run}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    return False


def _shares(
    recipients: int, wall: float, server: float, worker: float, flows: list[Watched]
) -> dict[str, object]:
    sending, start = sum(flow.ours() for flow in flows), sum(flow.start or 0.0 for flow in flows)
    total, imports = sum(flow.total for flow in flows), len(flows) * _own_imports()
    spent = {
        "sending, in the flow runs": sending,
        "our own imports, in the flow runs": min(imports, start),
        "start of the flow runs: Prefect's imports and calls": max(0.0, start - imports),
        "flow runs: heartbeats, artifacts, states, end": max(0.0, total - sending - start),
        "server": server,
        "worker": worker,
    }
    prefects, total = sum(list(spent.values())[2:]), sum(spent.values())
    return {
        "recipients": recipients,
        "wall": wall,
        "per_second": recipients / wall,
        "cpu": spent,
        "share": prefects / total,
        "share_without_start": (prefects - max(0.0, start - imports)) / total,
        "share_of_server_and_worker": (server + worker) / total,
        "flow_runs": len(flows),
        "peak_mb": max(flow.peak_mb for flow in flows),
        "load": load(),
        "cores": {"sender": SENDER_CORE, "prefect and sandbox": PROVIDER_CORE},
    }


def _own_imports() -> float:
    """CPU seconds that a sender's process takes to start without Prefect."""
    before = os.times()
    subprocess.run([sys.executable, "-c", "import msgxc.campaigns, msgxc.wiring"], check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def _child(system: System, name: str) -> int:
    assert system.supervisor is not None
    return next(child.process.pid for child in system.supervisor.children if child.name == name)


def _tree_cpu(pid: int) -> float:
    """CPU seconds of a process and of those below it that are no flow runs."""
    return process_cpu(pid) + sum(process_cpu(child) for child in descendants(pid) if not _runs_flow(child))
