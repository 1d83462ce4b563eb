"""The console's runs over Prefect's API: read as records, changed as its buttons do. Blocking calls.

Every call raises httpx.HTTPError when Prefect is away or says no.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx

from msgxc.deploying import FLOWS, POOL, Api
from msgxc.run_care import CANCELED, SUSPENDED, Run, State

CURRENT = ("PENDING", "RUNNING", "PAUSED", "CANCELLING")
#: How a run ends that somebody may have to look after.
ENDED = ("CRASHED", "CANCELLED", "FAILED")
URGENT = "flows/urgent.py:campaign"
FLOW_OF_CAMPAIGNS = "campaign/campaign"  # flow and deployment
PAGE = 200


def seconds(text: str | None) -> float:
    """A time of Prefect's as seconds since the epoch; 0: none."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def time_text(at: float) -> str:
    """And back."""
    return datetime.fromtimestamp(at, UTC).isoformat()


def read_state(said: Mapping[str, Any]) -> State:
    """A state as the API shows it."""
    details = said.get("state_details") or {}
    until = details.get("pause_timeout") if said["type"] == "PAUSED" else None
    return State(
        type=said["type"],
        name=said.get("name") or "",
        at=seconds(said["timestamp"]),
        message=said.get("message") or "",
        until=seconds(until) if until else None,
        suspended=bool(details.get("pause_reschedule")),
    )


