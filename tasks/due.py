"""When a run is due, and what its campaign is called then."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from prefect import get_client
from prefect.runtime import flow_run

from msgxc.campaign import fill_name

NAP_SECONDS = 60.0  # a later start than that is left to the scheduler


def campaign_name(form: str) -> str:
    """The name with its placeholders filled from the time the run was due, in its schedule's time zone.

    A retry, or a run that starts late, gets the same name. A run without a schedule counts in UTC.
    """
    if "{" not in form:
        return form
    return fill_name(form, flow_run.scheduled_start_time.astimezone(_zone()))


def run_name() -> str:
    """The flow run's name: the campaign's."""
    return campaign_name(flow_run.parameters["name"])


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


def nap_until(moment: datetime | None) -> None:
    """Sleep until then, in small steps, so that a clock that is set anew is noticed."""
    while left := seconds_until(moment):
        time.sleep(min(left, 1.0))
