"""From POST /api/v2/publish to a screen: `python -m benchmarks.publish_latency`.

websocket  until an open websocket has the message (stored first, then over the bus)
provider   at urgency 4, until the provider has accepted the push: the embedded system with its dispatch run,
           sandbox providers; one message at a time, so that no queue is measured
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
from rich.console import Console

from benchmarks import machine
from benchmarks.fanout import RESULTS
from benchmarks.listeners import connect, gateway, percentile
from msgxc.gateway.auth import make_token
from msgxc.messages.records import Role
from msgxc.model import Channel, Device, Recipient, Subscription, Thread
from msgxc.sandbox.journal import read
from msgxc.settings import Settings, read_settings
from msgxc.system import Steps, running
from msgxc.wiring import Exchange, apply_schema, open_exchange, sandbox_folder

WARM = 10


async def to_websocket(count: int) -> dict[str, Any]:
    """Publish one after the other; one client listens."""
    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings(home=Path(folder), sandbox=True)
        await apply_schema(settings)
        async with open_exchange(settings) as exchange:
            tid = uuid4()
            await exchange.store.threads.put(Thread(tid, open=True))
            with gateway(Path(folder)) as (_, port):
                came: list[float] = []
                await connect(exchange, port, 1, tid, came)
                async with _client(exchange, f"http://127.0.0.1:{port}") as client:
                    for number in range(count + WARM):
                        await _publish(client, tid)
                        while len(came) <= number:
                            await asyncio.sleep(0.0002)
    return _figures("publish to websocket", came[WARM:])


async def _publish(client: httpx.AsyncClient, tid: UUID, **more: object) -> str:
    data = {"sent": str(time.monotonic())}
    answer = await client.post(
        "/api/v2/publish", json={"tid": str(tid), "msg": "x" * 100, "opts": {"data": data}, **more}
    )
    answer.raise_for_status()
    return answer.headers["Msgxc-Message"]


def _client(exchange: Exchange, url: str) -> httpx.AsyncClient:
    token = make_token(exchange, None, frozenset({Role.SERVICE}), 3600)
    return httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30)


def to_provider(count: int) -> dict[str, Any]:
    """The whole embedded system, with its dispatch run."""
    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings(home=Path(folder), sandbox=True)
        with running(settings, Steps(Console())) as system:
            return asyncio.run(_to_provider(settings, system.gateway, count))


async def _to_provider(settings: Settings, url: str, count: int) -> dict[str, Any]:
    async with open_exchange(settings) as exchange:
        tid, uid = uuid4(), uuid4()
        phone = Device(Channel.APNS, "ok-latency", datetime.now(UTC))
        await exchange.store.directory.put([Recipient(uid=uid, devices=(phone,))])
        await exchange.store.threads.put(Thread(tid, open=True))
        await exchange.store.threads.subscribe([Subscription(tid, uid)])
        journal = sandbox_folder(settings) / "journal.jsonl"
        took: list[float] = []
        async with _client(exchange, url) as client:
            for number in range(count + WARM):
                begun = time.time()
                await _publish(client, tid, urgency=4)
                took.append(await _accepted(journal, number) - begun)
    return _figures("publish at urgency 4 to accepted by the provider", took[WARM:])


async def _accepted(journal: Path, number: int) -> float:
    """When the message of that number was accepted. The first one waits for the dispatch run to start."""
    end = time.monotonic() + (90 if number == 0 else 20)
    while time.monotonic() < end:
        found = [one.at for one in read(journal)] if journal.exists() else []
        if len(found) > number:
            return found[number]
        await asyncio.sleep(0.01)
    raise AssertionError("it was not accepted in time")


def _figures(what: str, took: list[float]) -> dict[str, Any]:
    return {
        "what": what,
        "messages": len(took),
        "p50_ms": percentile(took, 0.5),
        "p99_ms": percentile(took, 0.99),
    }


def main() -> None:
    """Measure, print, write a result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--provider-count", type=int, default=100)
    asked = parser.parse_args()
    cores = os.sched_getaffinity(0)
    machine.pin(machine.PROVIDER_CORE)
    rows = [asyncio.run(to_websocket(asked.count))]
    os.sched_setaffinity(0, cores)  # for the system's processes inherit it
    if asked.provider_count:
        rows.append(to_provider(asked.provider_count))
    result = {"at": datetime.now(UTC).isoformat(), "rows": rows}
    print(json.dumps(result, indent=1))
    file = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-publish-latency.json"
    file.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
