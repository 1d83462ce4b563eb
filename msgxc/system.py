"""The embedded system on one machine: the sandbox, a Prefect server, its deployments and a worker.

`python -m msgxc.system` (make up) keeps it running until Ctrl-C. Prefect is spoken to over HTTP and as a
command, so that nothing here imports it. All that is written lies in MSGXC_HOME.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType

import httpx
from rich.console import Console
from rich.markup import escape

from msgxc.deploying import (
    PREFECT,
    PREFECT_SETTINGS,
    Api,
    health_environment,
    prepare,
    start_deploying,
    start_reconciler,
    start_worker,
)
from msgxc.errors import MsgxcError, NotFound
from msgxc.sandbox.endpoints import read_endpoints
from msgxc.settings import ROOT, Settings, read_settings
from msgxc.supervise import Child, Supervisor, supervising
from msgxc.wiring import apply_schema, sandbox_folder, sandboxed_channels

PORT = 4200
GATEWAY = (sys.executable, "-m", "msgxc.gateway")
SERVER = (*PREFECT, "server", "start")


class Interrupted(BaseException):
    """Somebody wants this process to end: SIGTERM or SIGHUP."""


class Steps:
    """Says what is being done, one line each, with a tick and its time."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def step(self, doing: str) -> Iterator[list[str]]:
        """One step; what is put into the list stands beside its tick."""
        begun, said = time.monotonic(), list[str]()
        with self.console.status(doing):
            yield said
        took = f"{time.monotonic() - begun:.1f} s"
        text = "  ".join([f"[green]✔[/green] {doing}", *(f"[dim]{word}[/dim]" for word in said)])
        self.console.print(f"{text}  [dim]{took}[/dim]", highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class System:
    """A running system: `url` is the console's, `api` Prefect's API under it; `login` if it asks for one."""

    settings: Settings
    url: str
    supervisor: Supervisor | None = None  # None: somebody else started it
    login: str = field(default="", repr=False)
    gateway: str = ""  # its URL

    def check(self) -> None:
        """Raise ChildFailed if a part of it has ended."""
        if self.supervisor:
            self.supervisor.check()

    @property
    def api(self) -> str:
        """Base URL of Prefect's API."""
        return f"{self.url}/api"


@contextmanager
def running(settings: Settings, steps: Steps, server_url: str = "") -> Iterator[System]:
    """Start everything; stop everything at the end, whatever that is. Raises AlreadyRunning, ChildFailed.

    `server_url`: of a Prefect server that runs elsewhere; empty: start one.
    """
    with interruptible(), supervising(settings.home) as supervisor:
        (settings.home / "system.json").unlink(missing_ok=True)
        with steps.step("Store") as said:
            said.append(f"{settings.store}, schema {asyncio.run(apply_schema(settings))}")
        url = server_url or f"http://127.0.0.1:{free_port(PORT)}"
        env = environment(settings, url) | gateway_environment(settings)
        server = None if server_url else supervisor.start("server", SERVER, env)
        sandbox(supervisor, steps, settings, env)
        with steps.step("Console and API") as said:
            supervisor.until(server, Api(f"{url}/api").answers, 120)
            said.append(url)
        furnish(supervisor, steps, settings, Api(f"{url}/api"), env, {"worker": ()})
        gateway = await_gateway(supervisor, steps, env)
        with told(settings.home / "system.json", url, gateway):
            yield System(settings, url, supervisor, gateway=gateway)


def sandbox(supervisor: Supervisor, steps: Steps, settings: Settings, env: Mapping[str, str]) -> None:
    """Start the sandbox providers, unless every channel has credentials."""
    if sandboxed_channels(settings):
        with steps.step("Sandbox providers") as said:
            start_sandbox(supervisor, settings, env)
            said.append("nothing leaves this machine")


def gateway_environment(settings: Settings) -> dict[str, str]:
    """Where the gateway of this machine listens; unless somebody said otherwise, its links lead there."""
    port = free_port(settings.gateway_port)
    own = "public_url" in settings.model_fields_set
    public = settings.public_url if own else f"http://127.0.0.1:{port}"
    demo = settings.demo if "demo" in settings.model_fields_set else settings.gateway_host == "127.0.0.1"
    return {"MSGXC_GATEWAY_PORT": str(port), "MSGXC_PUBLIC_URL": public, "MSGXC_DEMO": str(demo).lower()}


def await_gateway(supervisor: Supervisor, steps: Steps, env: Mapping[str, str]) -> str:
    """Start the gateway; its URL, once it answers."""
    url = f"http://127.0.0.1:{env['MSGXC_GATEWAY_PORT']}"

    def answers() -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{url}/api/v2/ping", timeout=2).is_success
        return False

    with steps.step("Gateway") as said:
        supervisor.until(supervisor.start("gateway", GATEWAY, env), answers, 120)
        said.append(url)
    return url


def furnish(
    supervisor: Supervisor,
    steps: Steps,
    settings: Settings,
    api: Api,
    env: Mapping[str, str],
    workers: Mapping[str, Sequence[str]],
) -> None:
    """Give a server that answers its queues, its deployments and its workers (name -> queues, () is all).

    A worker of several says on a port of its own whether it is at work.
    """
    with steps.step("Work queues") as said:
        said.append(", ".join(prepare(api, settings)))
    with steps.step("Flows"):
        deploy = start_deploying(supervisor, env)
        children = [
            start_worker(supervisor, _with_health(env, number, queues), name, queues)
            for number, (name, queues) in enumerate(workers.items())
        ]
        start_reconciler(supervisor, env)
        supervisor.finish(deploy, 120)
    with steps.step("Workers") as said:
        supervisor.until(children[-1], lambda: api.workers() >= len(workers), 60)
        said.append(", ".join(workers))


def _with_health(env: Mapping[str, str], number: int, queues: Sequence[str]) -> dict[str, str]:
    return {**env, **health_environment(free_port(8081 + number))} if queues else dict(env)


def attached(settings: Settings) -> System:
    """The system that somebody else keeps running here. Raises NotFound while it starts or stops."""
    with suppress(OSError, ValueError, KeyError):
        said = json.loads((settings.home / "system.json").read_text())
        return System(settings, said["url"], gateway=said.get("gateway", ""))
    raise NotFound("the system is just starting or stopping here: try again in a moment")


@contextmanager
def told(file: Path, url: str, gateway: str = "") -> Iterator[None]:
    """Say in a file where the system is, as long as it is there."""
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps({"url": url, "gateway": gateway}))
    fresh.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _one_connection(folder: Path) -> str:
    """Prefect's SQLite file, through a single connection: several block each other for up to a minute when
    the machine is busy. `pool=:memory:` is how its server is told so; the data is in the file all the same.
    """
    return f"sqlite+aiosqlite:///file:{folder}/prefect.db?uri=true&pool=:memory:"


