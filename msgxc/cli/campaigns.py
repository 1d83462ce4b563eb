"""msgxc campaigns …"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from msgxc import ids
from msgxc.cli.running import show, with_exchange
from msgxc.ledger import Campaign, Control

if TYPE_CHECKING:
    from msgxc.reports.funnel import Report
    from msgxc.wiring import Exchange

app = typer.Typer(help="Campaigns: their reports, and the brakes.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="Name of the campaign.")]


@app.command("list")
def list_() -> None:
    """Every campaign, the newest first."""

    async def work(exchange: Exchange) -> list[Campaign]:
        return [campaign async for page in exchange.store.ledger.campaigns() for campaign in page]

    found = sorted(with_exchange(work), key=lambda campaign: campaign.created, reverse=True)
    show([_line(campaign) for campaign in found], empty="no campaigns")


def _line(campaign: Campaign) -> dict[str, object]:
    wishes = {Control.PAUSE: "paused", Control.CANCEL: "canceled", Control.RUN: "running"}
    state = "finished" if campaign.finished and campaign.control is Control.RUN else wishes[campaign.control]
    return {
        "campaign": campaign.spec.name,
        "template": campaign.spec.template,
        "created (UTC)": f"{campaign.created:%Y-%m-%d %H:%M}",
        "audience": f"{campaign.seal.count:,}" if campaign.seal else "not sealed",
        "state": state,
    }


@app.command("report")
def report(name: NameArgument) -> None:
    """Where everybody of the audience stands: by channel, skips by reason, errors and what to do."""
    from msgxc import campaigns
    from msgxc.reports.tables import markdown

    async def work(exchange: Exchange) -> Report:
        return await campaigns.report(exchange, name)

    Console().print(Markdown(markdown(with_exchange(work))))


@app.command("watch")
def watch(name: NameArgument) -> None:
    """Show how far a campaign is, until it is over."""
    from msgxc.cli.watching import watch as watched

    watched(name)


def why(
    name: NameArgument,
    uid: Annotated[str, typer.Argument(help="A uid, or the foreign id that was imported.")],
) -> None:
    """Why somebody got a campaign, or did not."""
    from msgxc.reports.why import why as asked

    async def work(exchange: Exchange) -> list[str]:
        return (await asked(exchange, name, ids.uid_of(exchange.key, uid))).lines()

    for line in with_exchange(work):
        typer.echo(line)


@app.command("pause")
def pause(name: NameArgument) -> None:
    """Hold a campaign before its next window."""
    _set(name, Control.PAUSE)


@app.command("resume")
def resume(name: NameArgument) -> None:
    """Go on with a paused campaign."""
    _set(name, Control.RUN)


@app.command("cancel")
def cancel(name: NameArgument) -> None:
    """Stop a campaign for good."""
    _set(name, Control.CANCEL)


def _set(name: str, control: Control) -> None:
    from msgxc import campaigns

    async def work(exchange: Exchange) -> Control:
        return await campaigns.set_control(exchange, name, control)

    holds = with_exchange(work)
    note = "" if holds is control else f": it stays so, and {control} has no effect"
    typer.echo(f"{name}: {holds}{note}")
