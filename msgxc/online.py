"""For how long somebody has been online: the length of the union of their connections' times. Pure.

A gateway tells of spans, parts of connections' times, in whole milliseconds since the epoch. Two of them may
overlap, of one gateway or of several: that time counts once. A span may be told again, late, in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

#: A span that is told so late, and no later, still counts exactly as it would have at once.
KEPT_MS = 600_000
#: Whose clock stands further behind what was counted than that has had it set back.
APART_MS = 30_000
#: A clock that was set back by no more than that is not followed: the time goes on from what it said before.
STEP_SECONDS = 10.0
#: Spans of one person that are kept apart: beyond, the oldest count as one with what was before them.
SPANS = 32

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Heard:
    """What a store hears of one person. `now`: what the clock of whoever tells says. `least`: the total is at
    least that, as a file says; milliseconds."""

    spans: Sequence[Span] = ()
    now: int = 0
    least: int = 0


@dataclass(frozen=True, slots=True)
class Online:
    """What is kept of one person: the total in milliseconds, and which spans were counted lately (apart from
    each other, in order), so that none counts twice. What begins before `before` does not count any more."""

    total: int = 0
    before: int = 0
    lately: tuple[Span, ...] = ()

    def after(self, heard: Heard) -> Online:
        """After what was heard. Twice is the same as once, and the total never falls.

        With a clock that was set back by more than APART_MS it begins anew: what was counted by the old one
        lies in the future, and would swallow what comes. What it was set back by less is swallowed.
        """
        set_back = heard.spans and self.lately and heard.now < self.lately[-1][1] - APART_MS
        kept = Online(self.total) if set_back else self
        total = max(kept.total, heard.least)
        fresh = [(max(begin, kept.before), end) for begin, end in heard.spans if end > kept.before]
        both = union([*kept.lately, *fresh])
        if not both:
            return Online(total, kept.before)
        total += _length(both) - _length(kept.lately)
        before = max(kept.before, both[-1][1] - KEPT_MS, both[-SPANS - 1][1] if len(both) > SPANS else 0)
        return Online(total, before, tuple((max(begin, before), end) for begin, end in both if end > before))


def union(spans: Iterable[Span]) -> list[Span]:
    """The same time in spans that are apart from each other, in order."""
    found: list[Span] = []
    for begin, end in sorted(span for span in spans if span[0] < span[1]):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return found


def _length(spans: Iterable[Span]) -> int:
    return sum(end - begin for begin, end in spans)


@dataclass(slots=True)
class Attendance:
    """Who has connections open in one process, and what of their time has not been told yet.

    Two clocks, in seconds: `ticks` only runs forward, and measures; `clock` may be set, and says when it was.
    """

    _open: dict[UUID, tuple[int, float]] = field(default_factory=dict)  # how many; ticks since when untold
    _untold: dict[UUID, list[Span]] = field(default_factory=dict)
    _line: tuple[float, float] | None = None  # the time that was said last, and its ticks

    def come(self, uid: UUID, ticks: float) -> None:
        """A connection of theirs is open from now on."""
        count, since = self._open.get(uid, (0, ticks))
        self._open[uid] = (count + 1, since)

    def go(self, uid: UUID, clock: float, ticks: float) -> None:
        """One of them is not any more."""
        count, since = self._open.pop(uid)
        if count > 1:
            self._open[uid] = (count - 1, since)
        else:
            self._note(uid, since, clock, ticks)

    def tell(self, clock: float, ticks: float) -> dict[UUID, Heard]:
        """What has not been told yet, of everybody."""
        for uid, (count, since) in self._open.items():
            self._note(uid, since, clock, ticks)
            self._open[uid] = (count, ticks)
        now, untold = int(self._time(clock, ticks) * 1000), self._untold
        self._untold = {}
        return {uid: Heard(spans, now) for uid, spans in untold.items()}

    def again(self, heard: Mapping[UUID, Heard]) -> None:
        """It was told in vain: tell it again, beside what comes."""
        for uid, before in heard.items():
            self._untold[uid] = union([*before.spans, *self._untold.get(uid, ())])[-SPANS:]

    def _note(self, uid: UUID, since: float, clock: float, ticks: float) -> None:
        """As long as the ticks say, and up to now."""
        now = self._time(clock, ticks)
        span = (int((now - (ticks - since)) * 1000), int(now * 1000))
        self._untold[uid] = union([*self._untold.get(uid, ()), span])[-SPANS:]

    def _time(self, clock: float, ticks: float) -> float:
        """What the clock says. Where it was set back a little, the time goes on from what it said before, so
        that no two moments share it; where it was by more, what was not told yet moves with it."""
        if self._line is not None:
            expected = self._line[0] + ticks - self._line[1]
            if 0 < expected - clock <= STEP_SECONDS:
                clock = expected
            elif clock < expected:
                self._move(round((clock - expected) * 1000))
        self._line = (clock, ticks)
        return clock

    def _move(self, by: int) -> None:
        self._untold = {
            uid: [(begin + by, end + by) for begin, end in spans] for uid, spans in self._untold.items()
        }
