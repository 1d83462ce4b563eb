"""What the four levels of urgency mean, as one table. Pure.

The levels are those of RFC 8030 section 5.3; docs/urgency.md shows the table. Times to live and waits are
settings; the rest follows from the providers' rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msgxc.model import Urgency
from msgxc.settings import Settings


@dataclass(frozen=True, slots=True)
class Level:
    """One level. `wait` and `ttl` in seconds.

    wait: how long a message may be kept back so that it leaves with others. joins: whether it may be made
    one with others to the same recipient. queue: the work queue its runs stand in; priority 1 goes first.
    """

    urgency: Urgency
    ttl: int
    wait: float
    joins: bool
    queue: str
    priority: int


def levels(settings: Settings) -> Mapping[Urgency, Level]:
    """The table, with this exchange's times."""
    return {
        Urgency.VERY_LOW: Level(
            Urgency.VERY_LOW, settings.urgency_1_ttl, settings.urgency_1_wait, True, "bulk", 3
        ),
        Urgency.LOW: Level(Urgency.LOW, settings.urgency_2_ttl, settings.urgency_2_wait, True, "bulk", 3),
        Urgency.NORMAL: Level(
            Urgency.NORMAL, settings.urgency_3_ttl, settings.urgency_3_wait, False, "normal", 2
        ),
        Urgency.HIGH: Level(
            Urgency.HIGH, settings.urgency_4_ttl, settings.urgency_4_wait, False, "urgent", 1
        ),
    }
