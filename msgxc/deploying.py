"""What Prefect needs to know of the exchange: work pool, queues, deployments, the automation for dead runs.

`python -m msgxc.deploying` tells a server that runs elsewhere (PREFECT_API_URL, PREFECT_API_AUTH_STRING).
Prefect is spoken to over HTTP and as a command, so that nothing here imports it. All may be done again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from msgxc.errors import MsgxcError
from msgxc.settings import ROOT, Settings, read_settings
from msgxc.supervise import Child, Supervisor
from msgxc.urgency import levels

POOL = "msgxc"
PREFECT = (sys.executable, "-m", "prefect")
DEPLOY = (*PREFECT, "--no-prompt", "deploy", "--all")
RECONCILE = (sys.executable, "-m", "msgxc.reconciling")
TELL = (sys.executable, "-m", "msgxc.deploying")
#: Settings of Prefect that differ from its defaults, and why.
PREFECT_SETTINGS: Mapping[str, str] = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_UI_V2_ENABLED": "true",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_CLI_COLORS": "false",
    "PREFECT_CLIENT_MAX_RETRIES": "9",  # a quarter of an hour: the server may be away for ten minutes
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    # Loops that look every 5 s for what is rare here: half of what an idle server costs.
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "30",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "30",
    "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_LOOP_SECONDS": "60",
    "PREFECT_WORKER_PREFETCH_SECONDS": "1",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # a run whose process died shows as crashed: see ZOMBIES
}
HEALTH_PORT = "PREFECT_WORKER_WEBSERVER_PORT"
RUN = "prefect.flow-run."
ZOMBIES: Mapping[str, Any] = {
    "name": "crashed-without-a-word",
    "description": "A run whose process died without telling is shown as crashed, not as running for ever.",
    "trigger": {
        "type": "event",
        "posture": "Proactive",
        "match": {"prefect.resource.id": [f"{RUN}*"]},
        "after": [f"{RUN}heartbeat"],
        "expect": [
            RUN + name
            for name in ("heartbeat", "Completed", "Failed", "Cancelled", "Crashed", "Paused", "Suspended")
        ],
        "for_each": ["prefect.resource.id"],
        "threshold": 1,
        "within": 100,
    },
    "actions": [
        {
            "type": "change-flow-run-state",
            "state": "CRASHED",
            "message": "Its process is gone. A new run of the campaign finishes it: nobody gets two.",
        }
    ],
}


@dataclass(frozen=True, slots=True)
class Api:
    """Prefect's API: its base URL, which ends with /api, and "user:password" where it asks for that."""

    url: str
    login: str = field(default="", repr=False)

    def client(self) -> httpx.Client:
        """A client for it."""
        user, _, password = self.login.partition(":")
        auth = httpx.BasicAuth(user, password) if self.login else None
        return httpx.Client(base_url=self.url, auth=auth, timeout=30)

    def answers(self) -> bool:
        """Whether it is there; no login is needed to know that."""
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/health", timeout=2).is_success
        return False

    def workers(self) -> int:
        """How many workers are at work."""
        with suppress(httpx.HTTPError), self.client() as client:
            answer = client.post(f"/work_pools/{POOL}/workers/filter", json={}).raise_for_status()
            return sum(worker["status"] == "ONLINE" for worker in answer.json())
        return 0


def prepare(api: Api, settings: Settings) -> list[str]:
    """Make the work pool, its queues in order of urgency, and the automation that finds dead runs."""
    queues = {level.queue: level.priority for level in levels(settings).values()}
    ordered = sorted(queues, key=queues.__getitem__)
    with api.client() as client:
        _make(client, "/work_pools/", {"name": POOL, "type": "process"})
        for queue in ordered:
            _make(client, f"/work_pools/{POOL}/queues", {"name": queue, "priority": queues[queue]})
        named = {"automations": {"name": {"any_": [ZOMBIES["name"]]}}}
        if not _post(client, "/automations/filter", named).raise_for_status().json():
            _make(client, "/automations/", ZOMBIES)
    return ordered


def _make(client: httpx.Client, path: str, body: Mapping[str, Any]) -> None:
    """Create it, unless it is there."""
    answer = _post(client, path, body)
    if answer.status_code != httpx.codes.CONFLICT:
        answer.raise_for_status()


def _post(client: httpx.Client, path: str, body: Mapping[str, Any]) -> httpx.Response:
    """The answer; a server that is still busy with its own start (503) is asked again for a minute."""
    for _ in range(120):
        answer = client.post(path, json=body)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(0.5)
    return answer


def start_deploying(supervisor: Supervisor, env: Mapping[str, str]) -> Child:
    """Start to deploy prefect.yaml, as `python -m msgxc.deploying` does."""
    return supervisor.start("deploy", TELL, env)


def refuse_unknown(api: Api) -> None:
    """Have a parameter that no form has refused with the request, in one line that names it.

    Prefect's schema of a deployment lets it pass; the run would crash before it sends, and say why in its log
    alone.
    """
    with api.client() as client:
        ours = _post(client, "/deployments/filter", {"work_pools": {"name": {"any_": [POOL]}}})
        for known in ours.raise_for_status().json():
            schema = {**known["parameter_openapi_schema"], "additionalProperties": False}
            client.patch(
                f"/deployments/{known['id']}", json={"parameter_openapi_schema": schema}
            ).raise_for_status()


def _without_root(env: Mapping[str, str]) -> dict[str, str]:
    """Without MSGXC_ROOT: its value would be written down for all workers."""
    return {name: value for name, value in env.items() if name != "MSGXC_ROOT"}


def start_worker(
    supervisor: Supervisor, env: Mapping[str, str], name: str = "worker", queues: Sequence[str] = ()
) -> Child:
    """Start a worker on some queues of the pool, or on all; in a `health_environment` it can be asked."""
    return supervisor.start(name, worker_command(name, queues, health=HEALTH_PORT in env), env)


def health_environment(port: int) -> dict[str, str]:
    """What tells a worker where it can be asked whether it is at work (msgxc.health)."""
    return {HEALTH_PORT: str(port), "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1"}


def worker_command(
    name: str, queues: Sequence[str] = (), limit: int = 8, *, health: bool = False
) -> list[str]:
    """How a worker is started that has at most `limit` runs at once; `health`: it says whether it works."""
    wanted = [word for queue in queues for word in ("--work-queue", queue)]
    command = ["worker", "start", "--pool", POOL, "--type", "process", "--name", name, "--limit", str(limit)]
    return [*PREFECT, *command, *wanted, *(["--with-healthcheck"] if health else [])]


def start_reconciler(supervisor: Supervisor, env: Mapping[str, str]) -> Child:
    """Start what has abandoned campaigns run again."""
    return supervisor.start("reconciler", RECONCILE, env)


def main() -> int:
    """Tell the server that the environment names; the status of `prefect deploy`, or 1 with one line."""
    api = Api(os.environ.get("PREFECT_API_URL", ""), os.environ.get("PREFECT_API_AUTH_STRING", ""))
    try:
        print("work queues:", ", ".join(prepare(api, read_settings())), flush=True)
    except (MsgxcError, httpx.HTTPError) as error:
        said = str(error).partition("\n")[0]
        print(f"Prefect (PREFECT_API_URL) cannot be told: {said}", file=sys.stderr)
        return 1
    done = subprocess.run(DEPLOY, env=_without_root(os.environ), cwd=ROOT, check=False)  # noqa: S603
    if done.returncode == 0:
        refuse_unknown(api)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
