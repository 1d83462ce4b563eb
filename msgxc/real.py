"""The real system on one machine, without docker: many processes that could stand on many machines.

`python -m msgxc.real` (make up-real) keeps it running until Ctrl-C: Cassandra, NATS, PostgreSQL,
Redis; a Prefect server on the last two, as two API replicas behind a login and its background services; the
sandbox; a worker for each queue of urgency. The servers come from the scripts in servers/, all listen on
127.0.0.1, and all that is written lies in MSGXC_HOME/real. The flows are those of the embedded system: only
settings differ.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields
from functools import partial
from hashlib import blake2b
from pathlib import Path

from msgxc.deploying import PREFECT, Api
from msgxc.errors import StoreUnavailable
from msgxc.health import SEEN_SECONDS, services_silent
from msgxc.kept_secrets import read_or_make
from msgxc.ports import chosen, free_port
from msgxc.private_files import keep_private
from msgxc.render import load
from msgxc.settings import ROOT, Settings, read_settings
from msgxc.store.cassandra.roles import make_role
from msgxc.store.cassandra.settings import CassandraSettings
from msgxc.supervise import Child, Supervisor, supervising
from msgxc.system import (
    SERVER,
    Steps,
    System,
    await_gateway,
    begun,
    environment,
    furnish,
    gateway_environment,
    interruptible,
    keep_running,
    sandbox,
    told,
)
from msgxc.urgency import levels
from msgxc.wiring import apply_schema

SERVERS = ROOT / "servers"
#: The first start fetches what is missing: jars, a build of nats-server.
START_SECONDS = 600.0
#: What a Prefect server needs that is several processes: each of these has a default for one process alone.
SHARED_PREFECT: Mapping[str, str] = {
    "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
    "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
    # Two replicas would do these at once, and one of them would fail. We use no blocks.
    "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
}
MIGRATE = (*PREFECT, "server", "database", "upgrade", "--yes")
REPLICA = (*SERVER, "--no-services")
SERVICES = (*PREFECT, "server", "services", "start")
REPLICAS = 2
CASSANDRA_GRACE = 40.0  # seconds for its end: servers/cassandra_node.py has 30


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """Made at the first start, kept in a file that only its owner reads. `login`: of Prefect's console."""

    secret_key: str
    login: str
    postgres: str
    redis: str
    cassandra: str
    cassandra_admin: str
    nats_gateway: str
    nats_worker: str


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the servers listen, on 127.0.0.1."""

    cassandra: int
    nats: int
    postgres: int
    redis: int
    replicas: tuple[int, ...]


def read_secrets(home: Path) -> Secrets:
    """Those of this folder; what it lacks is made."""
    names = [each.name for each in fields(Secrets)]
    known = read_or_make(home / "secrets.json", names)
    return Secrets(**{name: known[name] for name in names})


def free_ports(first: int) -> Ports:
    """The usual ports where they are free, else others; the console's is known."""
    others = tuple(free_port(first + number) for number in range(1, REPLICAS))
    return Ports(free_port(9042), free_port(4222), free_port(5432), free_port(6379), (first, *others))


def real_settings(settings: Settings, home: Path, ports: Ports, known: Secrets) -> Settings:
    """The same settings, but for the store, the bus, and where all lies."""
    own = {name: getattr(settings, name) for name in settings.model_fields_set}
    shared = {
        "home": home,
        "store": "cassandra",
        "cassandra_hosts": "127.0.0.1",
        "cassandra_port": ports.cassandra,
        "cassandra_username": "msgxc",
        "cassandra_password": known.cassandra,
        "cassandra_admin_password": "",
        "bus": "nats",
        "nats_url": f"nats://127.0.0.1:{ports.nats}",
        "nats_username": "worker",
        "nats_password": known.nats_worker,
        "secret_key": settings.secret_key.get_secret_value() or known.secret_key,
    }
    return read_settings(**{**own, **shared})


def exchange_environment(settings: Settings) -> dict[str, str]:
    """What tells a process of the exchange that it belongs to this system."""
    return {
        "MSGXC_STORE": settings.store,
        "MSGXC_CASSANDRA_HOSTS": settings.cassandra_hosts,
        "MSGXC_CASSANDRA_PORT": str(settings.cassandra_port),
        "MSGXC_CASSANDRA_USERNAME": settings.cassandra_username,
        "MSGXC_CASSANDRA_PASSWORD": settings.cassandra_password.get_secret_value(),
        "MSGXC_BUS": settings.bus,
        "MSGXC_NATS_URL": settings.nats_url,
        "MSGXC_NATS_USERNAME": settings.nats_username,
        "MSGXC_NATS_PASSWORD": settings.nats_password.get_secret_value(),
        "MSGXC_SECRET_KEY": settings.secret_key.get_secret_value(),
    }


