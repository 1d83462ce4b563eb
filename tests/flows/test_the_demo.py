"""make demo, beside a system that runs already. It writes to everyone, so it stands after the other tests."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest
from flow_console import PrefectConsole, until

from msgxc.demo import EXAMPLES, PrefectApi
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
            env={
                **os.environ,
                "MSGXC_HOME": str(tmp_path / "home"),
                "MSGXC_SANDBOX": "true",
                "PREFECT_API_AUTH_STRING": system.login,
            },
            stdout=out,
            stderr=out,
        )
    until(lambda: "Ctrl-C stops everything" in log.read_text() or half.poll() is not None, 400)
    assert f"Console: {system.url}\n" in log.read_text()
    assert system.login.partition(":")[2] not in log.read_text()  # docker keeps what is said here
    assert (tmp_path / "home" / "system.json").stat().st_size  # what docker asks about
    half.send_signal(signal.SIGTERM)
    assert half.wait(240) == 0
    assert log.read_text().endswith("Stopped.\n")


@pytest.fixture(scope="module")
def done(system: System) -> subprocess.CompletedProcess[str]:
    """The demo, at its end."""
    return subprocess.run(
        [sys.executable, "-m", "msgxc.demo"],
        cwd=ROOT,
        env={**os.environ, "MSGXC_HOME": str(system.settings.home), "MSGXC_SANDBOX": "true"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_the_demo_uses_the_system_that_runs_here(
    system: System, done: subprocess.CompletedProcess[str]
) -> None:
    """It imports the example people, runs a campaign and its fallback, and prints a report that adds up."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Using the system that runs at {system.url}" in done.stdout
    assert f"{system.url}/open/v2/runs/flow-run/" in done.stdout  # one click opens the run, with the login
    assert system.login in done.stdout
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


def test_the_bar_of_the_demo_follows_its_run(
    console: PrefectConsole, done: subprocess.CompletedProcess[str]
) -> None:
    """How far a run is stands under a key of its campaign's own; the demo finds it by the run."""
    found = re.search("/runs/flow-run/([0-9a-f-]+)", done.stdout)
    assert found
    assert PrefectApi(console.http).progress(found[1]) == 100


def test_the_demo_leaves_nobody_outside_of_the_recipient_tables(
    system: System, done: subprocess.CompletedProcess[str]
) -> None:
    """Of 5,000 people no name, email address, cell number or token is in the console's output, Prefect's
    database, the logs, or any other table of the store, whatever it is called and however it is spelled. Left
    out: what the providers have got (the sandbox's folder), and the rows that were refused."""
    home, store = system.settings.home, system.settings.home / "msgxc.sqlite3"
    given = {home / "example-refused.csv", home / "refused.csv", home / "people.jsonl"}
    files = [
        path
        for path in home.rglob("*")
        if path.is_file()
        and path not in given
        and not path.name.startswith(store.name)
        and not path.is_relative_to(home / "sandbox")
    ]
    assert {"prefect.db", "gateway.log", "worker.log"} <= {path.name for path in files}
    written = [(done.stdout + done.stderr).encode(), _other_tables(store), *(f.read_bytes() for f in files)]
    everything, names, addresses = b"\n".join(written), set(), set()
    with gzip.open(EXAMPLES / "people.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            with suppress(ValueError):  # one line is no JSON, on purpose
                person = json.loads(line)
                names.add(str(person.get("name", "")).strip())
                addresses.update(str(person[it]) for it in ("email", "cell") if person.get(it))
                tokens = (
                    it.get("token") or it["endpoint"].rpartition("/")[2] for it in person.get("devices", ())
                )
                addresses.update(map(str, tokens))
    assert len(addresses) > 10_000
    assert addresses & _words((home / "sandbox" / "journal.jsonl").read_bytes())  # where it is to be found
    assert "spring-sale" in _words(everything)
    assert not addresses & _words(everything)
    spelled = {form for name in names if len(name) > 4 for form in (name, json.dumps(name)[1:-1])}
    assert not {form for form in spelled if form.encode() in everything}


def _words(text: bytes) -> set[str]:
    """All that could be an address or a token."""
    return {word.decode() for word in re.findall(rb"[A-Za-z0-9_.+@-]{6,}", text)}


def _other_tables(store: Path) -> bytes:
    """All rows of the store but those of the recipients."""
    with closing(sqlite3.connect(store)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        assert "recipients" in tables
        rows = [
            row for table in tables if table != "recipients" for row in db.execute(f"SELECT * FROM {table}")
        ]
    return b"\n".join(
        value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row
    )
