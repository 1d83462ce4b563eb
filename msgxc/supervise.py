"""Starts the processes of a system on this machine, has them run, and leaves none behind, however this ends.

Each child is a session of its own; what it says goes through a pipe to a keeper process, which writes it to a
log. The keeper knows the children: when this process is gone, even by kill -9, it ends them all, in good
order (operations/keeper.py). A child that ends or hangs is started again (`tend`). Whatever an earlier start
has left all the same is known by its mark, and ended before this one starts anything.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import IO

from msgxc.errors import MsgxcError
from msgxc.operations.keeper import Started, end_all, end_left
from msgxc.operations.logs import now_text
from msgxc.operations.processes import GRACE_SECONDS, PART, SYSTEM, end, marked, process
from msgxc.operations.restarts import AGAIN_AND_AGAIN, ASK_SECONDS, Restarts
from msgxc.private_files import keep_private

LOG_LINES = 15
KEEPER = (sys.executable, "-m", "msgxc.operations.keeper")
#: Its keeper is waited for: for so long when it is only looked after, for longer where its word ends a start.
SYNC_SECONDS, WORDS_SECONDS = 5.0, 30.0
#: It ends at once when all that it keeps has ended; if not, by force.
KEEPER_SECONDS = 20.0
#: Told when a supervisor's lock is held.
WHERE = "system.json"


class ChildFailed(MsgxcError):
    """A process of the system has ended, or was not ready in time; the text ends with its last lines."""

    code = "child_failed"


class AlreadyRunning(MsgxcError):
    """Another process holds the lock: the system is running, or stopping."""

    code = "already_running"


@dataclass(eq=False)
class Child:
    """One part of the system: its process of today, and how another is started."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    log: Path
    pipe: tuple[int, int]  # its output: the end that is read, the end that is written
    process: subprocess.Popen[bytes]
    restarts: Restarts
    well: Callable[[], bool] | None = None  # asked now and then; None: alive is well
    grace: float = GRACE_SECONDS
    first: bool = False
    asking: Future[bool] | None = None
    ending: Future[None] | None = None
    why: str = ""
    again: float = 0.0  # when it is to be started again, once it has ended

    def last_lines(self) -> str:
        """The end of its log."""
        with suppress(OSError):
            lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
            return "\n".join(f"  {line}" for line in lines)
        return ""

    def end_of_log(self) -> str:
        """The same, as part of a sentence."""
        return f"the end of {self.log}:\n{self.last_lines()}"

    def how_it_ended(self) -> str:
        """Its status in words."""
        status = self.process.returncode
        return f"killed by {signal.Signals(-status).name}" if status < 0 else f"status {status}"


