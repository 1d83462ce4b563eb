"""msgxc threads …"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from msgxc.cli.running import AsJson, show, tell, with_exchange

if TYPE_CHECKING:
    from msgxc.wiring import Exchange

app = typer.Typer(help="Threads: topics that people subscribe to.", no_args_is_help=True)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A .jsonl file, one thread a line.")], as_json: AsJson = False
) -> None:
    """Import threads and their subscribers; docs/audience.md has the keys. May be repeated."""
    from msgxc.people import import_threads

    done = with_exchange(lambda exchange: import_threads(file, exchange.store, exchange.key))
    if as_json:
        tell({"threads": done.threads, "subscriptions": done.subscriptions})
    else:
        typer.echo(f"{done.threads:,} threads, {done.subscriptions:,} subscriptions")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every thread: its id, which a campaign names, and how many are subscribed."""

    async def work(exchange: Exchange) -> list[dict[str, object]]:
        threads = exchange.store.threads
        return [
            {
                "subscribers": sum([len(some) async for some in threads.subscribers(thread.tid)]),
                "thread": thread.tid,
                "name": thread.name,
                "archived": thread.archived,
            }
            async for page in threads.scan()
            for thread in page
        ]

    show(with_exchange(work), empty="no threads", wide="thread", as_json=as_json)
