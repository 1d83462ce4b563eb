"""The names in an embedded store, for a shell that completes a word."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

from msgxc.store.sqlite import statements as sql

_PATIENCE = 0.2  # seconds: somebody waits with a finger on Tab
_KINDS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "cohort": (sql.COHORT_NAMES, str),
    "campaign": (sql.CAMPAIGN_SPECS, lambda spec: str(json.loads(spec)["name"])),
    "thread": (sql.THREAD_IDS, lambda tid: str(UUID(bytes=tid))),
}


def names(file: Path, kind: str) -> list[str]:
    """Of all cohorts (kind "cohort"), of all campaigns, the newest first ("campaign"), or the ids of all
    threads ("thread"); read beside whoever works with the store.

    A file that is not there is not made. Raises sqlite3.Error when it cannot be read, ValueError and KeyError
    when it holds something else.
    """
    statement, name = _KINDS[kind]
    place = f"{file.absolute().as_uri()}?mode=rw"  # to read only, it would leave files of its own behind
    with closing(sqlite3.connect(place, timeout=_PATIENCE, uri=True)) as db:
        db.execute("PRAGMA query_only=ON")
        return [name(value) for (value,) in db.execute(statement)]
