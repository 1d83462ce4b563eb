"""The embedded system on one machine: the sandbox, a Prefect server, its deployments and a worker.

`python -m msgxc.system` (make up) keeps it running until Ctrl-C. Prefect is spoken to over HTTP and as a
command, so that nothing here imports it. All that is written lies in MSGXC_HOME.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
from rich.console import Console
from rich.markup import escape

from msgxc.console_guard import link
from msgxc.deploying import (
    PREFECT_SETTINGS,
    WORKERS_SINCE,
    Api,
    health_environment,
    prepare,
    start_deploying,
    start_reconciler,
    start_worker,
)
from msgxc.errors import MsgxcError, NotFound, of_disk
from msgxc.health import sandbox_greets
from msgxc.kept_secrets import LOGIN, read_or_make
from msgxc.operations.signals import Told, heard
from msgxc.ports import Ports, chosen, free_port, free_ports
from msgxc.render import load
from msgxc.sandbox.endpoints import NAMES as SANDBOXES
from msgxc.sandbox.endpoints import read_endpoints
from msgxc.settings import ROOT, Settings, read_settings
from msgxc.supervise import WHERE, Child, Supervisor, supervising
from msgxc.wiring import apply_schema, sandbox_folder, sandboxed_channels

TEND_SECONDS = 0.5
#: So long may a part take to come up: a busy machine needs minutes, and who has ended is seen at once.
PATIENCE_SECONDS = 300.0
GATEWAY = (sys.executable, "-m", "msgxc.gateway")
SERVER = (sys.executable, "-m", "msgxc.console_server")
#: What a process is told that talks to Prefect.
LOGIN_OF_CLIENTS = "PREFECT_API_AUTH_STRING"


#: A worker for all there is; and another for what is urgent alone, so that it never waits for a place.
WORKERS: Mapping[str, Sequence[str]] = {"worker": (), "worker-urgent": ("urgent",)}


class Interrupted(KeyboardInterrupt):
    """Somebody wants this process to end: SIGTERM, SIGHUP, Ctrl-C."""


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
    """A running system: `url` is the console's, `api` Prefect's API under it, `login` opens both."""

    settings: Settings
    url: str
    supervisor: Supervisor | None = None  # None: somebody else started it
    login: str = field(default="", repr=False)
    gateway: str = ""  # its URL

    def check(self) -> None:
        """Raise ChildFailed if a part of it has ended."""
        if self.supervisor:
            self.supervisor.check()

    def tend(self) -> None:
        """Start again what has ended or hangs; to be called about once a second."""
        if self.supervisor:
            self.supervisor.tend()

    @property
    def api(self) -> str:
        """Base URL of Prefect's API."""
        return f"{self.url}/api"

    def page(self, path: str = "") -> str:
        """The address of a page of the console that opens it for whoever has this address."""
        return link(self.url, self.login, path)


@contextmanager
def running(settings: Settings, steps: Steps, server_url: str = "") -> Iterator[System]:
    """Start everything; stop everything at the end, whatever that is. Raises AlreadyRunning, ChildFailed.

    `server_url`: of a Prefect server that runs elsewhere, whose login is in PREFECT_API_AUTH_STRING; empty:
    start one, with the login that MSGXC_HOME/secrets.json keeps.
    """
    load(settings.templates)  # a folder that is not there would be a form without templates
    with interruptible(), ExitStack() as stack, supervising(settings.home) as supervisor:
        begun(supervisor, steps, settings.home)
        ports = stack.enter_context(chosen(settings, settings.home, supervisor.say, console=not server_url))
        with steps.step("Store") as said:
            said.append(f"{settings.store}, schema {asyncio.run(apply_schema(settings))}")
        url = server_url or f"http://127.0.0.1:{ports.console}"
        login = os.environ.get(LOGIN_OF_CLIENTS, "") if server_url else kept_login(settings)
        env = environment(settings, url) | gateway_environment(settings, ports)
        own = {"PREFECT_SERVER_API_AUTH_STRING": login}
        api = Api(f"{url}/api", login)
        server = None if server_url else supervisor.start("server", SERVER, env | own, well=api.answers)
        sandbox(supervisor, steps, settings, env)
        with steps.step("Console and API") as said:
            supervisor.until(server, api.answers, PATIENCE_SECONDS)
            said.append(url)
        alone = not server_url or settings.store == "sqlite"  # A store in a file has no workers elsewhere.
        furnish(supervisor, steps, settings, api, env, WORKERS, alone=alone)
        gateway = await_gateway(supervisor, steps, env)
        system = System(settings, url, supervisor, login, gateway)
        with told(system):
            yield system


