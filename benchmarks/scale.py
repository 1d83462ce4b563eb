"""How sending grows with workers, and what a message costs each server: `python -m benchmarks.scale`.

Two parts, on the real system of `make up-real`, on one machine:

workers  the same campaign by 1, 2 and 4 workers, each with one run, on providers that answer after 50 ms
costs    one process without Prefect: CPU of the sender and of Cassandra for each message, by phase

docs/scale.md tells what follows from the figures. Both parts together take about five minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.people import PUSH_MIX, people
from msgxc import campaigns, real
from msgxc.campaign import Audience, CampaignSpec, Everyone, Fallback, Sending
from msgxc.deploying import Api, worker_command
from msgxc.model import Channel, Device, Recipient
from msgxc.sandbox.journal import Accepted, read
from msgxc.sandbox.launch import start as start_sandbox
from msgxc.settings import ROOT, Settings, read_settings
from msgxc.store.records import batches
from msgxc.system import Steps, System, environment
from msgxc.wiring import apply_schema, make_store, open_exchange, sandbox_folder

RESULTS = Path(__file__).parent / "results"
WORKERS = (1, 2, 4)
#: W/C/F = 50/10/10: one worker is held up by the 50 ms, not by its processor.
SMALL = {
    "MSGXC_SHARD_SIZE": "125",
    "MSGXC_SLICE_SIZE": "500",
    "MSGXC_IN_FLIGHT": "10",
    "MSGXC_SANDBOX": "true",
}
SLICE = 500
WARM_SECONDS = 3.0
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


# -- workers ----------------------------------------------------------------------------------------------


def workers(recipients: int, console: Console) -> list[dict[str, Any]]:
    """One row for each number of workers."""
    with _home() as home, real.running(read_settings(home=home, sandbox=True), Steps(console)) as system:
        asyncio.run(_enlist(system.settings, _far_away(recipients)))
        _without_workers(system)
        rows = []
        for count in WORKERS:
            with console.status(f"{count} workers"):
                rows.append(_campaign(system, recipients, count))
        return rows


def _far_away(count: int) -> Iterator[Recipient]:
    """People whose device answers after 50 ms."""
    for number in range(count):
        device = Device(Channel.APNS, f"slow50-{number}", SINCE)
        yield Recipient(UUID(int=number, version=4), devices=(device,), consents=frozenset({"marketing"}))


def _without_workers(system: System) -> None:
    assert system.supervisor
    for child in [it for it in system.supervisor.children if it.name.startswith("worker")]:
        system.supervisor.dismiss(child)


def _campaign(system: System, recipients: int, count: int) -> dict[str, Any]:
    """So many workers with one run each, and as many parts of the campaign; from the provider's journal."""
    assert system.supervisor
    spread = -(-recipients // SLICE // count)
    env = {
        **environment(system.settings, system.url),
        **real.exchange_environment(system.settings),
        **SMALL,
        "PREFECT_API_AUTH_STRING": system.login,
        "MSGXC_SPREAD": str(spread if count > 1 else 0),
    }
    for number in range(count):
        name = f"worker-{number}"
        # Not the urgent queue: the run that dispatches messages would hold its only place.
        system.supervisor.start(name, worker_command(name, ["normal"], limit=1), env)
    journal, name = sandbox_folder(system.settings) / "journal.jsonl", f"scale-{count}"
    before = sum(1 for _ in read(journal))
    with Api(system.api, system.login).client() as client:
        _wait_for_end(client, [_start(client, name)])
        runs = _runs(client, name)
        _wait_for_end(client, [run["id"] for run in runs])
        runs = _runs(client, name)
    _without_workers(system)
    return _row(list(read(journal))[before:], runs, recipients, count)


def _start(client: httpx.Client, name: str) -> str:
    parameters = {
        "name": name,
        "template": "spring-sale",
        "audience": {"to": {"kind": "everyone"}},
        "values": {"code": "X"},
        "sending": {"channels": ["apns"]},
        "fallback": {"enabled": False},
    }
    known = client.get("/deployments/name/campaign/campaign").raise_for_status().json()
    path = f"/deployments/{known['id']}/create_flow_run"
    return str(client.post(path, json={"parameters": parameters}).raise_for_status().json()["id"])


def _wait_for_end(client: httpx.Client, runs: list[str]) -> None:
    end = time.monotonic() + 300
    for run in runs:
        while client.get(f"/flow_runs/{run}").raise_for_status().json()["state"]["type"] not in FINAL:
            if time.monotonic() > end:
                raise SystemExit("a run has not ended after 300 s")
            time.sleep(0.5)


def _runs(client: httpx.Client, name: str) -> list[dict[str, Any]]:
    body = {"flow_runs": {"name": {"like_": name}}}
    return list(client.post("/flow_runs/filter", json=body).raise_for_status().json())


def _row(entries: list[Accepted], runs: list[dict[str, Any]], recipients: int, count: int) -> dict[str, Any]:
    """From the first to the last message that the provider took."""
    reached = len({entry.address for entry in entries})
    if reached != recipients or len(entries) != recipients:
        raise SystemExit(f"{count} workers: {reached} of {recipients} people, {len(entries)} messages")
    times = [entry.at for entry in entries]
    whole = recipients / (max(times) - min(times))
    together = _together(times, runs) or whole
    return {
        "workers": count,
        "recipients": recipients,
        "repeated": 0,
        "seconds": round(max(times) - min(times), 1),
        "per_second": round(whole),
        "per_second_together": round(together),
        "per_worker": round(together / count),
    }


def _together(times: list[float], runs: list[dict[str, Any]]) -> float:
    """Messages a second while all runs are at work; 0 when that is too short to tell. A run that has started
    takes some seconds to its first message, and the first one to end leaves the others alone."""
    first = max(datetime.fromisoformat(run["start_time"]).timestamp() for run in runs) + WARM_SECONDS
    last = min(datetime.fromisoformat(run["end_time"]).timestamp() for run in runs) - 1
    last = min(last, max(times))
    return sum(first <= at <= last for at in times) / (last - first) if last - first > 4 else 0.0


# -- costs ------------------------------------------------------------------------------------------------


@dataclass
class Costs:
    """CPU seconds of sender and Cassandra, and wall seconds, by phase."""

    phases: dict[str, tuple[float, float, float]]

    def row(self, phase: str, recipients: int) -> dict[str, float]:
        """Microseconds for each recipient."""
        wall, sender, store = self.phases[phase]
        return {
            "sender_us": round(sender / recipients * 1e6),
            "cassandra_us": round(store / recipients * 1e6),
            "per_second": round(recipients / wall),
        }


def costs(recipients: int, *, small: bool, warm: int, console: Console) -> dict[str, Any]:
    """One process, one node: the push mix, `warm` campaigns before the one that counts."""
    script = _script()
    with _home() as home, tempfile.TemporaryDirectory() as folder:
        node, sandbox = script.start(Path(folder), small=small), start_sandbox(home / "sandbox")
        try:
            node.wait_until_ready(120)
            settings = read_settings(
                home=home,
                sandbox=True,
                store="cassandra",
                cassandra_port=node.port,
                secret_key=uuid4().hex,
                windows_at_once=4,
            )
            with console.status("costs"):
                found = asyncio.run(_costs(settings, recipients, warm, node.process.pid))
                disk = _disk(node, recipients, warm + 1)
        finally:
            sandbox.stop()
            node.kill()
    return {"phases": {phase: found.row(phase, recipients) for phase in found.phases}, "disk_bytes": disk}


def _disk(node: Any, recipients: int, campaigns: int) -> dict[str, float]:
    """Bytes on disk for each recipient, one replica, by table: a node that starts again writes all down."""
    node.stop()
    node.launch()
    node.wait_until_ready(120)
    sizes: dict[str, float] = {}
    for folder in (node.folder / "data" / "msgxc").iterdir():
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        table = folder.name.partition("-")[0]
        each = recipients * (1 if table == "recipients" else campaigns)
        sizes[table] = round(size / each, 1)
    return {table: size for table, size in sorted(sizes.items()) if size >= 1}


async def _costs(settings: Settings, recipients: int, warm: int, pid: int) -> Costs:
    await apply_schema(settings)
    await _enlist(settings, people(recipients, PUSH_MIX))
    async with open_exchange(settings) as exchange:
        found = Costs({})
        for number in range(warm + 1):
            found = Costs({})
            spec = CampaignSpec(
                name=f"costs-{number}",
                template="spring-sale",
                audience=Audience(to=Everyone()),
                values={"code": "X"},
                sending=Sending(),
                fallback=Fallback(enabled=False),
            )
            planned = await campaigns.plan(exchange, spec)
            with _phase(found, "seal", pid):
                await campaigns.seal(exchange, planned.id)
            with _phase(found, "send", pid):
                await campaigns.send_rest(exchange, planned, stop=threading.Event())
            with _phase(found, "report", pid):
                report = await campaigns.report(exchange, planned.name)
            if not report.adds_up or report.audience != recipients:
                raise SystemExit("the report does not add up")
        return found


@contextmanager
def _phase(found: Costs, name: str, pid: int) -> Iterator[None]:
    wall, own, store = time.monotonic(), time.process_time(), machine.process_cpu(pid)
    yield
    found.phases[name] = (
        time.monotonic() - wall,
        time.process_time() - own,
        machine.process_cpu(pid) - store,
    )


# -- both -------------------------------------------------------------------------------------------------


async def _enlist(settings: Settings, everybody: Iterator[Recipient]) -> None:
    store = make_store(settings)
    await store.open()
    for some in batches(everybody, 1000):
        await store.directory.put(some)
    await store.close()


@contextmanager
def _home() -> Iterator[Path]:
    """A folder that every user can reach; PostgreSQL's is one of them."""
    with tempfile.TemporaryDirectory(prefix="msgxc-scale-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def _script() -> Any:
    spec = importlib.util.spec_from_file_location("cassandra_node", ROOT / "servers" / "cassandra_node.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["cassandra_node"] = module
    spec.loader.exec_module(module)
    return module


def _table(title: str, rows: list[Mapping[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left", box=None)
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    return table


def main() -> int:
    """Measure, print, and keep the figures under benchmarks/results/."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--recipients", type=int, default=6000, help="of each campaign")
    parser.add_argument("--only", choices=["workers", "costs"])
    given, console = parser.parse_args(), Console()
    found: dict[str, Any] = {
        "machine": machine.described(),
        "versions": machine.versions(),
        "load": machine.load(),
    }
    if given.only != "costs":
        found["workers"] = workers(given.recipients, console)
        console.print(_table("Workers, 50 ms latency", found["workers"]))
    if given.only != "workers":
        kinds = {"quick compiler (C1)": (True, 1), "full compiler (C2), warm": (False, 24)}
        found["costs"] = {
            kind: costs(given.recipients, small=small, warm=warm, console=console)
            for kind, (small, warm) in kinds.items()
        }
        rows = [
            {"Cassandra": kind, "phase": phase, **row}
            for kind, measured in found["costs"].items()
            for phase, row in measured["phases"].items()
        ]
        console.print(_table("Cost of a message", rows))
        disk = [{"Cassandra": kind, **it["disk_bytes"]} for kind, it in found["costs"].items()]
        console.print(_table("Bytes on disk for each recipient, one replica", disk))
    found["load_after"] = machine.load()
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-scale.json"
    before = json.loads(file.read_text()) if given.only and file.exists() else {}
    file.write_text(json.dumps(before | found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
