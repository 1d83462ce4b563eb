"""Campaigns through the console, with a real worker; the sandbox's journal is the truth."""

from __future__ import annotations

import logging
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psutil
import pytest
from flow_console import COHORTS, UNHURRIED, PrefectConsole, people, until

from msgxc.operations.processes import marked
from msgxc.settings import ROOT

NO_FALLBACK = {"enabled": False}


@pytest.fixture(scope="module", autouse=True)
def scheduled(console: PrefectConsole) -> Iterator[datetime]:
    """When a schedule that is made now, before the first test, starts its campaign.

    Prefect's quick look at new schedules misses one when its server is busy; the thorough one comes once a
    minute. What is due before that look is due tomorrow.
    """
    due = datetime.now(UTC) + timedelta(seconds=120)
    schedule = {"interval": 86_400, "anchor_date": due.isoformat(), "timezone": "Pacific/Kiritimati"}
    audience = {"to": {"uids": ["0192f0c1-6b2e-7c1a-9d55-2f0a3c4b5d6e"]}}
    parameters = {"name": "daily-{hour}", "template": "spring-sale", "audience": audience}
    path = f"/deployments/{console.deployment()['id']}/schedules"
    made = console.json("POST", path, [{"schedule": schedule, "active": True, "parameters": parameters}])
    yield due
    console.json("DELETE", f"{path}/{made[0]['id']}")


def test_a_campaign_its_fallback_and_what_the_operator_sees(console: PrefectConsole) -> None:
    """Dead devices are reported with advice, and their people get the email of the fallback."""
    fallback = {"after_minutes": 0.01}
    run = console.start("unlucky", "unlucky", fallback=fallback)
    assert console.end(run)["message"] == "10 of 40 people reached, 30 failed"
    seen = console.artifacts(run)
    assert set(seen) == {"progress-unlucky", "report-unlucky"}
    assert float(seen["progress-unlucky"]) == 100
    page = seen["report-unlucky"]
    assert page.startswith("# unlucky\n")  # as it is, and not as JSON
    assert page.startswith("# unlucky\n\n![The funnel of unlucky](data:image/svg+xml;base64,")
    assert "| 40 | the whole audience |" in page
    assert "Its address is removed" in page
    told = console.events("msgxc.campaign.unlucky")
    assert told["msgxc.campaign.finished"]["text"] == "unlucky finished: 10 of 40 people reached, 30 failed"
    second = console.run_named("unlucky.fallback")
    assert console.end(second)["message"] == "30 of 30 people reached"
    whole = console.artifacts(second)["report-unlucky"]
    assert whole.startswith("# unlucky\n")
    assert "| 30 | reached by the fallback |" in whole


def test_a_double_click_sends_once(console: PrefectConsole) -> None:
    """Two runs of one name are one campaign: both complete, and nobody gets it twice."""
    since = time.time()
    runs = [console.start("double", "quick", fallback=NO_FALLBACK) for _ in range(2)]
    assert {console.end(run)["message"] for run in runs} == {"300 of 300 people reached"}
    assert Counter(Counter(console.accepted("quick", since)).values()) == {1: COHORTS["quick"]}
    names = {console.json("GET", f"/flow_runs/{run}")["name"] for run in runs}
    assert names == {"double"}
    told = console.end(console.start("double", "quick", fallback=NO_FALLBACK))["message"]
    assert told.startswith("finished at 20")
    assert told.endswith(" UTC already, nothing was sent: 300 of 300 people reached")


