"""How fast to go: a campaign's throttle, a provider's quota, a provider that is down. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

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
