"""make demo: a whole campaign on this machine, started and followed the way another service would.

It leaves everything in MSGXC_HOME, and takes a new campaign name each time, so it may be run again and again.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from msgxc import campaigns
from msgxc.deploying import Api
from msgxc.errors import MsgxcError, NotFound, of_disk
from msgxc.people.importing import ImportSummary, import_people
from msgxc.prefect_api import FLOW_OF_CAMPAIGNS
from msgxc.reports import tables
from msgxc.reports.funnel import Report
from msgxc.run_care import FINAL
from msgxc.settings import ROOT, Settings, read_settings
from msgxc.supervise import AlreadyRunning
from msgxc.system import Steps, System, attached, running
from msgxc.wiring import open_exchange

EXAMPLES = ROOT / "schema" / "example"
FALLBACK_MINUTES = 0.05
PATIENCE_SECONDS = 300.0


class DemoFailed(MsgxcError):
    """The demo did not come to its end."""

    code = "demo_failed"


@dataclass(frozen=True, slots=True)
class PrefectApi:
    """Prefect's API, as another service sees it."""

    http: httpx.Client

    def start(self, deployment: str, parameters: Mapping[str, Any], key: str) -> str:
        """Start a deployment; answers the run's id. The same key starts it once."""
        found = self._json("GET", f"/deployments/name/{deployment}")
        body = {"parameters": parameters, "idempotency_key": key}
        return str(self._json("POST", f"/deployments/{found['id']}/create_flow_run", body)["id"])

    def run(self, run: str) -> dict[str, Any]:
        """The run as it stands now."""
        return dict(self._json("GET", f"/flow_runs/{run}"))

    def named(self, name: str) -> str | None:
        """The id of the run of that name, or None."""
        found = self._json("POST", "/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}})
        return str(found[0]["id"]) if found else None

    def progress(self, run: str) -> float:
        """How far the run says it is, in percent."""
        wanted = {"flow_run_id": {"any_": [run]}, "type": {"any_": ["progress"]}}
        found = self._json("POST", "/artifacts/filter", {"artifacts": wanted})
        return float(found[0]["data"]) if found else 0.0

    def _json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer. 503 means that the server's database is busy: ask again (the key makes it harmless)."""
        answer = self.http.request(method, path, json=body)
        for _ in range(60):
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(0.5)
            answer = self.http.request(method, path, json=body)
        return answer.raise_for_status().json()


def demo(system: System, steps: Steps) -> str:
    """Import the example people, run a campaign and its fallback, print the report; answers the run's id.

    Raises DemoFailed.
    """
    with steps.step("Example people") as said:
        said.append(asyncio.run(import_example(system.settings)).told())
    name = f"demo-{datetime.now(UTC):%Y-%m-%d-%H%M%S}"
    with Api(system.api, system.login).client() as http:
        prefect = PrefectApi(http)
        parameters = {
            "name": name,
            "template": "spring-sale",
            "audience": {"to": {"kind": "everyone"}},
            "fallback": {"enabled": True, "after_minutes": FALLBACK_MINUTES, "channels": ["email"]},
            "values": {"code": "SPRING26"},
        }
        run = prefect.start(FLOW_OF_CAMPAIGNS, parameters, str(uuid4()))
        follow(system, prefect, steps, f"Campaign {name}", run)
        fallback = wait_for(lambda: prefect.named(f"{name}.fallback"), system)
        follow(system, prefect, steps, "Fallback by email", fallback)
    found = asyncio.run(report(system.settings, name))
    show(steps.console, found)
    if not found.adds_up or found.audience == 0:
        raise DemoFailed("the report does not add up")
    return run


async def import_example(settings: Settings) -> ImportSummary:
    """Import schema/example/people.*; what is refused on purpose goes to a file in MSGXC_HOME."""
    file = next(iter(sorted(EXAMPLES.glob("people.*"))), None)
    if file is None:
        raise NotFound(f"no people.* in {EXAMPLES}")
    async with open_exchange(settings) as exchange:
        now, refused = datetime.now(UTC), settings.home / "example-refused.csv"
        return await import_people(file, exchange.store, exchange.key, now=now, refused=refused)


async def report(settings: Settings, name: str) -> Report:
    """The campaign's report, as `msgxc campaigns report NAME` makes it."""
    async with open_exchange(settings) as exchange:
        return await campaigns.report(exchange, name)


def follow(system: System, prefect: PrefectApi, steps: Steps, title: str, run: str) -> None:
    """Show a run with a progress bar until it ends. Raises DemoFailed unless it completes."""
    columns = (TextColumn("  {task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
    begun, now = time.monotonic(), prefect.run(run)
    shown = steps.console.is_terminal
    with Progress(
        *columns, TimeElapsedColumn(), console=steps.console, transient=True, disable=not shown
    ) as bar:
        task = bar.add_task(title, total=100.0, state="")
        while now["state"]["type"] not in FINAL:
            system.check()
            if time.monotonic() - begun > PATIENCE_SECONDS:
                raise DemoFailed(f"{title} has not ended after {PATIENCE_SECONDS:.0f} s")
            bar.update(task, completed=prefect.progress(run), state=now["state"]["name"])
            time.sleep(0.25)
            now = prefect.run(run)
    if now["state"]["type"] != "COMPLETED":
        raise DemoFailed(f"{title} ended as {now['state']['name']}: {now['state'].get('message') or ''}")
    took = f"{time.monotonic() - begun:.1f} s"
    line = f"[green]✔[/green] {title}  [dim]{now['state'].get('message') or ''}  {took}[/dim]"
    steps.console.print(line, highlight=False, soft_wrap=True)


def wait_for(look: Callable[[], str | None], system: System) -> str:
    """What `look` finds, as soon as it finds something. Raises DemoFailed."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if found := look():
            return found
        system.check()
        time.sleep(0.25)
    raise DemoFailed("no fallback was scheduled")


def show(console: Console, found: Report) -> None:
    """Print the report as tables."""
    console.print()
    parts = {
        "What became of everybody": tables.people(found),
        "Deliveries by channel": tables.channels(found),
        "Skipped": tables.skips(found),
        "Errors": tables.errors(found),
    }
    for title, rows in parts.items():
        if rows:
            console.print(_table(title, rows))
    if found.sandboxed:
        console.print(f"Sandbox: no real provider was called ({', '.join(sorted(found.sandboxed))}).\n")


def _table(title: str, rows: list[tables.Row]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name, value in rows[0].items():
        table.add_column(name, justify="right" if isinstance(value, int) else "left")
    for row in rows:
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else cell for cell in row.values()))
    return table


def main() -> int:
    """Run the demo; 0 when it came to its end."""
    console, begun = Console(), time.monotonic()
    if not console.is_terminal:
        console.width = 120
    steps = Steps(console)
    try:
        settings = read_settings()
        try:
            with running(settings, steps) as system:
                run = demo(system, steps)
            console.print(
                "Everything has been stopped again. To look at it in the console: make up, then open"
            )
        except AlreadyRunning:
            system = attached(settings)
            console.print(f"[green]✔[/green] Using the system that runs at {system.url}", highlight=False)
            run = demo(system, steps)
        console.print(system.page(f"/v2/runs/flow-run/{run}"), soft_wrap=True, highlight=False, markup=False)
    except KeyboardInterrupt:
        console.print("Stopped; nothing keeps running.")
        return 130
    except OSError as error:
        console.print("[red]✘[/red]", escape(of_disk(error)), highlight=False, soft_wrap=True)
        return 1
    except (MsgxcError, httpx.HTTPError) as error:
        console.print("[red]✘[/red]", escape(str(error)), highlight=False, soft_wrap=True)
        return 1
    minutes, seconds = divmod(round(time.monotonic() - begun), 60)
    console.print(f"Done in {minutes} min {seconds} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
