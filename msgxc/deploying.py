"""What Prefect needs to know of the exchange: work pool, queues, deployments, the automation for dead runs.

`python -m msgxc.deploying` tells a server that runs elsewhere (PREFECT_API_URL, PREFECT_API_AUTH_STRING).
Prefect is spoken to over HTTP and as a command, so that nothing here imports it. All may be done again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import yaml

from msgxc.errors import MsgxcError
from msgxc.health import SEEN_SECONDS, seen_file, worker_works
from msgxc.operations import worker
from msgxc.settings import ROOT, Settings, read_settings
from msgxc.supervise import Child, Supervisor
from msgxc.urgency import levels

POOL = "msgxc"
PREFECT = (sys.executable, "-m", "prefect")
DEPLOY = (*PREFECT, "--no-prompt", "deploy", "--all", "--prefect-file")
RECONCILE = (sys.executable, "-m", "msgxc.reconciling")
WORKER = (sys.executable, "-m", "msgxc.operations.worker")
TELL = (sys.executable, "-m", "msgxc.deploying")
#: In the environment of a reconciler: since when (seconds since 1970) there are workers, if that is known.
WORKERS_SINCE = "MSGXC_WORKERS_SINCE"
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
    # Runs go after the 90 days that Prefect sets, events after two: else its database only grows.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P2D",
    "PREFECT_WORKER_PREFETCH_SECONDS": "1",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # a run whose process died shows as crashed: see ZOMBIES
}
#: What a run may choose of the process that runs it: nothing. Prefect's own template has `command`, `env` and
#: `working_dir`, by which whoever may start a run has any command run.
JOB_TEMPLATE: Mapping[str, Any] = {
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
    "job_configuration": {"stream_output": True},
}
#: What the exchange does by the clock. Made where there is none of that slug; then it is the operator's. In
#: prefect.yaml it would replace, at each start, what they have made and switched.
SCHEDULES: Mapping[str, Mapping[str, str]] = {
    "dispatch": {"slug": "handover", "cron": "*/15 * * * *"},
    "upkeep": {"slug": "nightly", "cron": "17 3 * * *"},
}
#: Tags and default parameters that we have given; all others of a deployment are an operator's, and stay.
OUR_TAGS = frozenset({"start here", "internal", "urgent", "send", "upkeep"})
OUR_PARAMETERS: Sequence[Mapping[str, Any]] = ({"sending": {"urgency": 4, "purpose": "service"}},)
HEALTH_PORT = "PREFECT_WORKER_WEBSERVER_PORT"
RUN = "prefect.flow-run."
#: Ours, by the name of the flow; another's on the same server are not touched.
FLOWS = ("campaign", "fallback", "slices", "recall", "dispatch", "upkeep")
ZOMBIES: Mapping[str, Any] = {
    "name": "crashed-without-a-word",
    "description": "A run whose process died without telling is shown as crashed, not as running for ever.",
    "enabled": True,
    "trigger": {
        "type": "event",
        "posture": "Proactive",
        "match": {"prefect.resource.id": [f"{RUN}*"]},
        "match_related": {"prefect.resource.role": "flow", "prefect.resource.name": list(FLOWS)},
        "after": [f"{RUN}heartbeat"],
        # Any word of it: one that has ended, by whatever name, rests or was put back is not running.
        "expect": [f"{RUN}*"],
        "for_each": ["prefect.resource.id"],
        "threshold": 1,
        "within": 100,
    },
    "actions": [
        {
            "type": "change-flow-run-state",
            "state": "CRASHED",
            "message": "Its process is gone. The run is put back and goes on: nobody gets two.",
        }
    ],
}
#: How to be told when a campaign has ended or is paused: a block of Prefect's, whose address is to be filled
#: in, and an automation, which is to be switched on then. Both are the operator's once they are there.
BLOCK: Mapping[str, Any] = {
    "name": "campaign-ended",
    "data": {"url": "https://example.com/fill-in-the-address-of-your-chat", "method": "POST"},
}
TOLD: Mapping[str, Any] = {
    "name": "tell-about-campaigns",
    "description": "Posts one line for each campaign that has ended or is paused to the address in "
    "the block campaign-ended. Fill that in, then switch this on.",
    "enabled": False,
    "trigger": {
        "type": "event",
        "posture": "Reactive",
        "match": {"prefect.resource.id": ["msgxc.campaign.*"]},
        "expect": [f"msgxc.campaign.{word}" for word in ("finished", "failed", "canceled", "paused")],
        "threshold": 1,
        "within": 0,
    },
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
        template = {"base_job_template": JOB_TEMPLATE}
        _make(client, "/work_pools/", {"name": POOL, "type": "process", **template})
        client.patch(f"/work_pools/{POOL}", json=template).raise_for_status()  # one that was there already
        for queue in ordered:
            _make(client, f"/work_pools/{POOL}/queues", {"name": queue, "priority": queues[queue]})
        if known := _automation(client, ZOMBIES["name"]):  # perhaps of an earlier version
            body = {**ZOMBIES, "enabled": known["enabled"]}
            client.put(f"/automations/{known['id']}", json=body).raise_for_status()
        else:
            _make(client, "/automations/", ZOMBIES)
        if not _automation(client, TOLD["name"]) and (block := _block(client)):
            action = {"type": "call-webhook", "block_document_id": block}
            action["payload"] = '{"text": {{ event.payload.text | tojson }}}'
            _make(client, "/automations/", {**TOLD, "actions": [action]})
    return ordered


def _automation(client: httpx.Client, name: str) -> Mapping[str, Any] | None:
    named = {"automations": {"name": {"any_": [name]}}}
    found: list[Mapping[str, Any]] = _post(client, "/automations/filter", named).raise_for_status().json()
    return found[0] if found else None


def _block(client: httpx.Client) -> str:
    """The id of BLOCK, which is made where it is not there; "": this server has no such kind."""
    kind = client.get("/block_types/slug/webhook")
    if kind.status_code == httpx.codes.NOT_FOUND:
        return ""
    of = {"block_type_id": kind.raise_for_status().json()["id"]}
    named = client.get(f"/block_types/slug/webhook/block_documents/name/{BLOCK['name']}")
    if named.is_success:
        return str(named.json()["id"])
    wanted = {"block_schemas": {"block_type_id": {"any_": [of["block_type_id"]]}}}
    schemas = _post(client, "/block_schemas/filter", wanted).raise_for_status().json()
    body = {**BLOCK, **of, "block_schema_id": schemas[0]["id"]}
    return str(_post(client, "/block_documents/", body).raise_for_status().json()["id"])


def _make(client: httpx.Client, path: str, body: Mapping[str, Any]) -> None:
    """Create it, unless it is there."""
    answer = _post(client, path, body)
    if answer.status_code != httpx.codes.CONFLICT:
        answer.raise_for_status()


def _post(client: httpx.Client, path: str, body: object) -> httpx.Response:
    """The answer; a server that is still busy with its own start (503) is asked again for a minute."""
    for _ in range(120):
        answer = client.post(path, json=body)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(0.5)
    return answer


def start_deploying(supervisor: Supervisor, env: Mapping[str, str]) -> Child:
    """Start to deploy, as `python -m msgxc.deploying` does."""
    return supervisor.start("deploy", TELL, env)


def deploy(api: Api, env: Mapping[str, str]) -> int:
    """Deploy prefect.yaml over what is there; the status of `prefect deploy`."""
    project = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    project = {**project, "deployments": merged(project["deployments"], deployments(api))}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(yaml.safe_dump(project, sort_keys=False))
        told = subprocess.run((*DEPLOY, str(file)), env=_without_root(env), cwd=ROOT, check=False)  # noqa: S603
    if told.returncode == 0:
        _complete(api)
    return told.returncode


def merged(
    wanted: Iterable[Mapping[str, Any]], known: Iterable[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Deployments as prefect.yaml has them, with what an operator has set on those that are there (as the API
    shows them): whether it is paused, its concurrency limit, default parameters and tags of their own.

    Schedules are no part of it: Prefect leaves those alone that nobody names.
    """
    there = {one["name"]: one for one in known}
    return [_kept(one, there[one["name"]]) if one["name"] in there else one for one in wanted]


