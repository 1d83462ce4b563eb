"""What Prefect is told to watch: the automation for dead runs, and the one by which people are told."""

from __future__ import annotations

from typing import Any

from prefect_server import Prefect

from msgxc.deploying import FLOWS, TOLD, ZOMBIES, prepare
from msgxc.settings import read_settings


def automation(prefect: Prefect, name: str) -> dict[str, Any]:
    """The one of that name."""
    found = prefect.ask("POST", "/automations/filter", {"automations": {"name": {"any_": [name]}}})
    assert len(found) == 1
    return dict(found[0])


def test_the_automations_are_there_once_and_brought_up_to_date(prefect: Prefect) -> None:
    """However often it is told; what an operator has switched stays so."""
    told = automation(prefect, TOLD["name"])
    assert not told["enabled"]
    assert set(told["trigger"]["expect"]) == {
        f"msgxc.campaign.{word}" for word in ("finished", "failed", "canceled", "paused")
    }
    block = prefect.ask("GET", f"/block_documents/{told['actions'][0]['block_document_id']}")
    assert block["name"] == "campaign-ended"
    prefect.ask("PATCH", f"/automations/{told['id']}", {"enabled": True})
    dead = automation(prefect, ZOMBIES["name"])
    every = {**dead["trigger"], "match_related": {}}
    body = {"name": dead["name"], "enabled": False, "trigger": every, "actions": dead["actions"]}
    prefect.ask("PUT", f"/automations/{dead['id']}", body)
    prepare(prefect.api, read_settings())
    assert automation(prefect, TOLD["name"])["enabled"]
    again = automation(prefect, ZOMBIES["name"])
    assert again["id"] == dead["id"]
    assert not again["enabled"]
    assert again["trigger"]["match_related"]["prefect.resource.name"] == list(FLOWS)
    assert again["trigger"]["expect"] == ["prefect.flow-run.*"]
