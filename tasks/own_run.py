"""The flow run that this process is: what a person has said about it, and how it leaves its place.

A process that has nothing to do for a while, or is told to stop with its system, ends without an end of its
run: the run is put back, or shown as suspended, and a worker takes it up when it is time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
)
from prefect.client.schemas.objects import State as PrefectState
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext
from prefect.exceptions import CancelledRun, FailedRun, Pause, TerminationSignal
from prefect.runtime import deployment, flow_run
from prefect.states import AwaitingRetry, Cancelled, Completed, Failed, Suspended

from msgxc import campaigns, ids
from msgxc.campaign import CampaignSpec
from msgxc.errors import MsgxcError, NotFound, StoreUnavailable
from msgxc.ledger import Control
from msgxc.parts import Planned
from msgxc.reports.funnel import Report
from msgxc.reports.tables import in_vain, summary
from msgxc.run_care import (
    IN_VAIN,
    MISSED,
    REFUSED,
    STOPPED,
    SUSPENDED,
    WAITS,
    State,
    Word,
    last_word,
    too_late,
)
from msgxc.settings import read_settings
from msgxc.wiring import Exchange
from tasks import engine, orphan
from tasks.board import hasty_client, tell
from tasks.campaign import HOPELESS

#: A run that stops with its system is put back for so much later: its worker is to be gone by then. If it is
#: gone already, whoever comes first may take it up.
STOP_SECONDS = 20.0
#: While the store is away a run gives its place back for so long.
AWAY_SECONDS = 60.0
#: A process that is told to end asks whether it was canceled, and waits so long for the answer; whoever ends
#: it waits for longer.
CANCELED_SECONDS = 8.0
#: How the events are called that tell of an end.
WORDS = {StateType.COMPLETED: "finished", StateType.FAILED: "failed", StateType.CANCELLED: "canceled"}


class _NotTwice(logging.Filter):
    """Leaves out what Prefect's engine adds to the log of a run that has ended as its state says: the same
    words once more, at the end of a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], FailedRun | CancelledRun))


logging.getLogger("prefect.flow_runs").addFilter(_NotTwice())


@dataclass(slots=True)
class Ending:
    """How the flow ends when it is not by its own last line."""

    state: PrefectState[Any] | None = None


@contextmanager
def ending(spec: CampaignSpec | None = None, *, stopped: PrefectState[Any] | None = None) -> Iterator[Ending]:
    """What becomes of a run that does not come to its end.

    What a person has to mend ends it as refused, with one sentence, and pauses the campaign. The store being
    away, or a stop of the system, puts it back; `stopped`: how a run ends instead that need not be put back.
    A cancel reaches the store, wherever it hits.
    """
    end = Ending()
    try:
        yield end
    except HOPELESS as error:
        if spec:
            _control(spec, Control.PAUSE)
        end.state = Failed(name=REFUSED, message=str(error))
    except StoreUnavailable:
        give_back(datetime.now(UTC) + timedelta(seconds=AWAY_SECONDS))
        raise
    except TerminationSignal:
        if canceled():
            if spec:
                _control(spec, Control.CANCEL)
                tell(spec.name, "canceled", "in the console")
            raise
        if stopped is None:
            pause = 0.0 if orphan.is_orphan() else STOP_SECONDS
            give_back(datetime.now(UTC) + timedelta(seconds=pause), STOPPED)
        end.state = stopped
    if spec and end.state and (word := WORDS.get(end.state.type)):
        tell(spec.name, word, end.state.message or "")


def _control(spec: CampaignSpec, control: Control) -> None:
    """Write it down, if that takes no longer than a moment."""

    async def work(exchange: Exchange, _: engine.Engine) -> None:
        if control is Control.CANCEL:
            await campaigns.call_off(exchange, spec)
        else:
            with suppress(NotFound):
                await campaigns.set_control(exchange, spec.name, control)

    with suppress(MsgxcError):
        engine.call(work)


