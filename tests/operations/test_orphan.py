"""A run's process that notices that its worker is gone, whenever that one died. Real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from machine_fixture import process_with_a_name

from msgxc.settings import ROOT
from tasks.orphan import RUN, WORKER

#: A run's process, of which it is seen how it ends.
MINDS = """
import signal, sys, threading, time
from tasks import orphan
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *_: print("told", flush=True))
orphan.start()
print("up", flush=True)
while True:
    time.sleep(600)
"""


@contextmanager
def _run(code: str, env: Mapping[str, str], *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", code, *words]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **env}, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_a_worker_that_died_before_its_run_had_begun_is_missed() -> None:
    """The run is inherited by another process before it has looked at who has started it."""
    with process_with_a_name() as (name, worker):
        worker.kill()
        worker.wait()
        with _run(MINDS, {RUN: "one", WORKER: name}) as run:
            assert run.wait(120) == -signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_a_run_ends_when_its_worker_does_and_not_before() -> None:
    """Also when that one does not end by a signal that anybody hears."""
    with process_with_a_name() as (name, worker), _run(MINDS, {RUN: "one", WORKER: name}) as run:
        assert run.stdout
        assert run.stdout.readline() == "up\n"
        with pytest.raises(subprocess.TimeoutExpired):
            run.wait(2)
        worker.kill()
        assert run.wait(120) == -signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_a_run_that_hears_no_signal_is_ended_by_force() -> None:
    """It is told first."""
    code = MINDS.replace(
        "orphan.start()",
        "import os; from functools import partial\n"
        "threading.Thread(target=orphan.mind, args=(partial(os.kill, os.getpid()),),"
        " kwargs={'grace': 15.0}).start()",
    )
    with process_with_a_name() as (name, worker), _run(code, {RUN: "one", WORKER: name}, "deaf") as run:
        assert run.stdout
        assert run.stdout.readline() == "up\n"
        worker.kill()
        assert run.wait(120) == -signal.SIGKILL
        assert run.stdout.read().split("\n")[-2:] == ["told", ""]


def test_what_is_no_run_minds_nobody() -> None:
    """Who imports the same code at a terminal is not ended by it."""
    env = {name: value for name, value in os.environ.items() if name != RUN}
    code = "from tasks import orphan; orphan.start(); assert not orphan.is_orphan()"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, check=False).returncode == 0


def test_a_run_of_another_worker_minds_who_has_started_it() -> None:
    """Prefect's own worker names nobody: the run is an orphan once another process has inherited it."""
    starter = (
        "import subprocess, sys, os; p = subprocess.Popen([sys.executable, '-c', sys.argv[1]]); p.wait()"
    )
    with _run(starter, {RUN: "one"}, MINDS) as between:
        assert between.stdout
        assert between.stdout.readline() == "up\n"
        between.kill()
        between.wait()
        assert "worker of this run is gone" in between.stdout.read()  # Ends when the run has.
