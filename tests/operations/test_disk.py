"""A disk that takes nothing, a home that is none: one sentence from every program."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from msgxc import ids
from msgxc.campaign import Audience, CampaignSpec, Everyone
from msgxc.ledger import Campaign, Seal
from msgxc.settings import ROOT, read_settings
from msgxc.wiring import apply_schema, open_exchange

PROGRAM = [str(Path(sys.executable).with_name("msgxc"))]
PROGRAMS = [
    [*PROGRAM, "campaigns", "list"],
    [*PROGRAM, "schema", "apply"],
    [sys.executable, "-m", "msgxc.system"],
    [sys.executable, "-m", "msgxc.real"],
    [sys.executable, "-m", "msgxc.demo"],
    [sys.executable, "-m", "msgxc.reconciling"],
    [sys.executable, "-m", "msgxc.gateway"],
]


def run(command: list[str], home: Path, **more: object) -> subprocess.CompletedProcess[str]:
    """A program with that home."""
    env = {**os.environ, "MSGXC_HOME": str(home), "MSGXC_SANDBOX": "true", "MSGXC_GATEWAY_PORT": "0"}
    return subprocess.run(
        command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, **more
    )


@pytest.mark.parametrize("command", PROGRAMS, ids=lambda it: it[-1].rpartition(".")[2])
def test_a_file_in_place_of_the_home(tmp_path: Path, command: list[str]) -> None:
    """One line that names it, status 1, no traceback."""
    (tmp_path / "file").touch()
    home = tmp_path / "file"
    done = run(command, home)
    assert done.returncode == 1
    (line,) = (done.stdout + done.stderr).splitlines()
    assert str(home) in line


@pytest.mark.parametrize("command", PROGRAMS[2:5], ids=lambda it: it[-1].rpartition(".")[2])
@pytest.mark.parametrize("templates", ["nowhere", "a-file"])
def test_templates_that_are_not_there(tmp_path: Path, command: list[str], templates: str) -> None:
    """One line that names the setting, before anything is started: the form would be empty."""
    (tmp_path / "a-file").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MSGXC_TEMPLATES", str(tmp_path / templates))
        done = run(command, tmp_path / "home")
    assert done.returncode == 1
    assert "MSGXC_TEMPLATES: there is no folder" in done.stdout + done.stderr
    assert len((done.stdout + done.stderr).splitlines()) == 1


def _takes_nothing() -> None:
    """Every write fails from now on, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def test_a_start_without_room_is_one_sentence(tmp_path: Path) -> None:
    """`make up` on a disk that takes nothing says so, and ends."""
    done = run([sys.executable, "-m", "msgxc.system"], tmp_path / "home", preexec_fn=_takes_nothing)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert len((done.stdout + done.stderr).splitlines()) == 1


async def _campaign(home: Path, copy: Path) -> UUID:
    """A campaign to one person in a store that was closed; in `copy` the same, its writers killed."""
    settings = read_settings(_env_file=None, home=home, bus="memory")
    await apply_schema(settings)
    async with open_exchange(settings) as exchange:
        ledger, uid = exchange.store.ledger, uuid4()
        made = Campaign(
            ids.campaign_id(exchange.key, "full"),
            CampaignSpec(name="full", template="welcome", audience=Audience(to=Everyone())),
            1,
            datetime.now(UTC),
        )
        await ledger.create_sealed(replace(made, seal=Seal(1, 7)), [(0, uid)])
        shutil.copytree(home, copy, ignore=shutil.ignore_patterns("*-shm"))
    assert (copy / "msgxc.sqlite3-wal").stat().st_size
    return uid


async def test_what_only_reads_needs_no_room(tmp_path: Path) -> None:
    """Nothing runs, and the disk takes nothing: reports, lists and reasons come all the same, also of what is
    in the log alone; a command that writes says in one sentence that it cannot."""
    homes = closed, killed = tmp_path / "closed", tmp_path / "killed"
    uid = await _campaign(closed, killed)
    for home in homes:
        for said, command in {
            "full": ["campaigns", "list"],
            "the whole audience": ["campaigns", "report", "full"],
            "full: ": ["why", "full", str(uid)],
        }.items():
            done = await asyncio.to_thread(run, [*PROGRAM, *command], home, preexec_fn=_takes_nothing)
            assert (done.returncode, done.stderr) == (0, "")
            assert said in done.stdout
        wrote = await asyncio.to_thread(
            run, [*PROGRAM, "campaigns", "cancel", "full"], home, preexec_fn=_takes_nothing
        )
        assert wrote.returncode == 1
        assert len((wrote.stdout + wrote.stderr).splitlines()) == 1
        with_room = await asyncio.to_thread(run, [*PROGRAM, "campaigns", "cancel", "full"], home)
        assert "full: cancel" in with_room.stdout
