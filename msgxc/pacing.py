"""How fast to go: a campaign's throttle, a provider's quota, one that throttles, one that is down. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from math import inf

from msgxc.model import Urgency


@dataclass(slots=True)
class Throttle:
    """At most `per_second` units a second, with bursts of a tenth of a second; no limit when it is 0.

    With `ramp` (seconds) the limit grows from 0 to `per_second` over that time (FCM asks for >= 60 s).
    """

    per_second: float
    ramp: float = 0.0
    _started: float | None = None
    _free_at: float = 0.0

    def wait(self, units: int, now: float) -> float:
        """Seconds to wait before sending `units` more; they are then counted as sent."""
        if not self.per_second:
            return 0.0
        if self._started is None:
            self._started = self._free_at = now
        start = max(self._free_at, now - 0.1)
        self._free_at = start + units / self._rate(start)
        return max(0.0, start - now)

    def _rate(self, at: float) -> float:
        elapsed = 0.0 if self._started is None else at - self._started
        share = 1.0 if elapsed >= self.ramp else max(elapsed / self.ramp, 0.02)
        return self.per_second * share


LEAST = 50.0  # units a second of one who throttles everybody: a window, once it may be tried again
PLENTY = 100_000.0  # of this no more is counted
LONGEST_BACKOFF = 60.0  # seconds between two tries of one who does not say when


@dataclass(slots=True)
class Flow:
    """How much somebody takes who throttles, found by the answers as TCP finds what a network takes.

    After "not now" nothing leaves until the time that was asked for; then a little less than was taken
    before, or LEAST when nothing was. With every acceptance it is more again: twice as much in a second up to
    what was taken once, from there on in six seconds (RFC 5681: slow start, congestion avoidance). Units a
    second; times are seconds of a clock that only grows.
    """

    rate: float = inf
    until: float = 0.0
    _enough: float = inf
    _throttle: Throttle = field(default_factory=lambda: Throttle(0.0))
    _refused: int = 0  # pauses in a row, with nobody accepted between
    _since: float = 0.0
    _units: int = 0  # accepted since then
    _took: float = 0.0  # a second, before that

    def wait(self, units: int, now: float) -> float:
        """Seconds to wait before sending `units` more, but for a pause; they are then counted as sent."""
        if self.rate == inf:
            return 0.0
        self._throttle.per_second = self.rate
        return self._throttle.wait(units, now)

    def accepted(self, units: int, now: float) -> None:
        """So many were taken, and nobody was throttled."""
        self._refused = 0
        if now - self._since >= 1.0:
            self._took, self._units, self._since = self._units / (now - self._since), 0, now
        self._units += units
        if self.rate < inf:
            self.rate += units if self.rate < self._enough else units / 8
            if self.rate > min(8 * self._enough, PLENTY):
                self.rate = inf

    def throttled(self, now: float, asked: float, taken: int) -> None:
        """It said "not now", and to wait so many seconds (0: nothing), and took so many all the same. What
        was under way when it said so first says nothing new, but that it is to be waited for longer."""
        self._units += taken
        if now < self.until:
            self.until = max(self.until, now + asked)
            return
        took = max(self._took, self._units / max(1.0, now - self._since))
        if took:
            self._enough = max(LEAST, 0.7 * took)
        self.rate = self._enough if took else LEAST
        self._took, self._units, self._since = 0.0, 0, now
        self.until = now + (asked or min(LONGEST_BACKOFF, 2.0**self._refused))
        self._refused = min(self._refused + 1, 16)


@dataclass(slots=True)
class Breaker:
    """Holds a provider back while it answers nothing useful: 1 s, then twice as long each time, to 60 s."""

    _bad: int = 0
    _until: float = 0.0

    def note(self, *, useful: bool, now: float, retry_after: float = 0.0) -> None:
        """One call has ended; `useful`: at least one delivery of it was accepted or refused for good."""
        if useful:
            self._bad = 0
            return
        if now < self._until:
            return
        self._bad += 1
        self._until = now + min(60.0, max(retry_after, 2.0 ** (self._bad - 1)))

    def wait(self, now: float) -> float:
        """Seconds to wait before the next call."""
        return max(0.0, self._until - now)


def quarter_wait(urgency: Urgency, now: datetime) -> float:
    """Seconds for a message that is not urgent to keep off the 2 min around :00, :15, :30 and :45.

    Firebase, "Best practices when sending at scale": everybody's schedules fire then.
    """
    if urgency > Urgency.LOW:
        return 0.0
    into = (now.minute % 15) * 60 + now.second
    if into < 120:
        return 120.0 - into
    return 900.0 - into + 120.0 if into >= 780 else 0.0
