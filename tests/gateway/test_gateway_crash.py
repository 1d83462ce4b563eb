"""kill -9 between the inbox and the ledger: nothing is lost, nothing is counted twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from uuid import uuid4

from gateway_world import KEY, World

from msgxc.ledger import Mark
from msgxc.model import Channel
from msgxc.settings import ROOT
from msgxc.store.gateway import News, Received

MERGE = """
import asyncio
from msgxc.receipts.merging import Merger
from msgxc.wiring import open_exchange
async def main():
    async with open_exchange() as exchange:
        await Merger(exchange).merge_all()
asyncio.run(main())
"""


async def test_a_merger_that_is_killed_is_followed_by_another(world: World) -> None:
    """The marks are in the ledger, the receipts still in the inbox: the next one ends up at the same."""
    person = await world.person(consents=frozenset({"tracking"}))
    handle = await world.delivery(person, Channel.EMAIL)
    named = {"campaign": handle.campaign, "uid": handle.uid, "delivery": handle.delivery}
    some = [
        Received(uuid4(), n, Channel.EMAIL, datetime.now(UTC), **named) for n in (News.DELIVERED, News.READ)
    ]
    await world.exchange.store.gateway.receive(some)
    environment = {
        **os.environ,
        "MSGXC_HOME": str(world.exchange.settings.home),
        "MSGXC_SECRET_KEY": KEY.decode(),
        "MSGXC_BUS": "memory",
        "MSGXC_FAILPOINTS": "receipts_noted=kill",
    }
    done = subprocess.run([sys.executable, "-c", MERGE], env=environment, cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert {one.id for one in await world.exchange.store.gateway.inbox()} == {one.id for one in some}
    row = await world.row(handle)
    assert row is not None
    assert set(row.marks) == {Mark.DELIVERED, Mark.READ}
    assert await world.exchange.store.gateway.inbox() == []
