"""Deploying again keeps what an operator has made and set: a real Prefect server, and the command itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from prefect_server import Prefect, prefect_server

from msgxc.deploying import SCHEDULES, merged
from msgxc.settings import ROOT
from msgxc.system import environment


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """A server of its own: its deployments get schedules."""
    with prefect_server(tmp_path_factory.mktemp("deploying")) as server:
        yield server


@pytest.fixture(scope="module")
def deployed(server: Prefect) -> Prefect:
    """The server after its first deployment."""
    deploy(server)
    return server


def deploy(server: Prefect) -> None:
    """What `make up` does at each start."""
    from msgxc.settings import read_settings

    env = environment(read_settings(), server.api.url.removesuffix("/api"))
    env["PREFECT_API_AUTH_STRING"] = server.api.login
    told = [sys.executable, "-m", "msgxc.deploying"]
    done = subprocess.run(told, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def known(server: Prefect, name: str) -> dict[str, Any]:
    """A deployment, as the API shows it."""
    return dict(server.ask("GET", f"/deployments/name/{name}"))


def schedules(server: Prefect, name: str) -> list[dict[str, Any]]:
    """Its schedules, but for what each deployment of them sets anew."""
    return [{**one, "updated": None} for one in known(server, name)["schedules"]]


def test_what_the_exchange_needs_by_the_clock_is_there(deployed: Prefect) -> None:
    """Its own schedules are made, and are on."""
    for name, need in SCHEDULES.items():
        (made,) = schedules(deployed, f"{name}/{name}")
        assert (made["slug"], made["schedule"]["cron"], made["active"]) == (need["slug"], need["cron"], True)
    assert schedules(deployed, "campaign/campaign") == []


def test_deploying_again_keeps_what_an_operator_has_made_and_set(deployed: Prefect) -> None:
    """Schedules of the console (they have no slug) and of the API, one that was switched, a pause, a limit,
    default parameters, a tag: all as before; and what is ours is brought up to date."""
    campaign, upkeep = known(deployed, "campaign/campaign"), known(deployed, "upkeep/upkeep")
    weekly = {"cron": "0 9 * * 1", "timezone": "Europe/Berlin"}
    filled_in = {"name": "newsletter-{week}", "template": "welcome", "values": {"a": "b"}}
    deployed.ask(
        "POST",
        f"/deployments/{campaign['id']}/schedules",
        [
            {"schedule": weekly, "active": True, "parameters": filled_in},
            {"schedule": {"interval": 3600.0}, "active": False, "slug": "by-api"},
        ],
    )
    nightly = upkeep["schedules"][0]["id"]
    deployed.ask("PATCH", f"/deployments/{upkeep['id']}/schedules/{nightly}", {"active": False})
    set_by_hand = {
        "parameters": {"template": "welcome"},
        "tags": [*campaign["tags"], "mine"],
        "concurrency_limit": 3,
    }
    deployed.ask("PATCH", f"/deployments/{campaign['id']}", {**set_by_hand, "description": "old"})
    deployed.ask("PATCH", f"/deployments/{upkeep['id']}", {"paused": True})
    before = {
        name: schedules(deployed, name)
        for name in ("campaign/campaign", "upkeep/upkeep", "dispatch/dispatch")
    }

    deploy(deployed)

    assert {name: schedules(deployed, name) for name in before} == before
    assert len(before["campaign/campaign"]) == 2
    after = known(deployed, "campaign/campaign")
    assert after["id"] == campaign["id"]
    assert after["parameters"] == set_by_hand["parameters"]
    assert after["tags"] == set_by_hand["tags"]
    assert after["global_concurrency_limit"]["limit"] == 3
    assert after["description"] == campaign["description"] != "old"
    assert after["parameter_openapi_schema"]["additionalProperties"] is False
    assert (known(deployed, "upkeep/upkeep")["paused"], after["paused"]) == (True, False)


def test_what_we_have_set_once_gives_way() -> None:
    """Tags and default parameters of an earlier version do not stay as if an operator had set them."""
    old = {
        "name": "campaign-urgent",
        "paused": False,
        "parameters": {"sending": {"urgency": 4, "purpose": "service"}},
        "tags": ["send", "urgent", "theirs"],
        "global_concurrency_limit": None,
    }
    (one,) = merged([{"name": "campaign-urgent", "tags": ["urgent"]}], [old])
    assert one == {"name": "campaign-urgent", "tags": ["urgent", "theirs"], "paused": False}
