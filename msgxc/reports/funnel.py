"""What became of a campaign: everybody in the audience in exactly one place. Pure.

People and deliveries are counted apart: one person can have three devices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgxc.ledger import NO_DELIVERY, Mark, Row, may_have_left
from msgxc.model import Channel, Skip


class End(StrEnum):
    """Where one person of an audience has ended, or is now."""

    REACHED = "reached"  # at least one delivery was accepted (and did not bounce)
    FELL_BACK = "fell back"  # not reached at first, but by the fallback
    UNKNOWN = "unknown"  # in doubt after a crash, and held
    FAILED = "failed"
    SKIPPED = "skipped"
    PENDING = "pending"

    __hash__ = str.__hash__  # as equal texts have


#: What a delivery's state says of the person, the best of several first.
_BEST: dict[End, frozenset[Mark]] = {
    End.REACHED: frozenset(
        {Mark.ACCEPTED, Mark.DELIVERED, Mark.OPENED, Mark.CLICKED, Mark.READ, Mark.COMPLAINED}
    ),
    End.UNKNOWN: frozenset({Mark.UNKNOWN}),
    End.PENDING: frozenset({Mark.LATER}),
    End.FAILED: frozenset({Mark.FAILED, Mark.BOUNCED}),
    End.SKIPPED: frozenset({Mark.SKIPPED}),
}
#: Marks that say the message has arrived: more than "accepted by the provider".
CONFIRMED = frozenset({Mark.DELIVERED, Mark.OPENED, Mark.CLICKED, Mark.READ})
#: Skips after which another channel may still reach the person; the others are the person's own will.
WORTH_A_FALLBACK = frozenset({Skip.NO_ADDRESS, Skip.CHANNEL_OFF, Skip.BUDGET})


@dataclass(frozen=True, slots=True)
class Standing:
    """One person's end, its reason, and the channel it happened on."""

    end: End
    reason: str = ""
    channel: Channel | None = None


def standing(rows: Iterable[Row], *, canceled: bool = False) -> Standing:
    """The one place where a person stands, from all rows of theirs."""
    by_state = {row.state: row for row in rows if row.state}
    for end, marks in _BEST.items():
        for mark in marks & by_state.keys():
            row = by_state[mark]
            if end is End.PENDING and canceled:
                # Nobody will ask again: what was put off was not sent, unless an answer was lost before.
                if may_have_left(row):
                    return Standing(End.UNKNOWN, Skip.CANCELED, row.channel)
                return Standing(End.SKIPPED, Skip.CANCELED)
            return Standing(end, row.reason, row.channel)
    return Standing(End.SKIPPED, Skip.CANCELED) if canceled else Standing(End.PENDING)


def wants_fallback(rows: Sequence[Row], *, unconfirmed: bool) -> bool:
    """Whether a fallback is owed: nothing was accepted or, if `unconfirmed`, nothing says it arrived."""
    now = standing(rows)
    if now.end is End.REACHED:
        return unconfirmed and not any(CONFIRMED.intersection(row.marks) for row in rows)
    return now.end is End.FAILED or (now.end is End.SKIPPED and now.reason in WORTH_A_FALLBACK)


@dataclass(slots=True)
class ChannelLine:
    """One channel: deliveries, except `fell_back`, which counts people."""

    planned: int = 0
    accepted: int = 0
    confirmed: int = 0
    failed: int = 0
    unknown: int = 0
    pending: int = 0
    dropped: int = 0  # put off, then not sent: canceled, or the address or the consent went away
    fell_back: int = 0


@dataclass(slots=True)
class Report:
    """A campaign's report. `ends` are people and add up to `audience`; `channels` are deliveries."""

    name: str
    audience: int = 0
    ends: Counter[End] = field(default_factory=Counter)
    skips: Counter[str] = field(default_factory=Counter)
    channels: dict[Channel, ChannelLine] = field(default_factory=dict)
    errors: Counter[tuple[Channel | None, str, str]] = field(default_factory=Counter)
    sandboxed: frozenset[Channel] = frozenset()
    finished: datetime | None = None
    canceled: bool = False  # before everybody was sent to
    repeat_bound: int = 0
    slow_calls: int = 0  # and so many that were slow, at most
    sent_again: int = 0  # tries of deliveries that were in doubt, whatever the cause: a bound of the repeats

    @property
    def adds_up(self) -> bool:
        """Whether everybody of the audience stands somewhere, and nobody twice."""
        return sum(self.ends.values()) == self.audience

    def add(self, rows: Sequence[Row], fallback: Sequence[Row], *, canceled: bool) -> None:
        """One person of the audience: their rows here, and in the fallback."""
        self.audience += 1
        for row in rows:
            self._count(row)
        for row in fallback:
            self._count(row)
        first = standing(rows, canceled=canceled)
        second = standing(fallback) if fallback else first
        if first.end is not End.REACHED and second.end is End.REACHED:
            self.ends[End.FELL_BACK] += 1
            self._fell_back(rows, second)
            return
        self.ends[first.end] += 1
        if first.end is End.SKIPPED:
            self.skips[first.reason] += 1

    def _fell_back(self, rows: Sequence[Row], second: Standing) -> None:
        """Under the channels that had failed; with no address at all, under the one that took over."""
        failed = {row.channel for row in rows if row.channel}
        for channel in failed or ({second.channel} if second.channel else set()):
            self._line(channel).fell_back += 1

    def _count(self, row: Row) -> None:
        if row.delivery == NO_DELIVERY or row.channel is None:
            return
        line = self._line(row.channel)
        line.planned += 1
        self.sent_again += max(0, row.doubts - (row.state is Mark.UNKNOWN))
        line.confirmed += bool(CONFIRMED.intersection(row.marks))
        match standing([row]).end:
            case End.REACHED:
                line.accepted += 1
            case End.UNKNOWN:
                line.unknown += 1
            case End.PENDING:
                line.pending += 1
            case End.SKIPPED:
                line.dropped += 1
            case _:
                line.failed += 1
                self.errors[(row.channel, row.reason, row.code)] += 1

    def _line(self, channel: Channel) -> ChannelLine:
        return self.channels.setdefault(channel, ChannelLine())


def rows_by_person(rows: Iterable[Row]) -> dict[UUID, list[Row]]:
    """The rows of a shard, person by person."""
    found: dict[UUID, list[Row]] = {}
    for row in rows:
        found.setdefault(row.uid, []).append(row)
    return found
