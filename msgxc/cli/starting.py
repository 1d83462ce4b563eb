"""msgxc campaigns start: asks the console for a run, as its form does."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer
from pydantic import ValidationError

from msgxc import ids
from msgxc.campaign import CampaignSpec, fill_name, name_form
from msgxc.cli import completing
from msgxc.cli.running import AsJson, now_of, tell, values_of, with_exchange
from msgxc.errors import MsgxcError, NotFound, WrongInput
from msgxc.model import Channel
from msgxc.run_care import FINAL

if TYPE_CHECKING:
    import httpx

    from msgxc.wiring import Exchange

LOOK_SECONDS = 1.0
#: A run that has crashed is put back by the reconciler, and goes on. One that was not after so many looks has
#: ended.
CRASHED_LOOKS = 180


class ConsoleSilent(MsgxcError):
    """The console does not answer, or refuses."""

    code = "console"


def start(
    name: Annotated[str, typer.Argument(help="Which campaign it is, as in weekly-{date}.")],
    template: Annotated[
        str,
        typer.Argument(help="The message: a folder of templates/.", autocompletion=completing.templates),
    ],
    cohort: Annotated[str, typer.Option(help="To this cohort.", autocompletion=completing.cohorts)] = "",
    where: Annotated[str, typer.Option(help="To everybody for whom this holds.")] = "",
    thread: Annotated[
        str,
        typer.Option(help="To the subscribers of the thread of this id.", autocompletion=completing.threads),
    ] = "",
    person: Annotated[
        list[str] | None, typer.Option(help="To this uid or foreign id. May be repeated.")
    ] = None,
    everyone: Annotated[bool, typer.Option("--everyone", help="To everybody there is.")] = False,
    channel: Annotated[
        list[Channel] | None, typer.Option(help="In order of preference. May be repeated.")
    ] = None,
    urgency: Annotated[int | None, typer.Option(min=1, max=4, help="1 very low … 4 high.")] = None,
    purpose: Annotated[str, typer.Option(help="marketing, product or service.")] = "",
    per_second: Annotated[int | None, typer.Option(min=1, help="At most so many a second.")] = None,
    not_before: Annotated[
        str, typer.Option(help="Not before this time, with its zone: 2026-12-01T09:00:00+01:00.")
    ] = "",
    value: Annotated[
        list[str] | None, typer.Option(help="For the template, as in code=SPRING. May be repeated.")
    ] = None,
    no_fallback: Annotated[bool, typer.Option("--no-fallback", help="Without a fallback.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until the run has ended; status 1 unless it ends well.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="The same, and say how far it is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a campaign in the console that runs here, as its form does. The same name repeats nobody."""
    import httpx

    from msgxc.deploying import Api
    from msgxc.prefect_api import FLOW_OF_CAMPAIGNS, Console
    from msgxc.settings import read_settings
    from msgxc.system import attached
    from msgxc.urgency import levels

    settings = read_settings()
    if not (settings.home / "system.json").exists():
        raise NotFound(f"no system runs in {settings.home}: `make up` starts one")
    system = attached(settings)
    try:
        form = name_form(name)
    except ValueError as error:
        raise WrongInput(f"name: {error}") from None

    async def checked(exchange: Exchange) -> CampaignSpec:
        from msgxc import campaigns

        to = _selection(exchange, cohort, where, thread, person or [], everyone)
        sending = {
            "channels": channel,
            "urgency": urgency,
            "purpose": purpose,
            "per_second": per_second,
            "not_before": not_before,
        }
        spec = _spec(
            name=fill_name(form, now_of(exchange)),
            template=template,
            audience={"to": to},
            sending={word: given for word, given in sending.items() if given},
            fallback={"enabled": False} if no_fallback else {},
            values=values_of(value or []),
        )
        return await campaigns.checked(exchange, spec)

    spec = with_exchange(checked)
    asked = spec.model_dump(mode="json", include={"template", "audience", "sending", "fallback", "values"})
    console = Console(Api(system.api, system.login))
    try:
        queue = levels(system.settings)[spec.sending.urgency].queue
        asked["name"] = form
        run = console.start(FLOW_OF_CAMPAIGNS, asked, str(uuid4()), queue, "Asked for on the terminal.")
        if not run:
            raise NotFound(f"the console has no deployment {FLOW_OF_CAMPAIGNS}")
        page = f"{system.url}/v2/runs/flow-run/{run}"
        if not as_json:
            typer.echo(f"{spec.name}: {page}")
        state = _ended(console, run, spec.name, watch=watch) if wait or watch else {}
    except httpx.HTTPStatusError as error:
        raise ConsoleSilent(f"the console refuses: {_why(error.response)}") from None
    except httpx.HTTPError as error:
        raise ConsoleSilent(f"the console does not answer: {type(error).__name__}") from None
    finally:
        console.close()
    said = {"state": state.get("type"), "message": state.get("message")}
    if as_json:
        tell({"campaign": spec.name, "run": run, "page": page, **said})
    elif state:
        typer.echo(f"{spec.name}: {state.get('name')}: {state.get('message') or ''}".rstrip(": "))
    if state and state["type"] != "COMPLETED":
        raise typer.Exit(1)


def _selection(
    exchange: Exchange, cohort: str, where: str, thread: str, people: Sequence[str], everyone: bool
) -> dict[str, Any]:
    """To whom. Raises WrongInput unless just one of them is said."""
    given: list[dict[str, Any]] = [{"cohort": cohort}] if cohort else []
    given += [{"where": where}] if where else []
    given += [{"thread": thread}] if thread else []
    given += [{"uids": [str(ids.uid_of(exchange.key, one)) for one in people]}] if people else []
    given += [{"kind": "everyone"}] if everyone else []
    if len(given) != 1:
        raise WrongInput("to whom? one of --cohort, --where, --thread, --person and --everyone")
    return given[0]


def _spec(**fields: object) -> CampaignSpec:
    try:
        return CampaignSpec(**fields)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise WrongInput(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None


def _ended(console: Any, run: str, name: str, *, watch: bool) -> Mapping[str, Any]:
    """The run's last state, once it has one; told meanwhile how far the campaign is."""
    from msgxc.cli.watching import watch as watched

    crashed = 0
    while (state := console.state(run))["type"] not in FINAL - {"CRASHED"} and crashed < CRASHED_LOOKS:
        crashed = crashed + 1 if state["type"] == "CRASHED" else 0
        if watch:
            try:
                watched(name)
                watch = False
            except NotFound:  # it has not begun
                pass
        time.sleep(LOOK_SECONDS)
    if watch:  # it was over before it was seen
        with suppress(NotFound):
            watched(name)
    return dict(state)


def _why(answer: httpx.Response) -> str:
    """The console's reason in one line."""
    try:
        said = answer.json().get("detail") or answer.json().get("exception_message")
    except (ValueError, AttributeError):
        said = None
    return " ".join(str(said or f"status {answer.status_code}").split())
