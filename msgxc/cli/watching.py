"""msgxc campaigns watch"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from msgxc.cli.running import with_exchange
from msgxc.ledger import Control

if TYPE_CHECKING:
    from msgxc.watching import Progress
    from msgxc.wiring import Exchange


def watch(name: str) -> None:
    """Show how far a campaign is until it is over: one line that moves, or in a pipe a line for each step."""
    from msgxc.watching import watch as watched

    console = Console()
    with Live(console=console, auto_refresh=False, transient=True) as moving:

        async def work(exchange: Exchange) -> None:
            before = ""
            async for progress in watched(exchange, name):
                text = line(progress)
                if console.is_terminal and not progress.finished:
                    moving.update(Text(text), refresh=True)
                elif text != before:
                    console.print(text, markup=False, highlight=False, soft_wrap=True)
                before = text

        with_exchange(work)


def line(progress: Progress) -> str:
    """One look as one line: counts, and where they are from."""
    done, audience = progress.done, progress.audience
    percent = f" ({100 * done.people // audience} %)" if audience else ""
    people = f"{progress.name}: {min(done.people, audience):,} of {audience:,} people{percent}"
    sent = f"{done.accepted:,} accepted, {done.failed:,} failed, {done.skipped:,} skipped"
    return f"{people}, {sent}, {_state(progress)}"


def _state(progress: Progress) -> str:
    if progress.control is Control.CANCEL:
        return "canceled"
    if progress.finished:
        return "finished"
    if progress.control is Control.PAUSE:
        return "paused"
    return "live" if progress.live else "from the store"
