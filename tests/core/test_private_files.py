"""What the exchange writes is its owner's alone, also what an earlier version wrote for all to read."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from msgxc.private_files import keep_private
from msgxc.settings import ROOT


@pytest.fixture(autouse=True)
def _as_most_people() -> Iterator[None]:
    """What a new file is without us: everybody may read it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    """What of it anybody else may read, write or enter."""
    found = [folder, *folder.rglob("*")]
    return [str(path) for path in found if not path.is_symlink() and path.stat().st_mode & 0o077]


def test_what_is_written_afterwards_is_private(tmp_path: Path) -> None:
    """The folder itself, a file, a folder, and what a child process writes."""
    home = tmp_path / "new" / "home"
    keep_private(home)
    (home / "file").write_text("x")
    (home / "folder" / "below").mkdir(parents=True)
    subprocess.run([sys.executable, "-c", "open('child', 'w')"], cwd=home, check=True)
    assert (home / "child").exists()
    assert open_to_others(home) == []


def test_an_older_folder_is_put_right(tmp_path: Path) -> None:
    """A store, its log and its index, the logs, what lies deeper: all could be read by everybody."""
    home = tmp_path / "home"
    for name in ("msgxc.sqlite3", "msgxc.sqlite3-wal", "msgxc.sqlite3-shm", "log/server.log", "a/b/c"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("x")
    (home / "log" / "tool").write_text("x")
    (home / "log" / "tool").chmod(0o755)
    assert len(open_to_others(home)) == 10
    keep_private(home)
    assert open_to_others(home) == []
    assert (home / "log" / "tool").stat().st_mode & 0o700 == 0o700  # what its owner may do is left


def test_files_in_a_private_folder_are_put_right_too(tmp_path: Path) -> None:
    """It may be opened again one day."""
    home = tmp_path / "home"
    (home / "log").mkdir(parents=True)
    for name in ("msgxc.sqlite3", "log/server.log"):
        (home / name).write_text("x")
    home.chmod(0o700)
    keep_private(home)
    assert open_to_others(home) == []


def test_a_link_leads_nowhere(tmp_path: Path) -> None:
    """What a symbolic link points to is not ours to close."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("x")
    home = tmp_path / "home"
    home.mkdir()
    (home / "link").symlink_to(elsewhere)
    (home / "broken").symlink_to(tmp_path / "nothing")
    keep_private(home)
    assert elsewhere.stat().st_mode & 0o077


def test_a_folder_of_all_is_left_to_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MSGXC_HOME=/tmp, or a person's home, does not lock anybody out: the files alone are private."""
    for name, mode in (("tmp", 0o1777), ("person", 0o755)):
        folder = tmp_path / name
        folder.mkdir()
        folder.chmod(mode)
        monkeypatch.setenv("HOME", str(tmp_path / "person"))
        keep_private(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == mode
        (folder / "store").write_text("x")
        assert (folder / "store").stat().st_mode & 0o077 == 0


def test_a_command_leaves_nothing_for_others(tmp_path: Path) -> None:
    """The command line makes the store, and the key, in a folder that was open to all."""
    home = tmp_path / "home"
    home.mkdir()
    program = Path(sys.executable).with_name("msgxc")
    env = {**os.environ, "MSGXC_HOME": str(home)}
    for words in (["schema", "apply"], ["token", "ann"]):
        subprocess.run([program, *words], cwd=ROOT, env=env, check=True, capture_output=True)
    assert {"msgxc.sqlite3", "secret.key"} <= {path.name for path in home.iterdir()}
    assert open_to_others(home) == []


def test_another_user_reads_nothing() -> None:
    """As `nobody`, who can reach the folder above: neither the list of files nor any of them. Only root may
    become somebody else; for everybody else the modes say it."""
    place = Path(tempfile.mkdtemp(prefix="msgxc-private-"))
    place.chmod(0o755)
    try:
        home = place / "home"
        keep_private(home)
        (home / "msgxc.sqlite3").write_text("ada@example.com")
        assert open_to_others(home) == []
        if os.geteuid() != 0:
            return
        for words in (["cat", str(home / "msgxc.sqlite3")], ["ls", str(home)]):
            command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *words]
            found = subprocess.run(command, capture_output=True, text=True, check=False)
            assert found.returncode != 0
            assert "Permission denied" in found.stderr
            assert found.stdout == ""
    finally:
        shutil.rmtree(place)
