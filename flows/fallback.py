"""The fallback of a campaign: those whom it has not reached get the message elsewhere, after a delay."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.sending import send
from msgxc.campaign import Slug
from tasks.campaign import fallback_spec, plan, seal, whole_report
from tasks.own_run import ending, outcome, said


@flow(name="fallback", flow_run_name="{campaign}.fallback", persist_result=False)
def fallback(campaign: Slug) -> State[None]:
    """Send to those whom a campaign has not reached, as its own form says.

    Args:
        campaign: Name of the campaign that came before.
    """
    spec = fallback_spec(campaign)
    if spec is None:
        return Completed(message="This campaign has no fallback: nothing to do.")
    with ending(spec) as end:
        planned = plan(spec, said())
        found = send(planned, seal(planned))
        whole_report(campaign)
        end.state = outcome(found, planned, of_rest=True)
    return end.state