def kept_login(settings: Settings) -> str:
    """The login of the embedded console: "name:password", made at the first start."""
    return read_or_make(settings.home / "secrets.json", [LOGIN])[LOGIN]


def begun(supervisor: Supervisor, steps: Steps, home: Path) -> None:
    """Say what of an earlier start had to be ended first, and from now on what is started again."""
    (home / WHERE).unlink(missing_ok=True)
    if supervisor.left:
        steps.console.print(f"An earlier start had left {supervisor.left} processes here; they were ended.")
    supervisor.say = partial(_say, steps.console)


def _say(console: Console, line: str) -> None:
    console.print(f"{time.strftime('%H:%M:%S')}  {escape(line)}", highlight=False, soft_wrap=True)


def sandbox(supervisor: Supervisor, steps: Steps, settings: Settings, env: Mapping[str, str]) -> None:
    """Start the sandbox providers, unless every channel has credentials."""
    if sandboxed_channels(settings):
        with steps.step("Sandbox providers") as said:
            start_sandbox(supervisor, settings, env)
            said.append("nothing leaves this machine")


def gateway_environment(settings: Settings, ports: Ports) -> dict[str, str]:
    """Where the gateway of this machine listens; unless somebody said otherwise, its links lead there, and
    those that were sent before lead there still."""
    given = settings.model_fields_set
    public = settings.public_url if "public_url" in given else f"http://127.0.0.1:{ports.gateway}"
    demo = settings.demo if "demo" in given else settings.gateway_host == "127.0.0.1"
    earlier = settings.gateway_earlier_ports or ",".join(map(str, ports.earlier))
    return {
        "MSGXC_GATEWAY_PORT": str(ports.gateway),
        "MSGXC_GATEWAY_EARLIER_PORTS": earlier,
        "MSGXC_PUBLIC_URL": public,
        "MSGXC_DEMO": str(demo).lower(),
    }


def await_gateway(supervisor: Supervisor, steps: Steps, env: Mapping[str, str]) -> str:
    """Start the gateway; its URL, once it answers."""
    url = f"http://127.0.0.1:{env['MSGXC_GATEWAY_PORT']}"

    def answers() -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{url}/api/v2/ping", timeout=2).is_success
        return False

    with steps.step("Gateway") as said:
        supervisor.until(supervisor.start("gateway", GATEWAY, env, well=answers), answers, PATIENCE_SECONDS)
        said.append(url)
    return url


def furnish(
    supervisor: Supervisor,
    steps: Steps,
    settings: Settings,
    api: Api,
    env: Mapping[str, str],
    workers: Mapping[str, Sequence[str]],
    *,
    alone: bool = True,
) -> None:
    """Give a server that answers its queues, its deployments and its workers (name -> queues, () is all).

    Each worker says on a port of its own whether it is at work. Only who talks to Prefect gets the login.
    `alone`: there are no other workers, and those of an earlier start were ended.
    """
    env = {**env, LOGIN_OF_CLIENTS: api.login}
    if alone:
        env[WORKERS_SINCE] = str(time.time())
    with steps.step("Work queues") as said:
        said.append(", ".join(prepare(api, settings)))
    with steps.step("Flows"):
        deploy = start_deploying(supervisor, env)
        children = [
            start_worker(supervisor, {**env, **health_environment(free_port(8081 + number))}, name, queues)
            for number, (name, queues) in enumerate(workers.items())
        ]
        start_reconciler(supervisor, env, settings)
        supervisor.finish(deploy, PATIENCE_SECONDS)
    with steps.step("Workers") as said:
        supervisor.until(children[-1], lambda: api.workers() >= len(workers), PATIENCE_SECONDS)
        said.append(", ".join(workers))


