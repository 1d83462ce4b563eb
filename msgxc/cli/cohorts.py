"""msgxc cohorts … and msgxc audience …"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from msgxc.cli import completing
from msgxc.cli.running import AsJson, now_of, show, tell, with_exchange
from msgxc.errors import WrongInput
from msgxc.expression import parse

if TYPE_CHECKING:
    from msgxc.people import CohortSummary
    from msgxc.wiring import Exchange

app = typer.Typer(help="Named groups of people.", no_args_is_help=True)
audience = typer.Typer(help="Whom an expression means.", no_args_is_help=True)

NameArgument = Annotated[
    str, typer.Argument(help="Letters, digits, . _ and -.", autocompletion=completing.cohorts)
]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every cohort and its size."""
    sizes = with_exchange(lambda exchange: exchange.store.cohorts.sizes())
    rows = [{"people": n, "cohort": name} for name, n in sorted(sizes.items())]
    show(rows, empty="no cohorts", wide="cohort", as_json=as_json)


@app.command("create")
def create(
    name: NameArgument,
    where: Annotated[str, typer.Option(help="Everybody for whom this holds now.")] = "",
    file: Annotated[
        Path | None, typer.Option(help="A text file, one uid or foreign id a line.", show_default=False)
    ] = None,
) -> None:
    """Make a cohort, or add to it. It is a list as of now: --where is not looked at again."""
    from msgxc.people import cohort_from, cohort_name, cohort_where

    if bool(where) == bool(file):
        raise WrongInput("a cohort is made with either --where or --file")

    async def work(exchange: Exchange) -> CohortSummary:
        if file:
            return await cohort_from(exchange.store, exchange.key, name, file)
        return await cohort_where(exchange.store, name, parse(where), now_of(exchange))

    made = with_exchange(work)
    typer.echo(f"{made.added:,} people in {cohort_name(name)}")
    if made.unknown:
        typer.echo(f"{made.unknown:,} lines name nobody in the directory")


@app.command("drop")
def drop(name: NameArgument) -> None:
    """Forget a cohort; its people stay."""
    from msgxc.people import cohort_name, require_cohort

    async def work(exchange: Exchange) -> None:
        await require_cohort(exchange.store, cohort_name(name))
        await exchange.store.cohorts.drop(cohort_name(name))

    with_exchange(work)
    typer.echo(f"dropped {cohort_name(name)}")


@audience.command("count")
def count_(
    expression: Annotated[str, typer.Argument(help='For example: lang = "de" and last_seen < 30d')],
    as_json: AsJson = False,
) -> None:
    """How many people an expression means now."""
    from msgxc.people import count

    where = parse(expression)

    async def work(exchange: Exchange) -> tuple[int, int]:
        return await count(exchange.store, where, now_of(exchange)), await exchange.store.directory.count()

    meant, everybody = with_exchange(work)
    if as_json:
        tell({"people": meant, "everybody": everybody})
    else:
        typer.echo(f"{meant:,} of {everybody:,} people")


@audience.callback()
def _audience() -> None:
    """Whom an expression means (docs/audience.md has the language)."""
