"""`make clean` removes what this checkout has written, wherever it is, and nothing of another one."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import fields
from pathlib import Path
from uuid import uuid4

from msgxc.real import Secrets, postgres_folder
from msgxc.settings import ROOT


def _database(checkout: Path) -> Path:
    """The data of PostgreSQL in a checkout: outside of it, where root has started it."""
    secrets = Secrets(**{each.name: uuid4().hex for each in fields(Secrets)})
    (checkout / "var" / "real").mkdir(parents=True, exist_ok=True)
    folder = postgres_folder(checkout / "var" / "real", secrets)
    folder.mkdir(exist_ok=True)
    return folder


def test_make_clean_removes_its_own_databases_and_no_others(tmp_path: Path) -> None:
    """Two of its own, from before and after a new password, go; those of a checkout beside it, whose name
    begins with its own, stay."""
    ours, other = tmp_path / "it", tmp_path / "it-too"
    mine, theirs = [_database(ours) for _ in range(2)], _database(other)
    try:
        shutil.copy(ROOT / "Makefile", ours)
        subprocess.run(["make", "clean"], cwd=ours, check=True, capture_output=True, timeout=60)
        assert not any(folder.exists() or folder.parent.exists() for folder in mine)
        assert theirs.exists()
        assert [path.name for path in ours.iterdir()] == ["Makefile"]
    finally:
        for folder in (*mine, theirs):
            shutil.rmtree(folder if folder.is_relative_to(tmp_path) else folder.parent, ignore_errors=True)
