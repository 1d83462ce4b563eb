"""Whether a process is still at work: what docker asks every half minute.

    python -m msgxc.health worker | services | reconciler | gateway [--within SECONDS]

Ends with 0, or with one line and 1. Asked in the environment of the process itself.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from msgxc.settings import Settings, read_settings

#: Of Prefect's background services, those that read events: they ask for some every second.
GROUPS = ("event-persister", "reactive-triggers", "task-run-recorder")


def worker(within: float) -> float:
    """A worker answers for itself (`--with-healthcheck`): it polls. Raises OSError when it does not."""
    port = os.environ.get("PREFECT_WORKER_WEBSERVER_PORT", "8080")
    urlopen(f"http://127.0.0.1:{port}/health", timeout=within).close()
    return 0.0


def services(_within: float) -> float:
    """Seconds since the slowest of Prefect's background services has asked Redis for events."""
    from redis import Redis

    with Redis.from_url(os.environ["PREFECT_REDIS_MESSAGING_URL"], socket_timeout=10) as redis:
        return max(_asked(redis, group) for group in GROUPS)


def _asked(redis: Any, group: str) -> float:
    return float(min(consumer["idle"] for consumer in redis.xinfo_consumers("events", group))) / 1000


def reconciler(_within: float) -> float:
    """Seconds since the reconciler's last look."""
    return time.time() - seen_file(read_settings()).stat().st_mtime


def gateway(within: float) -> float:
    """The gateway answers a ping. Raises OSError when it does not."""
    port = read_settings().gateway_port
    urlopen(f"http://127.0.0.1:{port}/api/v2/ping", timeout=within).close()
    return 0.0


def seen_file(settings: Settings) -> Path:
    """What the reconciler touches at each look."""
    return settings.home / "reconciler.seen"


ASKED: Mapping[str, Callable[[float], float]] = {
    "worker": worker,
    "services": services,
    "reconciler": reconciler,
    "gateway": gateway,
}


def main() -> int:
    """0 when it is at work, else 1 with one line."""
    parser = argparse.ArgumentParser(prog="python -m msgxc.health", description="Whether it is at work.")
    parser.add_argument("what", choices=ASKED)
    parser.add_argument("--within", type=float, default=30.0, metavar="SECONDS")
    given = parser.parse_args()
    try:
        silent = ASKED[given.what](given.within)
    except Exception as error:
        print(f"{given.what}: {type(error).__name__}", file=sys.stderr)
        return 1
    if silent > given.within:
        print(f"{given.what}: silent for {silent:.0f} s", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
