"""Keeps what a supervisor has started: writes its logs, and ends it when the supervisor is gone.

`python -m msgxc.operations.keeper HOME FD` is started by a supervisor and listens to it on a socket, FD. A
line of JSON says which process was started, or which log is to be written (the pipe that feeds it comes with
the line). When the supervisor is gone, even by kill -9, the socket ends: then every process is ended, the
youngest first, in the same order as the supervisor would. The lock of the home, which this process has
inherited, is held meanwhile, so that a new start waits for the old one's end.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from psutil import Process

from msgxc.operations.logs import Log
from msgxc.operations.processes import SYSTEM, end, marked, parent, process

CHUNK = 65_536
#: How long something gets of which only its mark is known: as long as a worker needs.
LEFT_SECONDS = 45.0
ANSWER = b"."


@dataclass(frozen=True, slots=True)
class Started:
    """A process that the supervisor has started; `first`: it is told to end before all others."""

    process: Process
    grace: float
    first: bool = False


def end_all(started: Sequence[Started], home: str) -> None:
    """End processes and all that belongs to them, the youngest first; then what else has the home's mark."""
    early = [it for it in started if it.first]
    for some in (early, *([it] for it in reversed(started) if not it.first)):
        if some:
            end([it.process for it in some], max(it.grace for it in some))
    end_left(home)


def end_left(home: str) -> int:
    """End what has the home's mark and that nobody ends any more; how many there were that nobody had
    started.

    The youngest first: what came later needs what was there before.
    """
    left = marked(**{SYSTEM: home})
    pids = {it.pid for it in left}
    roots = [it for it in left if parent(it) not in pids]
    for root in sorted(roots, key=lambda it: it.create_time(), reverse=True):
        end([root], LEFT_SECONDS)
    return len(roots)


@dataclass
class Keeper:
    """What it knows of a supervisor and its processes."""

    home: str
    control: socket.socket
    started: list[Started] = field(default_factory=list)
    logs: dict[int, Log] = field(default_factory=dict)  # by the pipe that feeds it
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _text: bytes = b""
    _pipes: list[int] = field(default_factory=list)

    def run(self) -> None:
        """Until the supervisor is gone and all that it had started has ended."""
        self.selector.register(self.control, selectors.EVENT_READ)
        while self._hear(None):
            pass
        ending = Thread(target=end_all, args=(self.started, self.home))
        ending.start()
        while ending.is_alive():
            self._hear(0.2)
        self._drain()

    def _hear(self, timeout: float | None) -> bool:
        """Wait for something and deal with it; False once the supervisor is gone."""
        there = True
        for key, _ in self.selector.select(timeout):
            if key.fileobj is self.control:
                there = self._told()
            else:
                self._copy(key.fd)
        return there

    def _copy(self, pipe: int) -> None:
        """Write what a pipe holds. It ends when nobody is left who could write."""
        try:
            data = os.read(pipe, CHUNK)
        except BlockingIOError:  # Somebody was quicker: `_drain`.
            return
        if data:
            self.logs[pipe].write(data)
        else:
            self.selector.unregister(pipe)
            self.logs.pop(pipe).close()
            os.close(pipe)

    def _drain(self) -> None:
        """Write whatever waits in the pipes now."""
        while ready := [key.fd for key, _ in self.selector.select(0) if key.fd in self.logs]:
            for pipe in ready:
                self._copy(pipe)

    def _told(self) -> bool:
        try:
            text, pipes, _, _ = socket.recv_fds(self.control, CHUNK, 32)
        except OSError:
            text, pipes = b"", []
        if not text:
            self.selector.unregister(self.control)
            return False
        self._pipes += pipes
        *lines, self._text = (self._text + text).split(b"\n")
        for line in lines:
            self._obey(json.loads(line))
        return True

    def _obey(self, order: dict[str, Any]) -> None:
        if log := order.get("log"):
            pipe = self._pipes.pop(0)
            os.set_blocking(pipe, False)
            self.logs[pipe] = Log(Path(log))
            self.selector.register(pipe, selectors.EVENT_READ)
        elif pid := order.get("pid"):
            if found := process(pid):
                self.started.append(Started(found, order["grace"], order["first"]))
        else:
            self._drain()
            with suppress(OSError):
                self.control.sendall(ANSWER)


def main(words: Sequence[str]) -> None:
    """Keep, as the first lines say. Signals are for others: this process ends last."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    home, control = words
    with socket.socket(fileno=int(control)) as told:
        Keeper(home, told).run()


if __name__ == "__main__":
    main(sys.argv[1:])
