"""The system as `make up` starts it, seen from outside: its processes, its console, the provider's journal.

For trials that break it. Linux only: processes are told by what stands in /proc.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks.machine import command_line
from msgxc import campaigns
from msgxc.deploying import Api
from msgxc.errors import NotFound
from msgxc.people.importing import import_people
from msgxc.reports.funnel import Report
from msgxc.sandbox.journal import Accepted, read
from msgxc.settings import ROOT, Settings, read_settings
from msgxc.system import attached
from msgxc.wiring import apply_schema, open_exchange, sandbox_folder

FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
#: Words in a command line by which the parts of the system are told; the first that fits.
PARTS: Mapping[str, Sequence[str]] = {
    "server": ("prefect", "server"),
    "gateway": ("msgxc.gateway",),
    "sandbox": ("msgxc.sandbox",),
    "reconciler": ("msgxc.reconciling",),
    "worker": ("prefect", "worker"),
}


def folder(home: Path, *, pushes: int, texts: int) -> Settings:
    """A home with people in it: with an iPhone (cohort pushes), with a cell (cohort texts)."""
    settings = read_settings(_env_file=None, home=home, sandbox=True)
    home.mkdir(mode=0o700)
    asyncio.run(_fill(settings, pushes, texts))
    return settings


async def _fill(settings: Settings, pushes: int, texts: int) -> None:
    await apply_schema(settings)
    file = settings.home / "people.jsonl"
    with file.open("w") as out:
        for number in range(pushes):
            device = {"channel": "apns", "token": f"ok-token{number}", "registered": "2026-01-01T00:00:00Z"}
            print(json.dumps({"uid": f"p{number}", "devices": [device], "cohorts": ["pushes"]}), file=out)
        for number in range(texts):
            cell = f"+1201{2000000 + number}"
            print(json.dumps({"uid": f"t{number}", "cell": cell, "cohorts": ["texts"]}), file=out)
    async with open_exchange(settings) as exchange:
        done = await import_people(
            file, exchange.store, exchange.key, now=datetime.now(UTC), refused=settings.home / "refused.csv"
        )
    file.unlink()
    if done.refused:
        raise SystemExit(f"{done.refused} people were refused: {done.reasons}")


def until(look: Callable[[], Any], seconds: float, what: str, every: float = 0.1) -> Any:
    """What `look` finds, as soon as it finds something. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds:.0f} s still not: {what}")
        time.sleep(every)
    return found


