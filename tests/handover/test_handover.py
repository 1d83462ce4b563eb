"""What dies between Prefect and the store, or is stopped there, goes on in the same run; a cancel is final.
With a real worker and the reconciler; the sandbox's journal is the truth."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flow_console import COHORTS, UNHURRIED, PrefectConsole, until

from msgxc import campaigns, ids
from msgxc.ledger import Control
from msgxc.wiring import open_exchange

NO_FALLBACK = {"enabled": False}
PATIENCE = 300.0


def ask(console: PrefectConsole, name: str, cohort: str, **more: Any) -> str:
    """Start a campaign without a fallback."""
    return console.start(name, cohort, fallback=NO_FALLBACK, **more)


def stumble(console: PrefectConsole, stumbling: str, name: str, once: Path, place: str) -> str:
    """Start a campaign to the quick cohort; the first process of it that comes to a place stumbles there."""
    env = {"MSGXC_FAILPOINTS": place, "MSGXC_FAILPOINTS_ONCE": str(once)}
    body = {"name": name, "template": "spring-sale", "values": {"code": "X"}, "fallback": NO_FALLBACK}
    body |= {"audience": {"to": {"cohort": "quick"}}}
    path = f"/deployments/{stumbling}/create_flow_run"
    return str(console.json("POST", path, {"parameters": body, "job_variables": {"env": env}})["id"])


def process(console: PrefectConsole, run: str) -> int:
    """The process of a run, as soon as there is one."""
    place = until(lambda: console.json("GET", f"/flow_runs/{run}")["infrastructure_pid"], PATIENCE)
    return int(str(place).rpartition(":")[2])


def done(console: PrefectConsole, run: str) -> dict[str, Any]:
    """The end of a run that is put back when it dies: its state when it has ended well."""
    ends = ("COMPLETED", "CANCELLED")
    until(lambda: console.state(run)["type"] in ends, PATIENCE)
    return console.state(run)


def begun(console: PrefectConsole, since: float) -> None:
    """Wait until some of the slow cohort have got it."""
    until(lambda: len(console.accepted("slow", since)) >= 50, PATIENCE)


def control(console: PrefectConsole, name: str) -> Control | None:
    """What the store says of a campaign; None: it knows none."""

    async def look() -> Control | None:
        async with open_exchange(console.system.settings) as exchange:
            found = await exchange.store.ledger.campaign(ids.campaign_id(exchange.key, name))
            return found.control if found else None

    return asyncio.run(look())


def set_control(console: PrefectConsole, name: str, wish: Control) -> None:
    """What `msgxc campaigns …` does."""

    async def change() -> None:
        async with open_exchange(console.system.settings) as exchange:
            await campaigns.set_control(exchange, name, wish)

    asyncio.run(change())


@pytest.mark.parametrize("place", ["planned", "begun", "expanded"])
def test_killed_before_its_first_window_it_goes_on(
    console: PrefectConsole, stumbling: str, tmp_path: Path, place: str
) -> None:
    """kill -9 when it has just planned, while it seals, and before the seal: the same run is put back and
    sends to everybody once."""
    since = time.time()
    run = stumble(console, stumbling, f"early-{place}", tmp_path / "once", f"{place}=kill")
    assert done(console, run)["message"] == "300 of 300 people reached"
    assert (tmp_path / "once").exists()
    assert Counter(Counter(console.accepted("quick", since)).values()) == {1: COHORTS["quick"]}
    named = {"flow_runs": {"name": {"any_": [f"early-{place}"]}}}
    assert [found["id"] for found in console.json("POST", "/flow_runs/filter", named)] == [run]


def test_killed_at_its_start_it_goes_on(console: PrefectConsole) -> None:
    """kill -9 of a process that has hardly begun: nothing of the campaign stands in the store."""
    since = time.time()
    run = ask(console, "at-once", "quick")
    os.kill(process(console, run), signal.SIGKILL)
    assert done(console, run)["message"] == "300 of 300 people reached"
    assert Counter(Counter(console.accepted("quick", since)).values()) == {1: COHORTS["quick"]}


def test_asked_to_end_it_is_put_back(console: PrefectConsole) -> None:
    """SIGTERM, as when the system stops: the run is no red one, it waits for the next start and goes on
    there, and nobody is sent to twice."""
    since = time.time()
    run = ask(console, "polite", "slow", sending=UNHURRIED)
    begun(console, since)
    os.kill(process(console, run), signal.SIGTERM)
    until(lambda: console.state(run)["name"] == "AwaitingRetry", PATIENCE)
    assert done(console, run)["message"] == "600 of 600 people reached"
    states = console.json("GET", f"/flow_run_states/?flow_run_id={run}")
    assert "CRASHED" not in {state["type"] for state in states}
    assert Counter(Counter(console.accepted("slow", since)).values()) == {1: COHORTS["slow"]}
    assert float(console.artifacts(run)["progress-polite"]) == 100


def test_killed_while_paused_it_is_resumed_in_the_console(console: PrefectConsole) -> None:
    """kill -9 of a paused run: Resume works as if nothing had happened, nobody is lost or sent to twice."""
    since = time.time()
    run = ask(console, "paused-dead", "slow", sending=UNHURRIED)
    begun(console, since)
    pause(console, run)
    until(lambda: control(console, "paused-dead") is Control.PAUSE, PATIENCE)
    os.kill(process(console, run), signal.SIGKILL)
    until(lambda: console.state(run)["name"] == "Suspended", PATIENCE)
    assert console.json("POST", f"/flow_runs/{run}/resume")["status"] == "ACCEPT"
    assert done(console, run)["message"] == "600 of 600 people reached"
    counts = Counter(console.accepted("slow", since))
    assert len(counts) == COHORTS["slow"]
    assert sum(counts.values()) <= COHORTS["slow"] + 50


def test_a_long_pause_holds_no_process(console: PrefectConsole) -> None:
    """A pause from the command line, for longer than a nap: the console shows it, the process is gone.
    Resumed from the command line, it goes on in the same run."""
    since = time.time()
    run = ask(console, "long-pause", "slow", sending=UNHURRIED)
    begun(console, since)
    pid = process(console, run)
    set_control(console, "long-pause", Control.PAUSE)
    until(lambda: console.state(run)["name"] == "Suspended", PATIENCE)
    until(lambda: not Path(f"/proc/{pid}").exists(), PATIENCE)
    set_control(console, "long-pause", Control.RUN)
    assert done(console, run)["message"] == "600 of 600 people reached"
    assert Counter(Counter(console.accepted("slow", since)).values()) == {1: COHORTS["slow"]}


def test_a_cancel_while_sealing_is_final(console: PrefectConsole, stumbling: str, tmp_path: Path) -> None:
    """The Cancel button while the audience is written: the store knows it; the name again sends nothing."""
    since = time.time()
    run = stumble(console, stumbling, "sealing", tmp_path / "once", "expanded=sleep:20")
    until((tmp_path / "once").exists, PATIENCE)
    console.set_state(run, type="CANCELLING")
    until(lambda: console.state(run)["type"] == "CANCELLED", PATIENCE)
    until(lambda: control(console, "sealing") is Control.CANCEL, PATIENCE)
    assert console.end(ask(console, "sealing", "quick"))["type"] == "CANCELLED"
    assert not console.accepted("quick", since)


def test_a_cancel_before_the_start_is_final(console: PrefectConsole) -> None:
    """A campaign that waits for its time, in a run that no process has begun: canceled there, it is canceled
    in the store, and a client that repeats its request gets nobody anything."""
    since = time.time()
    then = {"not_before": f"{datetime.now(UTC) + timedelta(seconds=600):%FT%TZ}", "channels": ["apns"]}
    sending = {"purpose": "service", **then}
    assert "sending starts at" in console.end(ask(console, "cb", "quick", sending=sending))["message"]
    wanted = {"flow_runs": {"name": {"any_": ["cb"]}, "state": {"type": {"any_": ["SCHEDULED"]}}}}
    (waiting,) = until(lambda: console.json("POST", "/flow_runs/filter", wanted), PATIENCE)
    console.json("POST", f"/flow_runs/{waiting['id']}/set_state", {"state": {"type": "CANCELLED"}})
    until(lambda: control(console, "cb") is Control.CANCEL, PATIENCE)
    assert console.end(ask(console, "cb", "quick", sending=sending))["type"] == "CANCELLED"
    assert not console.accepted("quick", since)


def pause(console: PrefectConsole, run: str) -> None:
    """The Pause button."""
    later = f"{datetime.now(UTC) + timedelta(hours=1)}"
    console.set_state(run, type="PAUSED", name="Paused", state_details={"pause_timeout": later})
