"""What the operator sees on the run: artifacts that are made once and then kept up to date.

They hold counts and words only. Prefect's API being away costs a picture, never a message.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import cast
from uuid import UUID

from prefect import get_client
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
)
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from msgxc.delivery import Counts
from msgxc.ledger import Mark
from msgxc.model import Skip
from msgxc.reports import tables
from msgxc.reports.funnel import End, Report
from tasks.engine import Engine

SHOW_SECONDS = 4.0  # each time costs Prefect's server two requests
#: The cards of the console show the first words of a description: the numbers come first.
PROGRESS = "{:,} of {:,} people looked at, and sent to where that is allowed."
FUNNEL = "{:,} accepted, {:,} failed. Deliveries by channel; accepted by a provider is not yet delivered."
SKIPS = "{:,} people were not sent to, and why."
ERRORS = "{:,} deliveries failed, by the provider's own code, and what to do about each."


@dataclass(frozen=True, slots=True)
class Board:
    """The artifacts of one run, and the audience that 100 % stands for. None: Prefect was away."""

    audience: int
    progress: UUID | None
    funnel: UUID | None


@contextmanager
def hasty_client() -> Iterator[SyncPrefectClient]:
    """A client that tries once and for two seconds: for what may fail, but must not hold anything up."""
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(httpx_settings={"timeout": 2.0}, sync_client=True) as client,
    ):
        yield client


def open_board(audience: int) -> Board:
    """Put up progress and funnel, empty."""
    progress: UUID | None = None
    funnel: UUID | None = None
    with suppress(Exception):
        begun = PROGRESS.format(0, audience)
        progress = cast(UUID, create_progress_artifact(0.0, key="progress", description=begun))
        funnel = cast(UUID, create_table_artifact([], key="funnel", description=FUNNEL.format(0, 0)))
    return Board(audience, progress, funnel)


def close_board(board: Board, report: Report) -> None:
    """Put up what the ledger says at the end."""
    funnel, skips, errors = tables.channels(report), tables.skips(report), tables.errors(report)
    done = report.audience - report.ends[End.PENDING] - report.skips[Skip.CANCELED]
    lines = report.channels.values()
    accepted, failed = sum(line.accepted for line in lines), sum(line.failed for line in lines)
    with suppress(Exception), hasty_client() as client:
        _show_progress(client, board, done)
        _update(client, board.funnel, json.dumps(funnel), FUNNEL.format(accepted, failed))
    with suppress(Exception):
        skipped = report.ends[End.SKIPPED]
        create_table_artifact(skips, key="skips", description=SKIPS.format(skipped))
        create_table_artifact(errors, key="errors", description=ERRORS.format(failed))
    show_report(report, key="report")


def show_report(report: Report, *, key: str) -> None:
    """Put up the whole report as one page."""
    page, line = tables.markdown(report), tables.summary(report)
    with suppress(Exception):
        create_markdown_artifact(page, key=key, description=line)


class Screen:
    """Shows the counts of a slice while it is sent, on top of what came before."""

    def __init__(self, client: SyncPrefectClient, board: Board, before: Counts) -> None:
        self._client, self._board, self._before = client, board, before
        self._now, self._shown, self._at = Counts(), -1, 0.0

    def take(self, counts: Counts) -> None:
        """The newest counts; called by the sender, so it only keeps them."""
        self._now = counts

    @property
    def total(self) -> Counts:
        """What this run has done so far."""
        before, now = self._before, self._now
        return Counts(before.recipients + now.recipients, before.marks + now.marks)

    def show(self, _: Engine) -> None:
        """Put them up, if they have moved and some seconds are over."""
        total = self.total
        if total.recipients == self._shown or monotonic() - self._at < SHOW_SECONDS:
            return
        funnel = tables.progress(total)
        numbers = FUNNEL.format(total.of(Mark.ACCEPTED), total.of(Mark.FAILED))
        with suppress(Exception):
            _show_progress(self._client, self._board, min(total.recipients, self._board.audience))
            _update(self._client, self._board.funnel, json.dumps(funnel), numbers)
        self._shown, self._at = total.recipients, monotonic()


def _show_progress(client: SyncPrefectClient, board: Board, done: int) -> None:
    percent = 100.0 * done / board.audience if board.audience else 100.0
    _update(client, board.progress, percent, PROGRESS.format(done, board.audience))


def _update(client: SyncPrefectClient, artifact: UUID | None, data: float | str, description: str) -> None:
    if artifact:
        client.update_artifact(artifact, ArtifactUpdate(data=data, description=description))
