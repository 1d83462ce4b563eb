"""When a run is due, and what its campaign is called then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from prefect import get_client
from prefect.runtime import flow_run

from msgxc.campaign import fill_name, name_form, slug, unpacked
from msgxc.errors import WrongInput


def campaign_name(parameters: Mapping[str, Any]) -> str:
    """What the campaign of a run is called, its placeholders filled from the time the run was due, in its
    schedule's time zone. Raises WrongInput.

    A retry, or a run that starts late, gets the same name. A run without a schedule counts in UTC.
    """
    try:
        form = name_form(str(unpacked({"name": parameters.get("name", "")}).get("name", "")))
    except ValueError as error:
        raise WrongInput(f"name: {error}") from None
    if "{" not in form:
        return form
    return fill_name(form, flow_run.scheduled_start_time.astimezone(_zone()))


def run_name() -> str:
    """The flow run's name: the campaign's. One that is none is told when the run has begun."""
    try:
        return campaign_name(flow_run.parameters)
    except WrongInput:
        return "refused"


def called(form: str) -> Callable[[], str]:
    """How a run is called that is about a campaign: `form` with its parameters, as they were filled in."""

    def name() -> str:
        try:
            given = unpacked(flow_run.parameters)
            return form.format(**{**given, "campaign": slug(str(given.get("campaign", "")))})
        except (ValueError, KeyError):
            return "refused"

    return name


def _zone() -> ZoneInfo:
    """The time zone of the schedule that made this run."""
    if not flow_run.id:
        return ZoneInfo("UTC")
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(flow_run.id))
        made_by = run.created_by.id if run.created_by and run.created_by.type == "SCHEDULE" else None
        schedules = (
            client.read_deployment_schedules(run.deployment_id) if made_by and run.deployment_id else []
        )
    zones = [getattr(entry.schedule, "timezone", None) for entry in schedules if entry.id == made_by]
    return ZoneInfo(next((zone for zone in zones if zone), "UTC"))


def seconds_until(moment: datetime | None) -> float:
    """How long until then; 0 when it is over or there is none."""
    return max(0.0, (moment - datetime.now(UTC)).total_seconds()) if moment else 0.0
