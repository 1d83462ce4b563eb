"""Dispatch and recall as Prefect tasks, and the queue as a table on the run: ids and counts only."""

from __future__ import annotations

import json
from contextlib import suppress
from time import monotonic
from typing import Any
from uuid import UUID

from prefect import task
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.runtime import flow_run

from msgxc import campaigns
from msgxc.campaign import Recall, filled_in
from msgxc.errors import WrongInput
from msgxc.messages.dispatching import Done, queue
from msgxc.messages.publishing import recall as take_back
from msgxc.messages.publishing import thread_of
from msgxc.messages.records import Principal, Recalled, Role
from msgxc.messages.succession import serve
from msgxc.messages.triage import table
from msgxc.wiring import Exchange
from tasks import engine
from tasks.board import hasty_client, put_up
from tasks.campaign import STUBBORN

#: The table is put up at most that often, in seconds; and looked at again when nothing has changed.
SHOW_SECONDS = 5.0
QUEUE = "{:,} messages wait in triage. By urgency and class; the oldest of each, and who works on it."
RECALLED = "{:,} unsent, {:,} withdrawn, {:,} seen, {:,} beyond recall: {:,} people."


@task(name="drain triage", task_run_name="drain triage", timeout_seconds=7 * 24 * 3600, **STUBBORN)
def drain() -> Done | None:
    """Send what is owed until another run takes over; None when two runs are at it already."""
    with hasty_client() as client:
        screen = _Screen(client)

        async def work(exchange: Exchange, running: engine.Engine) -> Done | None:
            return await serve(exchange, running.stop)

        return engine.call(work, screen.show)


@task(name="recall", task_run_name="recall", timeout_seconds=600, **STUBBORN)
def recall(campaign: str | None, message: UUID | None, thread: UUID | None) -> Recalled:
    """Take a campaign or a message back as far as it can be. Raises WrongInput when it is neither or both."""
    operator = Principal(None, frozenset({Role.ADMIN}), token_id="console")  # noqa: S106 - no secret

    async def work(exchange: Exchange, _: engine.Engine) -> Recalled:
        if campaign and message is None:
            return await campaigns.take_back(exchange, campaign)
        if campaign or message is None:
            raise WrongInput("say what is to be taken back: the name of a campaign, or the id of a message")
        return await take_back(exchange, operator, thread or await thread_of(exchange, message), message)

    found = engine.call(work)
    numbers = (found.unsent, found.withdrawn, found.seen, found.beyond)
    rows = [
        {"people": n, "where": word}
        for n, word in zip(numbers, ("unsent", "withdrawn", "seen", "beyond recall"), strict=True)
    ]
    with suppress(Exception):
        put_up("recall", "table", json.dumps(rows), RECALLED.format(*numbers, found.audience))
    return found


def recalled_name() -> str:
    """What a run that recalls is called."""
    try:
        asked = filled_in(Recall, flow_run.parameters)
    except WrongInput:
        return "refused"
    return f"recall {asked.campaign or asked.message or ''}".rstrip()


class _Screen:
    """The queue, as one artifact that is kept up to date. Prefect being away costs a picture."""

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client
        self._artifact: UUID | None = None
        self._shown, self._at = "", 0.0

    def show(self, running: engine.Engine) -> None:
        """Look at the queue, and put it up if it has changed."""
        if monotonic() - self._at < SHOW_SECONDS:
            return
        self._at = monotonic()
        with suppress(Exception):
            rows = running.add(_rows).result(timeout=5.0)
            self._put(rows, sum(row["waiting"] for row in rows))

    def _put(self, rows: list[dict[str, Any]], waiting: int) -> None:
        data, said = json.dumps(rows), QUEUE.format(waiting)
        if self._artifact is None:
            self._artifact = put_up("triage", "table", data, said)
        elif data != self._shown:
            self._client.update_artifact(self._artifact, ArtifactUpdate(data=data, description=said))
        self._shown = data


async def _rows(exchange: Exchange) -> list[dict[str, Any]]:
    items = await queue(exchange)
    holders = await exchange.store.ledger.holders([item.mid for item in items[:200]])
    return table(items, holders, exchange.clock())
