"""Cassandra, NATS, PostgreSQL, Redis, Prefect's replicas and workers: the flows of the embedded system, and
faults that only many processes have. The provider's journal is the judge."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from armed import armed
from conftest import Ring
from real_world import AT_ONCE, COHORTS, UNHURRIED, World

from msgxc import campaigns
from msgxc.deploying import Api
from msgxc.errors import StoreUnavailable
from msgxc.ledger import repeat_bound
from msgxc.reports.funnel import Report
from msgxc.settings import ROOT
from msgxc.store.cassandra import CassandraSettings, CassandraStore
from msgxc.wiring import open_exchange


def once_each(real: World, cohort: str) -> None:
    """Everybody of the cohort was sent to, and nobody twice."""
    accepted = real.accepted(cohort)
    assert len(accepted) == COHORTS[cohort]
    assert set(accepted.values()) == {1}


def test_the_console_asks_for_a_login(real: World) -> None:
    """Without the login the API of each replica answers nothing, and with it all."""
    assert httpx.get(f"{real.system.api}/flow_runs/count", timeout=60).status_code == 401
    assert real.json("POST", "/flow_runs/count") >= 0
    assert oct((real.system.settings.home / "secrets.json").stat().st_mode & 0o777) == "0o600"


def test_no_server_lets_in_who_has_no_login(real: World) -> None:
    """NATS, Cassandra and Redis, asked by a program that knows their port and nothing else, or what every new
    Cassandra knows. Nothing can be published that is shown on every screen."""
    settings = real.system.settings
    frame = b"CONNECT {}\r\nPUB broadcast.system 1\r\nx\r\nSUB thread.* 1\r\nPING\r\n"
    assert b"Authorization Violation" in answered(int(settings.nats_url.rpartition(":")[2]), frame)
    redis = urlsplit(real.environment("services")["PREFECT_REDIS_MESSAGING_URL"]).port
    assert redis
    assert b"NOAUTH" in answered(redis, b"PING\r\n")
    for name in ("", "cassandra"):
        with pytest.raises(StoreUnavailable):
            asyncio.run(opened(replace(CassandraSettings.of(settings), username=name, password=name)))


def answered(port: int, said: bytes) -> bytes:
    """All that a server says until it closes the connection, or for five seconds."""
    heard = b""
    with socket.create_connection(("127.0.0.1", port), 5) as connection, suppress(TimeoutError):
        connection.sendall(said)
        connection.settimeout(5)
        while more := connection.recv(4096):
            heard += more
    return heard


async def opened(settings: CassandraSettings) -> None:
    """Come into Cassandra and go."""
    store = CassandraStore(settings)
    try:
        await store.open()
    finally:
        await store.close()


#: Which process has which secret in its environment: what it needs, and no other one.
KNOWN = {
    "login": {"server-1", "server-2", "services", "migrate", "deploy", "reconciler", "worker"},
    "secret_key": {"gateway", "deploy", "reconciler", "worker"},
    "postgres": {"server-1", "server-2", "services"},
    "redis": {"server-1", "server-2", "services"},
    "cassandra": {"gateway", "deploy", "reconciler", "worker"},
    "cassandra_admin": set(),
    "nats_gateway": {"nats", "gateway"},
    "nats_worker": {"nats", "deploy", "reconciler", "worker"},
}


def test_secrets_and_files_are_where_they_belong(real: World) -> None:
    """No secret on a command line, in a log, or with a process that has no use for it; no file of the system
    can be read by another user."""
    home = real.system.settings.home
    secrets = json.loads((home / "secrets.json").read_text())
    assert set(secrets) == set(KNOWN)
    for name, whole in secrets.items():
        secret = whole.partition(":")[2] or whole
        for child in real.supervisor.children:
            process = psutil.Process(child.process.pid)
            assert secret not in " ".join(process.cmdline()), (name, child.name)
            if child.name not in ("postgres", "redis"):  # programs that write their title over it
                kind = "worker" if child.name.startswith("worker") else child.name
                assert (secret in str(process.environ())) == (kind in KNOWN[name]), (name, child.name)
            assert secret not in child.log.read_text(errors="replace"), (name, child.name)
    paths = [home.parent, *(path for path in home.parent.rglob("*") if not path.is_symlink())]
    assert len(paths) > 100
    assert [str(path) for path in paths if path.exists() and path.stat().st_mode & 0o077] == []


def test_a_large_campaign_is_sent_by_several_runs(real: World) -> None:
    """A thousand people in 20 shards, 5 slices, 3 runs: each is sent to once, the leading run reports, the
    others have sent a part. On a busy machine they may begin when all is sent: then they are given another
    campaign."""
    for times in range(1, 6):
        name = f"spread{times}"
        run = real.start(name, "many", AT_ONCE)
        assert real.end(run, 300) == "COMPLETED"
        accepted = real.accepted("many")
        assert len(accepted) == COHORTS["many"]
        assert set(accepted.values()) == {times}
        real.until(lambda of=name: len(real.runs(of)) == 3, 300, "the other runs have begun")  # named then
        leader, *others = sorted(real.runs(name), key=lambda run: len(run["name"]))
        assert leader["name"] == name
        assert "1,000" in leader["state"]["message"]
        assert sorted(run["name"] for run in others) == [f"{name}.16-20", f"{name}.8-16"]
        for run in others:
            assert real.end(run["id"], 300) == "COMPLETED"
        people = [int(run["state"]["message"].split()[0]) for run in real.runs(f"{name}.")]
        assert sum(people) < COHORTS["many"]
        if all(people):
            break
    else:
        raise AssertionError("the others never had a part")


@pytest.fixture
def hurried(real: World) -> Iterator[str]:
    """The campaign's deployment once more, whose runs may be told how patient they are."""
    with armed(real.http, real.environment("worker-normal")) as deployment:
        yield deployment


