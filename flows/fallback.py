"""The fallback of a campaign: those whom it has not reached get the message elsewhere, after a delay."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.sending import send
from msgxc.campaign import CampaignSpec, OfCampaign, Slug, filled_in
from tasks.campaign import fallback_spec, plan, seal, whole_report
from tasks.due import called
from tasks.own_run import ending, outcome, said

NAME = called("{campaign}.fallback")


@flow(name="fallback", flow_run_name=NAME, persist_result=False, validate_parameters=False)
def fallback(campaign: Slug) -> State[None]:
    """Send to those whom a campaign has not reached, as its own form says.

    Args:
        campaign: Name of the campaign that came before.
    """
    spec: CampaignSpec | None = None
    with ending() as end:
        before = filled_in(OfCampaign, {"campaign": campaign}).campaign
        spec = fallback_spec(before)
    if spec is None:
        return end.state or Completed(message="This campaign has no fallback: nothing to do.")
    with ending(spec) as end:
        planned = plan(spec, said())
        found = send(planned, seal(planned))
        whole_report(before)
        end.state = outcome(found, planned, of_rest=True)
    return end.state
