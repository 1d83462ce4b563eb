"""How much work a caller may ask for, and the headers that tell: RateLimit-Policy and RateLimit.

Fields as in draft-ietf-httpapi-ratelimit-headers (from version 08): quota q, window w, left r, seconds t.
A window of a minute, counted in this process: behind several gateways a caller has as many quotas. One quota
for all that a caller does, by REST and over websockets, under all their tokens (Principal.account).

The unit is one request, or one frame of a websocket; what is more work than that costs more:

- each further item of a bulk form, 1;
- 100 people whom a message is for, 1, and 100 at most (publishing.cost_of);
- REPLAYED messages that are shown again over a websocket, or REPLAYED_BYTES of them, 1;
- 10 threads whose unread messages are counted, 1 (reading.unread).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgxc.errors import TooMuch
from msgxc.rate_limit import WINDOW, Minutes

REPLAYED, REPLAYED_BYTES = 10, 16_000


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
        self._minutes = Minutes()

    def count(self, caller: str, now: float, units: int = 1) -> Quota | None:
        """Count what a caller asks for; None when there is no limit. `now`: seconds of any steady clock."""
        if not self._limit:
            return None
        fits, left, seconds = self._minutes.spend(caller, now, units, self._limit)
        return Quota(self._limit, left, seconds, not fits)

    def purse(self, caller: str, clock: Callable[[], float]) -> Callable[[int], None]:
        """What a caller spends units with, as they turn out to be needed. It raises TooMuch."""

        def spend(units: int) -> None:
            quota = self.count(caller, clock(), units) if units else None
            if quota and quota.over:
                raise TooMuch("the quota of this minute is used up", quota.seconds)

        return spend


@dataclass(slots=True)
class Replay:
    """What showing a thread's past costs, message by message."""

    _bytes: int = 0

    def cost(self, size: int) -> int:
        """Units that are to be paid for one more message, of so many bytes."""
        self._bytes += max(size, REPLAYED_BYTES // REPLAYED)
        units, self._bytes = divmod(self._bytes, REPLAYED_BYTES)
        return units
