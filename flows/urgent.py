"""A campaign that cannot wait: the same form, with the defaults of an alert."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.carrying_out import Template, carry_out
from msgxc.campaign import Audience, Fallback, NameForm, UrgentSending
from tasks.due import run_name


# A flow of its own: what Prefect's schedule dialog stores replaces a deployment's defaults, all of them.
@flow(name="campaign", flow_run_name=run_name, persist_result=False, validate_parameters=False)
def campaign(
    name: Annotated[NameForm, Field(examples=["outage-{hour}"])],
    template: Template,
    audience: Audience,
    sending: UrgentSending = UrgentSending(),
    fallback: Fallback = Fallback(),
    values: dict[str, str] = {},
) -> State[None]:
    """Send one message to many people, before all others.

    Args:
        name: Which campaign it is: starting a name again finishes it and repeats nobody. "Hello 1" is kept as
            hello-1; {date}, {week}, {month} and {hour} are filled in when it runs.
        template: The message: a folder of templates/.
        audience: Who gets it.
        values: For the template, the same for all, for example {"code": "SPRING26"}.
    """
    given = {"name": name, "template": template, "audience": audience, "sending": sending}
    return carry_out({**given, "fallback": fallback, "values": values}, UrgentSending)
