"""No process of the system outlives the one that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from msgxc.supervise import AlreadyRunning, ChildFailed, Supervisor, supervising

#: A child that has a child of its own, in another session, and does not mind SIGTERM much.
FAMILY = """
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_DFL)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(str(grandchild.pid))
time.sleep(600)
"""
#: A process that supervises such a child until it is ended.
PARENT = f"""
import pathlib, sys, time
from msgxc.supervise import supervising
from msgxc.system import Interrupted, interruptible
home = pathlib.Path(sys.argv[1])
try:
    with interruptible(), supervising(home) as supervisor:
        child = supervisor.start("family", [sys.executable, "-c", {FAMILY!r}, str(home / "grandchild")], {{}})
        (home / "child").write_text(str(child.process.pid))
        time.sleep(600)
except (Interrupted, KeyboardInterrupt):
    pass
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_children_and_grandchildren_end_with_it(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, a closed terminal, a shutdown, kill -9: afterwards nothing is left, and it can start again."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)])
    child, grandchild = _pid(tmp_path / "child"), _pid(tmp_path / "grandchild")
    parent.send_signal(number)
    parent.wait(30)
    _until(lambda: not _lives(child) and not _lives(grandchild))
    with supervising(tmp_path):
        pass


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    """A second start says so at once, and disturbs nothing."""
    with supervising(tmp_path), pytest.raises(AlreadyRunning), supervising(tmp_path):
        pass


def test_a_child_that_fails_shows_its_last_words(tmp_path: Path) -> None:
    """Somebody who has never seen the system reads why, not where the log is."""
    with supervising(tmp_path) as supervisor:
        words = "print('the port is taken'); raise SystemExit(3)"
        child = supervisor.start("server", [sys.executable, "-c", words], os.environ)
        with pytest.raises(ChildFailed, match="the port is taken"):
            supervisor.until(child, lambda: False, 30)


def test_a_command_ends_by_itself(tmp_path: Path) -> None:
    """And is no child to be watched any more."""
    with supervising(tmp_path) as supervisor:
        supervisor.finish(_command(supervisor, "pass"), 30)
        supervisor.check()
        with pytest.raises(ChildFailed):
            supervisor.finish(_command(supervisor, "raise SystemExit(1)"), 30)


def _command(supervisor: Supervisor, code: str):
    return supervisor.start("command", [sys.executable, "-c", code], os.environ)


def _pid(file: Path) -> int:
    _until(lambda: file.exists() and file.read_text())
    return int(file.read_text())


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _until(look: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not look():
        assert time.monotonic() < end
        time.sleep(0.05)
