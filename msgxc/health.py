"""Whether a process is still at work: what docker asks every half minute.

    python -m msgxc.health console | worker | services | reconciler | gateway | sandbox | system
        [--within SECONDS] [--end]

Ends with 0, or with one line and 1. Asked in the environment of the process itself. Docker only notes who is
unhealthy; with `--end`, who was well and is so no longer is ended after a while, and docker starts it again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urljoin
from urllib.request import Request, urlopen

from psutil import Process

from msgxc.sandbox.endpoints import read_endpoints
from msgxc.settings import Settings, read_settings

#: Silent for so long, and it is not at work.
SEEN_SECONDS = 30.0
#: Of Prefect's background services, those that read events: they ask for some every second.
GROUPS = ("event-persister", "reactive-triggers", "task-run-recorder")
#: Not well for so long (`--end`): asked to end; then killed.
ASK_SECONDS, KILL_SECONDS = 90.0, 150.0
#: What `init: true` puts before a container's process. Under another first process nothing is ended.
INITS = frozenset({"docker-init", "tini", "catatonit"})
#: What starts a page of the console: without it the page stays white.
_SCRIPT = re.compile(rb"""<script[^>]+type="module"[^>]*\ssrc="([^"]+)\"""")


def console(within: float) -> float:
    """The console's first page, as a browser gets it, its script, and the API. Raises OSError without."""
    url = f"http://127.0.0.1:{os.environ.get('PREFECT_SERVER_API_PORT', '4200')}/"
    with urlopen(Request(url, headers={"Accept": "text/html"}), timeout=within) as answer:
        script = _SCRIPT.search(answer.read())
        at = answer.url
    if not script:
        raise URLError("no page")
    with urlopen(urljoin(at, script[1].decode()), timeout=within) as answer:  # noqa: S310 - of our own page
        if "javascript" not in answer.headers.get("Content-Type", ""):
            raise URLError("no script")
    urlopen(f"{url}api/health", timeout=within).close()  # noqa: S310 - http
    return 0.0


def worker(within: float) -> float:
    """A worker polls; or cannot, for Prefect is away. Raises OSError when it does not."""
    worker_works(
        os.environ.get("PREFECT_WORKER_WEBSERVER_PORT", "8080"), os.environ["PREFECT_API_URL"], within
    )
    return 0.0


def worker_works(port: str, api: str, within: float) -> None:
    """The same, of a worker that is asked at this port (`--with-healthcheck`), and of Prefect's API."""
    try:
        urlopen(f"http://127.0.0.1:{port}/health", timeout=within).close()
    except OSError as error:
        try:
            urlopen(f"{api}/health", timeout=within).close()  # noqa: S310 - our own server
        except OSError:
            return
        raise error from None


def services(_within: float) -> float:
    """Seconds since the slowest of Prefect's background services has asked Redis for events."""
    return services_silent(os.environ["PREFECT_REDIS_MESSAGING_URL"])


def services_silent(url: str) -> float:
    """The same, of the Redis at that URL."""
    from redis import Redis

    with Redis.from_url(url, socket_timeout=10) as redis:
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


def sandbox(within: float) -> float:
    """One of the sandbox's servers greets. Raises OSError, NotFound when none does."""
    sandbox_greets(read_settings().home / "sandbox", within)
    return 0.0


def sandbox_greets(folder: Path, within: float) -> None:
    """The same, of the sandbox of that folder. A connection alone says nothing of a process that hangs."""
    found = read_endpoints(folder)
    trusted = ssl.create_default_context(cafile=found.ca)
    with socket.create_connection((found.apns.host, found.apns.port), within) as raw:
        trusted.wrap_socket(raw, server_hostname=found.apns.host).close()


def system(within: float) -> float:
    """The embedded system has started whole, and its gateway answers. Raises OSError when not."""
    found = json.loads((read_settings().home / "system.json").read_text())
    urlopen(f"{found['gateway']}/api/v2/ping", timeout=within).close()  # noqa: S310 - its own
    return 0.0


def seen_file(settings: Settings) -> Path:
    """What the reconciler touches at each look."""
    return settings.home / "reconciler.seen"


ASKED: Mapping[str, Callable[[float], float]] = {
    "console": console,
    "worker": worker,
    "services": services,
    "reconciler": reconciler,
    "gateway": gateway,
    "sandbox": sandbox,
    "system": system,
}


def end_after(silent: float, parent: int = 1) -> None:
    """End what the init of this container has started, when it was last well so many seconds ago: then the
    container ends, and docker starts it again. Asked first: a worker's runs write down what is under way.
    """
    if silent < ASK_SECONDS or Process(parent).name() not in INITS:
        return
    for child in Process(parent).children():
        if child.pid != os.getpid():
            child.send_signal(signal.SIGTERM if silent < KILL_SECONDS else signal.SIGKILL)


def since_well(file: Path, now: float, *, well: bool) -> float:
    """Seconds since it was last well, which the file remembers. 0 for who never was: a start may be slow."""
    if well:
        file.touch(0o600)
        os.utime(file, (now, now))
    return now - file.stat().st_mtime if file.exists() else 0.0


def main() -> int:
    """0 when it is at work, else 1 with one line."""
    parser = argparse.ArgumentParser(prog="python -m msgxc.health", description="Whether it is at work.")
    parser.add_argument("what", choices=ASKED)
    parser.add_argument("--within", type=float, default=SEEN_SECONDS, metavar="SECONDS")
    parser.add_argument("--end", action="store_true", help="end what has not been well for 90 s")
    given = parser.parse_args()
    wrong = ""
    try:
        silent = ASKED[given.what](given.within)
        if silent > given.within:
            wrong = f"silent for {silent:.0f} s"
    except Exception as error:
        wrong = type(error).__name__
    if wrong:
        print(f"{given.what}: {wrong}", file=sys.stderr)
    if given.end:
        file = Path(tempfile.gettempdir()) / "msgxc.well"
        end_after(since_well(file, time.time(), well=not wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
