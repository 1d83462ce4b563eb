"""The window ledger: what a crash may cost, as records and as pure decisions.

Results are write-once marks: merging is commutative and idempotent, so that late, repeated or reordered news
cannot take a row back. What a row means is computed from its marks, by precedence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from sys import maxsize
from uuid import UUID

from msgspec import Struct, field

from msgxc.campaign import CampaignSpec
from msgxc.model import Channel, Reason

#: The row of a recipient to whom nothing was sent has no delivery: it stands under this id.
NO_DELIVERY = UUID(int=0)
#: The reason of a delivery that an earlier owner may or may not have sent.
IN_DOUBT = "in_doubt"
#: Reasons under which rows of the versions that counted no doubts were put off in doubt.
DOUBTFUL = frozenset({IN_DOUBT, Reason.TIMEOUT, Reason.REJECTED})
#: Tries that a store can count; what was tried more often is in doubt as long as its window is open.
TRIES = 255
#: Leases that are no shard's: the right to seal the audience, and to answer for the campaign (msgxc/seat.py).
SEALING, SEAT = -1, -2
#: And the places of the processes that keep its throttle together (msgxc/sharing.py), the first one first.
PLACES = range(-3, -67, -1)


class Mark(StrEnum):
    """One transition of one delivery, in order of precedence: the last one present is the state."""

    LATER = "later"  # parked: the provider said not now; `at` is when to try again
    SKIPPED = "skipped"
    UNKNOWN = "unknown"
    FAILED = "failed"
    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    OPENED = "opened"
    CLICKED = "clicked"
    READ = "read"
    BOUNCED = "bounced"
    COMPLAINED = "complained"

    __hash__ = str.__hash__  # as equal texts have; an Enum's own is a slow function in Python


PRECEDENCE: Mapping[Mark, int] = {mark: order for order, mark in enumerate(Mark)}
#: Marks after which the delivery needs nothing more from the sender.
SETTLED = frozenset(Mark) - {Mark.LATER}


class Control(StrEnum):
    """What the operator wants of a campaign, looked at before every window."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"
    RESTORED = "restored"  # it was under way in a store that was restored: only a person who says so ends it


@dataclass(frozen=True, slots=True)
class Seal:
    """The audience as it was fixed: how many, and a hash that does not depend on their order."""

    count: int
    digest: int


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign as the store holds it. `shards` is fixed before the audience is expanded; `told`: when
    `control` was set last, None: never."""

    id: UUID
    spec: CampaignSpec
    shards: int
    created: datetime
    control: Control = Control.RUN
    seal: Seal | None = None
    finished: datetime | None = None
    told: datetime | None = None


def is_canceled(campaign: Campaign) -> bool:
    """Whether it was ended before everybody was sent to; what is canceled, or taken back, after its end was
    sent all the same."""
    if campaign.control is not Control.CANCEL:
        return False
    return not (campaign.finished and campaign.told and campaign.told > campaign.finished)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to send one shard, until `until` (seconds since the epoch). `epoch` grows with each owner."""

    campaign: UUID
    shard: int
    owner: str
    epoch: int
    until: float


def anybodys(campaign: UUID, shard: int) -> Lease:
    """A lease that nobody holds: to look at a shard, later than every owner."""
    return Lease(campaign, shard, owner="", epoch=maxsize, until=0.0)


class Intent(Struct, frozen=True, gc=False):
    """What a window was about to send: one delivery, for the `attempt`-th time."""

    uid: UUID
    channel: Channel
    delivery: UUID
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Window:
    """The unit of doubt. `number` counts within (shard, epoch)."""

    epoch: int
    number: int
    intents: tuple[Intent, ...]
    done: bool = False


class Result(Struct, frozen=True, gc=False):
    """One mark to record. `reason` is a Reason or a Skip; `code` the provider's word; `ref` its message id.

    `attempt` counts the tries so far, `doubts` those whose answer was lost.
    """

    uid: UUID
    delivery: UUID
    channel: Channel | None
    mark: Mark
    at: datetime
    reason: str = ""
    code: str = ""
    ref: str = ""
    attempt: int = 0
    doubts: int = 0