def environment(settings: Settings, url: str) -> dict[str, str]:
    """The environment of all that is Prefect: nothing of the user's own Prefect gets in."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    port = url.rpartition(":")[2]
    return {
        **env,
        **PREFECT_SETTINGS,
        "PREFECT_HOME": str(settings.home.resolve() / "prefect"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": _one_connection(settings.home.resolve() / "prefect"),
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": port,
        "MSGXC_ROOT": str(ROOT),
        "MSGXC_HOME": str(settings.home.resolve()),
        "MSGXC_TEMPLATES": str(settings.templates.resolve()),
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "200",
    }


def free_port(wanted: int) -> int:
    """The wanted port of 127.0.0.1 if nobody has it, else any free one; nobody else is given it meanwhile.

    Below those that the system gives to connections: a server may take its port seconds after this.
    """
    others = Random().sample(range(10_000, 32_000), 100)  # noqa: S311 - no secret
    for port in (wanted, *others) if wanted else others:
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            _hold(port)
            return port
    raise MsgxcError("no free port on 127.0.0.1")


def _hold(port: int) -> None:
    """Until this process ends no other one is given this port; raises OSError when one has been (on Linux: a
    name that is no file and goes with the process)."""
    if sys.platform == "linux":
        with socket.socket(socket.AF_UNIX) as name:
            name.bind(f"\0msgxc port {port}")
            name.detach()


def start_sandbox(supervisor: Supervisor, settings: Settings, env: Mapping[str, str]) -> Child:
    """Start the sandbox providers and wait until all of them listen."""
    folder = sandbox_folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    child = supervisor.start("sandbox", sandbox_command(str(folder)), env)

    def listens() -> bool:
        with suppress(NotFound):
            return read_endpoints(folder).pid == child.process.pid
        return False

    supervisor.until(child, listens, 30)
    return child


def sandbox_command(folder: str) -> list[str]:
    """How the sandbox providers are started."""
    return [sys.executable, "-m", "msgxc.sandbox", "--dir", folder]


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block in good order, as Ctrl-C does; a second one does not hurry it."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        raise Interrupted

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m msgxc.system", description="The exchange, until Ctrl-C.")
    parser.add_argument("--server", default="", metavar="URL", help="use the Prefect server that runs there")
    return parser.parse_args()


def main() -> int:
    """Keep the system running until Ctrl-C; 0 then, 1 when something failed."""
    server = _arguments().server
    return keep_running(lambda settings, steps: running(settings, steps, server))


def keep_running(start: Callable[[Settings, Steps], AbstractContextManager[System]]) -> int:
    """Keep what `start` starts running until Ctrl-C; 0 then, 1 when something failed."""
    console = Console()
    try:
        settings = read_settings()
        with start(settings, Steps(console)) as system:
            console.print(
                f"\nConsole: [bold]{system.url}[/bold]   logs: {_shown(system.settings.home / 'log')}"
            )
            if system.gateway:
                console.print(
                    f"Gateway: [bold]{system.gateway}[/bold]   /docs has the API, /demo a page to try"
                )
            if system.login:
                console.print(f"Login:   {_shown(system.settings.home / 'secrets.json')}, under login")
            console.print("Ctrl-C stops everything.\n")
            while True:
                system.check()
                time.sleep(1)
    except (KeyboardInterrupt, Interrupted):
        console.print("Stopped.")
        return 0
    except (MsgxcError, httpx.HTTPError) as error:
        console.print("[red]✘[/red]", escape(str(error)), highlight=False)
        return 1


def _shown(path: Path) -> str:
    with suppress(ValueError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)


if __name__ == "__main__":
    sys.exit(main())
