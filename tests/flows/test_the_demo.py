"""make demo, beside a system that runs already. It writes to everyone, so it stands after the other tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from flow_console import until

from msgxc.settings import ROOT
from msgxc.system import System


def test_the_other_half_of_the_small_compose_file(system: System, tmp_path: Path) -> None:
    """`python -m msgxc.system --server URL`, with a Prefect server that runs elsewhere: it starts its half,
    says so, and ends in good order."""
    log = tmp_path / "log"
    with log.open("wb") as out:
        half = subprocess.Popen(
            [sys.executable, "-m", "msgxc.system", "--server", system.url],
            cwd=ROOT,
            env={**os.environ, "MSGXC_HOME": str(tmp_path / "home"), "MSGXC_SANDBOX": "true"},
            stdout=out,
            stderr=out,
        )
    until(lambda: "Ctrl-C stops everything" in log.read_text() or half.poll() is not None, 120)
    assert f"Console: {system.url}" in log.read_text()
    assert (tmp_path / "home" / "system.json").stat().st_size  # what docker asks about
    half.send_signal(signal.SIGTERM)
    assert half.wait(60) == 0
    assert log.read_text().endswith("Stopped.\n")


def test_the_demo_uses_the_system_that_runs_here(system: System) -> None:
    """It imports the example people, runs a campaign and its fallback, and prints a report that adds up."""
    done = subprocess.run(
        [sys.executable, "-m", "msgxc.demo"],
        cwd=ROOT,
        env={**os.environ, "MSGXC_HOME": str(system.settings.home), "MSGXC_SANDBOX": "true"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Using the system that runs at {system.url}" in done.stdout
    for line in (
        "5,000 rows",
        "Fallback by email",
        "reached by the fallback",
        "no_consent",
        "Unregistered",
        "Done in",
    ):
        assert line in done.stdout, done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    system.check()
