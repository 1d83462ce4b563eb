"""What the operator sees on the run: artifacts that are made once and then kept up to date, also by a later
process of a run that was put back.

They hold counts and words only. Prefect's API being away costs a picture, never a message.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from time import monotonic
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.events import emit_event
from prefect.logging import get_run_logger
from prefect.runtime import flow_run, task_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from msgxc.delivery import Counts
from msgxc.model import Skip
from msgxc.reports import tables
from msgxc.reports.funnel import End, Report
from tasks.engine import Engine

SHOW_SECONDS = 4.0  # each time costs Prefect's server two requests
#: The Logs tab opens first and shows what is new: a line so often. A pace is that of the last lines.
LOG_SECONDS, PACED = 5.0, 6
#: The cards of the console show the first words of a description: the numbers come first.
PROGRESS = "{:,} of {:,} people looked at, and sent to where that is allowed."


@dataclass(frozen=True, slots=True)
class Board:
    """The artifacts of one run, its campaign, and what 100 % stands for. None: Prefect was away."""

    name: str
    audience: int
    progress: UUID | None
    page: UUID | None


@contextmanager
def hasty_client(seconds: float = 2.0) -> Iterator[SyncPrefectClient]:
    """A client that tries once and for so long: for what may fail, but must not hold anything up."""
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(httpx_settings={"timeout": seconds}, sync_client=True) as client,
    ):
        yield client


def open_board(name: str, audience: int, done: Counts) -> Board:
    """Put up how far it is, and the page that the report will be. A campaign has keys of its own: their page
    in the console is its history, and nobody else's."""
    progress: UUID | None = None
    page: UUID | None = None
    with suppress(Exception):
        begun = PROGRESS.format(done.recipients, audience)
        progress = put_up(key_of("progress", name), "progress", _percent(done.recipients, audience), begun)
        page = put_up(key_of("report", name), "markdown", tables.so_far(name, done, audience), begun)
    return Board(name, audience, progress, page)


def key_of(kind: str, name: str) -> str:
    """The key of a campaign's artifacts. A key has no dots: a name that has is told from others by a hash."""
    slug = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"{kind}-{slug}" if slug == name else f"{kind}-{slug}-{sha256(name.encode()).hexdigest()[:6]}"


def put_up(key: str, kind: str, data: float | str, description: str) -> UUID:
    """Put up an artifact of this run. One of that key that it has, from before it was put back, is brought up
    to date."""
    run = ArtifactFilterFlowRunId(any_=[UUID(flow_run.id)] if flow_run.id else [])
    mine = ArtifactFilter(flow_run_id=run, key=ArtifactFilterKey(any_=[key]))
    with get_client(sync_client=True) as client:
        if known := client.read_artifacts(artifact_filter=mine):
            _update(client, known[0].id, data, description)
            return known[0].id
        # Not by Prefect's Artifact, which writes a text as JSON: the console would show its quotes and \n.
        made = ArtifactCreate(
            type=kind,
            key=key,
            data=data,
            description=description,
            flow_run_id=UUID(flow_run.id) if flow_run.id else None,
            task_run_id=UUID(task_run.id) if task_run.id else None,
        )
        return client.create_artifact(made).id


def close_board(board: Board, report: Report) -> None:
    """Put up what the ledger says at the end."""
    done = report.audience - report.ends[End.PENDING] - report.skips[Skip.CANCELED]
    with suppress(Exception), get_client(sync_client=True) as client:
        _show_progress(client, board, done)
    show_report(report)


def show_report(report: Report) -> None:
    """Put up the whole report as one page, with the picture of its funnel first."""
    page, line = tables.markdown(report, pictures=True), tables.summary(report)
    with suppress(Exception):
        put_up(key_of("report", report.name), "markdown", page, line)


def tell(campaign: str, word: str, text: str) -> None:
    """Emit an event of a campaign (finished, failed, canceled, paused), for whoever has asked to be told: an
    automation of Prefect's, as msgxc/deploying.py makes one. Counts and names only."""
    resource = {"prefect.resource.id": f"msgxc.campaign.{campaign}", "prefect.resource.name": campaign}
    with suppress(Exception):
        emit_event(
            f"msgxc.campaign.{word}",
            resource,
            payload={"campaign": campaign, "what": word, "text": f"{campaign} {word}: {text}"},
        )


class Pace:
    """How quickly this process's run goes on, over the last lines of its log."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=PACED)

    def due(self, people: int, now: float) -> bool:
        """Whether it is time for another line: there is something new to say."""
        if not self._seen:
            self._seen.append((now, people))
        return now - self._seen[-1][0] >= LOG_SECONDS and people != self._seen[-1][1]

    def take(self, people: int, now: float) -> float:
        """People a second, with these now."""
        self._seen.append((now, people))
        (since, before) = self._seen[0]
        return (people - before) / (now - since) if now > since else 0.0


_pace = Pace()


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
        waiting, reached = before.waiting + now.waiting, before.reached + now.reached
        return Counts(before.recipients + now.recipients, before.marks + now.marks, waiting, reached)

    def show(self, _: Engine) -> None:
        """Say it in the log, and put it up, if it has moved and some seconds are over."""
        total, now, board = self.total, monotonic(), self._board
        if _pace.due(total.recipients, now):
            rate = _pace.take(total.recipients, now)
            with suppress(Exception):
                get_run_logger().info(tables.how_far(total, board.audience, rate))
        if total.recipients == self._shown or now - self._at < SHOW_SECONDS:
            return
        with suppress(Exception):
            _show_progress(self._client, board, total.recipients)
            said = PROGRESS.format(min(total.recipients, board.audience), board.audience)
            _update(self._client, board.page, tables.so_far(board.name, total, board.audience), said)
        self._shown, self._at = total.recipients, monotonic()


def _show_progress(client: SyncPrefectClient, board: Board, done: int) -> None:
    done = min(done, board.audience)
    said = PROGRESS.format(done, board.audience)
    _update(client, board.progress, _percent(done, board.audience), said)


def _percent(done: int, audience: int) -> float:
    """Whole ones: the console shows every digit. 100 is for all."""
    return float(100 * min(done, audience) // audience) if audience else 100.0


def _update(client: SyncPrefectClient, artifact: UUID | None, data: float | str, description: str) -> None:
    if artifact:
        client.update_artifact(artifact, ArtifactUpdate(data=data, description=description))
