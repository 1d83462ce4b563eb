"""How many requests a caller may make, and the headers that tell: RateLimit-Policy and RateLimit.

Fields as in draft-ietf-httpapi-ratelimit-headers (from version 08): quota q, window w, left r, seconds t.
A window of a minute, counted in this process: behind several gateways a caller has as many quotas.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

WINDOW = 60
CALLERS = 100_000  # remembered at once; then all begin anew


@dataclass(slots=True)
class Standing:
    """One caller's minute."""

    until: float
    used: int = 0


@dataclass(frozen=True, slots=True)
class Quota:
    """What is left after this request; `over`: it was one too many."""

    limit: int
    left: int
    seconds: int
    over: bool

    def headers(self) -> dict[str, str]:
        """As every answer carries them."""
        told = {
            "RateLimit-Policy": f'"caller";q={self.limit};w={WINDOW}',
            "RateLimit": f'"caller";r={self.left};t={self.seconds}',
        }
        return {**told, "Retry-After": str(self.seconds)} if self.over else told


class Rates:
    """The counts of one process."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._standings: dict[str, Standing] = {}

    def count(self, caller: str, now: float) -> Quota | None:
        """Count one request of a caller; None when there is no limit. `now`: seconds of any steady clock."""
        if not self._limit:
            return None
        standing = self._standings.get(caller)
        if standing is None or standing.until <= now:
            if len(self._standings) >= CALLERS:
                self._standings.clear()
            standing = self._standings[caller] = Standing(now + WINDOW)
        standing.used += 1
        left = self._limit - standing.used
        return Quota(self._limit, max(left, 0), max(ceil(standing.until - now), 1), left < 0)
