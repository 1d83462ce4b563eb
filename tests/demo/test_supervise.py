"""No process of the system outlives the one that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from msgxc import supervise
from msgxc.operations.keeper import CHUNK
from msgxc.supervise import AlreadyRunning, ChildFailed, Supervisor, supervising

#: A child that has a child of its own, in another session, and does not mind SIGTERM much.
FAMILY = """
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_DFL)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(str(grandchild.pid))
time.sleep(600)
"""
#: Whoever started the tests may have ignored a hangup (nohup), and that is inherited.
HEARD = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
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
    with _parent(tmp_path) as (parent, child, grandchild):
        parent.send_signal(number)
        parent.wait(60)
        _until(lambda: not _lives(child) and not _lives(grandchild))
        with supervising(tmp_path) as supervisor:
            assert supervisor.left == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_background_shell_changes_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """`make up &` in a script ignores SIGINT for all that it starts: it is heard all the same."""
    with _parent(tmp_path, "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n") as (
        parent,
        child,
        _,
    ):
        parent.send_signal(number)
        parent.wait(60)
        _until(lambda: not _lives(child))


def test_an_earlier_start_is_tidied_up(tmp_path: Path) -> None:
    """Both the supervisor and its keeper are killed: the children go on, until the next start ends them."""
    with _parent(tmp_path) as (parent, child, grandchild):
        for keeper in psutil.Process(parent.pid).children():
            if "msgxc.operations.keeper" in keeper.cmdline():
                keeper.kill()
        parent.kill()
        parent.wait(60)
        assert _lives(child)
        with supervising(tmp_path) as supervisor:
            assert supervisor.left == 1
            assert not _lives(child)
            assert not _lives(grandchild)


@contextmanager
def _parent(home: Path, before: str = "") -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    """A supervising process with its child and grandchild; killed at the end, if they are still there."""
    parent = subprocess.Popen([sys.executable, "-c", HEARD + before + PARENT, str(home)])
    try:
        yield parent, _pid(home / "child"), _pid(home / "grandchild")
    finally:
        parent.kill()
        parent.wait()
        for file in (home / "child", home / "grandchild"):
            with suppress(OSError, ValueError):
                os.kill(int(file.read_text()), signal.SIGKILL)


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    """A second start says so at once, and where the other runs; it disturbs nothing."""
    (tmp_path / "system.json").write_text('{"url": "http://127.0.0.1:4200"}')
    where = f"in {tmp_path} \\(process {os.getpid()}\\).*http://127.0.0.1:4200"
    with supervising(tmp_path), pytest.raises(AlreadyRunning, match=where), supervising(tmp_path):
        pass
    (tmp_path / "system.json").unlink()
    with supervising(tmp_path), pytest.raises(AlreadyRunning, match="just starting"), supervising(tmp_path):
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


SERVE = "import time; print('at work', flush=True); time.sleep(600)"


def test_what_ends_is_started_again(tmp_path: Path) -> None:
    """kill -9 of a part: another takes its place; console and log say so, and the log keeps what was."""
    with supervising(tmp_path) as supervisor:
        said = _listen(supervisor)
        child = supervisor.start("server", [sys.executable, "-c", SERVE], os.environ)
        first = child.process
        _until(lambda: "at work" in child.log.read_text())
        first.kill()
        _tended(
            supervisor, lambda: child.process is not first and child.log.read_text().count("at work") == 2
        )
        assert said == ["server: it had ended (killed by SIGKILL); started again"]
        started, _, again, _ = child.log.read_text().splitlines()
        assert started.endswith("server is started")
        assert again.endswith("server: it had ended (killed by SIGKILL); started again")


def test_what_it_leaves_ends_first(tmp_path: Path) -> None:
    """A killed part's own children are ended before another takes its place: they may hold its port."""
    with supervising(tmp_path) as supervisor:
        _listen(supervisor)
        command = [sys.executable, "-c", FAMILY, str(tmp_path / "grandchild")]
        child = supervisor.start("family", command, os.environ)
        left, first = _pid(tmp_path / "grandchild"), child.process
        first.kill()
        _tended(supervisor, lambda: child.process is not first)
        assert not _lives(left)


