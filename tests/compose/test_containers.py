"""Every service of ours as its container runs it: nothing is written but where it may be, and docker's
question is answered by what a person sees."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from cassandra_fixture import _script
from container import USER, Container, build, taken
from psutil import Process, pid_exists
from waiting import until

from msgxc import health
from msgxc.settings import ROOT

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
SMALL: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.embedded.yml").read_text())["services"]
LOGIN = "msgxc:a password of the tests"


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    """The image; the servers below are a file each. Not in pytest's folder, which is its owner's alone."""
    with tempfile.TemporaryDirectory(prefix="msgxc-compose-") as folder:
        Path(folder).chmod(0o755)
        yield _built(Path(folder))


def _built(folder: Path) -> Container:
    console, gateway, worker = map(str, _script().free_ports(3))
    changed = {
        "MSGXC_BUS": "memory",
        "MSGXC_CONSOLE_HOSTS": "server,",
        "MSGXC_CASSANDRA_PASSWORD": "-",
        "MSGXC_HOME": str(folder / "tmp" / "home"),
        "MSGXC_NATS_PASSWORD": "-",
        "MSGXC_SECRET_KEY": "0123456789abcdef",
        "MSGXC_STORE": "sqlite",
        "PREFECT_API_AUTH_STRING": LOGIN,
        "PREFECT_API_URL": f"http://127.0.0.1:{console}/api",
        "PREFECT_SERVER_API_AUTH_STRING": LOGIN,
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder}/tmp/prefect.db",
        "PREFECT_WORKER_WEBSERVER_PORT": worker,
        **{name: "-" for name, value in SERVICES["server"]["environment"].items() if "redis" in str(value)},
    }
    added = {"PREFECT_SERVER_API_PORT": console, "MSGXC_GATEWAY_PORT": gateway}
    return build(folder, changed, added)


def asked(container: Container, service: dict[str, Any]) -> int:
    """What docker is answered; here nobody is ended."""
    words = [word for word in service["healthcheck"]["test"][1:] if word != "--end"]
    return container.run(service, words).returncode


def wait(container: Container, service: dict[str, Any], process: subprocess.Popen[bytes]) -> None:
    """Until docker is answered yes."""
    asyncio.run(until(lambda: asked(container, service) == 0, process, seconds=300, look=1))


def test_what_it_cannot_write(container: Container) -> None:
    """The image, its packages and the system are read-only; /tmp and the volume are not."""
    tries = """
import sys
for place in sys.argv[1:]:
    try:
        open(f"{place}/written", "w").close()
        print(place)
    except OSError:
        pass
"""
    closed = [container.image, container.image / "ui", ROOT, Path(sys.prefix), Path("/usr"), Path("/var/lib")]
    free = [container.tmp, container.volume]
    done = container.run(SERVICES["server"], ["python", "-c", tries, *map(str, [*free, *closed])])
    assert done.stdout.split() == [str(place) for place in free], done.stderr


def test_the_image_holds_nothing_private() -> None:
    """Only what is named gets into it, of this folder as of anybody's: no .env, no list of people. Its var
    alone belongs to its user, and the templates that are mounted stand where the image has its own."""
    assert not {".env", "var", "files", "tests", ".git", "."} & set(taken())
    assert all((ROOT / name).exists() for name in taken())
    text = (ROOT / "Dockerfile").read_text()
    assert f"--uid {USER} msgxc && install -d -m 700 -o msgxc var\nUSER msgxc\n" in text
    assert "chmod -R a+rX,go-w ." in text


@pytest.fixture(scope="module")
def console(container: Container) -> Iterator[Container]:
    """The console of docker-compose.yml, at work, with its tables."""
    done = container.run(SERVICES["migrate"])
    assert done.returncode == 0, done.stderr
    with container.running(SERVICES["server"], "server") as server:
        wait(container, SERVICES["server"], server)
        yield container


@pytest.mark.parametrize("lost", ["index.html", "assets"])
def test_a_console_without_its_page_is_unhealthy(console: Container, lost: str) -> None:
    """Docker's question is that of a person: without the page, or with a white one, it is answered no."""
    page = console.image / "ui" / "v2" / lost
    aside = page.with_name("aside")
    page.rename(aside)
    try:
        assert asked(console, SERVICES["server"]) == 1
    finally:
        aside.rename(page)
    assert asked(console, SERVICES["server"]) == 0


def test_the_small_console_is_there_too(container: Container) -> None:
    """The other compose file's server, with its data in the volume and its services within."""
    port = str(_script().free_ports(1)[0])
    small = Container(
        container.image, container.volume, container.tmp, container.changed, {"PREFECT_SERVER_API_PORT": port}
    )
    with small.running(SMALL["server"], "small") as server:
        wait(small, SMALL["server"], server)
    assert (container.volume / "prefect").is_dir()


def test_a_console_elsewhere_has_its_pages(container: Container) -> None:
    """Without a folder for them, and in a package that is not its user's, they are unpacked beside Prefect's
    own files."""
    shown = "from msgxc.console_server import _pages; print(_pages())"
    done = container.run(SERVICES["server"], ["python", "-c", shown])
    assert done.stdout.strip() == f"{container.tmp}/prefect/ui"


def test_every_process_of_the_exchange_works_there(console: Container) -> None:
    """Schema, deployments, sandbox, a worker, gateway and reconciler: each is at work, as docker asks it, and
    stops in good order."""
    for name in ("settings", "schema", "deploy"):
        done = console.run(SERVICES[name])
        assert done.returncode == 0, (name, done.stdout, done.stderr)
    names = ("sandbox", "worker-urgent", "gateway", "reconciler")
    with ExitStack() as stack:
        at_work = [stack.enter_context(console.running(_here(SERVICES[name]), name)) for name in names]
        for name, process in zip(names, at_work, strict=True):
            wait(console, _here(SERVICES[name]), process)
        assert [process.poll() for process in at_work] == [None] * len(names)
    for name in names:  # none has tried to write where it may not
        assert "Read-only" not in (console.image.parent / f"{name}.log").read_text(), name


def _here(service: dict[str, Any]) -> dict[str, Any]:
    """The sandbox by a name, and on ports, that this machine has; docker's are its own."""
    own = {"sandbox": "localhost", "21000": "0"}
    return {**service, "command": [own.get(word, word) for word in service["command"]]}


def test_who_hangs_is_ended(tmp_path: Path) -> None:
    """What an init has started, when it was well and is no longer: asked to end, then killed. Who never was
    well may still be starting; under another first process nobody is touched."""
    file = tmp_path / "well"
    assert health.since_well(file, 1000.0, well=False) == 0
    assert health.since_well(file, 1000.0, well=True) == 0
    assert health.since_well(file, 1060.0, well=False) == 60
    init = tmp_path / "tini"
    shutil.copy2("/bin/sh", init)
    script = "trap '' TERM; sleep 1000 & echo $!; wait"
    with subprocess.Popen([init, "-c", script], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout
        child = int(first.stdout.readline())
        asyncio.run(until(lambda: Process(child).name() == "sleep", first))
        Process(child).send_signal(signal.SIGSTOP)
        health.end_after(health.ASK_SECONDS - 1, first.pid)
        health.end_after(health.ASK_SECONDS, first.pid)
        assert Process(child).status() == "stopped"
        health.end_after(health.KILL_SECONDS, first.pid)
        asyncio.run(until(lambda: not pid_exists(child)))
        first.wait()
    with subprocess.Popen(
        ["sh", "-c", "sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        child = int(other.stdout.readline())
        health.end_after(health.KILL_SECONDS, other.pid)
        assert Process(child).is_running()
        Process(child).kill()
