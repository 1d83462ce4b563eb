"""Prefect's API and the sandbox's journal, as the flow tests use them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from msgxc.deploying import Api
from msgxc.sandbox.journal import read
from msgxc.system import System
from msgxc.wiring import sandbox_folder

#: Cohort -> how many. The slow ones are sent to at 25 a second: long enough to be interrupted.
COHORTS: Mapping[str, int] = {"quick": 300, "unlucky": 40, "slow": 600}
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
UNHURRIED = {"purpose": "service", "channels": ["apns"], "per_second": 25}


def people(cohort: str) -> list[dict[str, Any]]:
    """The people of one cohort, as lines of an import file; three of four unlucky ones have dead devices."""
    dead = COHORTS["unlucky"] * 3 // 4 if cohort == "unlucky" else 0
    return [
        {
            "uid": f"{cohort}-{number}",
            "name": f"Zebediah {cohort.title()}son {number}",
            "email": f"zebediah.{cohort}.{number}@mail.example",
            "cell": f"+1415555{4000 + number:04d}" if cohort == "quick" else "",
            "devices": [
                {
                    "channel": "apns",
                    "token": f"{'gone' if number < dead else 'ok'}-{cohort}token{number}",
                    "registered": "2020-01-01T00:00:00Z",
                }
            ],
            "consents": ["marketing"],
            "cohorts": [cohort],
        }
        for number in range(COHORTS[cohort])
    ]


class PrefectConsole:
    """Starts runs and looks at them."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.http = Api(system.api, system.login).client()

    def request(self, method: str, path: str, body: object = None) -> httpx.Response:
        """The answer; a server whose database is busy says 503 and is asked again."""
        end = time.monotonic() + 120
        while (answer := self.http.request(method, path, json=body)).status_code == 503:
            assert time.monotonic() < end, "the server stays busy"
            time.sleep(0.2)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.http.close()

    def json(self, method: str, path: str, body: object = None) -> Any:
        """The answer; an error is raised with its text."""
        answer = self.request(method, path, body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def deployment(self, name: str = "campaign/campaign") -> dict[str, Any]:
        """A deployment, as the API shows it."""
        return dict(self.json("GET", f"/deployments/name/{name}"))

    def ask(self, parameters: Mapping[str, Any], **more: Any) -> httpx.Response:
        """The answer to a request for a campaign."""
        path = f"/deployments/{self.deployment()['id']}/create_flow_run"
        return self.request("POST", path, {"parameters": parameters, **more})

    def start(self, name: str, cohort: str, **parameters: Any) -> str:
        """Start a campaign to a cohort; answers the run's id."""
        body = {"name": name, "template": "spring-sale", "values": {"code": "X"}, **parameters}
        answer = self.ask({**body, "audience": {"to": {"cohort": cohort}}})
        assert answer.is_success, answer.text
        return str(answer.json()["id"])

    def state(self, run: str) -> dict[str, Any]:
        """The state of a run."""
        return dict(self.json("GET", f"/flow_runs/{run}")["state"])

    def set_state(self, run: str, **state: Any) -> None:
        """What a button of the console does."""
        answer = self.json("POST", f"/flow_runs/{run}/set_state", {"state": state})
        assert answer["status"] == "ACCEPT", answer

    def end(self, run: str, seconds: float = 120) -> dict[str, Any]:
        """The final state of a run."""
        until(lambda: self.state(run)["type"] in FINAL, seconds)
        return self.state(run)

    def run_named(self, name: str, seconds: float = 120) -> str:
        """The run of that name, as soon as there is one."""
        body = {"flow_runs": {"name": {"any_": [name]}}}
        return str(until(lambda: self.json("POST", "/flow_runs/filter", body), seconds)[0]["id"])

    def artifacts(self, run: str) -> dict[str, Any]:
        """What the operator sees on a run: key -> data."""
        body = {"artifacts": {"flow_run_id": {"any_": [run]}}}
        found = [a for a in self.json("POST", "/artifacts/filter", body) if a["key"]]
        assert len({a["key"] for a in found}) == len(found), "two of one kind"
        return {a["key"]: a["data"] for a in found}

    def logs(self, run: str, level: int = 0) -> list[str]:
        """What the Logs tab of a run shows of that level and above, in order, as soon as there is any."""
        body = {"logs": {"flow_run_id": {"any_": [run]}, "level": {"ge_": level}}, "sort": "TIMESTAMP_ASC"}
        return [one["message"] for one in until(lambda: self.json("POST", "/logs/filter", body), 120)]

    def events(self, resource: str) -> dict[str, Any]:
        """What was told about a campaign, as soon as there is any: event -> payload."""
        body = {"filter": {"resource": {"id": [resource]}}}
        found = until(lambda: self.json("POST", "/events/filter", body)["events"], 120)
        return {one["event"]: one["payload"] for one in found}

    @property
    def journal(self) -> Path:
        """What the sandbox has accepted."""
        return sandbox_folder(self.system.settings) / "journal.jsonl"

    def accepted(self, cohort: str, since: float = 0.0) -> list[str]:
        """The addresses of a cohort that were accepted since then, each as often as it was."""
        return [
            one.address for one in read(self.journal) if f"-{cohort}token" in one.address and one.at >= since
        ]

    def settled(self, cohort: str, since: float) -> int:
        """How many messages to a cohort were accepted since then, once no more come for three seconds."""
        before = -1
        while (now := len(self.accepted(cohort, since))) != before:
            before = now
            time.sleep(3)
        return now


def until(look: Callable[[], Any], seconds: float) -> Any:
    """What `look` answers, once it is true."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
    return found
