"""What prefect.yaml offers, and what the form refuses."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from datetime import UTC, datetime, timedelta
from inspect import signature
from typing import Any
from uuid import uuid4

import pytest
import yaml
from flow_console import PrefectConsole
from prefect.client.schemas.objects import FlowRun
from prefect.flows import load_flow_from_entrypoint
from prefect.runner._hook_runner import HookRunner
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

from msgxc import campaigns
from msgxc.campaign import CampaignSpec
from msgxc.settings import ROOT
from msgxc.wiring import open_exchange
from tasks import worker

PROJECT = yaml.safe_load((ROOT / "prefect.yaml").read_text())
DEPLOYMENTS = {each["name"]: each for each in PROJECT["deployments"]}
GOOD: dict[str, Any] = {"name": "form", "template": "spring-sale", "audience": {"to": {"kind": "everyone"}}}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_every_entrypoint_loads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flow file that cannot be imported would still be deployed, as a placeholder that fails at night. None
    has hooks: our workers ask for none (tasks/worker.py). Whatever has a form is checked by our rule: Prefect
    would refuse what its schedule dialog has stored, in a program's words."""
    monkeypatch.chdir(ROOT)
    entrypoint = DEPLOYMENTS[name]["entrypoint"]
    flow = load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
    assert flow.name == entrypoint.rpartition(":")[2]
    assert flow.on_crashed_hooks == flow.on_cancellation_hooks == []
    assert not (flow.parameters.properties and flow.should_validate_parameters)


def test_what_the_worker_borrows_of_prefect_is_there() -> None:
    """Private parts of Prefect that tasks/worker.py puts others in the place of, and what those rely on."""
    parts = {
        ProcessWorker._submit_scheduled_flow_runs: ["self", "flow_run_response"],
        ProcessWorker._propose_crashed_state: ["self", "flow_run", "message", "client"],
        HookRunner.run_crashed_hooks: ["self", "flow_run", "state"],
        HookRunner.run_cancellation_hooks: ["self", "flow_run", "state"],
    }
    for part, names in parts.items():
        assert list(signature(part).parameters) == names, part
    made = ProcessJobConfiguration()
    worker.one_process(made, FlowRun(flow_id=uuid4(), name="one"))
    assert made._command_configured
    assert made.command == f"{sys.executable} -m prefect.engine"


def test_no_folder_of_this_machine_is_deployed(console: PrefectConsole) -> None:
    """A worker elsewhere has the project somewhere else."""
    for name, each in DEPLOYMENTS.items():
        flow = each["entrypoint"].rpartition(":")[2]
        assert str(ROOT) not in str(console.deployment(f"{flow}/{name}")["pull_steps"])


def test_flows_hold_no_logic() -> None:
    """A flow says when and in what order: it fits a screen."""
    for file in (ROOT / "flows").glob("*.py"):
        assert len(file.read_text().splitlines()) <= 60, file.name


def test_the_form_offers_the_templates_that_exist(console: PrefectConsole) -> None:
    """A template is chosen from a list, not typed."""
    offered = console.deployment()["parameter_openapi_schema"]["properties"]["template"]["enum"]
    assert offered == sorted(folder.name for folder in (ROOT / "templates").iterdir() if folder.is_dir())


