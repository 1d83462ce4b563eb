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
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from cassandra_fixture import _script

from msgxc import deploying, health, real, system
from msgxc.errors import StoreUnavailable
from msgxc.operations import worker
from msgxc.settings import ROOT, Settings
from msgxc.store.cassandra import CassandraSettings, CassandraStore
from msgxc.urgency import levels

FILES = ["docker-compose.yml", "docker-compose.embedded.yml"]
TEXT = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]
OURS = {name: it for name, it in SERVICES.items() if it["image"].startswith("msgxc:")}
ONCE = {"migrate", "role", "schema", "deploy", "settings"}
TOOL = "msgxc"
#: Docker keeps that much of what each of them says.
BOUNDED = {"driver": "local", "options": {"max-size": "10m", "max-file": "5"}}
QUEUES = ("urgent", "normal", "bulk")


#: What .env holds, besides the exchange's own settings.
SECRETS = {
    "CASSANDRA_ADMIN_PASSWORD",
    "CASSANDRA_PASSWORD",
    "NATS_GATEWAY_PASSWORD",
    "NATS_WORKER_PASSWORD",
    "POSTGRES_PASSWORD",
    "PREFECT_SERVER_API_AUTH_STRING",
    "REDIS_PASSWORD",
}
#: The secrets that each service is given, by the variable that they come from; the workers are alike.
GIVEN = {
    "cassandra": set(),
    "nats": {"NATS_GATEWAY_PASSWORD", "NATS_WORKER_PASSWORD"},
    "postgres": {"POSTGRES_PASSWORD"},
    "redis": {"REDIS_PASSWORD"},
    "migrate": {"POSTGRES_PASSWORD", "PREFECT_SERVER_API_AUTH_STRING", "REDIS_PASSWORD"},
    "role": {"CASSANDRA_ADMIN_PASSWORD", "CASSANDRA_PASSWORD"},
    "schema": {"CASSANDRA_PASSWORD", "MSGXC_SECRET_KEY"},
    "deploy": {"PREFECT_SERVER_API_AUTH_STRING"},
    "server": {"POSTGRES_PASSWORD", "PREFECT_SERVER_API_AUTH_STRING", "REDIS_PASSWORD"},
    "services": {"POSTGRES_PASSWORD", "PREFECT_SERVER_API_AUTH_STRING", "REDIS_PASSWORD"},
    "sandbox": set(),
    "settings": set(),
    "gateway": {"CASSANDRA_PASSWORD", "MSGXC_SECRET_KEY", "NATS_GATEWAY_PASSWORD"},
}
#: Of the exchange's own secrets in .env, those that each service is passed, by name: what its code reads.
SENDS = {"apns_key", "fcm_service_account", "vapid_private_key", "twilio_auth_token", "sendgrid_api_key"}
PASSED = {
    **dict.fromkeys(("worker-urgent", "worker-normal", "worker-bulk", TOOL), SENDS),
    "gateway": {"vapid_private_key", "twilio_auth_token", "jwt_secret", "sendgrid_webhook_key"},
}
#: Settings that say where a container stands: compose's own word.
OWN = {
    *(
        "home",
        "templates",
        "console_hosts",
        "console_port",
        "gateway_earlier_ports",
        "store",
        "bus",
        "nats_url",
        "nats_username",
        "gateway_host",
    ),
    *("gateway_port", "cassandra_hosts", "cassandra_port", "cassandra_keyspace", "cassandra_datacenter"),
    *("cassandra_replication", "cassandra_username"),
}
WORKS = {"CASSANDRA_PASSWORD", "MSGXC_SECRET_KEY", "NATS_WORKER_PASSWORD", "PREFECT_SERVER_API_AUTH_STRING"}


