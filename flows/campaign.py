"""A campaign: its form."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.carrying_out import Template, carry_out
from msgxc.campaign import Audience, Fallback, NameForm, Sending
from tasks.due import run_name


# Not validated by Prefect: its words are a program's, and what a schedule has stored is to be unpacked first.
@flow(name="campaign", flow_run_name=run_name, persist_result=False, validate_parameters=False)
def campaign(
    name: Annotated[NameForm, Field(examples=["weekly-{date}"])],
    template: Template,
    audience: Audience,
    sending: Sending = Sending(),
    fallback: Fallback = Fallback(),
    values: dict[str, str] = {},
) -> State[None]:
    """Send one message to many people.

    Args:
        name: Which campaign it is: starting a name again finishes it and repeats nobody. "Hello 1" is kept as
            hello-1; {date}, {week}, {month} and {hour} are filled in when it runs.
        template: The message: a folder of templates/.
        audience: Who gets it.
        values: For the template, the same for all, for example {"code": "SPRING26"}.
    """
    given = {"name": name, "template": template, "audience": audience, "sending": sending}
    return carry_out({**given, "fallback": fallback, "values": values})
