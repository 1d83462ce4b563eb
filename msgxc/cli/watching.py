"""msgxc campaigns watch"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from msgxc.cli.running import with_exchange
from msgxc.ledger import Control

if TYPE_CHECKING:
    from msgxc.watching import Progress
    from msgxc.wiring import Exchange


def watch(name: str, *, as_json: bool = False) -> None:
    """Show how far a campaign is until it is over: one line that moves, or in a pipe a line for each step.
    `as_json`: an object for each step, on a line of its own."""
    from msgxc.watching import watch as watched

    console = Console()
    with Live(console=console, auto_refresh=False, transient=True) as moving:

        async def work(exchange: Exchange) -> None:
            before = ""
            async for progress in watched(exchange, name):
                text = json.dumps(fields(progress)) if as_json else line(progress)
                if as_json:
                    if text != before:
                        print(text, flush=True)
                elif console.is_terminal and not progress.finished:
                    moving.update(Text(text), refresh=True)
                elif text != before:
                    console.print(text, markup=False, highlight=False, soft_wrap=True)
                before = text

        with_exchange(work)


def fields(progress: Progress) -> dict[str, object]:
    """One look for programs: these names stay."""
    done = progress.done
    return {
        "campaign": progress.name,
        "people": min(done.people, progress.audience),
        "audience": progress.audience,
        "accepted": done.accepted,
        "failed": done.failed,
        "skipped": done.skipped,
        "reached": done.reached,
        "finished": progress.finished,
        "state": _state(progress),
    }


def line(progress: Progress) -> str:
    """One look as one line: people, then deliveries, for one person may have several; where it is from."""
    done, audience = progress.done, progress.audience
    percent = f" ({100 * done.people // audience} %)" if audience else ""
    people = f"{progress.name}: {min(done.people, audience):,} of {audience:,} people{percent}"
    ends = f"{done.reached:,} reached, {done.skipped:,} skipped"
    sent = f"{done.accepted:,} deliveries accepted, {done.failed:,} failed"
    return f"{people}, {ends}; {sent}; {_state(progress)}"


def _state(progress: Progress) -> str:
    if progress.control is Control.CANCEL:
        return "canceled"
    if progress.finished:
        return "finished"
    if progress.control is Control.PAUSE:
        return "paused"
    if progress.control is Control.RESTORED:
        return "restored: resume or cancel it"
    return "live" if progress.live else "from the store"
