"""What people have said goes over from a store that is replaced into the one that takes its place.

The one that is replaced knows of withdrawals that came after the backup. Of each wish the newer one counts,
by its own time, so it does not matter which of the two stores is the older one; who was erased in either of
them stays so, and so does what was revoked, canceled or recalled.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from msgxc.errors import SchemaMismatch
from msgxc.store import migrations, records
from msgxc.store.choices import THREAD
from msgxc.store.sqlite import schema
from msgxc.store.sqlite import statements as sql
from msgxc.store.sqlite.connection import connect


@dataclass(frozen=True, slots=True)
class Carried:
    """How many of each the backup did not know: addresses; people who gave or took something back by
    themselves; people who were erased; tokens; campaigns and messages that were canceled or recalled."""

    suppressions: int
    choices: int
    erased: int
    revocations: int
    canceled: int


def carry(old: Path, new: Path) -> Carried:
    """From `old`, which stays as it is, into `new`, which has the newest schema; on the disk when this
    returns, or nothing of it. Nobody has either of them open. Raises sqlite3.DatabaseError."""
    readable = old.with_name(old.name + ".carried")
    try:
        with closing(connect(new)) as db:
            db.execute("PRAGMA synchronous=FULL")
            db.execute("ATTACH ? AS old", (str(_readable(old, readable)),))
            db.execute("BEGIN IMMEDIATE")
            counts = {
                name: sum(db.execute(statement).rowcount for statement in statements)
                for name, statements in sql.CARRY.items()
            }
            chosen = _choices(db)
            db.execute("COMMIT")
    finally:
        readable.unlink(missing_ok=True)
    return Carried(
        counts["suppressions"], chosen, counts["erased"], counts["revocations"], counts["canceled"]
    )


def _readable(old: Path, copy: Path) -> Path:
    """The store, or a copy of it that was brought to the newest schema; a newer one has all that we know."""
    with closing(connect(old)) as db:
        try:
            if not migrations.pending(schema.steps(), schema.recorded(db)):
                return old
        except SchemaMismatch:
            return old
    schema.newest_copy(old, copy)
    return copy


def _choices(db: sqlite3.Connection) -> int:
    """What people chose by themselves; answers how many had said something that is new. Whoever has left a
    thread is out of it. Of those who are not there just this is kept, for the day on which they are."""
    changed = 0
    for uid, last_seen, created, *said in db.execute(sql.CHOSEN_BEFORE):
        row = db.execute(sql.GET_CHOICES, (uid,)).fetchone()
        here, there = records.read_choices(*(row or ("", ""))), records.read_choices(*said)
        both = here.with_all(there)
        if both == here:
            continue
        changed += 1
        if row is None:
            db.execute(sql.APPEAR, (uid, last_seen, created))
        spelled = records.spell_choices(both.given), records.spell_choices(both.withdrawn)
        db.execute(sql.SET_CHOICES, (*spelled, uid))
        for item in both.withdrawn:
            if item.startswith(THREAD) and both.holds(item) is False:
                db.execute(sql.UNSUBSCRIBE, (UUID(item.removeprefix(THREAD)).bytes, uid))
    return changed
