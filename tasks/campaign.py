"""The steps of a campaign as Prefect tasks: how often each is tried again, how long it may take, its name.

One task a slice of 20,000 recipients or more, never one a recipient. Every step may be repeated by anybody:
the store, not Prefect, knows what has been done.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from contextvars import copy_context
from threading import Thread
from typing import Any
from uuid import UUID

from prefect import Task, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from msgxc import campaigns
from msgxc.campaign import CampaignSpec
from msgxc.delivery import Counts, Stop
from msgxc.errors import NotFound, ProviderBlocked, SchemaMismatch, WrongInput
from msgxc.ledger import Seal
from msgxc.parts import Planned
from msgxc.receipts.merging import Merger
from msgxc.reports.funnel import Report
from msgxc.seat import seated
from msgxc.wiring import Exchange
from tasks import engine
from tasks.board import Board, Screen, close_board, hasty_client, show_report
from tasks.operator import Operator

Take = Callable[[Counts], None]
Send = Callable[[Exchange, Stop, Take], Coroutine[Any, Any, None]]

LAST_WORDS_SECONDS = 5.0
#: A person has to act on these: trying again changes nothing.
HOPELESS = (WrongInput, NotFound, SchemaMismatch, ProviderBlocked)


def worth_it(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether another try can help."""
    return not isinstance(state.result(raise_on_failure=False), HOPELESS)


STUBBORN: dict[str, Any] = {
    "retries": 5,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": worth_it,
    "persist_result": False,
}


@task(name="plan", task_run_name="plan", timeout_seconds=600, **STUBBORN)
def plan(spec: CampaignSpec) -> Planned:
    """Check the campaign and write it down; refuses what cannot be sent, at once."""
    return engine.call(lambda exchange, _: campaigns.plan(exchange, spec))


@task(name="plan a part", task_run_name="plan a part", timeout_seconds=600, **STUBBORN)
def part(campaign: str, first: int, last: int, share: float) -> Planned:
    """What a run has to do that sends only some shards of a campaign."""
    return engine.call(lambda exchange, _: campaigns.part(exchange, campaign, (first, last), share))


@task(name="seal the audience", task_run_name="seal the audience", timeout_seconds=6 * 3600, **STUBBORN)
def seal(campaign: UUID) -> Seal:
    """Fix who gets it."""
    return engine.call(lambda exchange, _: campaigns.seal(exchange, campaign))


@task(name="send", task_run_name="send shards {first} to {last}", timeout_seconds=7 * 24 * 3600, **STUBBORN)
def send_slice(plan: Planned, first: int, last: int, board: Board, before: Counts) -> Counts:
    """Send what can be sent of one slice now; answers what this run has done so far, `before` included."""

    async def send(exchange: Exchange, stop: Stop, take: Take) -> None:
        await campaigns.send_slice(
            exchange, plan.id, first, last, stop=stop, on_progress=take, patient=False, share=plan.share
        )

    return _watched(plan, board, before, send)


@task(name="send what is left", task_run_name="send what is left", timeout_seconds=7 * 24 * 3600, **STUBBORN)
def send_rest(plan: Planned, board: Board, before: Counts) -> Counts:
    """Send what had to wait, and what another run had and left; answers as `send_slice`."""

    async def send(exchange: Exchange, stop: Stop, take: Take) -> None:
        await campaigns.send_rest(exchange, plan, stop=stop, on_progress=take)

    return _watched(plan, board, before, send)


def _watched(plan: Planned, board: Board, before: Counts, send: Send) -> Counts:
    """Send, while looking at what the operator does and showing how far it is."""
    with hasty_client() as client:
        operator, screen = Operator(client, plan.name, leads=plan.leads), Screen(client, board, before)

        async def work(exchange: Exchange, running: engine.Engine) -> None:
            async with seated(exchange, plan.id) if plan.leads else nullcontext():
                await send(exchange, running.stop, screen.take)

        engine.call(work, operator.look, screen.show)
    return screen.total


@task(name="report", task_run_name="report", timeout_seconds=3600, **STUBBORN)
def report(plan: Planned, board: Board, ended: bool = True) -> Report:
    """Close the campaign if it is over, and put up what the ledger says."""
    return _report(plan, board, ended)


def _report(plan: Planned, board: Board, ended: bool = False) -> Report:
    """`ended`: the fallback is scheduled, if there is one. Else the campaign stays open until it is."""

    async def look(exchange: Exchange, _: engine.Engine) -> Report:
        async with seated(exchange, plan.id):
            if ended or await campaigns.fallback_spec(exchange, plan.name) is None:
                await campaigns.finish(exchange, plan.id)
            return await campaigns.report(exchange, plan.name)

    found = engine.call(look)
    close_board(board, found)
    return found


def last_words(plan: Planned, board: Board) -> None:
    """The report of a run that is being ended, if that takes no longer than LAST_WORDS_SECONDS."""
    thread = Thread(target=copy_context().run, args=(_report, plan, board), daemon=True)
    thread.start()
    thread.join(LAST_WORDS_SECONDS)


@task(
    name="report on the whole campaign",
    task_run_name="report on the whole campaign",
    timeout_seconds=3600,
    **STUBBORN,
)
def whole_report(campaign: str) -> Report:
    """What became of everybody, the fallback counted in."""
    found = engine.call(lambda exchange, _: campaigns.report(exchange, campaign))
    show_report(found, key="campaign")
    return found


@task(name="who was not reached", task_run_name="who was not reached", timeout_seconds=600, **STUBBORN)
def fallback_spec(campaign: str) -> CampaignSpec | None:
    """The campaign that follows this one; None when there is none."""
    return engine.call(lambda exchange, _: campaigns.fallback_spec(exchange, campaign))


@task(name="forget what is old", task_run_name="forget what is old", timeout_seconds=6 * 3600, **STUBBORN)
def forget_old() -> int:
    """Retention; answers how many campaigns were removed."""
    return engine.call(lambda exchange, _: campaigns.forget_old(exchange))


@task(name="merge receipts", task_run_name="merge receipts", timeout_seconds=3600, **STUBBORN)
def merge_receipts() -> int:
    """What a gateway that died has left in the inbox, and what is past its time; how many were merged."""

    async def tidied(exchange: Exchange, _: engine.Engine) -> int:
        await exchange.store.gateway.tidy(exchange.clock())
        return await Merger(exchange).merge_all()

    return engine.call(tidied)
