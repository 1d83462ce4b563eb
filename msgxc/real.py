"""The real system on one machine, without docker: many processes that could stand on many machines.

`python -m msgxc.real` (make up-real) keeps it running until Ctrl-C: Cassandra, NATS with JetStream, Postgres,
Redis; a Prefect server on the last two, as two API replicas behind a login and its background services; the
sandbox; a worker for each queue of urgency. The servers come from the scripts in servers/, all listen on
127.0.0.1, and all that is written lies in MSGXC_HOME/real. The flows are those of the embedded system: only
settings differ.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from msgxc.deploying import PREFECT, Api
from msgxc.errors import StoreUnavailable
from msgxc.settings import ROOT, Settings, read_settings
from msgxc.supervise import Child, Supervisor, supervising
from msgxc.system import (
    PORT,
    Steps,
    System,
    await_gateway,
    environment,
    free_port,
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
REPLICA = (*PREFECT, "server", "start", "--no-services")
SERVICES = (*PREFECT, "server", "services", "start")
REPLICAS = 2


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """Made at the first start, kept in a file that only its owner reads. `login`: of Prefect's console."""

    secret_key: str
    login: str
    postgres: str
    redis: str


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the servers listen, on 127.0.0.1."""

    cassandra: int
    nats: int
    postgres: int
    redis: int
    replicas: tuple[int, ...]


def read_secrets(home: Path) -> Secrets:
    """Those of this folder; made if there are none."""
    file = home / "secrets.json"
    with suppress(FileNotFoundError):
        return Secrets(**json.loads(file.read_text()))
    fresh = [secrets.token_urlsafe(24) for _ in range(4)]
    made = Secrets(fresh[0], f"msgxc:{fresh[1]}", *fresh[2:])
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        json.dump(asdict(made), out)
    return made


def free_ports() -> Ports:
    """The usual ports where they are free, else others."""
    first = free_port(PORT)
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
        "bus": "nats",
        "nats_url": f"nats://127.0.0.1:{ports.nats}",
        "secret_key": settings.secret_key.get_secret_value() or known.secret_key,
    }
    return read_settings(**{**own, **shared})


def exchange_environment(settings: Settings) -> dict[str, str]:
    """What tells a process of the exchange that it belongs to this system."""
    return {
        "MSGXC_STORE": settings.store,
        "MSGXC_CASSANDRA_HOSTS": settings.cassandra_hosts,
        "MSGXC_CASSANDRA_PORT": str(settings.cassandra_port),
        "MSGXC_BUS": settings.bus,
        "MSGXC_NATS_URL": settings.nats_url,
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
    home = settings.home.resolve() / "real"
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o711)  # PostgreSQL, which is another user, has to reach its folder in there.
    with interruptible(), supervising(home, wait=60) as supervisor:
        (home / "system.json").unlink(missing_ok=True)
        ports, known = free_ports(), read_secrets(home)
        real = real_settings(settings, home, ports, known)
        url = f"http://127.0.0.1:{ports.replicas[0]}"
        client = {**exchange_environment(real), "PREFECT_API_AUTH_STRING": known.login}
        with steps.step("Servers") as said:
            slow = start_servers(supervisor, real, ports, known, small=small)
            replicas = start_console(supervisor, real, ports, known)
            _wait_for(supervisor, slow)
            said.append("Cassandra, NATS, PostgreSQL, Redis")
        with steps.step("Store") as said:
            said.append(f"{real.store}, schema {_apply_schema(supervisor, real)}")
        with steps.step("Console and API") as said:
            _wait_for(supervisor, replicas)
            said.append(" ".join(f"http://127.0.0.1:{port}" for port in ports.replicas))
        env = environment(real, url) | client | gateway_environment(real)
        sandbox(supervisor, steps, real, env)
        queues = dict.fromkeys(level.queue for level in levels(real).values())
        workers = {f"worker-{queue}": (queue,) for queue in queues}
        furnish(supervisor, steps, real, Api(f"{url}/api", known.login), env, workers)
        gateway = await_gateway(supervisor, steps, env)
        with told(home / "system.json", url, gateway):
            yield System(real, url, supervisor, known.login, gateway)


def start_servers(
    supervisor: Supervisor, settings: Settings, ports: Ports, known: Secrets, *, small: bool
) -> dict[int, Child]:
    """Start the four servers; returns when PostgreSQL and Redis listen and Prefect's tables are there.

    Answers the others, which take longer, by their ports.
    """
    home, env = settings.home, dict(os.environ)
    node = [sys.executable, str(SERVERS / "cassandra_node.py"), "run", str(home / "cassandra")]
    node += ["--port", str(ports.cassandra), *(["--small"] if small else [])]
    nats = [str(SERVERS / "nats.sh"), "run", str(ports.nats), "-js", "-sd", str(home / "nats")]
    postgres = [str(SERVERS / "postgres.sh"), "run", str(home / "postgres"), str(ports.postgres)]
    redis = [str(SERVERS / "redis.sh"), "run", str(home / "redis"), str(ports.redis)]
    slow = {
        ports.cassandra: supervisor.start("cassandra", node, env),
        ports.nats: supervisor.start("nats", nats, env),
    }
    database = supervisor.start("postgres", postgres, env | {"MSGXC_POSTGRES_PASSWORD": known.postgres})
    messages = supervisor.start("redis", redis, env | {"MSGXC_REDIS_PASSWORD": known.redis})
    _wait_for(supervisor, {ports.postgres: database, ports.redis: messages})
    migrate = supervisor.start("migrate", MIGRATE, _prefect(settings, ports, known, ports.replicas[0]))
    supervisor.finish(migrate, 120)
    return slow


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


def _apply_schema(supervisor: Supervisor, settings: Settings) -> int:
    """Cassandra takes connections a moment before it takes statements."""
    applied: list[int] = []

    def apply() -> bool:
        with suppress(StoreUnavailable):
            applied.append(asyncio.run(apply_schema(settings)))
        return bool(applied)

    supervisor.until(None, apply, 60)
    return applied[0]


def main() -> int:
    """Keep the system running until Ctrl-C; 0 then, 1 when something failed."""
    return keep_running(running)


if __name__ == "__main__":
    sys.exit(main())
