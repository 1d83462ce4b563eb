"""Whether whoever holds a lease still works, or only renews it. Pure.

A lease is renewed beside the work, by the same event loop: that shows that the loop turns, and no more. Work
that waits for what never comes would hold its shard for ever. So its steps are counted, and a lease that was
renewed again and again without a step is renewed no more: the shard is taken over as from the dead.

A step is made wherever the work goes on, and each time that somebody who waits for good reason (throttle,
quota, a provider that asks for time or is down, a store that is away) looks whether the wait is over. What
else it waits for is short: a provider's call ends by its timeout, half a lease at most. Who waits for its
turn stands still only where those before it do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

#: So often is a lease renewed in its time; so many leases, and seconds, somebody may be still.
RENEWALS, LEASES, LEAST_SECONDS = 3, 3, 60.0


def most_still(lease_seconds: float) -> int:
    """How many renewals in a row may have no step between them."""
    return ceil(max(LEASES * RENEWALS, RENEWALS * LEAST_SECONDS / lease_seconds))


class Work:
    """The steps of one holder of a lease; or, as `whole`, of all with whom it takes turns."""

    def __init__(self, whole: Work | None = None) -> None:
        self._whole, self._steps = whole, 0
        self._before: list[Work] = []  # for whose turns it waits now
        self._seen, self._still = -1, 0

    def step(self) -> None:
        """It goes on."""
        self._steps += 1
        if self._whole:
            self._whole.step()

    @contextmanager
    def behind(self, others: Work) -> Iterator[None]:
        """It waits for its turn meanwhile: what these do counts, too."""
        self._before.append(others)
        try:
            yield
        finally:
            self._before.remove(others)
            self.step()

    def renewed(self) -> None:
        """Its lease was renewed once more."""
        seen = self._all_steps()
        self._still = self._still + 1 if seen == self._seen else 0
        self._seen = seen

    def stands_still(self, most: float) -> bool:
        """Whether the lease was renewed more than so often since anybody has made a step."""
        return self._still >= most and self._seen == self._all_steps()

    def _all_steps(self) -> int:
        return self._steps + sum(work._steps for work in self._before)
