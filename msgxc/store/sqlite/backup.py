"""The embedded store as one file: made beside its use, and put back in its place."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from msgxc.errors import Conflict, WrongInput
from msgxc.store.sqlite import schema
from msgxc.store.sqlite import statements as sql
from msgxc.store.sqlite.carrying import Carried, carry
from msgxc.store.sqlite.connection import connect
from msgxc.store.sqlite.seen import Seen

_BUSY_SECONDS = 1.0  # whoever has the store open has it open for longer


@dataclass(frozen=True, slots=True)
class Backup:
    """What a file says of itself. `key`: the fingerprint, b"" before stores had one. `made`: None for a copy
    that `msgxc backup` has not made."""

    schema: int
    key: bytes
    made: datetime | None


def back_up(store: Path, file: Path, at: datetime) -> None:
    """A copy of the store as it is at one moment, whoever writes to it meanwhile; on the disk when this
    returns, and nobody else's to read. A file that is there is replaced when the copy is whole. Raises
    WrongInput when it cannot be written."""
    part = file.with_name(file.name + ".part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(connect(store)) as db:
            db.execute("VACUUM INTO ?", (str(part),))
        with closing(connect(part)) as db:
            db.execute("PRAGMA synchronous=FULL")
            db.execute(sql.NOTE, ("backup", at.timestamp()))
        look(part)
        _to_disk(part)
        part.replace(file)
        _to_disk(file.parent)
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise WrongInput(f"the backup cannot be written to {file}: {why}") from None
    finally:
        with suppress(OSError):
            part.unlink()


def look(file: Path) -> Backup:
    """What the file holds. Raises WrongInput, in one line, when it is no whole store."""
    if not file.is_file():
        raise WrongInput(f"there is no file {file}")
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)) as db:
            if (found := db.execute("PRAGMA integrity_check(1)").fetchone()) != ("ok",):
                raise WrongInput(f"{file} is damaged: {found[0]}")
            schema = int(db.execute("PRAGMA user_version").fetchone()[0])
            db.execute("SELECT 1 FROM campaigns LIMIT 1").fetchall()
            known = db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'identity'").fetchone()
            facts = dict(db.execute(sql.GET_FACTS).fetchall()) if known else {}
    except sqlite3.DatabaseError as error:
        raise WrongInput(f"{file} is no store of msgxc: {error}") from None
    made = facts.get("backup")
    return Backup(schema, bytes(facts.get("key", b"")), datetime.fromtimestamp(made, UTC) if made else None)


@dataclass(frozen=True, slots=True)
class PutBack:
    """`kept`: where what was there is, if there was anything. `carried`: what went over from it; None:
    nothing could, for `why`."""

    kept: Path | None = None
    carried: Carried | None = None
    why: str = ""


def put_back(file: Path, store: Path, key: bytes) -> PutBack:
    """The file in the store's place, with what people have said since, if the store that was there knows it
    and has the same key (`key`: the file's fingerprint); that one is kept beside it.

    Nothing opens the store from then on until it is accepted. Raises Conflict while somebody has it open,
    SchemaMismatch for a file that is newer than this msgxc.
    """
    store.parent.mkdir(parents=True, exist_ok=True)
    part, done = store.with_name(store.name + ".part"), PutBack()
    try:
        schema.newest_copy(file, part)
        if store.exists():
            _alone(store)
            kept = _free(store.with_name(f"{store.name}.{datetime.now(UTC):%Y%m%dT%H%M%SZ}"))
            done = _carried(store, part, kept, key)
            os.link(store, kept)
        _to_disk(part)
        Seen(store).forbid()
        part.replace(store)
    except OSError as error:
        raise WrongInput(f"the backup cannot be brought to {store.parent}: {error.strerror}") from None
    except sqlite3.OperationalError as error:
        raise WrongInput(f"the backup cannot be brought to {store.parent}: {error}") from None
    finally:
        for ending in ("", "-wal", "-shm"):
            with suppress(OSError):
                part.with_name(part.name + ending).unlink()
    for ending in ("-wal", "-shm"):
        store.with_name(store.name + ending).unlink(missing_ok=True)
    _to_disk(store.parent)
    return done


def _carried(store: Path, part: Path, kept: Path, key: bytes) -> PutBack:
    """What people have said, from the store into the one that takes its place."""
    try:
        own = look(store).key
    except WrongInput:
        return PutBack(kept, why="it cannot be read")
    if key and own and key != own:
        return PutBack(kept, why="it has another key")
    return PutBack(kept, carry(store, part))


def _free(path: Path) -> Path:
    """The path, or where something is there already, one like it."""
    names = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return path if not path.exists() else next(name for name in names if not name.exists())


def _alone(store: Path) -> None:
    """Write the log into the file, and make sure that nobody has it open. Raises Conflict."""
    with closing(connect(store, _BUSY_SECONDS)) as db, suppress(sqlite3.NotSupportedError):
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        try:
            db.execute("BEGIN EXCLUSIVE")
            db.execute("COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.OperationalError:
            raise Conflict(
                "the store is in use: stop everything that has it open (make up, gateways, workers) first",
                "in_use",
            ) from None
        except sqlite3.DatabaseError:
            return  # what is there is no store, or damaged: it is kept as it is


def _to_disk(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