def _kept(wanted: Mapping[str, Any], known: Mapping[str, Any]) -> Mapping[str, Any]:
    kept = {"paused": known["paused"]}
    if known["parameters"] not in OUR_PARAMETERS:
        kept["parameters"] = known["parameters"]
    if limit := known.get("global_concurrency_limit"):
        kept["concurrency_limit"] = {**wanted.get("concurrency_limit", {}), "limit": limit["limit"]}
    own = [tag for tag in known["tags"] if tag not in OUR_TAGS]
    return {**wanted, **kept, "tags": [*wanted.get("tags", ()), *own]}


def deployments(api: Api) -> list[dict[str, Any]]:
    """Those of our work pool, as the API shows them."""
    with api.client() as client:
        ours = _post(client, "/deployments/filter", {"work_pools": {"name": {"any_": [POOL]}}})
        return list(ours.raise_for_status().json())


def _complete(api: Api) -> None:
    """The schedules that are missing; and have a parameter that no form has refused with the request, in one
    line that names it.

    Prefect's schema of a deployment lets it pass; the run would crash before it sends, and say why in its log
    alone. Job variables that a deployment had from somewhere go: JOB_TEMPLATE has none.
    """
    found = deployments(api)
    with api.client() as client:
        for known in found:
            path, schema = f"/deployments/{known['id']}", known["parameter_openapi_schema"]
            right = {"parameter_openapi_schema": {**schema, "additionalProperties": False}}
            client.patch(path, json={**right, "job_variables": {}}).raise_for_status()
            need = SCHEDULES.get(known["name"])
            if need and need["slug"] not in {one["slug"] for one in known["schedules"]}:
                cron = {"cron": need["cron"], "timezone": "UTC"}
                body = [{"slug": need["slug"], "schedule": cron, "active": True}]
                _post(client, f"{path}/schedules", body).raise_for_status()


