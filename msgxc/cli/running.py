"""How a command gets its exchange, and how it shows what comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from msgxc.errors import WrongInput

if TYPE_CHECKING:
    from msgxc.wiring import Exchange

T = TypeVar("T")
AsJson = Annotated[bool, typer.Option("--json", help="For programs: JSON, whose fields stay (docs/cli.md).")]
UNBROKEN = 100_000  # columns: in a pipe no line is broken


def with_exchange(work: Callable[[Exchange], Awaitable[T]], *, reading: bool = False) -> T:
    """Open the exchange of the settings, do the work, close it. `reading`: as in wiring.make_store."""
    from msgxc.settings import read_settings
    from msgxc.wiring import open_exchange

    async def opened() -> T:
        async with open_exchange(read_settings(), reading=reading) as exchange:
            return await work(exchange)

    return asyncio.run(opened())


def now_of(exchange: Exchange) -> datetime:
    """The exchange's time."""
    return datetime.fromtimestamp(exchange.clock(), UTC)


def values_of(given: Sequence[str]) -> dict[str, str]:
    """What was said with --value. Raises WrongInput."""
    if any("=" not in pair for pair in given):
        raise WrongInput("--value is written name=text")
    return {name: text for name, _, text in (pair.partition("=") for pair in given)}


def show(rows: Sequence[Mapping[str, object]], *, empty: str, wide: str = "", as_json: bool = False) -> None:
    """What a command has found. The keys of the rows are its fields: their names and order stay as they are.

    For people a table, its columns the fields in words: numbers with commas and to the right, times in UTC to
    the minute; `wide` is folded last. In a pipe it is as wide as its content. `as_json`: see `tell`.
    """
    if as_json:
        tell(rows)
        return
    if not rows:
        print(empty)  # this is a command's output
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        side: Literal["left", "right"] = "left"
        if all(type(row[name]) in (int, type(None)) for row in rows):
            side = "right"
        table.add_column(name.replace("_", " "), justify=side, overflow="fold", no_wrap=name == wide)
    for row in rows:
        table.add_row(*map(_in_words, row.values()))
    console = Console()
    if not console.is_terminal:
        console.width = UNBROKEN
    console.print(table, markup=False, highlight=False)


def tell(found: object) -> None:
    """One JSON document on standard output: numbers plain, times as RFC 3339 in UTC, null where there is
    nothing."""
    print(json.dumps(found, default=_in_json, ensure_ascii=False, indent=2))


def _in_words(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _in_json(value: object) -> str:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value)
