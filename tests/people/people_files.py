"""An import in one call, for tests of what files hold."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from msgxc.errors import WrongInput
from msgxc.model import Recipient
from msgxc.people import ImportSummary, import_people
from msgxc.store.sqlite import SqliteStore

KEY = b"k" * 32
#: A point of P-256, as a browser gives it.
P256DH = "BN81HfHxzt4V4lXDV_2ia8Rl_QvqofvoNI7_MOHCiOMEYuFXFNDBOJzKCCj2nzK5luwnH6rvBCN2jx7lNHpraaw"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


async def run(store: SqliteStore, path: Path, text: str | bytes, **how: object) -> ImportSummary:
    """Write the text to the path and import it."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    how = {"now": NOW, "refused": path.with_name("refused.csv"), **how}
    summary = await import_people(path, store, KEY, **how)
    assert summary.rows == summary.imported + summary.updated + summary.unchanged + summary.refused
    return summary


async def refused_whole(store: SqliteStore, path: Path, text: str | bytes) -> str:
    """What is said of a file that is refused at once; nobody is imported."""
    with pytest.raises(WrongInput) as caught:
        await run(store, path, text)
    assert await store.directory.count() == 0
    return str(caught.value)


async def one(store: SqliteStore, uid: UUID) -> Recipient:
    """The stored record."""
    return (await store.directory.get([uid]))[uid]


async def everybody(store: SqliteStore) -> list[Recipient]:
    """All stored records."""
    return [person async for page in store.directory.scan() for person in page]


def refusals(path: Path) -> list[list[str]]:
    """The rows of the file of refused rows, without its header."""
    with path.with_name("refused.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        header, *rows = csv.reader(file)
    assert header == ["line", "column", "reason", "row"]
    return rows
