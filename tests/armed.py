"""A second way to run a campaign, for tests that make its process stumble.

A run of the exchange's own work pool may choose nothing of its process. So the test has a pool of its own,
with a copy of the deployment and a worker, whose runs may choose their environment.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from msgxc.operations.processes import end, process
from msgxc.settings import ROOT

POOL = "armed"
TEMPLATE = {
    "variables": {"type": "object", "properties": {"env": {"type": "object"}}},
    "job_configuration": {"env": "{{ env }}", "stream_output": True},
}
COPIED = (
    "flow_id",
    "entrypoint",
    "path",
    "pull_steps",
    "parameters",
    "parameter_openapi_schema",
    "enforce_parameter_schema",
    "tags",
)


@contextmanager
def armed(client: httpx.Client, env: Mapping[str, str]) -> Iterator[str]:
    """The id of a copy of `campaign/campaign` whose runs take `job_variables: {"env": …}`.

    `client`: of Prefect's API; `env`: the environment of the exchange's own worker.
    """
    pool: dict[str, Any] = {"name": POOL, "type": "process", "base_job_template": TEMPLATE}
    client.post("/work_pools/", json=pool).raise_for_status()
    known = client.get("/deployments/name/campaign/campaign").raise_for_status().json()
    copy = {name: known[name] for name in COPIED} | {"name": POOL, "work_pool_name": POOL}
    made = client.post("/deployments/", json=copy).raise_for_status().json()
    command = [sys.executable, "-m", "tasks.worker", "--pool", POOL, "--type", "process"]
    worker = subprocess.Popen(
        command, cwd=ROOT, env=dict(env), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield str(made["id"])
    finally:
        if known := process(worker.pid):
            end([known])
        worker.wait()
