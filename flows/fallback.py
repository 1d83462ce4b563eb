"""The fallback of a campaign: those whom it has not reached get the message elsewhere, after a delay."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.sending import send, state
from msgxc.campaign import Slug
from tasks.campaign import fallback_spec, plan, seal, whole_report


@flow(name="fallback", flow_run_name="{campaign}.fallback", persist_result=False)
def fallback(campaign: Slug) -> State[None]:
    """Send to those whom a campaign has not reached, as its own form says.

    Args:
        campaign: Name of the campaign that came before.
    """
    spec = fallback_spec(campaign)
    if spec is None:
        return Completed(message="This campaign has no fallback: nothing to do.")
    planned = plan(spec)
    found = send(planned, seal(planned.id))
    whole_report(campaign)
    return state(found)
