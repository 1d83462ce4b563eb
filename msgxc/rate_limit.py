"""How much of something one may do in a minute, counted in this process. Pure: the time is passed in."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from math import ceil

WINDOW = 60  # seconds
KEYS = 100_000  # remembered at once; then all begin anew


@dataclass(slots=True)
class Minute:
    """What one has used of their minute, which ends at `until`."""

    until: float
    used: int = 0


@dataclass(slots=True)
class Minutes:
    """Everybody's minute. A minute begins with the first thing that one does after the last one."""

    _of: dict[Hashable, Minute] = field(default_factory=dict)

    def spend(self, key: Hashable, now: float, units: int, limit: int) -> tuple[bool, int, int]:
        """Use so many units of `limit`: whether they are there, how many are left then, and the seconds until
        the minute is over. What is not there is not used. `now`: seconds of any steady clock.

        What costs more than a whole minute has takes all of it, when it is the first thing in it (a request
        has used one unit when it says what it costs).
        """
        minute = self._of.get(key)
        if minute is None or minute.until <= now:
            if len(self._of) >= KEYS:
                self._of.clear()
            minute = self._of[key] = Minute(now + WINDOW)
        fits = minute.used + units <= limit or (units > 1 and minute.used <= 1)
        if fits:
            minute.used = min(minute.used + units, max(limit, 1))
        return fits, max(limit - minute.used, 0), max(ceil(minute.until - now), 1)
