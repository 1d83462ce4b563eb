"""The embedded store's schema: which steps a file has, and bringing it to the newest."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from msgxc.store import migrations
from msgxc.store.sqlite.connection import connect


def steps() -> tuple[migrations.Step, ...]:
    """All steps."""
    return migrations.read_steps(migrations.schema_folder() / "sqlite", ".sql")


def recorded(db: sqlite3.Connection) -> dict[int, bool]:
    """Every step up to the file's version is finished: a transaction leaves none half applied."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    return dict.fromkeys(range(1, version + 1), True)


def apply(db: sqlite3.Connection) -> int:
    """Bring the file to the newest schema, in a transaction that is under way; answers the version. Raises
    SchemaMismatch when it is newer."""
    known = steps()
    for step in migrations.pending(known, recorded(db)):
        for statement in step.statements:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {step.number}")
    return len(known)


def newest_copy(file: Path, to: Path) -> None:
    """A copy of a store's file, its owner's alone, brought to the newest schema; what was there is replaced.
    Raises OSError, sqlite3.DatabaseError, and SchemaMismatch when it is newer."""
    to.unlink(missing_ok=True)
    to.touch(0o600)
    shutil.copyfile(file, to)
    with closing(connect(to)) as db:
        db.execute("BEGIN IMMEDIATE")
        apply(db)
        db.execute("COMMIT")