def test_what_hangs_is_started_again(tmp_path: Path) -> None:
    """A part that no longer answers (SIGSTOP) is ended, and another takes its place."""
    beat = tmp_path / "beat"
    code = f"import pathlib, time\nwhile True: pathlib.Path({str(beat)!r}).touch(); time.sleep(.01)"

    def well() -> bool:
        return time.time() - beat.stat().st_mtime < 5

    with supervising(tmp_path) as supervisor:
        supervisor.ask_seconds = 1.0
        said = _listen(supervisor)
        child = supervisor.start("gateway", [sys.executable, "-c", code], os.environ, well=well)
        first = child.process
        _tended(supervisor, lambda: child.restarts.up)
        first.send_signal(signal.SIGSTOP)
        _tended(supervisor, lambda: child.process is not first and child.restarts.up)
        assert said == ["gateway: it no longer answered; started again"]


def test_what_ends_again_and_again_is_one_sentence(tmp_path: Path) -> None:
    """It says why, and that the others go on; and they do."""
    with supervising(tmp_path) as supervisor:
        said = _listen(supervisor)
        other = supervisor.start("other", [sys.executable, "-c", SERVE], os.environ)
        words = "print('the port is taken'); raise SystemExit(3)"
        child = supervisor.start("server", [sys.executable, "-c", words], os.environ)
        _tended(supervisor, lambda: any("again and again" in line for line in said))
        assert "the others go on" in said[-1]
        assert "the port is taken" in said[-1]
        assert child.restarts.failures == 5
        assert other.process.poll() is None


def test_the_keeper_is_kept_too(tmp_path: Path) -> None:
    """kill -9 of the keeper, and a keeper that hangs: another writes the logs on. Lost is only what that one
    had in hand: read, and not yet written."""
    code = "import itertools, time\nfor n in itertools.count(): print(n, flush=True); time.sleep(.001)"
    others = _keepers()  # of systems that other tests share
    with supervising(tmp_path) as supervisor:
        supervisor.ask_seconds = 0.1
        _listen(supervisor)
        child = supervisor.start("counter", [sys.executable, "-c", code], os.environ)
        for number in (signal.SIGKILL, signal.SIGSTOP):
            _until(lambda: child.log.exists() and len(child.log.read_text().splitlines()) > 100)
            (keeper,) = _keepers() - others
            keeper.send_signal(number)
            _tended(supervisor, lambda keeper=keeper: len(_keepers() - others - {keeper}) == 1)
            _until(lambda keeper=keeper: keeper not in _keepers())
            before = len(child.log.read_text())
            _until(lambda before=before: len(child.log.read_text()) > before + 1000)
        numbers = [int(line) for line in child.log.read_text().splitlines()[1:-1] if line.isdigit()]
        steps = Counter(later - one for one, later in pairwise(numbers))
        assert steps[1] >= len(numbers) - 3
        assert min(steps) > 0
        assert max(steps) < CHUNK


def test_a_keeper_that_hangs_holds_up_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped (SIGSTOP) before its system ends: it is ended by force."""
    monkeypatch.setattr(supervise, "KEEPER_SECONDS", 1.0)
    others = _keepers()
    with supervising(tmp_path) as supervisor:
        supervisor.start("part", [sys.executable, "-c", SERVE], os.environ)
        (keeper,) = _keepers() - others
        keeper.send_signal(signal.SIGSTOP)
    assert not _lives(keeper.pid)


def _keepers() -> set[psutil.Process]:
    return {
        it
        for it in psutil.Process().children()
        if it.status() != psutil.STATUS_ZOMBIE and "msgxc.operations.keeper" in it.cmdline()
    }


def _listen(supervisor: Supervisor) -> list[str]:
    said: list[str] = []
    supervisor.say = said.append
    return said


def _tended(supervisor: Supervisor, look: Callable[[], object]) -> None:
    """Tend the system until it is so."""

    def tend() -> object:
        supervisor.tend()
        return look()

    _until(tend)


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
    end = time.monotonic() + 90
    while not look():
        assert time.monotonic() < end
        time.sleep(0.05)