def test_campaigns_go_on_without_console_and_bus(real: World, ring: Ring, hurried: str) -> None:
    """Both replicas of Prefect's API freeze for 60 s, NATS dies: three campaigns under way go on meanwhile.
    Two end well when the API is back. The third one's run has the patience of seconds, as if the API had been
    away for hours: it ends badly in Prefect, and well in the store; the reconciler sees to that. Nothing is
    lost or repeated."""
    runs = [real.start(cohort, cohort, UNHURRIED) for cohort in ("slow", "steady")]
    patience = {"PREFECT_CLIENT_MAX_RETRIES": "1", "PREFECT_API_REQUEST_TIMEOUT": "3"}
    real.start("hasty", "hasty", UNHURRIED, hurried, **patience)
    cohorts = ("slow", "steady", "hasty")
    for cohort in cohorts:
        real.begun(cohort)
    passwords = real.environment("nats")
    with real.stopped("server-1", "server-2"):
        frozen = time.monotonic()
        real.kill("nats")
        ring.launch()  # For the next file: the machine has time now.
        real.until(
            lambda: all(len(real.accepted(c)) == COHORTS[c] for c in cohorts),
            300,
            "everybody has got it, without Prefect and NATS",
        )
        time.sleep(max(0.0, 60 - (time.monotonic() - frozen)))
    assert [real.end(run, 180) for run in runs] == ["COMPLETED", "COMPLETED"]
    real.until(lambda: real.runs("hasty")[0]["state_type"] == "COMPLETED", 240, "its run ends well, too")
    for cohort in cohorts:
        once_each(real, cohort)
    assert reported(real, "hasty").finished
    assert len(real.runs("hasty")) == 1, "it was over: nobody had to go on with it"
    real.revive("nats", passwords)


def reported(real: World, name: str) -> Report:
    """What the store says of a campaign."""

    async def ask() -> Report:
        async with open_exchange(real.system.settings) as exchange:
            return await campaigns.report(exchange, name)

    return asyncio.run(ask())


def test_a_killed_worker_loses_nothing(real: World) -> None:
    """A worker dies with its flow run in mid-campaign (SIGKILL); another worker gets the same run, put
    back, and it ends well. Nobody is lost, and repeats stay within the bound."""
    real.start("doomed", "doomed", UNHURRIED)
    real.begun("doomed", 60)
    settings, env = real.system.settings, real.environment("worker-normal")
    real.kill("worker-normal")
    before = len(real.accepted("doomed"))
    real.revive("worker-normal", env)
    real.until(lambda: len(real.accepted("doomed")) > before, 120, "the campaign goes on")
    (run,) = real.runs("doomed")
    real.until(lambda: real.runs("doomed")[0]["state_type"] == "COMPLETED", 180, "its run ends well")
    assert [one["id"] for one in real.runs("doomed")] == [run["id"]]
    accepted = real.accepted("doomed")
    assert len(accepted) == COHORTS["doomed"]
    bound = repeat_bound(settings.window, settings.in_flight, settings.flush, settings.windows_at_once)
    assert sum(accepted.values()) - len(accepted) <= bound


HEALTH = {
    "worker-urgent": "worker",
    "worker-normal": "worker",
    "worker-bulk": "worker",
    "services": "services",
    "reconciler": "reconciler",
    "gateway": "gateway",
    "server-1": "console",
    "server-2": "console",
    "sandbox": "sandbox",
}


def asked(real: World, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The answer of a health check, in the environment of the process that it is about."""
    command = [sys.executable, "-m", "msgxc.health", HEALTH[name], *words]
    return subprocess.run(
        command, env=real.environment(name), cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_health_checks_tell_who_is_at_work(real: World) -> None:
    """What docker asks every process of the exchange: yes while it works, one line and no when it hangs."""
    for name in HEALTH:
        found = asked(real, name)
        assert (found.returncode, found.stderr) == (0, ""), name
    hanging = ("worker-bulk", "services", "reconciler", "gateway")
    with real.stopped(*hanging):
        time.sleep(5)
        for name in hanging:
            found = asked(real, name, "--within", "4")
            assert found.returncode == 1, name
            assert len(found.stderr.splitlines()) == 1


def test_the_reconciler_knows_since_when_there_are_workers(real: World) -> None:
    """What a worker of an earlier start had taken is put back with the first look."""
    assert float(real.environment("reconciler")["MSGXC_WORKERS_SINCE"]) > 0


def test_either_replica_answers(real: World) -> None:
    """Both replicas show the same runs of a campaign that is over."""
    urls = [real.system.api, real.system.api.replace(real.system.url, f"http://127.0.0.1:{_second(real)}")]
    found = []
    for url in urls:
        with Api(url, real.system.login).client() as client:
            runs = client.post("/flow_runs/filter", json={"flow_runs": {"name": {"like_": "spread"}}})
            found.append({run["id"] for run in runs.raise_for_status().json()})
    assert found[0] == found[1]
    assert found[0]


def _second(real: World) -> int:
    """The port of the second replica, which its log tells."""
    text = real.child("server-2").log.read_text()
    return int(text.split("http://127.0.0.1:")[1].split("/")[0].split()[0])