def server_environment(ports: Ports, known: Secrets) -> dict[str, str]:
    """What tells a process of Prefect's server where its database and its messages are."""
    database = f"postgresql+asyncpg://prefect:{known.postgres}@127.0.0.1:{ports.postgres}/postgres"
    redis = f"redis://:{known.redis}@127.0.0.1:{ports.redis}/0"
    return {
        **SHARED_PREFECT,
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
        "PREFECT_REDIS_MESSAGING_URL": redis,
        "PREFECT_SERVER_DOCKET_URL": redis,
        "PREFECT_SERVER_API_AUTH_STRING": known.login,
    }


@contextmanager
def running(settings: Settings, steps: Steps, *, small: bool = False) -> Iterator[System]:
    """Start everything, as much as can be at the same time; stop everything at the end, whatever that is.

    `small`: a Cassandra that starts quickly, for tests. Raises AlreadyRunning, ChildFailed.
    """
    load(settings.templates)
    home = settings.home.resolve() / "real"
    keep_private(settings.home)
    with interruptible(), ExitStack() as stack, supervising(home, wait=60) as supervisor:
        begun(supervisor, steps, home)
        own = stack.enter_context(chosen(settings, home, supervisor.say))
        ports, known = free_ports(own.console), read_secrets(home)
        real = real_settings(settings, home, ports, known)
        url = f"http://127.0.0.1:{ports.replicas[0]}"
        with steps.step("Servers") as said:
            slow = start_servers(supervisor, real, ports, known, small=small)
            replicas = start_console(supervisor, real, ports, known)
            have_asked(supervisor, ports, server_environment(ports, known)["PREFECT_REDIS_MESSAGING_URL"])
            _wait_for(supervisor, slow)
            said.append("Cassandra, NATS, PostgreSQL, Redis")
        with steps.step("Store") as said:
            said.append(f"{real.store}, schema {_apply_schema(supervisor, real, known)}")
        with steps.step("Console and API") as said:
            _wait_for(supervisor, replicas)
            said.append(" ".join(f"http://127.0.0.1:{port}" for port in ports.replicas))
        plain = environment(real, url)
        sandbox(supervisor, steps, real, plain)  # it gets no login: it needs none
        env = plain | exchange_environment(real) | gateway_environment(real, own)
        queues = dict.fromkeys(level.queue for level in levels(real).values())
        workers = {f"worker-{queue}": (queue,) for queue in queues}
        furnish(supervisor, steps, real, Api(f"{url}/api", known.login), env, workers)
        heard = {"MSGXC_NATS_USERNAME": "gateway", "MSGXC_NATS_PASSWORD": known.nats_gateway}
        gateway = await_gateway(supervisor, steps, env | heard)
        system = System(real, url, supervisor, known.login, gateway)
        with told(system), for_commands(home / "operator.env", exchange_environment(real)):
            yield system


@contextmanager
def for_commands(file: Path, exchange: Mapping[str, str]) -> Iterator[None]:
    """What a shell reads to have its `msgxc` use this system, while that is there; its owner's alone."""
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        for name, value in {**exchange, "MSGXC_HOME": str(file.parent)}.items():
            print(f"{name}={shlex.quote(value)}", file=out)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def start_servers(
    supervisor: Supervisor, settings: Settings, ports: Ports, known: Secrets, *, small: bool
) -> dict[int, Child]:
    """Start the four servers; returns when PostgreSQL and Redis listen and Prefect's tables are there.

    Answers the others, which take longer, by their ports.
    """
    home, env = settings.home, dict(os.environ)
    node = [sys.executable, str(SERVERS / "cassandra_node.py"), "run", str(home / "cassandra")]
    node += ["--port", str(ports.cassandra), "--login", *(["--small"] if small else [])]
    nats = [str(SERVERS / "nats.sh"), "run", str(ports.nats), "-c", str(SERVERS / "nats.conf")]
    users = {
        "MSGXC_NATS_GATEWAY_PASSWORD": known.nats_gateway,
        "MSGXC_NATS_WORKER_PASSWORD": known.nats_worker,
    }
    postgres = [str(SERVERS / "postgres.sh"), "run", str(postgres_folder(home, known)), str(ports.postgres)]
    redis = [str(SERVERS / "redis.sh"), "run", str(home / "redis"), str(ports.redis)]
    slow = {
        ports.cassandra: supervisor.start("cassandra", node, env, grace=CASSANDRA_GRACE),
        ports.nats: supervisor.start("nats", nats, env | users),
    }
    database = supervisor.start("postgres", postgres, env | {"MSGXC_POSTGRES_PASSWORD": known.postgres})
    messages = supervisor.start("redis", redis, env | {"MSGXC_REDIS_PASSWORD": known.redis})
    _wait_for(supervisor, {ports.postgres: database, ports.redis: messages})
    migrate = supervisor.start("migrate", MIGRATE, _prefect(settings, ports, known, ports.replicas[0]))
    supervisor.finish(migrate, 120)
    return slow


