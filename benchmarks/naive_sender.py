"""A campaign sender as most are written, to compare with: `python -m benchmarks.naive_sender JOB-AS-JSON`.

It reads recipients in batches from a table, sends each batch over the same connections as msgxc does, and
keeps one cursor. It goes on where the cursor stands when it is started again. Two kinds are common:

    cursor  moves the cursor when it reads a batch, then sends: after a crash the rest of the batch is skipped
    after   sends the batch, then moves the cursor: after a crash the whole batch is sent again
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from msgxc.model import Channel, Device, Outcome, Outgoing, Push, Target, Urgency
from msgxc.providers.apns import Apns, from_sandbox
from msgxc.sandbox.endpoints import read_endpoints

BATCH, IN_FLIGHT = 100, 50
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
Batch = list[tuple[int, str]]


def prepare(path: Path, tokens: Iterable[str]) -> None:
    """The table of recipients, and the cursor before the first."""
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE recipients (id INTEGER PRIMARY KEY, token TEXT)")
        db.execute("CREATE TABLE cursor (at INTEGER)")
        db.execute("INSERT INTO cursor VALUES (0)")
        db.executemany("INSERT INTO recipients (token) VALUES (?)", ((token,) for token in tokens))
    db.close()


def message(token: str) -> Outgoing:
    """The same push for everybody. Its identity is made when it is sent, so a repeat has another one."""
    device = Device(Channel.APNS, token, SINCE)
    return Outgoing(
        delivery=uuid4(),
        uid=UUID(int=0),
        target=Target(Channel.APNS, token, device),
        content=Push("Spring sale", "It has begun."),
        urgency=Urgency.NORMAL,
        ttl=3600,
        collapse=uuid4().hex,
    )


async def send(provider: Apns, batch: Batch) -> None:
    """Everybody of a batch, again for whom the provider says "later"."""
    places = asyncio.Semaphore(IN_FLIGHT)

    async def one(token: str) -> None:
        async with places:
            for _ in range(5):
                (receipt,) = await provider.send([message(token)])
                if receipt.outcome is not Outcome.LATER:
                    return
                await asyncio.sleep(1)

    await asyncio.gather(*(one(token) for _, token in batch))


async def run(job: dict[str, Any]) -> None:
    """Batch after batch, from where the cursor stands."""
    db = sqlite3.connect(job["table"], isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    provider = Apns(from_sandbox(read_endpoints(Path(job["sandbox"])), 5.0))
    while batch := _read(db):
        if job["kind"] == "cursor":
            _move(db, batch)
        await send(provider, batch)
        if job["kind"] == "after":
            _move(db, batch)
    await provider.close()


def _read(db: sqlite3.Connection) -> Batch:
    found = "SELECT id, token FROM recipients WHERE id > (SELECT at FROM cursor) ORDER BY id LIMIT ?"
    return db.execute(found, (BATCH,)).fetchall()


def _move(db: sqlite3.Connection, batch: Batch) -> None:
    db.execute("UPDATE cursor SET at = ?", (batch[-1][0],))


if __name__ == "__main__":
    asyncio.run(run(json.loads(sys.argv[1])))