def outcome(found: Report, plan: Planned, *, of_rest: bool = False) -> PrefectState[None]:
    """The run's final state, with one line on what came of its campaign. `of_rest`: as `in_vain`."""
    vain = in_vain(found, of_rest=of_rest)
    said = vain or summary(found)
    if plan.finished and _begun() > plan.finished:
        said = f"finished at {plan.finished:%F %R} UTC already, nothing was sent: {said}"
    if found.canceled:
        return Cancelled(message=said)
    return Failed(name=IN_VAIN, message=said) if vain else Completed(message=said)


def _begun() -> datetime:
    """When this run was asked for; when that is not known: long ago."""
    context = FlowRunContext.get()
    asked_for = context.flow_run.created if context and context.flow_run else None
    return asked_for or datetime.min.replace(tzinfo=UTC)


def canceled() -> bool:
    """Whether the console has canceled this run; when it cannot be asked: it has not."""
    with suppress(Exception), hasty_client(CANCELED_SECONDS) as client:
        state = client.read_flow_run(UUID(flow_run.id)).state
        return state is not None and state.type in (StateType.CANCELLING, StateType.CANCELLED)
    return False


def give_back(at: datetime | None, message: str = WAITS) -> None:
    """End this process, and leave its run to a worker: from `at` on, or (None) once somebody resumes it.

    A run that nobody deployed cannot be left: then this returns. When Prefect is away the run stays as it is
    shown, and the reconciler finds that nobody is at work on it.
    """
    if not deployment.id:
        return
    state: PrefectState[Any] | None = None
    with suppress(Exception), hasty_client() as client:
        run = client.read_flow_run(UUID(flow_run.id)).state
        if at is None or (run and run.type is StateType.PAUSED):
            until = run.state_details.pause_timeout if run and run.type is StateType.PAUSED else None
            wanted: PrefectState[Any] = Suspended(message=SUSPENDED)
            wanted.state_details.pause_timeout = until
        else:
            wanted = AwaitingRetry(scheduled_time=at, message=message)
        if not (run and run.type in (StateType.CANCELLING, StateType.CANCELLED)):
            state = client.set_flow_run_state(UUID(flow_run.id), wanted, force=True).state
    raise Pause(state=state)


def said() -> Word | None:
    """What a person has said about this run so far."""
    if not flow_run.id:
        return None
    with get_client(sync_client=True) as client:
        states = client.read_flow_run_states(UUID(flow_run.id))
        schedule = bool(_schedule(client.read_flow_run(UUID(flow_run.id))))
    read = [
        State(one.type.value, one.name or "", one.timestamp.timestamp(), one.message or "") for one in states
    ]
    return last_word(sorted(read, key=lambda one: one.at), schedule=schedule)


def missed(name: str) -> PrefectState[Any] | None:
    """How the run ends when its schedule's time is over and nobody has begun its campaign; else None."""
    if not flow_run.id or not deployment.id:
        return None
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(flow_run.id))
        if not (schedule := _schedule(run)) or run.expected_start_time is None:
            return None
        now = datetime.now(UTC)
        states = client.read_flow_run_states(run.id)
        taken = min((state.timestamp for state in states if state.is_pending()), default=now)
        after = FlowRunFilterExpectedStartTime(after_=run.expected_start_time, before_=taken)
        others = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(expected_start_time=after),
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[UUID(deployment.id)])),
            limit=200,
        )
    due = [
        other.expected_start_time.timestamp()
        for other in others
        if other.expected_start_time and _schedule(other) == schedule
    ]
    times = run.expected_start_time.timestamp(), taken.timestamp(), now.timestamp()
    why = too_late(*times, read_settings().schedule_grace, due)
    if not why or _asked_for(said()) or engine.call(lambda exchange, _: _is_there(exchange, name)):
        return None
    tell(name, "failed", why)
    return Failed(name=MISSED, message=why)


def _schedule(run: Any) -> str:
    """The id of the schedule that made a run; "": nobody's did."""
    maker = run.created_by
    return str(maker.id) if maker and maker.type == "SCHEDULE" else ""


def _asked_for(word: Word | None) -> bool:
    return word is not None and word.control is Control.RUN


async def _is_there(exchange: Exchange, name: str) -> bool:
    return await exchange.store.ledger.campaign(ids.campaign_id(exchange.key, name)) is not None