@dataclass(slots=True)
class Supervisor:
    """The children of this process. Made by `supervising`."""

    home: Path
    logs: Path
    lock: IO[str]
    children: list[Child] = field(default_factory=list)
    ask_seconds: float = ASK_SECONDS  # how often each is asked how it is
    left: int = 0  # processes of an earlier start that had to be ended
    say: Callable[[str], None] = print
    _keeper: subprocess.Popen[bytes] | None = None
    _control: socket.socket | None = None
    _speaking: Lock = field(default_factory=Lock)
    _restarts: Restarts = field(default_factory=lambda: Restarts(time.monotonic()))
    _asking: Future[bool] | None = None
    _helpers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(32))

    def start(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str],
        *,
        well: Callable[[], bool] | None = None,
        grace: float = GRACE_SECONDS,
        first: bool = False,
    ) -> Child:
        """Start a process in the background; its output is added to logs/NAME.log.

        `well`: asks it how it is, within seconds (`tend`). `grace`: how long its end may take. `first`: it is
        told to end before all others.
        """
        log = self.logs / f"{name}.log"
        log.touch(0o600)  # Raises OSError where no log can be written.
        pipe = os.pipe()
        env = {**env, SYSTEM: str(self.home), PART: name}
        self._tell({"log": str(log)}, pipe[0])
        begun = _launch(pipe[1], command, env, f"{name} is started")
        restarts = Restarts(time.monotonic(), self.ask_seconds)
        child = Child(name, command, env, log, pipe, begun, restarts, well, grace, first)
        self.children.append(child)
        self._tell_of(child)
        return child

    def until(self, child: Child | None, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until it is ready. Raises ChildFailed when one has ended before, or it takes too long."""
        end = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > end:
                raise ChildFailed(f"not ready after {seconds:.0f} s{self._said(child)}")
            time.sleep(0.05)

    def finish(self, child: Child, seconds: float) -> None:
        """Wait for a command that ends by itself. Raises ChildFailed unless it ends well and in time."""
        try:
            status = child.process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = -1
        if status:
            raise ChildFailed(f"{child.name} failed{self._said(child)}")
        self.forget(child)

    def forget(self, child: Child) -> None:
        """It has ended, and need not run again."""
        self.children.remove(child)
        self._synced()
        _close(child.pipe)

    def dismiss(self, child: Child) -> None:
        """End it and what it has left; it does not run again."""
        self._end(child)
        child.process.wait()
        self.forget(child)

    def check(self) -> None:
        """Raise ChildFailed if one of them has failed."""
        for child in self.children:
            if child.process.poll() is not None:
                raise ChildFailed(f"{child.name} has ended{self._said(child)}")

    def tend(self) -> None:
        """Start again what has ended or hangs, and the keeper. Called about once a second; never waits."""
        now = time.monotonic()
        self._tend_keeper(now)
        for child in self.children:
            self._tend(child, now)

    def stop(self) -> None:
        """End them all, the youngest first. May be called twice."""
        self._helpers.shutdown(wait=False, cancel_futures=True)
        started = [
            Started(found, child.grace, child.first)
            for child in self.children
            if (found := process(child.process.pid))
        ]
        end_all(started, str(self.home))
        for child in self.children:
            child.process.wait()
        if self._control:
            self._control.close()
        if self._keeper:
            try:
                self._keeper.wait(KEEPER_SECONDS)
            except subprocess.TimeoutExpired:  # It hangs.
                self._keeper.kill()
                self._keeper.wait()
        while self.children:
            _close(self.children.pop().pipe)

    # -- one part

    def _tend(self, child: Child, now: float) -> None:
        """What is to be done about it now: it is being ended, has ended, or is asked how it is."""
        if child.ending:
            if not child.ending.done():
                return
            child.ending = None
            child.process.wait()
        if child.process.poll() is not None:
            self._revive(child, now)
        elif child.well and child.asking is None and child.restarts.due(now):
            child.asking = self._helpers.submit(child.well)
        elif child.asking and child.asking.done():
            well = child.asking.exception() is None and child.asking.result()
            child.asking = None
            if child.restarts.answered(well, now):
                child.why = "it no longer answered"
                child.ending = self._helpers.submit(self._end, child)

    def _end(self, child: Child) -> None:
        """End what is there of a part."""
        found = process(child.process.pid)
        end(
            [found] if found else [],
            child.grace,
            lambda: marked(**{SYSTEM: str(self.home), PART: child.name}),
        )

    def _revive(self, child: Child, now: float) -> None:
        """Have an ended part's leftovers end, then start it again when its time has come."""
        if not child.again:
            child.why = child.why or f"it had ended ({child.how_it_ended()})"
            child.again = child.restarts.ended(now)
            if child.restarts.hopeless:
                self.say(
                    f"{child.name} ends again and again ({AGAIN_AND_AGAIN} times; {child.why}). It is still "
                    f"tried, ever more rarely; the others go on{self._said(child, SYNC_SECONDS)}"
                )
            child.ending = self._helpers.submit(self._end, child)
        elif now >= child.again:
            child.process = _launch(
                child.pipe[1], child.command, child.env, f"{child.name}: {child.why}; started again"
            )
            child.restarts.started(now)
            child.asking = None
            self._tell_of(child)
            if child.restarts.failures < AGAIN_AND_AGAIN:
                self.say(f"{child.name}: {child.why}; started again")
            child.again, child.why = 0.0, ""

    def _said(self, child: Child | None, seconds: float = WORDS_SECONDS) -> str:
        if child is None:
            return ""
        self._synced(seconds)
        return f"; {child.end_of_log()}"

    # -- the keeper

    def _tend_keeper(self, now: float) -> None:
        """It too is started again when it has ended, or no longer writes."""
        assert self._keeper
        if self._keeper.poll() is not None:
            self.say(f"keeper: it had ended (status {self._keeper.returncode}); started again")
            self.keep()
        elif self._asking is None and self._restarts.due(now):
            self._asking = self._helpers.submit(self._synced)
        elif self._asking and self._asking.done():
            well, self._asking = self._asking.result(), None
            if self._restarts.answered(well, now):
                self._keeper.kill()

    def keep(self) -> None:
        """Start a keeper, and tell it of everything that runs."""
        if self._control:
            self._control.close()
        mine, its = socket.socketpair()
        mine.settimeout(SYNC_SECONDS)
        with its:
            self._keeper = subprocess.Popen(  # noqa: S603 - our own command
                [*KEEPER, str(self.home), str(its.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[self.lock.fileno(), its.fileno()],
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if name not in {SYSTEM, PART}},
            )
        self._control = mine
        self._restarts = Restarts(time.monotonic(), self.ask_seconds, up=True)
        for child in self.children:
            self._tell({"log": str(child.log)}, child.pipe[0])
            self._tell_of(child)

    def _tell_of(self, child: Child) -> None:
        self._tell({"pid": child.process.pid, "grace": child.grace, "first": child.first})

    def _tell(self, order: Mapping[str, object], *pipes: int) -> None:
        """Tell the keeper. If that one is gone, the next is told everything (`tend`)."""
        assert self._control
        with suppress(OSError):
            socket.send_fds(self._control, [json.dumps(order).encode() + b"\n"], pipes)

    def _synced(self, seconds: float = SYNC_SECONDS) -> bool:
        """Wait until all that the children have said stands in the logs; False when that takes longer."""
        with self._speaking, suppress(OSError):
            if self._control:
                self._control.settimeout(seconds)
            self._tell({"sync": True})
            return bool(self._control and self._control.recv(1))
        return False


def _close(pipe: tuple[int, int]) -> None:
    for end_of_it in pipe:
        os.close(end_of_it)


def _launch(out: int, command: Sequence[str], env: Mapping[str, str], note: str) -> subprocess.Popen[bytes]:
    """Start a process that writes there; a line before says why."""
    os.write(out, b"--- %s %s\n" % (now_text(), note.encode()))
    return subprocess.Popen(  # noqa: S603 - our own commands, no shell
        command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=dict(env), start_new_session=True
    )


@contextmanager
def supervising(home: Path, *, wait: float = 30.0) -> Iterator[Supervisor]:
    """A supervisor that owns `home`, and has waited for an earlier one's children to end, at most `wait` s.

    Whatever of an earlier start is there all the same is ended. Raises AlreadyRunning when another one is at
    work.
    """
    keep_private(home)
    home = home.resolve()
    logs = home / "log"
    logs.mkdir(exist_ok=True)
    with (home / "system.lock").open("a+") as lock:
        _take(lock, wait, home / WHERE)
        lock.truncate(0)
        print(os.getpid(), file=lock, flush=True)
        supervisor = Supervisor(home, logs, lock, left=end_left(str(home)))
        try:
            supervisor.keep()
            yield supervisor
        finally:
            supervisor.stop()


def _take(lock: IO[str], wait: float, where: Path) -> None:
    end = time.monotonic() + wait
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _owner(lock)
            if process(owner) or time.monotonic() > end:
                raise AlreadyRunning(f"the system runs here already: {_where(owner, where)}") from None
        time.sleep(0.1)


def _owner(lock: IO[str]) -> int:
    """Who took the lock. If that process is gone, its keeper is still tidying up."""
    lock.seek(0)
    pid = lock.read().strip()
    return int(pid) if pid.isdigit() else 0


def _where(owner: int, where: Path) -> str:
    """Of which folder it is, its process, and its console as soon as it is up."""
    said = f"in {where.parent}" + (f" (process {owner})" if owner else "")
    try:
        return f"{said}, its console is {json.loads(where.read_text())['url']}"
    except (OSError, ValueError, KeyError):
        return f"{said}, and is just starting or stopping"
