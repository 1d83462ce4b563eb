"""Runs that are to follow or to help: the fallback, a campaign whose time has not come, parts of a large one.

Each has an idempotency key, so that a double click or a retry schedules it once.
"""

from __future__ import annotations

from datetime import datetime

from prefect import task
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from prefect.runtime import deployment, flow_run
from prefect.states import Completed

from msgxc import campaigns
from msgxc.campaign import CampaignSpec
from msgxc.ledger import Seal
from msgxc.parts import Planned
from msgxc.settings import read_settings
from msgxc.urgency import levels
from tasks import engine
from tasks.campaign import STUBBORN, wait
from tasks.due import seconds_until
from tasks.operator import NAP_SECONDS

FALLBACK = "fallback/fallback"
SLICES = "slices/slices"


@task(name="schedule the fallback", task_run_name="schedule the fallback", timeout_seconds=600, **STUBBORN)
def schedule_fallback(spec: CampaignSpec) -> datetime | None:
    """Have the fallback run after its delay, in the queue of its urgency; answers when, None: never."""
    due = engine.call(lambda exchange, _: campaigns.fallback_due(exchange, spec.name))
    if due is None:
        return None
    run_deployment(
        FALLBACK,
        parameters={"campaign": spec.name},
        scheduled_time=due.at,
        flow_run_name=f"{spec.name}.fallback",
        idempotency_key=due.key,
        work_queue_name=_queue(spec),
        timeout=0,
        as_subflow=False,
    )
    return due.at


def starts_later(spec: CampaignSpec, plan: Planned, sealed: Seal) -> State[None] | None:
    """How this run ends when the campaign's time is far away: another one is scheduled for then. Else it
    waits here, and answers None when the time has come."""
    if deployment.id and seconds_until(plan.not_before) > NAP_SECONDS:
        schedule_start(spec)
        when = f"{plan.not_before:%F %R %Z}"
        return Completed(message=f"{sealed.count:,} people; sending starts at {when}")
    if seconds_until(plan.not_before):
        wait(plan)
    return None


@task(name="schedule the start", task_run_name="schedule the start", timeout_seconds=600, **STUBBORN)
def schedule_start(spec: CampaignSpec) -> None:
    """Have this deployment run again at the campaign's time, with the name as it is now."""
    run_deployment(
        deployment.id,
        parameters=spec.model_dump(mode="json", exclude={"parent", "thread", "message"}),
        scheduled_time=spec.sending.not_before,
        flow_run_name=spec.name,
        idempotency_key=f"start {spec.name} {spec.sending.not_before}",
        work_queue_name=_queue(spec),
        timeout=0,
        as_subflow=False,
    )


@task(
    name="start the other runs", task_run_name="start the other runs", **STUBBORN
)  # No timeout: it runs beside the sending, in a thread.
def start_runs(plan: Planned) -> int:
    """Have other runs send their parts of a large campaign; answers how many.

    They are a help: nothing waits for them, and the run that leads sends what they leave.
    """
    for first, last in plan.spread:
        run_deployment(
            SLICES,
            parameters={"campaign": plan.name, "first": first, "last": last, "share": plan.share},
            idempotency_key=f"slices {plan.name} {first} {last} {flow_run.id}",
            work_queue_name=plan.queue,
            timeout=0,
        )
    return len(plan.spread)


def _queue(spec: CampaignSpec) -> str:
    return levels(read_settings())[spec.sending.urgency].queue