#: Those of the table of settings: masked wherever they are shown.
SECRET_SETTINGS = SENDS | {
    *("secret_key", "cassandra_password", "cassandra_admin_password", "nats_password", "jwt_secret"),
    "sendgrid_webhook_key",
}
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
    small = (ROOT / "docker-compose.embedded.yml").read_text()
    names = "${MSGXC_CONSOLE_HOSTS:-}"  # the one that is none
    assert (TEXT.count(names), small.count(names)) == (1, 1)
    small, text = small.replace(names, ""), TEXT.replace(names, "")
    assert len(re.findall(r"\$\{", small)) == len(re.findall(r"\$\{\w+:\?[^}]+\}", small)) == 2
    assert set(re.findall(r"\$\{(\w+)", text)) == SECRETS | {"MSGXC_SECRET_KEY"}
    assert len(re.findall(r"\$\{", text)) == len(re.findall(r"\$\{\w+:\?[^}]+\}", text))
    secret = re.compile(r"(PASSWORD|SECRET|AUTH_STRING|CONNECTION_URL|DOCKET_URL|MESSAGING_URL)\w*: (.*)")
    assert all(":?" in value or value == '""' for _, value in secret.findall(TEXT))


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_bounded_and_pinned(name: str) -> None:
    """An image with its version, a limit on memory, a restart; only the console and the gateway are reached
    from outside, and that from this machine alone."""
    service = SERVICES[name]
    assert re.fullmatch(r"[a-z]+:\d+\.\d+[\w.-]*", service["image"])
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["logging"] == BOUNDED
    once = dict.fromkeys(ONCE, "on-failure") | {"settings": "no", TOOL: "no"}
    assert service["restart"] == once.get(name, "unless-stopped")
    if service["image"].startswith("msgxc:"):  # is built here, by one of them, and fetched from nowhere
        assert service["image"].endswith(f":{version('msgxc')}")
        assert service["pull_policy"] == ("missing" if "build" in service else "never")
    reached = {"server": ["127.0.0.1:4200-4201:4200"], "gateway": ["127.0.0.1:8080:8080"]}
    assert service.get("ports", []) == reached.get(name, [])


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_small_system_is_bounded_and_pinned_too(name: str) -> None:
    """The same of docker-compose.embedded.yml; its image is one and the same, on a Python of one version."""
    service = EMBEDDED[name]
    assert service["image"] == OURS["server"]["image"]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["logging"] == BOUNDED
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]
    assert re.search(r"^FROM python:\d+\.\d+\.\d+-", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("services", [SERVICES, EMBEDDED], ids=FILES)
def test_the_console_asks_for_a_login_and_knows_its_names(services: dict[str, Any]) -> None:
    """Without the login nothing starts. Other containers reach the console as `server`; nothing here lets in
    pages of somebody else."""
    server = services["server"]["environment"]
    assert server["PREFECT_SERVER_API_AUTH_STRING"].startswith("${PREFECT_SERVER_API_AUTH_STRING:?")
    assert server["MSGXC_CONSOLE_HOSTS"] == "server,${MSGXC_CONSOLE_HOSTS:-}"
    assert services["server"]["command"][:3] == plain(system.SERVER)
    assert "PREFECT_SERVER_CORS" not in str(server)
    clients = [
        name for name, it in services.items() if "PREFECT_API_AUTH_STRING" in it.get("environment", {})
    ]
    assert clients


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_has_the_secrets_that_it_needs(name: str) -> None:
    """And no other one. No secret is on a command line. One reads .env whole, to check it, and reaches
    nobody."""
    service = SERVICES[name]
    environment = service.get("environment", {})
    given = set(re.findall(r"\$\{(\w+)", str(environment))) - {"MSGXC_CONSOLE_HOSTS"}
    assert given == GIVEN.get(name, WORKS)
    passed = {key.removeprefix("MSGXC_").lower() for key, value in environment.items() if value is None}
    assert passed & SECRET_SETTINGS == PASSED.get(name, set())
    assert ("env_file" in service) == (name == "settings")
    if name == "settings":
        assert {key for key in SECRETS if environment.get(key) == ""} == SECRETS
        assert service["network_mode"] == "none"
    assert not re.findall(r"\$\{", str(service.get("command", "")))


def test_every_setting_gets_through() -> None:
    """What .env says reaches the processes that use it, but for what compose says itself; and nothing else
    that stands in it does."""
    known = set(Settings.model_fields)
    assert {name for name in known if "SecretStr" in str(Settings.model_fields[name])} == SECRET_SETTINGS
    for name in ("worker-urgent", "gateway", "reconciler"):
        environment = SERVICES[name]["environment"]
        passed = {key.removeprefix("MSGXC_").lower() for key, value in environment.items() if value is None}
        assert passed <= known
        assert {f"MSGXC_{it.upper()}" for it in passed} == {k for k, v in environment.items() if v is None}
        of_providers = re.compile(r"(apns|fcm_service|vapid|twilio|email|sendgrid)_?")
        plain = {it for it in known - SECRET_SETTINGS - OWN if not of_providers.match(it)}
        assert plain <= passed
    assert {it for it in known - OWN if of_providers.match(it)} - {"sendgrid_webhook_key"} <= {
        key.removeprefix("MSGXC_").lower() for key in SERVICES["worker-bulk"]["environment"]
    }


def test_templates_are_mounted() -> None:
    """Whoever reads templates reads those of the folder beside the file: a change needs no new image."""
    mounted = "./templates:/opt/msgxc/templates:ro"
    here = {name for name, it in SERVICES.items() if mounted in it.get("volumes", [])}
    assert here == {"worker-urgent", "worker-normal", "worker-bulk", "gateway", "reconciler", "deploy", TOOL}
    assert mounted in EMBEDDED["exchange"]["volumes"]


def test_each_has_a_network_of_its_own() -> None:
    """Workers reach the sandbox by its name, so that its restart takes nobody's network away; only the check
    of .env has none."""
    assert {name for name, it in SERVICES.items() if "network_mode" in it} == {"settings"}
    assert OURS["sandbox"]["command"][-2:] == ["--host", "sandbox"]


@pytest.mark.parametrize(
    ("file", "name"), [(f, n) for f, s in zip(FILES, (SERVICES, EMBEDDED), strict=True) for n in s]
)
def test_each_service_is_fenced(file: str, name: str) -> None:
    """Without rights, and without a way to get them; all but two write to their own folders alone. Images
    that start as root keep what they need to become somebody else."""
    service = (SERVICES if file == FILES[0] else EMBEDDED)[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("privileged") is None
    if name in ("cassandra", "postgres"):
        assert set(service["cap_add"]) == {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}
    else:
        assert "cap_add" not in service
        assert service["read_only"] is True
        assert service["tmpfs"] == ["/tmp:mode=1777"]
    if service["image"].startswith("msgxc:") and "/opt/msgxc/var" not in str(service.get("volumes", "")):
        home = service["environment"].get("MSGXC_HOME", service["environment"].get("PREFECT_HOME"))
        assert home.startswith("/tmp/")


def test_every_service_is_looked_at() -> None:
    """Each has a health check, or ends by itself. Ours are ended by theirs when they hang: docker only notes
    who is unhealthy."""
    assert {name for name, service in SERVICES.items() if "healthcheck" not in service} == ONCE | {TOOL}
    for service in (*OURS.values(), *EMBEDDED.values()):
        if check := service.get("healthcheck"):
            assert check["test"][-1] == "--end"
            assert service["init"] is True


def test_the_commands_are_those_of_make_up_real() -> None:
    """Each command of our image is the one that the tests of the real system have run."""
    assert OURS["migrate"]["command"] == plain(real.MIGRATE)
    assert OURS["server"]["command"] == plain(real.REPLICA)
    assert OURS["services"]["command"] == plain(real.SERVICES)
    assert OURS["deploy"]["command"] == plain(deploying.TELL)
    assert OURS["reconciler"]["command"] == plain(deploying.RECONCILE)
    assert OURS["gateway"]["command"] == plain(system.GATEWAY)
    assert OURS["sandbox"]["command"] == [
        *plain(system.sandbox_command("/opt/msgxc/var/sandbox", 21000)),
        *("--host", "sandbox"),
    ]
    for queue in QUEUES:
        name = f"worker-{queue}"
        assert OURS[name]["command"] == plain(deploying.worker_command(name, [queue], health=True))
    assert {level.queue for level in levels(Settings(_env_file=None)).values()} == set(QUEUES)


def test_the_commands_of_the_small_system_are_those_of_make_up() -> None:
    """Its server is started as make up does; its other half is run by tests/flows/test_the_demo.py."""
    assert EMBEDDED["server"]["command"] == plain(system.SERVER)
    assert EMBEDDED["exchange"]["command"][:3] == ["python", "-m", "msgxc.system"]


def test_urgent_has_places_of_its_own() -> None:
    """In each system one worker takes what is urgent alone: whatever else waits or runs, it has room."""
    words = OURS["worker-urgent"]["command"]
    assert [words[at + 1] for at, word in enumerate(words) if word == "--work-queue"] == ["urgent"]
    assert ("urgent",) in system.WORKERS.values()


def test_a_stop_gives_the_runs_their_time() -> None:
    """docker stop waits for longer than a worker needs for its runs."""
    for queue in QUEUES:
        grace = OURS[f"worker-{queue}"]["stop_grace_period"]
        assert int(grace.removesuffix("s")) > worker.GRACE_SECONDS
        assert OURS[f"worker-{queue}"]["init"] is True
    assert int(EMBEDDED["exchange"]["stop_grace_period"].removesuffix("s")) > worker.GRACE_SECONDS + 30
    assert EMBEDDED["exchange"]["init"] is True


def test_the_servers_are_told_what_make_up_real_tells_them() -> None:
    """PostgreSQL and Redis have the options of the scripts in servers/, which the tests run."""
    for name in ("postgres", "redis"):
        options = SERVICES[name]["command"][1:]
        if name == "redis":
            script = SERVICES[name]["command"][2]
            assert "umask 077" in script
            options = [re.search(r"--appendonly.*", script)[0]]  # type: ignore[index]
        assert " ".join(options) in (ROOT / "servers" / f"{name}.sh").read_text()


def test_health_is_asked_as_in_the_tests_of_the_real_system() -> None:
    """tests/real asks every process of ours, at work and stopped, with these commands."""
    asked = {name: OURS[name]["healthcheck"]["test"][1:] for name in set(OURS) - ONCE - {TOOL}}
    what = {name: {"server": "console"}.get(name, name.partition("-")[0]) for name in asked}
    assert asked == {name: ["python", "-m", "msgxc.health", what[name], "--end"] for name in asked}
    assert set(what.values()) | {"system"} == set(health.ASKED)
    assert EMBEDDED["exchange"]["healthcheck"]["test"][4] == "system"
    assert OURS["server"]["healthcheck"]["test"] == EMBEDDED["server"]["healthcheck"]["test"]


def test_the_settings_are_those_of_make_up_real() -> None:
    """What differs from Prefect's defaults differs here too."""
    for name in ("server", "services", "migrate"):
        assert OURS[name]["environment"].items() >= real.SHARED_PREFECT.items()
    for name in set(OURS) - {"gateway", "role", "sandbox", "schema", "settings"}:
        assert OURS[name]["environment"].items() >= deploying.PREFECT_SETTINGS.items()
    for name in (
        "deploy",
        "gateway",
        "role",
        "server",
        "reconciler",
        "schema",
        *(f"worker-{queue}" for queue in QUEUES),
    ):
        known = {key for key in OURS[name]["environment"] if key.startswith("MSGXC_")}
        assert {key.removeprefix("MSGXC_").lower() for key in known} <= set(Settings.model_fields)


def test_the_versions_are_those_that_were_tested() -> None:
    """Cassandra and NATS as servers/ fetches them."""
    assert SERVICES["cassandra"]["image"] == f"cassandra:{_script().VERSION}"
    built = re.search(r"^version=v(\S+)", (ROOT / "servers" / "nats.sh").read_text(), re.MULTILINE)
    assert built
    assert SERVICES["nats"]["image"] == f"nats:{built[1]}-alpine"


def test_nats_takes_its_options(tmp_path: Path) -> None:
    """The server starts with them, its health page answers its own machine alone, and it wants a login."""
    port, page = _script().free_ports(2)
    mounted = dict(it.split(":")[1::-1] for it in SERVICES["nats"]["volumes"] if it.startswith("./"))
    for inside, outside in mounted.items():
        text = (ROOT / outside).read_text().replace("8222", str(page))
        (tmp_path / Path(inside).name).write_text(text)
    assert f'"127.0.0.1:{page}"' in (tmp_path / "nats-compose.conf").read_text()
    config = str(tmp_path / "nats-compose.conf")
    words = [{"/etc/nats/nats-compose.conf": config}.get(it, it) for it in SERVICES["nats"]["command"]]
    assert config in words
    env = {**os.environ, **dict.fromkeys(SERVICES["nats"]["environment"], "sixteen-letters!")}
    server = subprocess.Popen(
        [ROOT / "servers" / "nats.sh", "run", str(port), *words], stderr=subprocess.DEVNULL, env=env
    )
    try:
        _asked(page, b"GET /healthz HTTP/1.0\r\n\r\n", b" 200 ")
        _asked(port, b"", b'"auth_required":true')
    finally:
        server.kill()
        server.wait()


def _asked(port: int, request: bytes, wanted: bytes) -> None:
    """Ask until that is answered."""
    end, heard = time.monotonic() + 120, b""
    while wanted not in heard:
        assert time.monotonic() < end, heard
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(request)
            heard = connection.recv(1000)
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
        node.wait_until_ready(400)
        yield node
    finally:
        node.kill()


def test_cassandra_takes_its_options(node: Any) -> None:
    """One node has a write on disk before it answers, as schema/README.md asks."""
    started = node.log.read_text().rpartition("Node configuration:")[2]
    assert "commitlog_sync=batch;" in started
    assert "batch_size_warn_threshold=32KiB;" in started
    for said in ("authenticator=PasswordAuthenticator", "authorizer=CassandraAuthorizer"):
        assert said in started


def test_cassandra_is_asked_whether_it_listens(node: Any) -> None:
    """Its health check says yes for a node, and no where nothing listens."""
    command = SERVICES["cassandra"]["healthcheck"]["test"][1:]
    for port, status in ((node.port, 0), (_script().free_ports(1)[0], 1)):
        words = [word.replace("9042", str(port)) for word in command]
        assert subprocess.run(words, check=False, stderr=subprocess.DEVNULL).returncode == status


def _once(name: str, node: Any, home: Path) -> subprocess.CompletedProcess[str]:
    """What a service does that ends by itself, here."""
    environment = {
        **os.environ,
        **{key: value for key, value in OURS[name]["environment"].items() if key.startswith("MSGXC_")},
        "MSGXC_CASSANDRA_ADMIN_PASSWORD": "admins",
        "MSGXC_CASSANDRA_HOSTS": "127.0.0.1",
        "MSGXC_CASSANDRA_PASSWORD": "roles",
        "MSGXC_CASSANDRA_PORT": str(node.port),
        "MSGXC_SECRET_KEY": "0123456789abcdef",
        "MSGXC_HOME": str(home),
    }
    program = Path(sys.executable).with_name(OURS[name]["command"][0])
    command = [program, *OURS[name]["command"][1:]]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_schema_service_applies_the_schema(node: Any, tmp_path: Path) -> None:
    """Two commands bring an empty Cassandra to a login and the newest schema; docker repeats the first one
    until Cassandra has its superuser."""
    assert _once("schema", node, tmp_path).returncode == 1  # nobody comes in yet
    end = time.monotonic() + 120
    while (done := _once("role", node, tmp_path)).returncode:
        assert time.monotonic() < end, done.stderr
    done = _once("schema", node, tmp_path)
    assert done.returncode == 0, done.stderr
    asyncio.run(_opened(CassandraSettings(port=node.port, username="msgxc", password="roles")))
    with pytest.raises(StoreUnavailable):
        asyncio.run(_opened(CassandraSettings(port=node.port, username="cassandra", password="cassandra")))


async def _opened(settings: CassandraSettings) -> None:
    store = CassandraStore(settings)
    await store.open()
    await store.close()
