"""What a run was measured on, and with: processors, memory, load, versions. Linux tells all of it."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

SENDER_CORE, PROVIDER_CORE = 0, 1
PACKAGES = (
    "aioapns",
    "h2",
    "pyfcm",
    "pywebpush",
    "sendgrid",
    "twilio",
    "aiohttp",
    "requests",
    "cryptography",
    "jinja2",
    "prefect",
)
TICKS = os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).resolve().parent.parent


def pin(core: int) -> bool:
    """Keep this process, and what it starts, on one core. False where that cannot be done."""
    if not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2:
        return False
    os.sched_setaffinity(0, {core})
    return True


def pin_process(pid: int, core: int) -> None:
    """Move another process, with all the threads that it has, to one core."""
    for task in Path(f"/proc/{pid}/task").glob("[0-9]*"):
        with suppress(OSError):
            os.sched_setaffinity(int(task.name), {core})


def memory_mb(which: str = "VmHWM") -> float:
    """This process's memory in MB: `VmHWM` its peak since it was started, `VmRSS` now."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        import resource

        unit = 1_000_000 if platform.system() == "Darwin" else 1000
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    line = next(line for line in status.splitlines() if line.startswith(which))
    return int(line.split()[1]) * 1024 / 1_000_000


def process_cpu(pid: int) -> float:
    """CPU seconds of a running process, its threads counted in, its children not; 0 when it is gone."""
    with suppress(OSError):
        return stat_cpu(Path(f"/proc/{pid}/stat").read_text())
    return 0.0


def stat_cpu(stat: str) -> float:
    """User and system seconds in the text of a /proc/…/stat."""
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / TICKS


def descendants(pid: int) -> list[int]:
    """The processes below one, whoever started them."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            text = stat.read_text(errors="replace")
            parents[int(stat.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found, new = set[int](), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return sorted(found)


def command_line(pid: int) -> list[str]:
    """What a process was started with; [] when it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    return []


@dataclass(frozen=True, slots=True)
class Core:
    """A core's clock: what it has done since the machine was started, in seconds."""

    core: int
    busy: float
    stolen: float  # taken by the machine's host
    at: float

    @staticmethod
    def now(core: int) -> Core:
        """As it is now; zeros where the system does not tell."""
        with suppress(OSError, StopIteration):
            lines = Path("/proc/stat").read_text().splitlines()
            line = next(line for line in lines if line.startswith(f"cpu{core} "))
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
            busy = (user + nice + system + irq + softirq) / TICKS
            return Core(core, busy, steal / TICKS, time.monotonic())
        return Core(core, 0.0, 0.0, time.monotonic())

    def taken_by_others(self, own_cpu: float) -> float:
        """Share of the time since then in which somebody else had this core; `own_cpu` was ours (s)."""
        now = Core.now(self.core)
        others = (now.busy - self.busy) - own_cpu + (now.stolen - self.stolen)
        return max(0.0, others) / max(1e-9, now.at - self.at)


def described() -> dict[str, object]:
    """The machine."""
    return {
        "processor": _cpuinfo("model name") or platform.processor(),
        "cores": os.cpu_count(),
        "mhz": _cpuinfo("cpu MHz"),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000,
        "system": f"{platform.system()} {platform.release()}",
        "pinned": hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1,
    }


def versions() -> dict[str, str]:
    """What was measured."""
    packages = {name: version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "msgxc": version("msgxc"), "commit": _commit(), **packages}


def load() -> list[float]:
    """The machine's load averages over 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def _cpuinfo(field: str) -> str:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith(field))
    return ""


def _commit() -> str:
    """The commit, with a + when files differ from it; "" outside a repository."""
    git = ["git", "-C", str(ROOT)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            [*git, "status", "--porcelain", "msgxc"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit.stdout.strip() + ("+" if changed.stdout else "")
