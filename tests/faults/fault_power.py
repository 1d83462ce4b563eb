"""What a process does whose power is cut: `fault_power.py FILE` (a pickled Job) or `… HOME` (a story)."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from fault_process import Job, work

from msgxc import ids
from msgxc.ledger import Control
from msgxc.model import Channel, Device, Subscription
from msgxc.settings import read_settings
from msgxc.store.choices import Choice, consent
from msgxc.store.ports import Suppression
from msgxc.wiring import Exchange, open_exchange

SINCE = datetime(2026, 11, 30, tzinfo=UTC)
HERE = Path(__file__).parent
#: The actors of the story, the same in both processes.
ANN, BEN, EVE, THREAD = (UUID(int=n << 64 | 7 << 76) for n in range(1, 5))
BLOCKED = ids.address_hash(b"k" * 16, Channel.SMS, "+15005550010")


def started(env: Mapping[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    """This file, or a module of ours, in a process of its own."""
    paths = [HERE, HERE.parent / "engine", HERE.parent / "store"]
    own = {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    return subprocess.Popen([sys.executable, *arguments], env={**env, **own}, stdout=subprocess.PIPE)


async def withdrawals(exchange: Exchange) -> None:
    """Each is said when it was answered; what follows it may be lost."""
    store = exchange.store
    (campaign,) = [one async for page in store.ledger.campaigns() for one in page]
    for name, call in {
        "choose": store.directory.choose(
            ANN, Choice(SINCE, "page", withdrawn=frozenset({consent("marketing")}))
        ),
        "unsubscribe": store.threads.unsubscribe(THREAD, [ANN]),
        "suppress": store.directory.suppress([Suppression(BLOCKED, Channel.SMS, "stop", SINCE)]),
        "erase": store.directory.erase([BEN]),
        "enlist": store.directory.enlist(EVE, Device(Channel.APNS, "eve", SINCE), b"eve"),
        "subscribe": store.threads.subscribe([Subscription(THREAD, EVE)]),
        "revoke": store.gateway.revoke(f"uid:{BEN}", 1e9, 1e10, 1e9),
        "cancel": store.ledger.set_control(campaign.id, Control.CANCEL),
    }.items():
        await call
        print(name, flush=True)
    await store.ledger.finish_campaign(campaign.id, SINCE)  # rides along: nobody is told
    print("finished", flush=True)
    await asyncio.sleep(600)


async def _story(home: str) -> None:
    async with open_exchange(read_settings(_env_file=None, home=Path(home))) as exchange:
        await withdrawals(exchange)


if __name__ == "__main__":
    if os.path.isdir(sys.argv[1]):
        asyncio.run(_story(sys.argv[1]))
    else:
        job = pickle.loads(Path(sys.argv[1]).read_bytes())
        assert isinstance(job, Job)
        work(job)
