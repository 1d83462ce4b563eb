"""docker-compose.yml without docker: it is well formed, keeps no secret, and says what the code says."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from cassandra_fixture import _script

from msgxc import deploying, health, real, system
from msgxc.settings import ROOT, Settings
from msgxc.store.cassandra import CassandraSettings, CassandraStore
from msgxc.urgency import levels

FILES = ["docker-compose.yml", "docker-compose.embedded.yml"]
TEXT = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]
OURS = {name: it for name, it in SERVICES.items() if it["image"].startswith("msgxc:")}
ONCE = {"migrate", "schema", "deploy"}
QUEUES = ("urgent", "normal", "bulk")


EMBEDDED: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.embedded.yml").read_text())["services"]


def plain(command: Sequence[str]) -> list[str]:
    """A command of the code as a container says it: there Python is on PATH."""
    return ["python" if word == sys.executable else word for word in command]


@pytest.mark.parametrize("file", FILES)
def test_it_is_what_docker_compose_reads(file: str) -> None:
    """`docker compose config`, or the library that it is made of, takes the file."""
    command = [ROOT / "servers" / "compose.sh", ROOT / file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_keeps_no_secret() -> None:
    """Every secret is a variable, without which docker compose stops and names it."""
    assert set(re.findall(r"\$\{(\w+)", TEXT)) == {
        "MSGXC_SECRET_KEY",
        "POSTGRES_PASSWORD",
        "PREFECT_SERVER_API_AUTH_STRING",
        "REDIS_PASSWORD",
    }
    assert len(re.findall(r"\$\{", TEXT)) == len(re.findall(r"\$\{\w+:\?[^}]+\}", TEXT))
    secret = re.compile(r"(PASSWORD|SECRET|AUTH_STRING|CONNECTION_URL|DOCKET_URL|MESSAGING_URL)\w*: (.*)")
    assert all(":?" in value for _, value in secret.findall(TEXT))


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_bounded_and_pinned(name: str) -> None:
    """An image with its version, a limit on memory, a restart; only the console and the gateway are reached
    from outside, and that from this machine alone."""
    service = SERVICES[name]
    assert re.fullmatch(r"[a-z]+:\d+\.\d+[\w.-]*", service["image"])
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["restart"] == ("on-failure" if name in ONCE else "unless-stopped")
    reached = {"server": ["127.0.0.1:4200-4201:4200"], "gateway": ["127.0.0.1:8080:8080"]}
    assert service.get("ports", []) == reached.get(name, [])


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_small_system_is_bounded_and_pinned_too(name: str) -> None:
    """The same of docker-compose.embedded.yml; its image is one and the same, on a Python of one version."""
    service = EMBEDDED[name]
    assert service["image"] == OURS["server"]["image"]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]
    assert re.search(r"^FROM python:\d+\.\d+\.\d+-", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_every_service_is_looked_at() -> None:
    """Each has a health check, or ends by itself."""
    assert {name for name, service in SERVICES.items() if "healthcheck" not in service} == ONCE


def test_the_commands_are_those_of_make_up_real() -> None:
    """Each command of our image is the one that the tests of the real system have run."""
    assert OURS["migrate"]["command"] == plain(real.MIGRATE)
    assert OURS["server"]["command"] == plain(real.REPLICA)
    assert OURS["services"]["command"] == plain(real.SERVICES)
    assert OURS["deploy"]["command"] == plain(deploying.TELL)
    assert OURS["reconciler"]["command"] == plain(deploying.RECONCILE)
    assert OURS["gateway"]["command"] == plain(system.GATEWAY)
    assert OURS["sandbox"]["command"] == plain(system.sandbox_command("/opt/msgxc/var/sandbox"))
    for queue in QUEUES:
        name = f"worker-{queue}"
        assert OURS[name]["command"] == plain(deploying.worker_command(name, [queue], health=True))
    assert {level.queue for level in levels(Settings(_env_file=None)).values()} == set(QUEUES)


def test_the_commands_of_the_small_system_are_those_of_make_up() -> None:
    """Its server is started as make up does; its other half is run by tests/flows/test_the_demo.py."""
    assert EMBEDDED["server"]["command"][:5] == plain(system.SERVER)
    assert EMBEDDED["exchange"]["command"][:3] == ["python", "-m", "msgxc.system"]


def test_the_servers_are_told_what_make_up_real_tells_them() -> None:
    """PostgreSQL and Redis have the options of the scripts in servers/, which the tests run."""
    for name in ("postgres", "redis"):
        options = SERVICES[name]["command"][1:]
        if name == "redis":
            assert options[:2] == ["--requirepass", "${REDIS_PASSWORD:?letters and digits}"]
            options = options[2:]
        assert " ".join(options) in (ROOT / "servers" / f"{name}.sh").read_text()


def test_health_is_asked_as_in_the_tests_of_the_real_system() -> None:
    """tests/real asks every process of ours, at work and stopped, with these commands."""
    asked = {name: OURS[name]["healthcheck"]["test"][1:] for name in set(OURS) - ONCE - {"sandbox", "server"}}
    what = {name: name if name in health.ASKED else "worker" for name in asked}
    assert asked == {name: ["python", "-m", "msgxc.health", what[name]] for name in asked}
    assert set(what.values()) == set(health.ASKED)
    ports = {OURS[f"worker-{queue}"]["environment"][deploying.HEALTH_PORT] for queue in QUEUES}
    assert len(ports) == len(QUEUES)  # They share one network.
    assert OURS["server"]["healthcheck"]["test"] == EMBEDDED["server"]["healthcheck"]["test"]


def test_the_settings_are_those_of_make_up_real() -> None:
    """What differs from Prefect's defaults differs here too."""
    for name in ("server", "services", "migrate"):
        assert OURS[name]["environment"].items() >= real.SHARED_PREFECT.items()
    for name in set(OURS) - {"sandbox"}:
        assert OURS[name]["environment"].items() >= deploying.PREFECT_SETTINGS.items()
    for name in ("deploy", "gateway", "reconciler", "schema", *(f"worker-{queue}" for queue in QUEUES)):
        known = {key for key in OURS[name]["environment"] if key.startswith("MSGXC_")}
        assert {key.removeprefix("MSGXC_").lower() for key in known} <= set(Settings.model_fields)


