"""The real system as its tests see it: Prefect's API behind a login, the provider's journal, processes."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psutil

from msgxc.deploying import Api
from msgxc.sandbox.journal import read
from msgxc.supervise import Child, Supervisor
from msgxc.system import System
from msgxc.wiring import sandbox_folder

#: Cohort -> how many. `many` have slow devices, for one run alone half a minute; the others are sent to at 40
#: a second: long enough for a fault.
COHORTS: Mapping[str, int] = {"many": 1000, "slow": 600, "steady": 600, "hasty": 400, "doomed": 400}
UNHURRIED = {"purpose": "service", "channels": ["apns"], "per_second": 40}
AT_ONCE = {"purpose": "service", "channels": ["apns"]}
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def people() -> Iterator[dict[str, Any]]:
    """Everybody, as lines of an import file."""
    for cohort, count in COHORTS.items():
        for number in range(count):
            word = "slow250" if cohort == "many" else "ok"
            device = {
                "channel": "apns",
                "token": f"{word}-{cohort}token{number}",
                "registered": "2026-01-01T00:00:00Z",
            }
            yield {"uid": f"{cohort}-{number}", "name": "Ada", "devices": [device], "cohorts": [cohort]}


@dataclass(frozen=True)
class World:
    """A running real system."""

    system: System
    http: httpx.Client

    @property
    def supervisor(self) -> Supervisor:
        assert self.system.supervisor is not None
        return self.system.supervisor

    # -- Prefect

    def json(self, method: str, path: str, body: object = None) -> Any:
        """The API's answer."""
        answer = self.http.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def start(self, name: str, cohort: str, sending: Mapping[str, Any], armed: str = "", **env: str) -> str:
        """Start a campaign to a cohort; answers the run's id. `armed`: the deployment that takes an `env`."""
        deployment = armed or self.json("GET", "/deployments/name/campaign/campaign")["id"]
        parameters = {
            "name": name,
            "template": "spring-sale",
            "values": {"code": "X"},
            "audience": {"to": {"cohort": cohort}},
            "sending": sending,
            "fallback": {"enabled": False},
        }
        job = {"job_variables": {"env": env}} if armed else {}
        body = {"parameters": parameters, "idempotency_key": name, **job}
        return str(self.json("POST", f"/deployments/{deployment}/create_flow_run", body)["id"])

    def end(self, run: str, seconds: float) -> str:
        """The type of the run's final state."""
        return self.until(lambda: self._final(run), seconds, f"the run {run} has ended")

    def _final(self, run: str) -> str:
        state = str(self.json("GET", f"/flow_runs/{run}")["state"]["type"])
        return state if state in FINAL else ""

    def runs(self, name: str) -> list[dict[str, Any]]:
        """The flow runs whose name begins so."""
        body = {"flow_runs": {"name": {"like_": name}}, "sort": "START_TIME_ASC"}
        return list(self.json("POST", "/flow_runs/filter", body))

    # -- what the provider says

    def accepted(self, cohort: str) -> Counter[str]:
        """How often each address of a cohort was accepted."""
        journal = sandbox_folder(self.system.settings) / "journal.jsonl"
        return Counter(e.address for e in read(journal) if f"-{cohort}token" in e.address)

    def begun(self, cohort: str, many: int = 20) -> None:
        """Return when so many of the cohort have got it."""
        self.until(lambda: len(self.accepted(cohort)) >= many, 120, f"the campaign to {cohort} is under way")

    @staticmethod
    def until(look: Callable[[], Any], seconds: float, what: str) -> Any:
        """What `look` finds, as soon as it finds something."""
        end = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < end, f"after {seconds:.0f} s still not: {what}"
            time.sleep(0.3)
        return found

    # -- processes

    def child(self, name: str) -> Child:
        """A process that the system has started."""
        return next(child for child in self.supervisor.children if child.name == name)

    def environment(self, name: str) -> dict[str, str]:
        """The environment that a process was started in."""
        return psutil.Process(self.child(name).process.pid).environ()

    @contextmanager
    def stopped(self, *names: str) -> Iterator[None]:
        """Freeze processes, and what they have started, meanwhile: connections stay, and nobody answers."""
        roots = [psutil.Process(self.child(name).process.pid) for name in names]
        pids = [one.pid for root in roots for one in (root, *root.children(recursive=True))]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def kill(self, name: str) -> None:
        """SIGKILL a process and all that it has started."""
        child = self.child(name)
        tree = [*psutil.Process(child.process.pid).children(recursive=True), child.process]
        for process in tree:
            process.kill()
        child.process.wait()

    def revive(self, name: str, env: Mapping[str, str]) -> None:
        """Start a killed process again, as its supervisor would on another machine."""
        child = self.child(name)
        self.supervisor.forget(child)
        command = child.process.args
        assert isinstance(command, (list, tuple))
        self.supervisor.start(name, [str(word) for word in command], env)


def world(system: System) -> World:
    """The system, with a client for its API."""
    return World(system, Api(system.api, system.login).client())