@dataclass(slots=True)
class Console:
    """Prefect's API as the exchange uses it."""

    api: Api
    _client: httpx.Client | None = None
    _flows: dict[str, str] = field(default_factory=dict)  # id -> name
    _entrypoints: dict[str, str] = field(default_factory=dict)  # by deployment
    _zones: dict[str, ZoneInfo] = field(default_factory=dict)  # by schedule

    # -- looking

    def current(self) -> list[Run]:
        """The runs that a worker has taken, or that rest."""
        return self._runs({"state": {"type": {"any_": CURRENT}}})

    def ended_since(self, at: float) -> list[Run]:
        """The runs that have not ended well since then."""
        return self._runs(
            {"state": {"type": {"any_": ENDED}}, "end_time": {"after_": time_text(at)}}, "END_TIME_DESC"
        )

    def named(self, name: str) -> list[Run]:
        """The runs of that name, the one that was due last first."""
        return self._runs({"name": {"any_": [name]}}, "EXPECTED_START_TIME_DESC")

    def waiting(self, flows: Sequence[str], before: float | None = None) -> list[Run]:
        """The runs of these flows whose time has not come; `before`: those that are due until then."""
        wanted: dict[str, Any] = {"state": {"type": {"any_": ["SCHEDULED"]}}}
        if before is not None:
            wanted["next_scheduled_start_time"] = {"before_": time_text(before)}
        return self._runs(wanted, flows=flows)

    def forms(self) -> list[dict[str, Any]]:
        """Our deployments, as the API shows them."""
        ours = {"work_pools": {"name": {"any_": [POOL]}}}
        return list(self._ask("POST", "/deployments/filter", ours))

    def on_its_way(self, flow: str) -> list[Run]:
        """The runs of a flow that a worker has, or may take now."""
        soon = time_text(datetime.now(UTC).timestamp() + 5)
        waiting = {"state": {"type": {"any_": ["SCHEDULED"]}}, "next_scheduled_start_time": {"before_": soon}}
        taken = {"state": {"type": {"any_": ["PENDING", "RUNNING"]}}}
        return [run for wanted in (waiting, taken) for run in self._runs(wanted, flows=(flow,))]

    def states(self, run: str) -> list[State]:
        """Every state of a run, the oldest first."""
        found = self._ask("GET", f"/flow_run_states/?flow_run_id={run}")
        return sorted(map(read_state, found), key=lambda state: state.at)

    def state(self, run: str) -> Mapping[str, Any]:
        """The state of a run as the API shows it."""
        return dict(self._ask("GET", f"/flow_runs/{run}")["state"])

    def born(self) -> float:
        """When this database was made: its work pool is made at the first start."""
        return seconds(self._ask("GET", f"/work_pools/{POOL}")["created"])

    def zone(self, run: Run) -> ZoneInfo:
        """The time zone of the schedule that made the run; UTC when nobody's did."""
        if run.schedule and run.schedule not in self._zones:
            known = self._ask("GET", f"/deployments/{run.deployment}/schedules")
            named = {one["id"]: one["schedule"].get("timezone") for one in known}
            self._zones[run.schedule] = ZoneInfo(named.get(run.schedule) or "UTC")
        return self._zones.get(run.schedule) or ZoneInfo("UTC")

    def _runs(
        self, wanted: Mapping[str, Any], sort: str = "ID_DESC", flows: Iterable[str] = FLOWS
    ) -> list[Run]:
        body = {
            "flow_runs": wanted,
            "flows": {"name": {"any_": list(flows)}},
            "sort": sort,
            "limit": PAGE,
        }
        found: list[Any] = []
        while len(found) % PAGE == 0:
            page = self._ask("POST", "/flow_runs/filter", {**body, "offset": len(found)})
            found += page
            if not page:
                break
        return [self._run(said) for said in found if said["state"] and self._ours(said)]

    def _ours(self, said: Mapping[str, Any]) -> bool:
        """Whether it is a run of one of the exchange's flows, and not of another's on the same server."""
        deployment = said["deployment_id"] or ""
        if not deployment:
            return False
        if deployment not in self._entrypoints:
            answer = self._request("GET", f"/deployments/{deployment}")
            known = {} if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status().json()
            self._entrypoints[deployment] = known.get("entrypoint") or ""
        flow = self._flow(said["flow_id"])
        return bool(re.search(rf"flows/\w+\.py:{flow}$", self._entrypoints[deployment]))

    def urgent(self, run: Run) -> bool:
        """Whether it is a campaign whose defaults are those of an alert (flows/urgent.py)."""
        return self._entrypoints.get(run.deployment, "").endswith(URGENT)

    def _run(self, said: Mapping[str, Any]) -> Run:
        maker = said.get("created_by") or {}
        return Run(
            id=said["id"],
            flow=self._flow(said["flow_id"]),
            name=said["name"],
            state=read_state(said["state"]),
            due=seconds(said["expected_start_time"]),
            schedule=maker["id"] if maker.get("type") == "SCHEDULE" else "",
            deployment=said["deployment_id"] or "",
            parameters=said["parameters"],
            tags=tuple(said["tags"]),
        )

    def _flow(self, identity: str) -> str:
        if identity not in self._flows:
            self._flows[identity] = self._ask("GET", f"/flows/{identity}")["name"]
        return self._flows[identity]

    # -- doing

    def put_back(self, run: Run, at: float, message: str) -> bool:
        """Have it run again at that time, as Retry does."""
        details = {"scheduled_time": time_text(at)}
        return self._set(
            run, {"type": "SCHEDULED", "name": "AwaitingRetry", "message": message, "state_details": details}
        )

    def suspend(self, run: Run) -> bool:
        """Show it as paused, without a process: Resume has a worker start one. A time at which the pause ends
        by itself stays."""
        until = time_text(run.state.until) if run.state.until else None
        details = {"pause_reschedule": True, "pause_timeout": until}
        state = {"type": "PAUSED", "name": "Suspended", "message": SUSPENDED, "state_details": details}
        return self._set(run, state, force=True)

    def resume(self, run: Run) -> bool:
        """As the button does."""
        return bool(self._ask("POST", f"/flow_runs/{run.id}/resume", {})["status"] == "ACCEPT")

    def end(self, run: Run) -> bool:
        """It ends as canceled."""
        return self._set(run, {"type": "CANCELLED", "name": "Cancelled", "message": CANCELED})

    def tell_canceled(self, run: Run, message: str) -> bool:
        """Have its state, which is the end of it, say something better."""
        return self._set(run, {"type": "CANCELLED", "name": "Cancelled", "message": message}, force=True)

    def name(self, run: Run, name: str, tags: Sequence[str]) -> None:
        """Have it called so. A run that has begun meanwhile has that name already."""
        self._change(f"/flow_runs/{run.id}", {"name": name, "tags": tags})

    def offer(self, deployment: str, schema: Mapping[str, Any]) -> None:
        """Change the form of a deployment; who opens it next sees that. Prefect removes the next runs of its
        schedules then, and makes them anew when it looks, which may be a minute later: so it is told to."""
        self._change(f"/deployments/{deployment}", {"parameter_openapi_schema": schema})
        self._ask("POST", f"/deployments/{deployment}/schedule", {})

    def start(
        self, deployment: str, parameters: Mapping[str, Any], key: str, queue: str | None, message: str
    ) -> str:
        """Ask for a run, once for each key; answers its id, "" when nothing of that name is deployed."""
        try:
            identity = self._ask("GET", f"/deployments/name/{deployment}")["id"]
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.NOT_FOUND:
                return ""
            raise
        state = {"type": "SCHEDULED", "message": message}
        body: dict[str, Any] = {"parameters": parameters, "idempotency_key": key, "state": state}
        if queue:
            body["work_queue_name"] = queue
        return str(self._ask("POST", f"/deployments/{identity}/create_flow_run", body)["id"])

    def close(self) -> None:
        """Hang up."""
        if self._client:
            self._client.close()
        self._client = None

    def _set(self, run: Run, state: Mapping[str, Any], *, force: bool = False) -> bool:
        answer = self._ask("POST", f"/flow_runs/{run.id}/set_state", {"state": state, "force": force})
        return bool(answer["status"] == "ACCEPT")

    def _change(self, path: str, body: Mapping[str, Any]) -> None:
        self._request("PATCH", path, body).raise_for_status()

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._request(method, path, body).raise_for_status().json()

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        if self._client is None:
            self._client = self.api.client()
        return self._client.request(method, path, json=body)


def newest(runs: Sequence[Run]) -> Run | None:
    """The run that says how a campaign stands: one that is not over, else the one that was last over."""
    return max(
        runs, key=lambda run: (run.state.type not in ("COMPLETED", *ENDED), run.state.at), default=None
    )
