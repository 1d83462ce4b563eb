"""What an open websocket costs while nothing happens: `python -m benchmarks.idle_connections [--count 5000]`.

Each is of another person, and listens to what every connection listens to: the person's deliveries, their own
thread, broadcasts. Measured are the gateway's memory for each, and its CPU while nothing is said.
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

from benchmarks import machine
from benchmarks.fanout import RESULTS, rss_mb
from benchmarks.listeners import connect, gateway
from msgxc.settings import read_settings
from msgxc.wiring import apply_schema, open_exchange

QUIET_SECONDS = 20.0


async def measure(count: int) -> dict[str, Any]:
    """So many connections, and some quiet seconds."""
    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings(home=Path(folder), sandbox=True)
        await apply_schema(settings)
        async with open_exchange(settings) as exchange:
            with gateway(Path(folder)) as (pid, port):
                empty = rss_mb(pid)
                listeners = await connect(exchange, port, count, None, [])
                await asyncio.sleep(2)
                full, cpu, begun = rss_mb(pid), machine.process_cpu(pid), time.monotonic()
                await asyncio.sleep(QUIET_SECONDS)
                share = (machine.process_cpu(pid) - cpu) / (time.monotonic() - begun)
                for listener in listeners:
                    listener.close()
    kb = round((full - empty) * 1000 / count, 1)
    return {"connections": count, "kb_per_connection": kb, "rss_mb": round(full), "idle_cpu": round(share, 3)}


def main() -> None:
    """Measure, print, write a result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5_000)
    machine.pin(machine.PROVIDER_CORE)
    result = {"at": datetime.now(UTC).isoformat(), **asyncio.run(measure(parser.parse_args().count))}
    print(json.dumps(result))
    file = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-idle-connections.json"
    file.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
