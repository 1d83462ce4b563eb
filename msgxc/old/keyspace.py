"""The old system's keyspace, read where it is: `SELECT JSON *` of each table, piece by piece of the ring."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Sequence

from msgxc.errors import NotFound, WrongInput
from msgxc.old.columns import COLUMNS
from msgxc.old.reading import OldRow
from msgxc.store.cassandra.session import Session
from msgxc.store.cassandra.settings import CassandraSettings

_PLACE = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:]+)(?::([0-9]{1,5}))?")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,47}")
#: What a table is partitioned by.
_KEYS = {
    "users": "uid",
    "user_emails": "email",
    "user_usernames": "uname",
    "cohorts": "cohort",
    "splits": "split",
    "queues": "qid",
    "services": "svc",
    "sequences": "name",
}


class Keyspace:
    """See reading.Source. Only read; `line` of a row counts them as they come."""

    def __init__(self, session: Session, keyspace: str) -> None:
        self._session = session
        self._keyspace = keyspace

    async def tables(self) -> Sequence[str]:
        found = [table for table in COLUMNS if self._session.has_table(table)]
        if not found:
            raise NotFound(f"there is no table of the old system in a keyspace {self._keyspace}")
        return found

    async def rows(self, table: str) -> AsyncIterator[list[OldRow]]:
        key, number = _KEYS.get(table, "tid"), 0
        statement = f"SELECT JSON * FROM {{ks}}.{table} WHERE token({key}) > ? AND token({key}) <= ?"  # noqa: S608
        async for page in self._session.scan(statement):
            rows = [_row(f"{self._keyspace}.{table}", number + n, text) for n, (text,) in enumerate(page, 1)]
            number += len(rows)
            yield rows

    def fraction(self) -> None:
        """Nobody knows how many rows there are."""
        return

    def strange(self) -> Sequence[str]:
        return ()

    async def close(self) -> None:
        await self._session.close()


def _row(file: str, line: int, text: str) -> OldRow:
    try:
        return OldRow(file, line, json.loads(text))
    except ValueError:
        return OldRow(file, line, {}, "not JSON")


async def open_keyspace(place: str, keyspace: str, username: str = "", password: str = "") -> Keyspace:
    """Connect to HOST[:PORT]. Raises WrongInput, StoreUnavailable."""
    found = _PLACE.fullmatch(place)
    if not found or int(found[2] or 9042) > 65_535:
        raise WrongInput("--cassandra is HOST or HOST:PORT")
    if not _NAME.fullmatch(keyspace):
        raise WrongInput("a keyspace's name has letters, digits and _")
    settings = CassandraSettings(
        hosts=(found[1].strip("[]"),),
        port=int(found[2] or 9042),
        keyspace=keyspace,
        datacenter="",  # that of the host
        username=username,
        password=password,
    )
    session = Session(settings)
    await session.open()
    return Keyspace(session, keyspace)
