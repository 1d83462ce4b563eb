"""How processes are ended: who has an order for its own children gets the time for it; nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from msgxc.operations.processes import end, families, lives, marked, process, tell
from msgxc.operations.signals import told_to_end

#: Has a child; told to end, it lets the child finish first, and writes down how that one ended.
ORDERLY = """
import pathlib, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(2)"])
def told(*_):
    pathlib.Path(sys.argv[1]).write_text(str(child.wait()))
    raise SystemExit
signal.signal(signal.SIGTERM, told)
print(child.pid, flush=True)
time.sleep(600)
"""
#: Has a child that does not mind SIGTERM; does not either.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""
Start = Callable[..., tuple[psutil.Process, psutil.Process]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a family: the parent and its child. None of it outlives the test."""
    begun: list[subprocess.Popen[str]] = []
    children: list[psutil.Process] = []

    def go(code: str, *words: str, **env: str) -> tuple[psutil.Process, psutil.Process]:
        command = [sys.executable, "-c", code, *words]
        parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **env})
        begun.append(parent)
        assert parent.stdout
        children.append(psutil.Process(int(parent.stdout.readline())))
        return psutil.Process(parent.pid), children[-1]

    yield go
    for child in children:
        if lives(child):
            child.kill()
    for parent in begun:
        parent.kill()
        parent.communicate()


def test_only_the_root_is_told(start: Start, tmp_path: Path) -> None:
    """It ends its child in its own way: SIGTERM to all at once would have been the child's end."""
    parent, child = start(ORDERLY, str(tmp_path / "status"))
    end([parent], 60)
    assert (tmp_path / "status").read_text() == "0"
    assert not lives(parent)
    assert not lives(child)


def test_who_does_not_listen_is_ended_by_force(start: Start) -> None:
    """After its time, with all that it has started, in whatever session."""
    parent, child = start(STUBBORN)
    end([parent], 0.5)
    assert not lives(parent)
    assert not lives(child)


def test_who_is_stopped_hears_it(start: Start, tmp_path: Path) -> None:
    """A process that was frozen (SIGSTOP) is woken to end in good order."""
    parent, _ = start(ORDERLY, str(tmp_path / "status"))
    tell([parent], signal.SIGSTOP)
    end([parent], 60)
    assert (tmp_path / "status").read_text() == "0"


def test_a_mark_finds_what_has_lost_its_parent(start: Start) -> None:
    """kill -9 of the parent: the child is nobody's, and still known by what it has inherited."""
    mark = str(time.time_ns())
    parent, child = start(STUBBORN, MSGXC_SYSTEM=mark)
    _, stranger = start(STUBBORN, MSGXC_SYSTEM=mark + "0")
    assert marked(MSGXC_SYSTEM=mark) == {parent, child} == families([parent])
    parent.kill()
    parent.wait(60)
    assert marked(MSGXC_SYSTEM=mark) == {child}
    end([], 0.5, lambda: marked(MSGXC_SYSTEM=mark))
    assert not lives(child)
    assert lives(stranger)


def test_an_id_is_no_process() -> None:
    """A process that is gone, or a zombie, is none."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    known = psutil.Process(gone.pid)
    while lives(known):
        time.sleep(0.05)
    assert process(gone.pid) is None  # a zombie: nobody has waited for it
    gone.wait()
    assert process(gone.pid) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("inherited", [signal.SIG_IGN, signal.SIG_DFL])
def test_whatever_was_inherited(number: signal.Signals, inherited: signal.Handlers) -> None:
    """A shell's background job ignores SIGINT, a parent may hold signals back: who is to end hears it.
    But nohup's SIGHUP stays ignored. Afterwards all is as it was."""
    before = signal.signal(number, inherited)
    held = signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        with told_to_end() as told:
            os.kill(os.getpid(), number)
            ignored = number == signal.SIGHUP and inherited == signal.SIG_IGN
            assert told == ([] if ignored else [number])
        assert signal.getsignal(number) == inherited
        assert number in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        signal.signal(number, before)
