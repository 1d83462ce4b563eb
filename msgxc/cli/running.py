"""How a command gets its exchange, and how it shows what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from msgxc.wiring import Exchange

T = TypeVar("T")


def with_exchange(work: Callable[[Exchange], Awaitable[T]]) -> T:
    """Open the exchange of the settings, do the work, close it."""
    from msgxc.settings import read_settings
    from msgxc.wiring import open_exchange

    async def opened() -> T:
        async with open_exchange(read_settings()) as exchange:
            return await work(exchange)

    return asyncio.run(opened())


def now_of(exchange: Exchange) -> datetime:
    """The exchange's time."""
    return datetime.fromtimestamp(exchange.clock(), UTC)


def show(rows: Sequence[Mapping[str, object]], *, empty: str, wide: str = "") -> None:
    """A table whose columns are the keys of the rows; numbers to the right; `wide` is folded last."""
    if not rows:
        print(empty)  # this is a command's output
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        number = isinstance(rows[0][name], int)
        table.add_column(name, justify="right" if number else "left", overflow="fold", no_wrap=name == wide)
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
    Console().print(table, markup=False, highlight=False)