@pytest.mark.parametrize("place", ["following", "campaign_finished"])
def test_a_kill_at_the_end_costs_nobody_the_fallback(
    console: PrefectConsole, stumbling: str, tmp_path: Path, place: str
) -> None:
    """kill -9 before the fallback is scheduled, and right after the campaign was closed. The run is put back
    and brings what is missing: one fallback run, and not a second one."""
    name = f"killed-{place.replace('_', '-')}"
    stumble = {"MSGXC_FAILPOINTS": f"{place}=kill", "MSGXC_FAILPOINTS_ONCE": str(tmp_path / "once")}
    body = {"name": name, "template": "spring-sale", "values": {"code": "X"}}
    body |= {"audience": {"to": {"cohort": "unlucky"}}, "fallback": {"after_minutes": 0.01}}
    path = f"/deployments/{stumbling}/create_flow_run"
    run = console.json("POST", path, {"parameters": body, "job_variables": {"env": stumble}})["id"]
    until(lambda: console.state(run)["type"] == "COMPLETED", 300)
    assert (tmp_path / "once").exists()
    assert console.end(console.run_named(f"{name}.fallback"))["message"] == "30 of 30 people reached"
    named = {"flow_runs": {"name": {"any_": [f"{name}.fallback"]}}}
    assert len(console.json("POST", "/flow_runs/filter", named)) == 1


def test_cancel_stops_the_sending(console: PrefectConsole) -> None:
    """The Cancel button; the report is put up all the same, and says so. How soon: see I4."""
    since = time.time()
    run = console.start("canceled", "slow", sending=UNHURRIED, fallback=NO_FALLBACK)
    until(lambda: len(console.accepted("slow", since)) >= 50, 120)
    console.set_state(run, type="CANCELLING")
    until(lambda: console.state(run)["type"] == "CANCELLED", 300)
    assert console.settled("slow", since) < COHORTS["slow"]
    assert "**Canceled**" in console.artifacts(run)["report-canceled"]


def test_a_canceled_campaign_stays_canceled(console: PrefectConsole) -> None:
    """Starting the same name again sends nothing more."""
    since = time.time()
    run = console.start("canceled", "slow", sending=UNHURRIED, fallback=NO_FALLBACK)
    assert console.end(run)["type"] == "CANCELLED"
    assert not console.accepted("slow", since)


def test_cancel_stops_although_no_worker_listens(console: PrefectConsole) -> None:
    """The worker hangs (SIGSTOP), so nobody kills the process: the run itself looks, and stops sending."""
    since = time.time()
    run = console.start("unheard", "slow", sending=UNHURRIED, fallback=NO_FALLBACK)
    until(lambda: len(console.accepted("slow", since)) >= 50, 120)
    # Under the program around it.
    (worker,) = psutil.Process(_process(console, "worker").pid).children()
    worker.send_signal(signal.SIGSTOP)
    try:
        console.set_state(run, type="CANCELLING")
        assert console.settled("slow", since) < COHORTS["slow"]
        until(lambda: console.state(run)["type"] == "CANCELLED", 300)
    finally:
        worker.send_signal(signal.SIGCONT)


def test_pause_and_resume(console: PrefectConsole) -> None:
    """Pause holds the sending and resume goes on with it; everybody gets it once."""
    since = time.time()
    run = console.start("paused", "slow", sending=UNHURRIED, fallback=NO_FALLBACK)
    until(lambda: len(console.accepted("slow", since)) >= 50, 120)
    later = f"{datetime.now(UTC) + timedelta(hours=1)}"
    console.set_state(run, type="PAUSED", name="Paused", state_details={"pause_timeout": later})
    assert console.settled("slow", since) < COHORTS["slow"]
    assert console.json("POST", f"/flow_runs/{run}/resume")["status"] == "ACCEPT"
    assert console.end(run)["message"] == "600 of 600 people reached"
    assert set(Counter(console.accepted("slow", since)).values()) == {1}


def test_sending_goes_on_while_the_server_is_away(console: PrefectConsole) -> None:
    """Prefect's server hangs: the sending goes on to its end meanwhile."""
    since = time.time()
    run = console.start("alone", "slow", sending=UNHURRIED, fallback=NO_FALLBACK)
    until(lambda: len(console.accepted("slow", since)) >= 50, 120)
    server = _process(console, "server")
    server.send_signal(signal.SIGSTOP)
    try:
        until(lambda: len(console.accepted("slow", since)) >= COHORTS["slow"] - 50, 120)
    finally:
        server.send_signal(signal.SIGCONT)
    assert console.end(run)["message"] == "600 of 600 people reached"
    assert Counter(Counter(console.accepted("slow", since)).values()) == {1: COHORTS["slow"]}


