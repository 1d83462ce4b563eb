"""One campaign: plan, seal the audience, wait for its time, send, have the fallback follow, report."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import deployment
from prefect.states import Completed
from pydantic import Field

from flows.sending import send, state
from msgxc.campaign import Audience, CampaignSpec, Everyone, Fallback, NameForm, Sending
from msgxc.render import load
from msgxc.settings import read_settings
from tasks.campaign import plan, seal
from tasks.due import NAP_SECONDS, campaign_name, nap_until, run_name, seconds_until
from tasks.following import schedule_start

TEMPLATES = load(read_settings().templates).names()


@flow(name="campaign", flow_run_name=run_name, persist_result=False)
def campaign(
    name: Annotated[NameForm, Field(examples=["weekly-{date}"])],
    template: Annotated[str, Field(json_schema_extra={"enum": list(TEMPLATES)})],
    audience: Audience = Audience(to=Everyone()),
    sending: Sending = Sending(),
    fallback: Fallback = Fallback(),
    values: dict[str, str] = {},
) -> State[None]:
    """Send one message to many people.

    Args:
        name: Which campaign it is: starting a name again finishes it and repeats nobody. Small letters,
            digits, dashes; {date}, {week}, {month} and {hour} are filled in when it runs.
        template: The message: a folder of templates/.
        audience: Who gets it.
        values: For the template, the same for all, for example {"code": "SPRING26"}.
    """
    spec = CampaignSpec(
        name=campaign_name(name),
        template=template,
        audience=audience,
        sending=sending,
        fallback=fallback,
        values=values,
    )
    planned = plan(spec)
    sealed = seal(planned.id)
    if deployment.id and seconds_until(planned.not_before) > NAP_SECONDS:
        schedule_start(spec)
        return Completed(message=f"{sealed.count:,} people; sending starts at {planned.not_before:%F %R %Z}")
    nap_until(planned.not_before)
    return state(send(planned, sealed, spec if spec.fallback.enabled else None))