class Row(Struct, frozen=True, gc=False):
    """What the ledger knows of one delivery (or, under NO_DELIVERY, of one skipped recipient)."""

    uid: UUID
    delivery: UUID
    channel: Channel | None
    marks: Mapping[Mark, datetime] = field(default_factory=dict)
    reason: str = ""
    code: str = ""
    ref: str = ""
    attempt: int = 0
    doubts: int = 0

    @property
    def state(self) -> Mark | None:
        """The mark that counts: the highest in precedence."""
        marks = self.marks
        return next(iter(marks)) if len(marks) == 1 else max(marks, key=PRECEDENCE.__getitem__, default=None)


@dataclass(frozen=True, slots=True)
class ShardState:
    """All that the ledger knows of a shard when its lease is taken.

    `recipients` in ascending order. `windows`: those not done. `rows`: by (uid, delivery).
    """

    recipients: tuple[UUID, ...]
    windows: tuple[Window, ...]
    rows: Mapping[tuple[UUID, UUID], Row]


def merge(row: Row | None, result: Result) -> Row:
    """The row with one more mark: a mark that is already there stays as it was first written.

    Commutative in what counts (the set of marks), idempotent; LATER alone moves, and only forward.
    """
    if row is None:
        return Row(
            uid=result.uid,
            delivery=result.delivery,
            channel=result.channel,
            marks={result.mark: result.at},
            reason=result.reason,
            code=result.code,
            ref=result.ref,
            attempt=result.attempt,
            doubts=result.doubts,
        )
    marks = dict(row.marks)
    if result.mark is Mark.LATER:
        marks[Mark.LATER] = max(result.at, marks.get(Mark.LATER, result.at))
    else:
        marks.setdefault(result.mark, result.at)
    newest = max(marks, key=PRECEDENCE.__getitem__) is result.mark
    doubts, attempt = max((row.doubts, row.attempt), (result.doubts, result.attempt))
    return Row(
        uid=row.uid,
        delivery=row.delivery,
        channel=row.channel or result.channel,
        marks=marks,
        reason=result.reason if newest and result.reason else row.reason,
        code=result.code if newest and result.code else row.code,
        ref=row.ref or result.ref,
        attempt=attempt,
        doubts=doubts,
    )


def repeat_bound(window: int, in_flight: int, flush: int, windows_at_once: int) -> int:
    """How many calls one killed process may repeat (or, under `hold`, leave unknown)."""
    return min(windows_at_once * window, in_flight + flush - 1)


def in_doubt(state: ShardState, epoch: int) -> Iterable[Intent]:
    """The deliveries that an earlier owner may or may not have sent: no result of the intended attempt."""
    for window in state.windows:
        if window.epoch >= epoch or window.done:
            continue
        for intent in window.intents:
            row = state.rows.get((intent.uid, intent.delivery))
            if row is None or (
                SETTLED.isdisjoint(row.marks) and (row.attempt < intent.attempt or intent.attempt >= TRIES)
            ):
                yield intent


def if_over(state: ShardState, at: datetime) -> list[Row]:
    """The shard's rows if nobody will send anything of it any more: what is in doubt is unknown."""
    rows = dict(state.rows)
    for intent in in_doubt(state, maxsize):
        key = intent.uid, intent.delivery
        doubt = Result(
            intent.uid,
            intent.delivery,
            intent.channel,
            Mark.UNKNOWN,
            at,
            IN_DOUBT,
            attempt=intent.attempt,
            doubts=1 + (rows[key].doubts if key in rows else 0),
        )
        rows[key] = merge(rows.get(key), doubt)
    return list(rows.values())


def left(state: ShardState, now: float) -> tuple[list[UUID], float | None]:
    """Who of the shard is due now, and when the next delivery that was put off will be (None: there is none).

    Somebody with two devices can be due for one and have the other put off.
    """
    waits: dict[UUID, list[float]] = {}
    for row in state.rows.values():
        later = [row.marks[Mark.LATER].timestamp()] if row.state is Mark.LATER else []
        waits.setdefault(row.uid, []).extend(later)
    due, parked = [], []
    for uid in state.recipients:
        times = waits.get(uid)
        if times is None or any(time <= now for time in times):
            due.append(uid)
        parked += [time for time in times or () if time > now]
    return due, min(parked, default=None)


def may_have_left(row: Row) -> bool:
    """Whether a delivery that was put off may have been accepted all the same."""
    return row.doubts > 0 or row.reason in DOUBTFUL


def to_be_sent(row: Row, at: datetime) -> bool:
    """Whether a delivery that has a row needs the sender now: it was put off, and its time has come."""
    return SETTLED.isdisjoint(row.marks) and row.marks.get(Mark.LATER, at) <= at
