"""The order that a campaign and its fallback share, from the sealed audience to the report."""

from __future__ import annotations

from prefect.client.schemas.objects import State
from prefect.exceptions import TerminationSignal
from prefect.states import Cancelled, Completed

from msgxc.campaign import CampaignSpec
from msgxc.crew import crew
from msgxc.delivery import Counts
from msgxc.ledger import Control, Seal
from msgxc.parts import Planned
from msgxc.reports.funnel import Report
from msgxc.reports.tables import summary
from msgxc.settings import read_settings
from tasks.board import Board, open_board
from tasks.campaign import last_words, report, send_rest, send_slice
from tasks.following import schedule_fallback, start_runs

WAIT_SECONDS = 60.0


def send(plan: Planned, sealed: Seal, follows: CampaignSpec | None = None) -> Report:
    """Send, with other runs if it is large; the report is put up even when a provider refuses us, or the run
    is ended. `follows`: the campaign, when a fallback is to be scheduled before it is closed."""
    board = open_board(sealed.count)
    try:
        others = start_runs.submit(plan) if plan.spread else None
        send_part(plan, board)
        if others:
            others.wait(WAIT_SECONDS)  # It may have failed: then this run has sent their shards too.
        if follows:
            schedule_fallback(follows)
    except Exception:
        report(plan, board, ended=False)
        raise
    except TerminationSignal:
        last_words(plan, board)
        raise
    return report(plan, board)


def send_part(plan: Planned, board: Board) -> Counts:
    """Slice by slice, and then what had to wait; answers what this run has done."""
    counts = Counts()
    with crew(plan, read_settings().processes):
        for first, last in plan.slices:
            counts = send_slice(plan, first, last, board, counts)
        return send_rest(plan, board, counts)


def state(found: Report) -> State[None]:
    """The run's final state, with one line on what came of it."""
    if found.control == Control.CANCEL:
        return Cancelled(message=summary(found))
    return Completed(message=summary(found))
