"""Starts the processes of an embedded system, and leaves none behind, however this process ends.

Each child is a session of its own and writes to a log file. A keeper process knows their ids over a pipe:
when this process is gone, even by kill -9, the pipe ends and the keeper stops every child with all that the
child has started. It holds the lock meanwhile, so that a new start waits for the old one's end.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from msgxc.errors import MsgxcError

GRACE_SECONDS = 12.0
LOG_LINES = 15


class ChildFailed(MsgxcError):
    """A process of the system has ended, or was not ready in time; the text ends with its last lines."""

    code = "child_failed"


class AlreadyRunning(MsgxcError):
    """Another process holds the lock: the system is running, or stopping."""

    code = "already_running"


@dataclass(frozen=True, slots=True)
class Child:
    """One process, started here."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def last_lines(self) -> str:
        """The end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join(f"  {line}" for line in lines)


@dataclass(slots=True)
class Supervisor:
    """The children of this process. Made by `supervising`."""

    logs: Path
    keeper: IO[bytes]
    children: list[Child] = field(default_factory=list)

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> Child:
        """Start a process in the background; its output goes to logs/NAME.log, which starts anew."""
        log = self.logs / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(  # noqa: S603 - our own commands, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=dict(env),
                start_new_session=True,
            )
        child = Child(name, process, log)
        self.children.append(child)
        self.keeper.write(b"%d\n" % process.pid)
        self.keeper.flush()
        return child

    def until(self, child: Child | None, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until it is ready. Raises ChildFailed when one has ended before, or it takes too long."""
        end = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > end:
                tail = f"; the end of {child.log}:\n{child.last_lines()}" if child else ""
                raise ChildFailed(f"not ready after {seconds:.0f} s{tail}")
            time.sleep(0.05)

    def finish(self, child: Child, seconds: float) -> None:
        """Wait for a command that ends by itself. Raises ChildFailed unless it ends well and in time."""
        try:
            status = child.process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = -1
        if status:
            raise ChildFailed(f"{child.name} failed; the end of {child.log}:\n{child.last_lines()}")
        self.children.remove(child)

    def check(self) -> None:
        """Raise ChildFailed if one of them has failed."""
        for child in self.children:
            if child.process.poll() is not None:
                raise ChildFailed(f"{child.name} has ended; the end of {child.log}:\n{child.last_lines()}")

    def stop(self) -> None:
        """End them all, the youngest first. May be called twice."""
        while self.children:
            stop_tree(self.children[-1].process.pid)
            self.children.pop().process.wait()


@contextmanager
def supervising(home: Path, *, wait: float = 30.0) -> Iterator[Supervisor]:
    """A supervisor that owns `home`, and has waited for an earlier one's children to end, at most `wait` s.

    Raises AlreadyRunning when another one is at work.
    """
    logs = home / "log"
    logs.mkdir(parents=True, exist_ok=True)
    with (home / "system.lock").open("a+") as lock:
        _take(lock, wait)
        lock.truncate(0)
        print(os.getpid(), file=lock, flush=True)
        keeper = subprocess.Popen(
            [sys.executable, "-m", "msgxc.supervise"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[lock.fileno()],
            start_new_session=True,
        )
        assert keeper.stdin
        supervisor = Supervisor(logs, keeper.stdin)
        try:
            yield supervisor
        finally:
            supervisor.stop()
            keeper.stdin.close()
            keeper.wait()


def _take(lock: IO[str], wait: float) -> None:
    end = time.monotonic() + wait
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _owner_lives(lock) or time.monotonic() > end:
                raise AlreadyRunning("the system runs here already") from None
        time.sleep(0.1)


def _owner_lives(lock: IO[str]) -> bool:
    """Whether the process that took the lock is there; if not, its keeper is still tidying up."""
    lock.seek(0)
    pid = lock.read().strip()
    return bool(_living([int(pid)])) if pid.isdigit() else False


# -- ending processes ---------------------------------------------------------------------------------------


def stop_tree(root: int, grace: float = GRACE_SECONDS) -> None:
    """End a process and all its descendants: asked to (SIGTERM), after `grace` seconds by force."""
    known = {root, *_descendants(root)}
    _signal(known, signal.SIGTERM)
    end = time.monotonic() + grace
    while time.monotonic() < end:
        known |= {pid for old in known for pid in _descendants(old)}
        if not (known := _living(known)):
            return
        time.sleep(0.1)
    _signal(known, signal.SIGKILL)


def _processes() -> dict[int, tuple[int, str]]:
    """Every process of the machine: its parent and its state; from /proc, or `ps` where there is none."""
    if Path("/proc/self/stat").exists():
        return dict(_from_proc())
    command = ["/bin/ps", "-A", "-o", "pid=,ppid=,stat="]
    listing = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - the system's own
    return {
        int(pid): (int(parent), stat) for pid, parent, stat in map(str.split, listing.stdout.splitlines())
    }


def _from_proc() -> Iterator[tuple[int, tuple[int, str]]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # It has ended meanwhile.
            pid, _, rest = stat.read_text(errors="replace").partition(" ")
            state, parent = rest.rpartition(")")[2].split()[:2]
            yield int(pid), (int(parent), state)


def _descendants(root: int) -> set[int]:
    table = _processes()
    found, new = set[int](), {root}
    while new:
        new = {pid for pid, (parent, _) in table.items() if parent in new} - found
        found |= new
    return found


def _living(pids: Iterable[int]) -> set[int]:
    table = _processes()
    return {pid for pid in pids if pid in table and not table[pid][1].startswith("Z")}


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def keep(ids: Iterable[bytes]) -> None:
    """The keeper: learn the children's ids until the pipe ends, then end them all, the youngest first."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for pid in reversed([int(line) for line in ids]):
        if _leads(pid):
            stop_tree(pid)


def _leads(pid: int) -> bool:
    """Whether it is still the child that was started: those lead their own sessions."""
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


if __name__ == "__main__":
    keep(sys.stdin.buffer)