def attached(settings: Settings) -> System:
    """The system that somebody else keeps running here. Raises NotFound while it starts or stops."""
    with suppress(OSError, ValueError, KeyError):
        said = json.loads((settings.home / "system.json").read_text())
        return System(settings, said["url"], login=said["login"], gateway=said["gateway"])
    raise NotFound("the system is just starting or stopping here: try again in a moment")


@contextmanager
def told(system: System) -> Iterator[None]:
    """Say in system.json, which only its owner reads, where the system is, as long as it is there."""
    file = system.settings.home / "system.json"
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    said = {"url": system.url, "gateway": system.gateway, "login": system.login}
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        json.dump(said, out)
    fresh.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def one_connection(folder: Path) -> str:
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
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": one_connection(settings.home.resolve() / "prefect"),
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": port,
        "MSGXC_ROOT": str(ROOT),
        "MSGXC_HOME": str(settings.home.resolve()),
        "MSGXC_TEMPLATES": str(settings.templates.resolve()),
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "200",
    }


def start_sandbox(supervisor: Supervisor, settings: Settings, env: Mapping[str, str]) -> Child:
    """Start the sandbox providers and wait until all of them listen."""
    folder = sandbox_folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    command = sandbox_command(str(folder), free_ports(0, len(SANDBOXES)))

    def listens() -> bool:
        with suppress(NotFound):
            return read_endpoints(folder).pid == child.process.pid
        return False

    def answers() -> bool:
        sandbox_greets(folder, 5)
        return True

    child = supervisor.start("sandbox", command, env, well=answers)
    supervisor.until(child, listens, PATIENCE_SECONDS)
    return child


def sandbox_command(folder: str, port: int) -> list[str]:
    """How the sandbox providers are started: on this port and those after it, whenever that is."""
    return [sys.executable, "-m", "msgxc.sandbox", "--dir", folder, "--port-base", str(port)]


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM, SIGHUP and Ctrl-C end the block in good order; a second one does not hurry it."""
    told: Told = []

    def interrupt(number: int) -> None:
        told.append(number)
        if len(told) == 1:
            raise Interrupted

    with heard(interrupt):
        yield


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m msgxc.system", description="The exchange, until Ctrl-C.")
    parser.add_argument("--server", default="", metavar="URL", help="use the Prefect server that runs there")
    return parser.parse_args()


def main() -> int:
    """Keep the system running until Ctrl-C; 0 then, 1 when something failed."""
    server = _arguments().server
    return keep_running(lambda settings, steps: running(settings, steps, server), tell_login=not server)


def keep_running(
    start: Callable[[Settings, Steps], AbstractContextManager[System]], *, tell_login: bool = True
) -> int:
    """Keep what `start` starts running until Ctrl-C; 0 then, 1 when something failed.

    `tell_login`: the console's address opens it; no where somebody else made the login, and knows it.
    """
    console = Console()
    try:
        settings = read_settings()
        with start(settings, Steps(console)) as system:
            address = system.page("/v2") if tell_login else system.url
            console.print(f"\nConsole: [bold]{escape(address)}[/bold]", soft_wrap=True)
            if system.gateway:
                console.print(
                    f"Gateway: [bold]{system.gateway}[/bold]   /docs has the API, /demo a page to try"
                )
            console.print(f"Logs:    {_shown(system.settings.home / 'log')}")
            console.print("Ctrl-C stops everything.\n")
            while True:
                system.tend()
                time.sleep(TEND_SECONDS)
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 0
    except OSError as error:
        console.print("[red]✘[/red]", escape(of_disk(error)), highlight=False, soft_wrap=True)
        return 1
    except (MsgxcError, httpx.HTTPError) as error:
        console.print("[red]✘[/red]", escape(str(error)), highlight=False, soft_wrap=True)
        return 1


def _shown(path: Path) -> str:
    with suppress(ValueError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)


if __name__ == "__main__":
    sys.exit(main())