@dataclass
class Deployed:
    """One home, started again and again. `started`: when `make up` was last begun (seconds since 1970)."""

    home: Path
    env: Mapping[str, str] = field(default_factory=dict)
    main: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    starts: int = 0
    _api: Api | None = None

    @property
    def settings(self) -> Settings:
        return read_settings(_env_file=None, home=self.home, sandbox=True)

    # -- the whole of it

    def up(self, seconds: float = 600) -> None:
        """Start it, as `make up` does, and wait until it says that it is ready."""
        self.starts += 1
        self.started = time.time()
        log = self.home / f"up-{self.starts}.log"
        with log.open("wb") as out:
            self.main = subprocess.Popen(
                [sys.executable, "-m", "msgxc.system"],
                cwd=ROOT,
                env={**os.environ, **self.env, "MSGXC_HOME": str(self.home), "MSGXC_SANDBOX": "true"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

        def ready() -> bool:
            if not self.up_and_about:
                raise SystemExit(f"make up ended:\n{log.read_text(errors='replace')}")
            return "Ctrl-C stops everything" in log.read_text(errors="replace")

        until(ready, seconds, "make up is ready")
        self._api = None

    @property
    def up_and_about(self) -> bool:
        """Whether `make up` runs."""
        return self.main is not None and self.main.poll() is None

    def stop(self, number: int = signal.SIGINT, *, seconds: float = 90) -> None:
        """Ask it to end, and wait for that."""
        if self.up_and_about:
            assert self.main
            self.main.send_signal(number)
            self.main.wait(seconds)
        until(lambda: not self.processes(), seconds, "nothing of it runs")

    def power_cut(self) -> None:
        """Kill everything of it at once, again until nothing is left."""
        while pids := self.processes():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self.main:
                self.main.poll()
            time.sleep(0.02)
        if self.main:
            self.main.wait()

    # -- its processes

    def processes(self) -> list[int]:
        """All that run with this home, whoever their parent is."""
        mark = f"MSGXC_HOME={self.home}".encode()
        found = []
        for file in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if mark in file.read_bytes().split(b"\0"):
                    found.append(int(file.parent.name))
        return sorted(found)

    def part(self, name: str) -> list[int]:
        """The processes of a part: the one that leads it, and what else fits its words."""
        if name == "main":
            return [self.main.pid] if self.main and self.up_and_about else []
        words = PARTS[name]
        return [
            pid
            for pid in self.processes()
            if all(any(word in said for said in command_line(pid)) for word in words)
            and not self._run_of(pid)
        ]

    @staticmethod
    def _run_of(pid: int) -> str:
        """The flow run that a process executes; "" when it executes none."""
        with suppress(OSError):
            for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                name, _, value = entry.partition(b"=")
                if name == b"PREFECT__FLOW_RUN_ID":
                    return value.decode()
        return ""

    def run_processes(self, run: str) -> list[int]:
        """The processes of a flow run."""
        return [pid for pid in self.processes() if self._run_of(pid) == run]

    def kill(self, pids: Sequence[int], number: int = signal.SIGKILL) -> None:
        """Send a signal to some of its processes."""
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    # -- its console

    @property
    def api(self) -> Api:
        """Prefect's API as it is now."""
        if self._api is None:
            system = attached(self.settings)
            self._api = Api(system.api, system.login)
        return self._api

    def json(self, method: str, path: str, body: object = None) -> Any:
        """The API's answer. A server that is busy (503) or being restarted is asked again for two minutes."""
        end = time.monotonic() + 120
        while True:
            with suppress(httpx.TransportError, NotFound), self.api.client() as client:
                answer = client.request(method, path, json=body)
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    return answer.raise_for_status().json() if answer.content else None
            if time.monotonic() > end:
                raise TimeoutError("Prefect's API does not come back")
            self._api = None
            time.sleep(0.3)

    def start(
        self,
        name: str,
        cohort: str = "pushes",
        *,
        deployment: str = "campaign",
        fallback: Mapping[str, Any] | None = None,
        **sending: Any,
    ) -> str:
        """Start a campaign; answers the run's id, once Prefect has accepted it (201)."""
        channel = "sms" if cohort == "texts" else "apns"
        parameters = {
            "name": name,
            "template": "spring-sale",
            "values": {"code": "X"},
            "audience": {"to": {"cohort": cohort}},
            "sending": {"purpose": "service", "channels": [channel], **sending},
            "fallback": fallback or {"enabled": False},
        }
        known = self.json("GET", f"/deployments/name/campaign/{deployment}")
        body = {"parameters": parameters}
        return str(self.json("POST", f"/deployments/{known['id']}/create_flow_run", body)["id"])

    def state(self, run: str) -> str:
        """The type of a run's state."""
        return str(self.json("GET", f"/flow_runs/{run}")["state"]["type"])

    def states(self, name: str) -> list[str]:
        """The states of the runs of that name, the oldest first."""
        body = {"flow_runs": {"name": {"any_": [name]}}, "sort": "EXPECTED_START_TIME_ASC"}
        return [run["state"]["type"] for run in self.json("POST", "/flow_runs/filter", body)]

    def press(self, run: str, button: str) -> str:
        """Pause, resume or cancel a run as the console does; answers what Prefect says of it."""
        if button == "resume":
            said = self.json("POST", f"/flow_runs/{run}/resume")
        else:
            state = {"type": "PAUSED", "name": "Paused", "state_details": _pause()}
            if button == "cancel":
                state = {"type": "CANCELLING", "name": "Cancelling"}
            said = self.json("POST", f"/flow_runs/{run}/set_state", {"state": state})
        return str(said["status"])

    # -- what came of it

    def journal(self) -> Iterator[Accepted]:
        """What the provider has accepted, the oldest first."""
        file = sandbox_folder(self.settings) / "journal.jsonl"
        return read(file) if file.exists() else iter(())

    def accepted(self, channel: str = "apns") -> Counter[str]:
        """How often each address was accepted."""
        return Counter(one.address for one in self.journal() if one.channel == channel)

    def report(self, name: str) -> Report | None:
        """What the store says of a campaign; None: it has none of that name."""

        async def ask() -> Report:
            async with open_exchange(self.settings) as exchange:
                return await campaigns.report(exchange, name)

        with suppress(NotFound):
            return asyncio.run(ask())
        return None


def _pause() -> dict[str, Any]:
    until_then = datetime.fromtimestamp(time.time() + 3600, UTC)
    return {"pause_timeout": until_then.isoformat(), "pause_reschedule": False}


@contextmanager
def deployed(template: Path, home: Path, env: Mapping[str, str] | None = None) -> Iterator[Deployed]:
    """A copy of a prepared home, running; nothing of it runs afterwards, and the folder is gone."""
    shutil.copytree(template, home)
    system = Deployed(home, env or {})
    try:
        system.up()
        yield system
    finally:
        system.power_cut()
        shutil.rmtree(home, ignore_errors=True)