NONSENSE: dict[str, dict[str, Any]] = {
    "no name": {"name": ""},
    "no such template": {"template": "nope"},
    "an audience that was left empty": {"audience": {"exclude": []}},
    "a selection that was left empty": {"audience": {"to": {}}},
    "a cohort without a name": {"audience": {"to": {"cohort": None}}},
    "two selections in one": {"audience": {"to": {"cohort": "a", "where": "vip"}}},
    "an uid that is none": {"audience": {"to": {"uids": ["me@mail.example"]}}},
    "an urgency of nine": {"sending": {"urgency": 9}},
    "a channel of no such name": {"sending": {"channels": ["pigeon"]}},
    "a channel twice": {"sending": {"channels": ["apns", "apns"]}},
    "no channel": {"sending": {"channels": []}},
    "a negative speed": {"sending": {"per_second": -1}},
    "a field that nobody knows": {"sending": {"color": "red"}},
    "a fallback after a year": {"fallback": {"after_minutes": 600_000}},
    "values that are no words": {"values": {"code": ["a"]}},
    "a time without a zone": {"sending": {"not_before": "2026-12-01T09:00:00"}},
    "a time that UTC cannot show": {"sending": {"not_before": "9999-12-31T23:59:59-12:00"}},
    "a day that is none": {"sending": {"not_before": "2026-02-30T09:00:00Z"}},
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_is_refused_before_there_is_a_run(console: PrefectConsole, what: str) -> None:
    """The API says what is wrong, with status 409, and makes no run."""
    answer = console.ask({**GOOD, **NONSENSE[what]})
    assert answer.status_code == 409, answer.text
    assert "Validation failed" in answer.text
    assert not re.search(r"regex|does not match|\\\\", answer.text), "no regular expression is for a person"


def test_a_misspelt_parameter_is_refused(console: PrefectConsole) -> None:
    """One line names it, and there is no run."""
    answer = console.ask({**GOOD, "name": "misspelt", "audiance": {"to": {"cohort": "quick"}}})
    assert answer.status_code == 409, answer.text
    assert "'audiance' was unexpected" in answer.json()["detail"]
    known = console.deployment()
    assert known["global_concurrency_limit"]["limit"] == 8


def test_a_misspelt_parameter_that_was_let_pass_sends_nothing(console: PrefectConsole) -> None:
    """Deployed by hand the request is not refused: the run itself ends, before it sends."""
    known, since = console.deployment("campaign/campaign-urgent"), time.time()
    schema = {**known["parameter_openapi_schema"], "additionalProperties": True}
    console.json("PATCH", f"/deployments/{known['id']}", {"parameter_openapi_schema": schema})
    body = {"parameters": {**GOOD, "name": "misspelt", "audiance": {"to": {"cohort": "quick"}}}}
    run = console.json("POST", f"/deployments/{known['id']}/create_flow_run", body)
    assert console.end(run["id"])["type"] in ("FAILED", "CRASHED")
    assert not console.accepted("quick", since)


def test_what_is_right_is_taken(console: PrefectConsole) -> None:
    """Each kind of audience, with what the form fills in by itself."""
    later = {
        "type": "SCHEDULED",
        "state_details": {"scheduled_time": f"{datetime.now(UTC) + timedelta(days=9)}"},
    }
    kinds: list[dict[str, Any]] = [
        {"kind": "everyone"},
        {"cohort": "quick"},
        {"kind": "cohort", "cohort": "quick"},
        {"where": 'lang = "de"'},
        {"uids": ["0192f0c1-6b2e-7c1a-9d55-2f0a3c4b5d6e", "me"]},
        {"thread": "0192f0c1-6b2e-7c1a-9d55-2f0a3c4b5d6e"},
        {"campaign": "before"},
    ]
    for to in kinds:
        answer = console.ask({**GOOD, "audience": {"to": to, "exclude": [{"cohort": "slow"}]}}, state=later)
        assert answer.status_code == 201, answer.text


def test_everyone_has_to_be_said(console: PrefectConsole) -> None:
    """An audience that was left out is refused with the request, on both forms, and so is an empty one."""
    for name in ("campaign/campaign", "campaign/campaign-urgent"):
        path = f"/deployments/{console.deployment(name)['id']}/create_flow_run"
        for audience in ({}, {"audience": {}}, {"audience": {"to": {}}}):
            asked = {"name": "to-nobody", "template": "spring-sale", **audience}
            answer = console.request("POST", path, {"parameters": asked})
            assert answer.status_code == 409, answer.text


def test_what_a_schedule_has_stored_is_what_is_sent(console: PrefectConsole) -> None:
    """Prefect hands a schedule's parameters over as its dialog has stored them: the values are those that
    were typed, the name is the rule's, and what is urgent stays so."""
    known = console.deployment("campaign/campaign-urgent")
    stored = {
        "name": "Stored by a dialog",
        "template": "spring-sale",
        "audience": {"to": {"cohort": "quick"}},
        "sending": {"not_before": None, "per_second": None},
        "fallback": {"enabled": False},
        "values": {"__prefect_kind": "json", "value": '{"code": "FROM-A-DIALOG"}'},
    }
    path = f"/deployments/{known['id']}/schedules"
    then = datetime.now(UTC) + timedelta(days=20)  # Prefect makes the runs of the next hundred days
    yearly = {"cron": f"0 0 {min(then.day, 28)} {then.month} *", "timezone": "UTC"}
    made = console.json("POST", path, [{"schedule": yearly, "parameters": stored}])[0]
    run = console.run_named("stored-by-a-dialog", 300)  # it has the name before it begins
    console.set_state(run, type="SCHEDULED", state_details={"scheduled_time": f"{datetime.now(UTC)}"})
    assert console.end(run, 300)["type"] == "COMPLETED"
    console.json("DELETE", f"{path}/{made['id']}")

    async def spec() -> CampaignSpec:
        async with open_exchange(console.system.settings) as exchange:
            return (await campaigns.campaign_named(exchange, "Stored by a dialog")).spec

    sent = asyncio.run(spec())
    assert sent.values == {"code": "FROM-A-DIALOG"}
    assert (sent.sending.urgency, sent.sending.purpose) == (4, "service")


def test_an_idempotency_key_starts_one_run(console: PrefectConsole) -> None:
    """A request that is repeated after a timeout must not start a second run."""
    later = {
        "type": "SCHEDULED",
        "state_details": {"scheduled_time": f"{datetime.now(UTC) + timedelta(days=9)}"},
    }
    first, second = (console.ask(GOOD, state=later, idempotency_key="order-1") for _ in range(2))
    assert first.json()["id"] == second.json()["id"]
