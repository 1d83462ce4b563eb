"""Cassandra, NATS, PostgreSQL, Redis, Prefect's replicas and workers: the flows of the embedded system, and
faults that only many processes have. The provider's journal is the judge."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from datetime import datetime

import httpx
import yaml
from conftest import Ring
from real_world import AT_ONCE, COHORTS, UNHURRIED, World

from msgxc import campaigns
from msgxc.deploying import Api
from msgxc.ledger import repeat_bound
from msgxc.reports.funnel import Report
from msgxc.settings import ROOT
from msgxc.wiring import open_exchange


def once_each(real: World, cohort: str) -> None:
    """Everybody of the cohort was sent to, and nobody twice."""
    accepted = real.accepted(cohort)
    assert len(accepted) == COHORTS[cohort]
    assert set(accepted.values()) == {1}


def test_the_console_asks_for_a_login(real: World) -> None:
    """Without the login the API of each replica answers nothing, and with it all."""
    assert httpx.get(f"{real.system.api}/flow_runs/count").status_code == 401
    assert real.json("POST", "/flow_runs/count") >= 0
    assert oct((real.system.settings.home / "secrets.json").stat().st_mode & 0o777) == "0o600"


def test_a_large_campaign_is_sent_by_several_runs(real: World) -> None:
    """A thousand people in 20 shards, 5 slices, 3 runs: each is sent to once, the leading run reports, and
    every run that began in time has sent a part."""
    run = real.start("spread", "many", AT_ONCE)
    assert real.end(run, 180) == "COMPLETED"
    once_each(real, "many")
    real.until(lambda: len(real.runs("spread")) == 3, 180, "the other runs have begun")  # named when they do
    leader, *others = sorted(real.runs("spread"), key=lambda run: len(run["name"]))
    assert leader["name"] == "spread"
    assert "1,000" in leader["state"]["message"]
    assert sorted(run["name"] for run in others) == ["spread.16-20", "spread.8-16"]
    for run in others:
        assert real.end(run["id"], 90) == "COMPLETED"
    people = {run["name"]: int(run["state"]["message"].split()[0]) for run in real.runs("spread.")}
    in_time = [run["name"] for run in others if seconds(leader["end_time"]) - seconds(run["start_time"]) > 8]
    assert all(people[name] for name in in_time)
    assert sum(people.values()) < COHORTS["many"]


def seconds(at: str) -> float:
    """A time of Prefect's, in seconds since 1970."""
    return datetime.fromisoformat(at).timestamp()


def test_campaigns_go_on_without_console_and_bus(real: World, ring: Ring) -> None:
    """Both replicas of Prefect's API freeze for 60 s, NATS dies: three campaigns under way go on meanwhile.
    Two end well when the API is back. The third one's run has the patience of seconds, as if the API had been
    away for hours: it ends badly in Prefect, and well in the store. Nothing is lost or repeated."""
    runs = [real.start(cohort, cohort, UNHURRIED) for cohort in ("slow", "steady")]
    hasty = real.start(
        "hasty", "hasty", UNHURRIED, PREFECT_CLIENT_MAX_RETRIES="1", PREFECT_API_REQUEST_TIMEOUT="3"
    )
    cohorts = ("slow", "steady", "hasty")
    for cohort in cohorts:
        real.begun(cohort)
    with real.stopped("server-1", "server-2"):
        frozen = time.monotonic()
        real.kill("nats")
        ring.launch()  # For the next file: the machine has time now.
        real.until(
            lambda: all(len(real.accepted(c)) == COHORTS[c] for c in cohorts),
            60,
            "everybody has got it, without Prefect and NATS",
        )
        time.sleep(max(0.0, 60 - (time.monotonic() - frozen)))
    assert [real.end(run, 180) for run in runs] == ["COMPLETED", "COMPLETED"]
    assert real.end(hasty, 180) in {"CRASHED", "FAILED"}  # in whichever of its calls the patience ended
    for cohort in cohorts:
        once_each(real, cohort)
    assert reported(real, "hasty").finished
    assert len(real.runs("hasty")) == 1, "it was over: nobody had to go on with it"
    real.revive("nats", os.environ)


def reported(real: World, name: str) -> Report:
    """What the store says of a campaign."""

    async def ask() -> Report:
        async with open_exchange(real.system.settings) as exchange:
            return await campaigns.report(exchange, name)

    return asyncio.run(ask())


def test_a_killed_worker_loses_nothing(real: World) -> None:
    """A worker dies with its flow run in mid-campaign (SIGKILL); another worker gets a new run of it, which
    nobody had to start. Nobody is lost, and repeats stay within the bound."""
    real.start("doomed", "doomed", UNHURRIED)
    real.begun("doomed", 60)
    settings, env = real.system.settings, real.environment("worker-normal")
    real.kill("worker-normal")
    killed, before = time.time(), len(real.accepted("doomed"))
    real.revive("worker-normal", env)
    real.until(lambda: len(real.accepted("doomed")) > before, 120, "the campaign goes on")
    second = real.until(lambda: real.runs("doomed")[1:], 120, "there is a second run")[0]
    assert seconds(second["created"]) - killed < settings.lease_seconds + 30
    assert real.end(second["id"], 90) == "COMPLETED"
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
    check = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["server"]["healthcheck"]
    words = [word.replace("http://127.0.0.1:4200", real.system.url) for word in check["test"][2:]]
    assert subprocess.run([sys.executable, *words], check=False).returncode == 0


def test_either_replica_answers(real: World) -> None:
    """Both replicas show the same runs."""
    urls = [real.system.api, real.system.api.replace(real.system.url, f"http://127.0.0.1:{_second(real)}")]
    counts = []
    for url in urls:
        with Api(url, real.system.login).client() as client:
            counts.append(client.post("/flow_runs/count").raise_for_status().json())
    assert counts[0] == counts[1] > 0


def _second(real: World) -> int:
    """The port of the second replica, which its log tells."""
    text = real.child("server-2").log.read_text()
    return int(text.split("http://127.0.0.1:")[1].split("/")[0].split()[0])