def test_the_versions_are_those_that_were_tested() -> None:
    """Cassandra and NATS as servers/ fetches them."""
    assert SERVICES["cassandra"]["image"] == f"cassandra:{_script().VERSION}"
    built = re.search(r"^version=v(\S+)", (ROOT / "servers" / "nats.sh").read_text(), re.MULTILINE)
    assert built
    assert SERVICES["nats"]["image"] == f"nats:{built[1]}-alpine"


def test_nats_takes_its_options(tmp_path: Path) -> None:
    """The server starts with them, and its health page answers."""
    port, page = _script().free_ports(2)
    words = [{"/data": str(tmp_path), "8222": str(page)}.get(it, it) for it in SERVICES["nats"]["command"]]
    server = subprocess.Popen(
        [ROOT / "servers" / "nats.sh", "run", str(port), *words], stderr=subprocess.DEVNULL
    )
    try:
        assert b" 200 " in _asked(page, b"GET /healthz HTTP/1.0\r\n\r\n")
    finally:
        server.kill()
        server.wait()


def _asked(port: int, request: bytes) -> bytes:
    end = time.monotonic() + 120
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                connection.sendall(request)
                return connection.recv(1000)
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.1)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Cassandra that is told its settings as the container is, on top of a file that says otherwise."""
    script = _script()
    node = script.start(tmp_path_factory.mktemp("compose"), small=True)
    node.kill()
    file = node.folder / "conf" / "cassandra.yaml"
    settings = file.read_text().replace(
        "commitlog_sync: batch", "commitlog_sync: periodic\ncommitlog_sync_period: 10s"
    )
    file.write_text(settings.replace("batch_size_warn_threshold: 32KiB", "batch_size_warn_threshold: 5KiB"))
    place = node.command.index("-cp")
    node.command[place:place] = SERVICES["cassandra"]["environment"]["JVM_EXTRA_OPTS"].split()
    node.launch()
    try:
        node.wait_until_ready(120)
        yield node
    finally:
        node.kill()


def test_cassandra_takes_its_options(node: Any) -> None:
    """One node has a write on disk before it answers, as schema/README.md asks."""
    started = node.log.read_text().rpartition("Node configuration:")[2]
    assert "commitlog_sync=batch;" in started
    assert "batch_size_warn_threshold=32KiB;" in started


def test_cassandra_is_asked_whether_it_listens(node: Any) -> None:
    """Its health check says yes for a node, and no where nothing listens."""
    command = SERVICES["cassandra"]["healthcheck"]["test"][1:]
    for port, status in ((node.port, 0), (_script().free_ports(1)[0], 1)):
        words = [word.replace("9042", str(port)) for word in command]
        assert subprocess.run(words, check=False, stderr=subprocess.DEVNULL).returncode == status


def test_the_schema_service_applies_the_schema(node: Any, tmp_path: Path) -> None:
    """Its command brings an empty Cassandra to the newest schema."""
    environment = {
        **os.environ,
        **{key: value for key, value in OURS["schema"]["environment"].items() if key.startswith("MSGXC_")},
        "MSGXC_CASSANDRA_HOSTS": "127.0.0.1",
        "MSGXC_CASSANDRA_PORT": str(node.port),
        "MSGXC_SECRET_KEY": "0123456789abcdef",
        "MSGXC_HOME": str(tmp_path),
    }
    program = Path(sys.executable).with_name(OURS["schema"]["command"][0])
    command = [program, *OURS["schema"]["command"][1:]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    settings = CassandraSettings(hosts=("127.0.0.1",), port=node.port)
    asyncio.run(_opened(settings))


async def _opened(settings: CassandraSettings) -> None:
    store = CassandraStore(settings)
    await store.open()
    await store.close()
