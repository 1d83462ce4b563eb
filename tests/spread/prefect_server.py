"""A real Prefect server without a worker: runs are moved by hand, as a worker, a process or a person does."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from msgxc.deploying import POOL, Api, prepare
from msgxc.ports import free_port
from msgxc.settings import read_settings
from msgxc.supervise import supervising
from msgxc.system import SERVER, environment, kept_login

FLOWS = ("campaign", "fallback", "slices", "recall", "dispatch", "upkeep")


@dataclass
class Prefect:
    """The server, as its console and its workers use it."""

    api: Api
    client: httpx.Client

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The answer; an error is raised with its text."""
        for _ in range(100):  # a server that is busy says 503
            answer = self.client.request(method, path, json=body)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(0.2)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def deploy(self, flow: str) -> None:
        """A flow and its deployment, of which nothing will ever be run."""
        made = self.ask("POST", "/flows/", {"name": flow})
        body = {
            "name": flow,
            "flow_id": made["id"],
            "work_pool_name": POOL,
            "entrypoint": f"flows/{flow}.py:{flow}",
        }
        self.ask("POST", "/deployments/", body)

    def run(self, flow: str, parameters: Mapping[str, Any], name: str = "", **more: Any) -> str:
        """Ask for a run, as a person does; `name`: what its flow has called it, once it has begun."""
        known = self.ask("GET", f"/deployments/name/{flow}/{flow}")
        body = {"parameters": parameters, **({"name": name} if name else {}), **more}
        return str(self.ask("POST", f"/deployments/{known['id']}/create_flow_run", body)["id"])

    def set(self, run: str, kind: str, name: str = "", *, force: bool = False, **more: Any) -> str:
        """Move it to a state; answers whether that was accepted."""
        state = {"type": kind, **({"name": name} if name else {}), **more}
        return str(
            self.ask("POST", f"/flow_runs/{run}/set_state", {"state": state, "force": force})["status"]
        )

    def begin(self, run: str) -> None:
        """A worker takes it, and its process begins, when it is time."""
        assert self.set(run, "PENDING", force=True) == "ACCEPT"
        assert self.set(run, "RUNNING", force=True) == "ACCEPT"

    def pause(self, run: str, minutes: float = 60) -> None:
        """What the console's Pause does."""
        until = (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()
        assert self.set(run, "PAUSED", "Paused", state_details={"pause_timeout": until}) == "ACCEPT"

    def resume(self, run: str) -> str:
        """What the console's Resume does."""
        return str(self.ask("POST", f"/flow_runs/{run}/resume", {})["status"])

    def read(self, run: str) -> dict[str, Any]:
        """The run."""
        return dict(self.ask("GET", f"/flow_runs/{run}"))

    def state(self, run: str) -> str:
        """Its state's type."""
        return str(self.read(run)["state"]["type"])

    def named(self, name: str) -> list[str]:
        """The runs of that name."""
        found = self.ask("POST", "/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}})
        return [run["id"] for run in found]

    def of_flow(self, flow: str) -> list[str]:
        """The runs of a flow."""
        found = self.ask("POST", "/flow_runs/filter", {"flows": {"name": {"any_": [flow]}}})
        return [run["id"] for run in found]

    def clear(self) -> None:
        """Forget every run."""
        while found := self.ask("POST", "/flow_runs/filter", {}):
            for run in found:
                self.remove(run["id"])

    def remove(self, run: str) -> None:
        """What the console's Delete does."""
        self.ask("DELETE", f"/flow_runs/{run}")


@contextmanager
def prefect_server(home: Path) -> Iterator[Prefect]:
    """A server with the exchange's work pool and its deployments."""
    settings = read_settings(_env_file=None, home=home)
    url = f"http://127.0.0.1:{free_port(0)}"
    with supervising(home) as supervisor:
        login = kept_login(settings)
        env = environment(settings, url) | {"PREFECT_SERVER_API_AUTH_STRING": login}
        server = supervisor.start("server", SERVER, env)
        api = Api(f"{url}/api", login)
        supervisor.until(server, api.answers, 600)
        prepare(api, settings)
        with api.client() as client:
            prefect = Prefect(api, client)
            for flow in FLOWS:
                prefect.deploy(flow)
            yield prefect