def test_a_mistake_that_only_the_store_knows_fails_at_once(console: PrefectConsole) -> None:
    """A rule that cannot be read: the run's state says where, and nothing is tried again."""
    rule = {"to": {"where": 'lang = "de'}}
    answer = console.ask({"name": "wrong-rule", "template": "spring-sale", "audience": rule})
    state = console.end(answer.json()["id"])
    assert state["type"] == "FAILED"
    assert "column" in state["message"]
    until(lambda: not marked(PREFECT__FLOW_RUN_ID=answer.json()["id"]), 300)  # it has said all
    said = console.logs(answer.json()["id"], logging.WARNING)
    errors = [line for line in said if state["message"] in line]  # others are Prefect's own worries
    assert errors[0] == state["message"]
    assert not any("Traceback" in line for line in errors)
    tasks = console.json("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [answer.json()["id"]]}}})
    assert {task["run_count"] for task in tasks} == {1}


def test_a_schedule_names_its_campaigns_in_its_own_time_zone(
    console: PrefectConsole, scheduled: datetime
) -> None:
    """It is already tomorrow on Kiritimati (UTC+14) half of the day: the name's date is theirs."""
    there = scheduled.astimezone(ZoneInfo("Pacific/Kiritimati"))
    run = console.run_named(f"daily-{there:%Y-%m-%dt%H}", 400)
    assert console.end(run)["type"] == "COMPLETED"


def test_a_later_start_is_left_to_the_scheduler(console: PrefectConsole) -> None:
    """No process sleeps for hours: the audience is sealed now, and a run is scheduled for the time."""
    since = time.time()
    then = (datetime.now(UTC) + timedelta(hours=5)).replace(microsecond=0)
    run = console.start("tomorrow", "quick", sending={"not_before": f"{then:%FT%TZ}"})
    assert "300 people; sending starts at" in console.end(run)["message"]
    body = {"flow_runs": {"name": {"any_": ["tomorrow"]}, "state": {"type": {"any_": ["SCHEDULED"]}}}}
    (later,) = console.json("POST", "/flow_runs/filter", body)
    assert datetime.fromisoformat(later["expected_start_time"]) == then
    assert not console.accepted("quick", since)


def test_the_curl_lines_of_the_manual_work(console: PrefectConsole) -> None:
    """docs/api.md, as it stands, against this system."""
    manual = (ROOT / "docs" / "api.md").read_text().split("\n## Starting a campaign\n")[1]
    start = re.findall(r"```bash\n(.*?)```", manual, re.DOTALL)[0]
    script = start.replace("http://127.0.0.1:4200/api", console.system.api).replace("customers", "quick")
    script = script.replace("var/secrets.json", str(console.system.settings.home / "secrets.json"))
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"state_type":"SCHEDULED"' in done.stdout
    run = re.search(r'"id":"([0-9a-f-]{36})"', done.stdout)
    assert run
    assert console.end(run[1])["message"] == "300 of 300 people reached"


def test_nothing_personal_is_left_in_prefect(console: PrefectConsole) -> None:
    """After all of the above: no name, address or token in the server's files, its logs, the artifacts."""
    home = console.system.settings.home
    files = [f for folder in ("prefect", "log") for f in (home / folder).rglob("*") if f.is_file()]
    artifacts = str(console.json("POST", "/artifacts/filter", {"limit": 200})).encode()
    everything = artifacts + b"".join(file.read_bytes() for file in files)
    assert b"spring-sale" in everything
    for cohort in COHORTS:
        for person in people(cohort):
            for secret in (person["name"], person["email"], person["cell"], person["devices"][0]["token"]):
                assert not secret or secret.encode() not in everything


def _process(console: PrefectConsole, name: str) -> subprocess.Popen[bytes]:
    assert console.system.supervisor
    return next(child.process for child in console.system.supervisor.children if child.name == name)
