"""The steps of a campaign as Prefect tasks: how often each is tried again, how long it may take, its name.

One task a slice of 20,000 recipients or more, never one a recipient. Every step may be repeated by anybody:
the store, not Prefect, knows what has been done.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import nullcontext, suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import inf
from threading import Thread
from typing import Any, TypeVar

from prefect import Task, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger
from prefect.runtime import deployment
from prefect.tasks import exponential_backoff

from msgxc import campaigns, ids
from msgxc.campaign import CampaignSpec
from msgxc.delivery import Counts, Stop
from msgxc.errors import Conflict, NotFound, ProviderBlocked, SchemaMismatch, WrongInput, WrongStore
from msgxc.failpoints import failpoint
from msgxc.ledger import Control, Seal
from msgxc.parts import Planned
from msgxc.receipts.merging import Merger
from msgxc.reports.funnel import Report
from msgxc.run_care import Word
from msgxc.seat import seated
from msgxc.wiring import Exchange
from tasks import engine
from tasks.board import Board, Screen, close_board, hasty_client, show_report
from tasks.due import seconds_until
from tasks.operator import NAP_SECONDS, Operator

T = TypeVar("T")
Take = Callable[[Counts], None]
Work = Callable[[Exchange, engine.Engine], Coroutine[Any, Any, T]]
Send = Callable[[Exchange, Stop, Take], Coroutine[Any, Any, float | None]]

LAST_WORDS_SECONDS = 5.0
#: A person has to act on these: trying again changes nothing.
HOPELESS = (WrongInput, NotFound, Conflict, SchemaMismatch, WrongStore, ProviderBlocked)


@dataclass(frozen=True, slots=True)
class Sent:
    """What a run has done, and whether it is to leave its place: until `at`, or, `suspended`, until somebody
    resumes it."""

    counts: Counts
    at: datetime | None = None
    suspended: bool = False

    @property
    def leaves(self) -> bool:
        """Whether it is to be gone on with later."""
        return self.at is not None or self.suspended


def worth_it(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether another try can help. What a person has to mend is said first, before Prefect's own lines."""
    error = state.result(raise_on_failure=False)
    if not isinstance(error, HOPELESS):
        return True
    with suppress(Exception):
        get_run_logger().error("%s", error)
    return False


STUBBORN: dict[str, Any] = {
    "retries": 5,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": worth_it,
    "persist_result": False,
}


@task(name="plan", task_run_name="plan", timeout_seconds=600, **STUBBORN)
def plan(spec: CampaignSpec, word: Word | None = None) -> Planned:
    """Check the campaign and write it down; refuses what cannot be sent, at once. `word`: what a person has
    said in the console about this run, which counts unless somebody has said something newer."""

    async def work(exchange: Exchange, _: engine.Engine) -> Planned:
        async with seated(exchange, ids.campaign_id(exchange.key, spec.name)):
            planned = await campaigns.plan(exchange, spec)
            failpoint("planned")
            holds = await campaigns.heed(exchange, planned.id, word)
            return replace(planned, not_before=None) if holds is Control.CANCEL else planned

    return engine.call(work)


@task(name="plan a part", task_run_name="plan a part", timeout_seconds=600, **STUBBORN)
def part(campaign: str, first: int, last: int, share: float) -> Planned:
    """What a run has to do that sends only some shards of a campaign."""
    return engine.call(lambda exchange, _: campaigns.part(exchange, campaign, (first, last), share))


@task(name="seal the audience", task_run_name="seal the audience", timeout_seconds=6 * 3600, **STUBBORN)
def seal(plan: Planned) -> Seal:
    """Fix who gets it."""
    return _answering(plan, lambda exchange, _: campaigns.seal(exchange, plan.id))[0]


@task(name="wait for its time", task_run_name="wait for its time", timeout_seconds=600, **STUBBORN)
def wait(plan: Planned) -> None:
    """Until the campaign's time has come, or it is canceled."""

    async def until(_: Exchange, running: engine.Engine) -> None:
        # In small steps: a clock that is set anew is noticed.
        while (left := seconds_until(plan.not_before)) and not running.stop.is_set():  # noqa: ASYNC110 - a thread
            await asyncio.sleep(min(left, 1.0))

    _answering(plan, until)


@task(name="send", task_run_name="send shards {first} to {last}", timeout_seconds=7 * 24 * 3600, **STUBBORN)
def send_slice(plan: Planned, first: int, last: int, board: Board, before: Counts) -> Sent:
    """Send what can be sent of one slice now; answers what this run has done so far, `before` included."""

    async def send(exchange: Exchange, stop: Stop, take: Take) -> float | None:
        await campaigns.send_slice(
            exchange, plan.id, first, last, stop=stop, on_progress=take, patient=False, share=plan.share
        )
        return None

    return _watched(plan, board, before, send)


@task(name="send what is left", task_run_name="send what is left", timeout_seconds=7 * 24 * 3600, **STUBBORN)
def send_rest(plan: Planned, board: Board, before: Counts) -> Sent:
    """Send what had to wait, and what another run had and left; answers as `send_slice`. What has to wait for
    long is left to a later start of this run, where there can be one."""
    patience = NAP_SECONDS if deployment.id else inf

    async def send(exchange: Exchange, stop: Stop, take: Take) -> float | None:
        return await campaigns.send_rest(exchange, plan, stop=stop, on_progress=take, patience=patience)

    # Whoever waits is counted anew, where they are tried again.
    return _watched(plan, board, replace(before, waiting=Counter()), send)


def _watched(plan: Planned, board: Board, before: Counts, send: Send) -> Sent:
    """Send, while showing how far it is."""
    with hasty_client() as client:
        screen = Screen(client, board, before)
        at, suspended = _answering(
            plan, lambda exchange, running: send(exchange, running.stop, screen.take), screen.show
        )
    return Sent(screen.total, datetime.fromtimestamp(at, UTC) if at else None, suspended)


def _answering(plan: Planned, work: Work[T], *beats: Callable[[engine.Engine], None]) -> tuple[T, bool]:
    """Do it in the campaign's seat, while looking at what the operator does; and whether the run is to be
    suspended now."""
    with hasty_client() as client:
        operator = Operator(client, plan.id, plan.name, leads=plan.leads)

        async def seated_work(exchange: Exchange, running: engine.Engine) -> T:
            async with seated(exchange, plan.id) if plan.leads else nullcontext():
                return await work(exchange, running)

        done = engine.call(seated_work, operator.look, *beats)
    return done, operator.suspends


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

    async def look(exchange: Exchange, _: engine.Engine) -> Report:
        second = ids.campaign_id(exchange.key, campaign + campaigns.FALLBACK)
        async with seated(exchange, second):
            return await campaigns.report(exchange, campaign)

    found = engine.call(look)
    show_report(found)
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
