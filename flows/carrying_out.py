"""What both forms of a campaign do: plan, seal the audience, wait for its time, send, have the fallback
follow, report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from prefect.client.schemas.objects import State
from pydantic import Field

from flows.sending import send
from msgxc.campaign import CampaignSpec, Sending, asked
from msgxc.render import load
from msgxc.settings import read_settings
from tasks.campaign import plan, seal
from tasks.due import campaign_name
from tasks.following import starts_later
from tasks.own_run import ending, missed, outcome, said

Template = Annotated[str, Field(json_schema_extra={"enum": list(load(read_settings().templates).names())})]


def carry_out(parameters: Mapping[str, Any], sending: type[Sending] = Sending) -> State[None]:
    """A campaign, from its form to its end. `sending`: whose defaults hold."""
    spec: CampaignSpec | None = None
    with ending() as end:
        spec = asked({**parameters, "name": campaign_name(parameters)}, sending)
    if spec is None:
        return end.state
    if late := missed(spec.name):
        return late
    with ending(spec) as end:
        planned = plan(spec, said())
        sealed = seal(planned)
        if later := starts_later(spec, planned, sealed):
            return later
        end.state = outcome(send(planned, sealed, spec if spec.fallback.enabled else None), planned)
    return end.state