def postgres_folder(home: Path, known: Secrets) -> Path:
    """Where PostgreSQL's data is. It refuses root, and its own user cannot reach a folder that is root's
    alone: so root's is outside MSGXC_HOME, a new one for each new password. One that stands inside from an
    earlier version is taken along. Beside it a file, `home`, says whose it is: `make clean` reads that."""
    inside = home / "postgres"
    if os.geteuid() != 0:
        return inside
    name = blake2b(known.postgres.encode(), digest_size=8).hexdigest()
    outside = Path("/var/lib/msgxc") / name / "postgres"
    for folder in (outside.parent.parent, outside.parent):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)  # to be passed through, not to be read
    (outside.parent / "home").write_text(f"{home.resolve()}\n", "utf-8")
    if inside.exists() and not outside.exists():
        shutil.move(inside, outside)
    return outside


def start_console(
    supervisor: Supervisor, settings: Settings, ports: Ports, known: Secrets
) -> dict[int, Child]:
    """Start Prefect's server: replicas of its API, by their ports, and its background services."""
    replicas = {
        port: supervisor.start(f"server-{number}", REPLICA, _prefect(settings, ports, known, port))
        for number, port in enumerate(ports.replicas, 1)
    }
    supervisor.start("services", SERVICES, _prefect(settings, ports, known, ports.replicas[0]))
    return replicas


def have_asked(supervisor: Supervisor, ports: Ports, redis: str) -> None:
    """How each server is asked whether it still works. All but NATS, which speaks first, are greeted."""
    questions: dict[str, Callable[[], bool]] = {
        "cassandra": partial(
            _greets, ports.cassandra, b"\x04\0\0\0\x05\0\0\0\0"
        ),  # OPTIONS, protocol version 4
        "nats": partial(_greets, ports.nats, b""),
        "postgres": partial(_greets, ports.postgres, b"\0\0\0\x08\x04\xd2\x16\x2f"),  # SSLRequest
        "redis": partial(_greets, ports.redis, b"PING\r\n"),
        "services": lambda: services_silent(redis) < SEEN_SECONDS,
    }
    for number, port in enumerate(ports.replicas, 1):
        questions[f"server-{number}"] = Api(f"http://127.0.0.1:{port}/api").answers
    for child in supervisor.children:
        child.well = questions.get(child.name)


def _greets(port: int, hello: bytes) -> bool:
    """Whether something is said there. A connection alone says nothing: the system makes it for who hangs."""
    with socket.create_connection(("127.0.0.1", port), 5) as line:
        line.sendall(hello)
        return bool(line.recv(1))


def _prefect(settings: Settings, ports: Ports, known: Secrets, port: int) -> dict[str, str]:
    """The environment of a process of Prefect's server that listens on this port, or speaks to it."""
    return environment(settings, f"http://127.0.0.1:{port}") | server_environment(ports, known)


def _wait_for(supervisor: Supervisor, children: Mapping[int, Child]) -> None:
    for port, child in children.items():
        supervisor.until(child, partial(_listens, port), START_SECONDS)


def _listens(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


def _apply_schema(supervisor: Supervisor, settings: Settings, known: Secrets) -> int:
    """Cassandra takes connections a moment before it takes statements, or has its superuser."""
    applied: list[int] = []

    def apply() -> bool:
        with suppress(StoreUnavailable):
            asyncio.run(make_role(CassandraSettings.of(settings), known.cassandra_admin))
            applied.append(asyncio.run(apply_schema(settings)))
        return bool(applied)

    supervisor.until(None, apply, 60)
    return applied[0]


def main() -> int:
    """Keep the system running until Ctrl-C; 0 then, 1 when something failed."""
    return keep_running(running)


if __name__ == "__main__":
    sys.exit(main())
