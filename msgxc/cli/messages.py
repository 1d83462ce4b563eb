"""msgxc messages …"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from msgxc.cli.running import show, with_exchange

if TYPE_CHECKING:
    from msgxc.messages.records import Principal
    from msgxc.wiring import Exchange

app = typer.Typer(help="Messages of threads: what is owed, and taking back.", no_args_is_help=True)
Thread = Annotated[UUID, typer.Argument(help="Id of the thread.")]
Message = Annotated[UUID, typer.Argument(help="Id of the message.")]


def _operator() -> Principal:
    from msgxc.messages.records import Principal, Role

    return Principal(None, frozenset({Role.ADMIN}), token_id="command line")  # noqa: S106 - no secret


@app.command()
def queue() -> None:
    """What is owed, by urgency and class: how much, how old, who works on it."""
    from msgxc.messages import dispatching, triage

    async def work(exchange: Exchange) -> list[dict[str, Any]]:
        items = await dispatching.queue(exchange)
        holders = await exchange.store.ledger.holders([item.mid for item in items[:200]])
        return triage.table(items, holders, exchange.clock())

    show(with_exchange(work), empty="nothing is owed")


@app.command()
def recall(thread: Thread, message: Message) -> None:
    """Take a message back as far as it can be; the four numbers add up to its audience."""
    from msgxc.messages import publishing

    found = with_exchange(lambda exchange: publishing.recall(exchange, _operator(), thread, message))
    typer.echo(
        f"{found.unsent:,} unsent, {found.withdrawn:,} withdrawn, {found.seen:,} seen, "
        f"{found.beyond:,} beyond recall"
    )


@app.command()
def cancel(thread: Thread, message: Message) -> None:
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
