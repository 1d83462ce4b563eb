"""Dispatch: what is owed for messages leaves, the most urgent first, as long as the run lives."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks.dispatch import drain
from tasks.own_run import ending

STOPPED = "Stopped with its system: the next start dispatches again."


@flow(name="dispatch", flow_run_name="dispatch", persist_result=False)
def dispatch() -> State[None]:
    """Drain triage until the next run takes over; its schedule starts that one."""
    with ending(stopped=Completed(message=STOPPED)) as end:
        done = drain()
        if done is None:
            return Completed(message="Two runs dispatch already: nothing to do.")
        end.state = Completed(message=f"{done.sent:,} messages sent; another run has taken over")
    return end.state
