"""A run's process that is stopped for ever gives its place back. Real processes; time is a number."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from uuid import uuid4

import psutil
import pytest

from msgxc.operations.worker import RUNS_SECONDS
from tasks.orphan import RUN
from tasks.worker import overdue, stopped


def test_a_run_is_overdue_once_it_was_stopped_at_every_look() -> None:
    """For longer than a run has for its end; one look at which it moved begins anew."""
    since, one, other = {}, uuid4(), uuid4()
    assert overdue(since, {one}, 100.0) == []
    assert overdue(since, {one, other}, 100.0 + RUNS_SECONDS) == []
    assert overdue(since, {one, other}, 101.0 + RUNS_SECONDS) == [one]
    assert overdue(since, {other}, 102.0 + RUNS_SECONDS) == []
    assert overdue(since, {one, other}, 103.0 + 2 * RUNS_SECONDS) == [other]
    assert since == {one: 103.0 + 2 * RUNS_SECONDS, other: 100.0 + RUNS_SECONDS}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says so")
def test_a_process_that_is_stopped_is_known_by_its_run() -> None:
    """It alone, and only while it is stopped."""
    run = uuid4()
    command = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]
    with subprocess.Popen(command, env={**os.environ, RUN: str(run)}, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            process.stdout.readline()
            assert stopped(run) == set()
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
            assert stopped(run) == {psutil.Process(process.pid)}
            assert stopped(uuid4()) == set()
        finally:
            process.kill()
