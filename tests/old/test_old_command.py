"""msgxc import-old: what it prints, how it fails, and what a kill -9 in the middle costs: nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from old_rows import ANN, write
from test_old_import import check_messages, check_people, check_threads, everything
from typer.testing import CliRunner

from msgxc.cli import app
from msgxc.settings import read_settings
from msgxc.wiring import Exchange, open_exchange

KEY = "a key that both exchanges have"


def command(home: Path, *arguments: object, failpoints: str = "") -> subprocess.CompletedProcess[str]:
    """One command in a process of its own."""
    env = {**os.environ, "MSGXC_HOME": str(home), "MSGXC_SECRET_KEY": KEY, "COLUMNS": "160"}
    run = [sys.executable, "-c", "from msgxc.cli import app; app()", *map(str, arguments)]
    return subprocess.run(
        run,
        env=env | {"MSGXC_FAILPOINTS": failpoints},
        cwd=home.parent,
        text=True,
        capture_output=True,
        check=False,
    )


def stored(home: Path, look: object) -> object:
    """What `look` sees of the exchange at home."""

    async def opened() -> object:
        settings = read_settings(_env_file=None, home=home, secret_key=KEY)
        async with open_exchange(settings) as exchange:
            return await look(exchange)  # type: ignore[operator]

    return asyncio.run(opened())


async def checked(exchange: Exchange) -> None:
    """All is as the rows say."""
    await check_people(exchange)
    await check_threads(exchange)
    await check_messages(exchange)


@pytest.mark.parametrize(
    "where",
    ["old_people=kill", "old_people=kill@2", "old_thread=kill@2", "old_message=kill", "old_message=kill@5"],
)
def test_killed_and_started_again(tmp_path: Path, where: str) -> None:
    """It ends as an import that nobody has killed."""
    folder = write(tmp_path / "old")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for home in (killed, whole):
        assert command(home, "schema", "apply").returncode == 0
    assert command(killed, "import-old", folder, failpoints=where).returncode == -signal.SIGKILL
    again = command(killed, "import-old", folder)
    assert again.returncode == 0, again.stderr
    stored(killed, checked)
    assert command(whole, "import-old", folder).returncode == 0
    assert stored(killed, everything) == stored(whole, everything)


def test_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts for each table, reasons, notes; nothing of any row; a dry run says that it was one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MSGXC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    folder = write(tmp_path / "old")

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, [*arguments])
        assert result.exit_code == 0, result.output
        return result.output

    run("schema", "apply")
    dry = run("import-old", str(folder), "--dry-run")
    assert dry.startswith("32 rows: ")
    assert "dry run: nothing was written" in dry
    assert CliRunner().invoke(app, ["people", "show", ANN]).exit_code == 1
    counts = json.loads(run("import-old", str(folder), "--dry-run", "--json"))
    assert list(counts) == ["tables", "reasons", "notes", "report", "dry_run"]  # docs/cli.md
    assert sum(one["rows"] for one in counts["tables"]) == 32
    told = run("import-old", str(folder), "--report", "told.csv")
    assert "note: nobody was given a consent" in told
    assert "note: 1 messages wait for their time here now" in told
    assert "all of it, with file, line, column and reason: told.csv" in told
    assert (tmp_path / "told.csv").stat().st_mode & 0o777 == 0o600
    for personal in ("never-to-be-seen", "@example.com", "4155550100", "abab", "Good morning"):
        assert personal not in told
    assert "consents     none" in run("people", "show", ANN)
    for wrong in (
        [],
        [str(tmp_path / "nowhere")],
        [str(folder), "--cassandra", "host"],
        [str(folder / "users.jsonl")],
    ):
        result = CliRunner().invoke(app, ["import-old", *wrong])
        assert result.exit_code in (1, 2)
        assert result.stderr.startswith("msgxc: ")
