"""msgxc campaigns …"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from msgxc import ids
from msgxc.cli import completing
from msgxc.cli.running import AsJson, show, tell, with_exchange
from msgxc.cli.starting import start
from msgxc.ledger import Campaign, Control

if TYPE_CHECKING:
    from msgxc.reports.funnel import Report
    from msgxc.reports.why import Why
    from msgxc.wiring import Exchange

app = typer.Typer(help="Campaigns: their reports, and the brakes.", no_args_is_help=True)

NameArgument = Annotated[
    str, typer.Argument(help="Name of the campaign.", autocompletion=completing.campaigns)
]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every campaign, the newest first."""

    async def work(exchange: Exchange) -> list[Campaign]:
        return [campaign async for page in exchange.store.ledger.campaigns() for campaign in page]

    found = sorted(with_exchange(work, reading=True), key=lambda campaign: campaign.created, reverse=True)
    show([_line(campaign) for campaign in found], empty="no campaigns", wide="campaign", as_json=as_json)


def _line(campaign: Campaign) -> dict[str, object]:
    wishes = {
        Control.PAUSE: "paused",
        Control.CANCEL: "canceled",
        Control.RUN: "running",
        Control.RESTORED: "restored: resume or cancel it",
    }
    state = "finished" if campaign.finished and campaign.control is Control.RUN else wishes[campaign.control]
    return {
        "campaign": campaign.spec.name,
        "template": campaign.spec.template,
        "created": campaign.created,
        "audience": campaign.seal.count if campaign.seal else None,
        "state": state,
    }


@app.command("report")
def report(name: NameArgument, as_json: AsJson = False) -> None:
    """Where everybody of the audience stands: by channel, skips by reason, errors and what to do."""
    from rich.console import Console
    from rich.markdown import Markdown

    from msgxc import campaigns
    from msgxc.reports import tables

    async def work(exchange: Exchange) -> Report:
        return await campaigns.report(exchange, name)

    found = with_exchange(work, reading=True)
    if as_json:
        tell(tables.fields(found))
    else:
        Console().print(Markdown(tables.markdown(found)))


app.command("start")(start)


@app.command("watch")
def watch(name: NameArgument, as_json: AsJson = False) -> None:
    """Show how far a campaign is, until it is over; with --json one object a line."""
    from msgxc.cli.watching import watch as watched

    watched(name, as_json=as_json)


def why(
    name: NameArgument,
    uid: Annotated[str, typer.Argument(help="A uid, or the foreign id that was imported.")],
    as_json: AsJson = False,
) -> None:
    """Why somebody got a campaign, or did not."""
    from msgxc.reports.why import why as asked

    async def work(exchange: Exchange) -> Why:
        return await asked(exchange, name, ids.uid_of(exchange.key, uid))

    found = with_exchange(work, reading=True)
    if as_json:
        tell(found.fields())
    else:
        typer.echo("\n".join(found.lines()))


@app.command("pause")
def pause(name: NameArgument) -> None:
    """Hold a campaign before its next window."""
    _set(name, Control.PAUSE)


@app.command("resume")
def resume(name: NameArgument) -> None:
    """Go on with a campaign that is paused, or was under way when the store was restored."""
    from msgxc import campaigns
    from msgxc.operations.restoring import may_repeat

    async def work(exchange: Exchange) -> tuple[Control, str]:
        again = await may_repeat(exchange, name)
        return await campaigns.resume(exchange, name), again

    holds, again = with_exchange(work)
    _said(name, Control.RUN, holds)
    if again and holds is Control.RUN:
        typer.echo(again)


@app.command("cancel")
def cancel(name: NameArgument) -> None:
    """Stop a campaign for good."""
    _set(name, Control.CANCEL)


@app.command("recall")
def recall(name: NameArgument) -> None:
    """Stop what is unsent of a campaign and of its fallback for good; four numbers say where all are."""
    from msgxc import campaigns

    typer.echo(with_exchange(lambda exchange: campaigns.take_back(exchange, name)).told())


def _set(name: str, control: Control) -> None:
    from msgxc import campaigns

    async def work(exchange: Exchange) -> Control:
        return await campaigns.set_control(exchange, name, control)

    _said(name, control, with_exchange(work))


def _said(name: str, control: Control, holds: Control) -> None:
    note = "" if holds is control else f": it stays so, and {control} has no effect"
    typer.echo(f"{name}: {holds}{note}")
