"""How a campaign is divided: shards into slices, slices over flow runs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from msgxc.delivery import Counts

#: Shards from the first up to, but not with, the last.
Range = tuple[int, int]

#: A throttled campaign is not spread over more runs than this many messages a second keep busy.
PER_RUN = 1_000


@dataclass(frozen=True, slots=True)
class Planned:
    """A campaign that stands in the store, and what one run has to do about it.

    `slices`: what it sends itself, one task each. `spread`: what other runs send, one run each. `whole`: what
    has to be finished when it ends, whoever does it. `share`: its part of throttle and quota when more
    processes are at work than can be counted (msgxc/sharing.py). `queue`: the work queue of its urgency.
    `finished`: when it was over, before it was planned again. `done`: what was done before.
    """

    id: UUID
    name: str
    shards: int
    slices: tuple[Range, ...]
    estimate: int
    not_before: datetime | None
    whole: Range
    spread: tuple[Range, ...] = ()
    share: float = 1.0
    queue: str = ""
    finished: datetime | None = None
    done: Counts = field(default_factory=Counts)

    @property
    def leads(self) -> bool:
        """Whether it answers for the whole campaign; else it is one of the others' runs."""
        return self.whole == (0, self.shards)


def slices(first: int, last: int, size: int) -> tuple[Range, ...]:
    """Ranges of `size` shards."""
    return tuple((start, min(start + size, last)) for start in range(first, last, size))


def parts(slices: Sequence[Range], each: int, per_second: int | None) -> list[Sequence[Range]]:
    """Slices for one run after the other, as evenly as can be and at most `each`; 0: one run sends all.

    More than `each` when a throttle keeps the runs few: each run has its share of it.
    """
    runs = -(-len(slices) // each) if each else 1
    if per_second:
        runs = min(runs, -(-per_second // PER_RUN))
    size = -(-len(slices) // max(1, runs))
    return [slices[start : start + size] for start in range(0, len(slices), size)]
