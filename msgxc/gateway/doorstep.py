"""Connections that only wait: websockets that have not said yet who they are, HTTP without a request.

They need no login, so anybody can open them. Nobody is kept out by them: whoever comes takes the place of the
one that has waited longest, of their own address when that has its share, else of the address that has most.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable


class Doorstep:
    """Who waits. Whoever is sent away hears of it by their own `leave`."""

    def __init__(self, places: int, share: int) -> None:
        self._places, self._share = places, share
        self._waiting: dict[str, OrderedDict[Callable[[], None], None]] = {}
        self._count = 0

    def enter(self, peer: str, leave: Callable[[], None]) -> None:
        """Wait here; somebody else may have to go for it."""
        own = self._waiting.get(peer, OrderedDict())
        if len(own) >= self._share:
            self._send_away(peer)
        elif self._count >= self._places:
            self._send_away(max(self._waiting, key=lambda one: len(self._waiting[one])))
        self._waiting.setdefault(peer, OrderedDict())[leave] = None
        self._count += 1

    def left(self, peer: str, leave: Callable[[], None]) -> None:
        """Gone, one way or the other."""
        there = self._waiting.get(peer)
        if there is None or leave not in there:
            return
        del there[leave]
        self._count -= 1
        if not there:
            del self._waiting[peer]

    def __len__(self) -> int:
        return self._count

    def _send_away(self, peer: str) -> None:
        oldest = next(iter(self._waiting[peer]))
        self.left(peer, oldest)
        oldest()
