"""The order that a campaign and its fallback share, from the sealed audience to the report."""

from __future__ import annotations

from prefect.exceptions import TerminationSignal

from msgxc.campaign import CampaignSpec
from msgxc.crew import crew
from msgxc.delivery import Counts
from msgxc.ledger import Seal
from msgxc.parts import Planned
from msgxc.reports.funnel import Report
from msgxc.settings import read_settings
from tasks.board import Board, open_board
from tasks.campaign import Sent, last_words, report, send_rest, send_slice
from tasks.following import schedule_fallback, start_runs
from tasks.own_run import canceled, give_back

WAIT_SECONDS = 60.0


def send(plan: Planned, sealed: Seal, follows: CampaignSpec | None = None) -> Report:
    """Send, with other runs if it is large; the report is put up even when a provider refuses us, or the run
    is ended. `follows`: the campaign, when a fallback is to be scheduled before it is closed."""
    board = open_board(plan.name, sealed.count, plan.done)
    try:
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
        return report(plan, board)
    except TerminationSignal:
        if canceled():
            last_words(plan, board)
        raise


def send_part(plan: Planned, board: Board) -> Counts:
    """Slice by slice, and then what had to wait; answers what has been done. A run that has to wait for
    long, or is paused for long, ends here, and goes on in a process of its own when it is time."""
    sent = Sent(plan.done)
    with crew(plan, read_settings().processes):
        for first, last in plan.slices:
            sent = send_slice(plan, first, last, board, sent.counts)
            if sent.leaves:
                break
        else:
            sent = send_rest(plan, board, sent.counts)
    if sent.leaves:
        give_back(sent.at)
    return sent.counts
