"""msgxc messages …"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from msgxc.cli import completing
from msgxc.cli.running import AsJson, show, tell, with_exchange

if TYPE_CHECKING:
    from msgxc.ledger import Campaign
    from msgxc.messages.records import Message, Principal, Recalled
    from msgxc.wiring import Exchange

app = typer.Typer(help="Messages of threads: what is owed, and taking back.", no_args_is_help=True)
ThreadArgument = Annotated[UUID, typer.Argument(help="Id of the thread.", autocompletion=completing.threads)]
MessageArgument = Annotated[UUID, typer.Argument(help="Id of the message.")]


def _operator() -> Principal:
    from msgxc.messages.records import Principal, Role

    return Principal(None, frozenset({Role.ADMIN}), token_id="command line")  # noqa: S106 - no secret


@app.command()
def queue(as_json: AsJson = False) -> None:
    """What is owed, by urgency and class: how much, how old, who works on it."""
    from msgxc.messages import dispatching, triage

    async def work(exchange: Exchange) -> list[dict[str, Any]]:
        items = await dispatching.queue(exchange)
        holders = await exchange.store.ledger.holders([item.mid for item in items[:200]])
        return triage.table(items, holders, exchange.clock())

    show(with_exchange(work), empty="nothing is owed", wide="message", as_json=as_json)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The latest messages, also to single persons: the ids that recall and cancel need. No texts."""
    from msgxc.messages.reading import latest

    async def work(exchange: Exchange) -> list[dict[str, object]]:
        return [_line(*one) for one in await latest(exchange, limit)]

    show(with_exchange(work), empty="no messages", wide="message", as_json=as_json)


def _line(message: Message, campaign: Campaign | None) -> dict[str, object]:
    states = {
        "recalled": message.recalled,
        "canceled": message.canceled,
        "sent": message.completed,
        "scheduled": message.scheduled,
    }
    return {
        "created": message.created,
        "urgency": int(message.urgency),
        "to": str(message.to),
        "people": campaign.seal.count if campaign and campaign.seal else None,
        "state": next((word for word, at in states.items() if at), "under way"),
        "thread": str(message.tid),
        "message": str(message.mid),
    }


@app.command()
def recall(
    thread: Annotated[
        UUID,
        typer.Argument(help="Id of the message, or of its thread.", autocompletion=completing.threads),
    ],
    message: Annotated[
        UUID | None, typer.Argument(help="Id of the message, after that of its thread.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take a message back as far as it can be; the four numbers add up to its audience."""
    from msgxc.messages import publishing

    async def work(exchange: Exchange) -> Recalled:
        of = thread if message else await publishing.thread_of(exchange, thread)
        return await publishing.recall(exchange, _operator(), of, message or thread)

    found = with_exchange(work)
    if as_json:
        tell({word: getattr(found, word) for word in ("unsent", "withdrawn", "seen", "beyond")})
    else:
        typer.echo(found.told())


@app.command()
def cancel(thread: ThreadArgument, message: MessageArgument) -> None:
    """Nothing of a message leaves any more; what has left stays."""
    from msgxc.messages import publishing

    with_exchange(lambda exchange: publishing.cancel(exchange, _operator(), thread, message))
    typer.echo("canceled")


@app.command()
def dispatch() -> None:
    """Send all that is due now, and end: for a machine without the console."""
    from threading import Event

    from msgxc.messages.dispatching import Dispatcher

    sent = with_exchange(lambda exchange: Dispatcher(exchange, Event()).drain())
    typer.echo(f"{sent:,} messages")
