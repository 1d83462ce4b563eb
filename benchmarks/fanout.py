"""One message to many open websockets: `python -m benchmarks.fanout [--implementations direct,wsproto]`.

A gateway process on one core, its clients on the other. A message is put on the bus; measured are the time
until each client has it, the gateway's CPU for each frame, and its memory. The clients are Python: with
10,000 of them the last ones read late, so that p99 is as much theirs as the gateway's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.listeners import IMPLEMENTATIONS, connect, gateway, percentile
from msgxc.model import Thread
from msgxc.settings import read_settings
from msgxc.wiring import Exchange, apply_schema, open_exchange

RESULTS = Path(__file__).parent / "results"
SIZES = (1, 100, 1_000, 10_000)
FRAMES = 40_000  # of each measurement, at least ten messages
TEXT = "x" * 100


def rss_mb(pid: int) -> float:
    """Memory of a process now, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024 / 1_000_000


async def measure(implementation: str, size: int) -> dict[str, Any]:
    """One implementation with so many connections."""
    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings(home=Path(folder), sandbox=True)
        await apply_schema(settings)
        async with open_exchange(settings) as exchange:
            tid = uuid4()
            await exchange.store.threads.put(Thread(tid, open=True))
            with gateway(Path(folder), implementation) as (pid, port):
                return await _measured(exchange, tid, implementation, size, pid, port)


async def _measured(
    exchange: Exchange, tid: UUID, implementation: str, size: int, pid: int, port: int
) -> dict[str, Any]:
    empty = rss_mb(pid)
    came: list[float] = []
    begun = time.monotonic()
    listeners = await connect(exchange, port, size, tid, came)
    connecting = time.monotonic() - begun
    full = rss_mb(pid)
    await _publish(exchange, tid, came, size)  # warm
    came.clear()
    rounds = max(FRAMES // size, 10) if size > 1 else 300
    cpu, begun = machine.process_cpu(pid), time.monotonic()
    for _ in range(rounds):
        await _publish(exchange, tid, came, size)
    seconds, cpu = time.monotonic() - begun, machine.process_cpu(pid) - cpu
    for listener in listeners:
        listener.close()
    return {
        "implementation": implementation,
        "connections": size,
        "frames": len(came),
        "frames_per_second": round(len(came) / seconds),
        "cpu_us_per_frame": round(cpu / len(came) * 1e6, 1),
        "p50_ms": percentile(came, 0.5),
        "p99_ms": percentile(came, 0.99),
        "connects_per_second": round(size / connecting),
        "kb_per_connection": round((full - empty) * 1000 / size, 1) if size >= 100 else None,
        "rss_mb": round(full),
    }


async def _publish(exchange: Exchange, tid: UUID, came: list[float], size: int) -> None:
    """One message, until everybody has it."""
    wanted = len(came) + size
    opts = {"mid": str(uuid4()), "sent": str(time.monotonic())}
    frame = {"slug": f"/thread/{tid}", "ok": True, "msg": TEXT, "opts": opts, "sender": None}
    await exchange.bus.publish(f"thread.{tid}", json.dumps(frame, separators=(",", ":")).encode())
    end = time.monotonic() + 20
    while len(came) < wanted:
        assert time.monotonic() < end, f"{wanted - len(came)} of {size} did not hear it"
        await asyncio.sleep(0.0005)


def main() -> None:
    """Measure, print, write a result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--implementations", default=",".join(IMPLEMENTATIONS))
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    asked = parser.parse_args()
    machine.pin(machine.PROVIDER_CORE)
    rows = [
        asyncio.run(measure(implementation, int(size)))
        for implementation in asked.implementations.split(",")
        for size in asked.sizes.split(",")
    ]
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=200).print(table)
    result = {"at": datetime.now(UTC).isoformat(), "cores": 2, "rows": rows}
    (RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-fanout.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
