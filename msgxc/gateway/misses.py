"""Tries of strangers that miss: tokens that nobody has signed, links that nobody was sent. By address.

Past the limit a miss is answered 429 and not 401 or 404, no issuer is asked for a key for it, and its
connection ends. What hits is answered as ever: an address may be that of many, who are not to suffer for one.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from fastapi.requests import HTTPConnection

from msgxc.gateway.peers import peer_of
from msgxc.gateway.problems import Problem
from msgxc.rate_limit import Minutes


def missed(connection: HTTPConnection) -> Problem | None:
    """This one has missed; what it is answered when that was one too many."""
    state = connection.app.state
    found: Misses = state.misses
    return found.count(peer_of(connection.scope, state.exchange.settings))


class Misses:
    """Those of one process. `limit` in a minute from one address; 0: none."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = limit, clock
        self._minutes = Minutes()

    def over(self, peer: str) -> bool:
        """Whether nothing is left for this address."""
        if not self._limit:
            return False
        _, left, _ = self._minutes.spend(peer, self._clock(), 0, self._limit)
        return not left

    def count(self, peer: str) -> Problem | None:
        """One more; the answer that it gets instead of its own when it was one too many."""
        if not self._limit:
            return None
        fits, _, seconds = self._minutes.spend(peer, self._clock(), 1, self._limit)
        if fits:
            return None
        headers = {"Retry-After": str(seconds), "Connection": "close"}
        return Problem(429, "too_many_misses", "Too many tokens or links that do not count.", headers)
