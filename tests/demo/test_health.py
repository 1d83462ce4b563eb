"""What docker asks a process, and what telling Prefect says when it cannot: one line, without servers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from msgxc.health import seen_file
from msgxc.settings import ROOT, read_settings

SECRET = "name:a-password-that-is-nobodys-business"


def run(module: str, *words: str, **environment: object) -> subprocess.CompletedProcess[str]:
    """A module as a command, with these variables."""
    env = {**os.environ, **{name: str(value) for name, value in environment.items()}}
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("age", "status"), [(0.0, 0), (60.0, 1), (None, 1)])
def test_a_reconciler_is_at_work_when_it_has_looked_lately(
    tmp_path: Path, age: float | None, status: int
) -> None:
    """A look within 30 s is well; an older one, and none at all, is one line and 1."""
    file = seen_file(read_settings(home=tmp_path))
    if age is not None:
        file.touch()
        os.utime(file, (file.stat().st_atime - age, file.stat().st_mtime - age))
    found = run("msgxc.health", "reconciler", MSGXC_HOME=tmp_path)
    assert found.returncode == status
    assert len(found.stderr.splitlines()) == status


@pytest.mark.parametrize("what", ["worker", "services"])
def test_who_does_not_answer_is_not_at_work(what: str) -> None:
    """Nothing listens where the worker, or Redis, should be: one line, no address in it."""
    found = run(
        "msgxc.health",
        what,
        PREFECT_WORKER_WEBSERVER_PORT=9,
        PREFECT_REDIS_MESSAGING_URL=f"redis://{SECRET}@127.0.0.1:9/0",
    )
    assert found.returncode == 1
    assert len(found.stderr.splitlines()) == 1
    assert "password" not in found.stderr


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:9/api", "nonsense"])
def test_telling_a_prefect_that_is_not_there_is_one_line(url: str) -> None:
    """`python -m msgxc.deploying` ends with 1 and names the setting; the login is not in it."""
    found = run("msgxc.deploying", PREFECT_API_URL=url, PREFECT_API_AUTH_STRING=SECRET)
    assert found.returncode == 1
    assert len(found.stderr.splitlines()) == 1
    assert "PREFECT_API_URL" in found.stderr
    assert "password" not in found.stderr