def _without_root(env: Mapping[str, str]) -> dict[str, str]:
    """Without MSGXC_ROOT: its value would be written down for all workers."""
    return {name: value for name, value in env.items() if name != "MSGXC_ROOT"}


def start_worker(
    supervisor: Supervisor, env: Mapping[str, str], name: str = "worker", queues: Sequence[str] = ()
) -> Child:
    """Start a worker on some queues of the pool, or on all; in a `health_environment` it can be asked."""

    def well() -> bool:
        worker_works(env[HEALTH_PORT], env["PREFECT_API_URL"], 5)
        return True

    return supervisor.start(
        name,
        worker_command(name, queues, health=HEALTH_PORT in env),
        env,
        well=well if HEALTH_PORT in env else None,
        grace=worker.GRACE_SECONDS,
        first=True,
    )


def health_environment(port: int) -> dict[str, str]:
    """What tells a worker where it can be asked whether it is at work (msgxc.health)."""
    return {HEALTH_PORT: str(port), "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1"}


def worker_command(
    name: str, queues: Sequence[str] = (), limit: int = 8, *, health: bool = False
) -> list[str]:
    """How a worker is started that has at most `limit` runs at once; `health`: it says whether it works."""
    wanted = [word for queue in queues for word in ("--work-queue", queue)]
    command = ["--pool", POOL, "--type", "process", "--name", name, "--limit", str(limit)]
    return [*WORKER, *command, *wanted, *(["--with-healthcheck"] if health else [])]


def start_reconciler(supervisor: Supervisor, env: Mapping[str, str], settings: Settings) -> Child:
    """Start what has abandoned campaigns run again."""

    def well() -> bool:
        return time.time() - seen_file(settings).stat().st_mtime < SEEN_SECONDS

    return supervisor.start("reconciler", RECONCILE, env, well=well)


def main() -> int:
    """Tell the server that the environment names; the status of `prefect deploy`, or 1 with one line."""
    api = Api(os.environ.get("PREFECT_API_URL", ""), os.environ.get("PREFECT_API_AUTH_STRING", ""))
    try:
        print("work queues:", ", ".join(prepare(api, read_settings())), flush=True)
        return deploy(api, os.environ)
    except (MsgxcError, httpx.HTTPError) as error:
        said = str(error).partition("\n")[0]
        print(f"Prefect (PREFECT_API_URL) cannot be told: {said}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
