"""The rules of triage: where a message stands in the queue, what leaves as one, what a failed try means.

Pure. The queue is in order of urgency, then of age; who works on an item is told by the ledger's leases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from msgxc.messages.records import Item, Kind, Message, To
from msgxc.urgency import Level

#: The pause after the first failed try, doubled with each, and the longest, in seconds.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 600.0
#: As many messages leave as one at most.
TOGETHER = 50


def place(message: Message, level: Level, now: float) -> Item:
    """Where a message stands: at once, after its grace (for readers, and to be joined), or at its time."""
    if message.scheduled:
        kind, due = Kind.SCHEDULED, max(message.scheduled.timestamp(), now)
    else:
        kind, due = Kind.NEARLINE if level.wait else Kind.REALTIME, now + level.wait
    return Item(message.urgency, due, message.mid, message.tid, kind, now)


def again(item: Item, now: float, not_before: float | None = None) -> Item:
    """The item after a try that went wrong. `not_before`: when a provider or a lease allows the next one."""
    pause = min(FIRST_PAUSE * 2**item.tries, LONGEST_PAUSE)
    due = now + pause if not_before is None else max(not_before, now + 0.1)
    return replace(item, kind=Kind.FAILED, due=due, tries=min(item.tries + 1, 99))


def next_step(item: Item, step: str, due: float) -> Item:
    """What is owed for the same message after this."""
    return replace(item, step=step, due=due, kind=Kind.NEARLINE, tries=0)


def is_over(message: Message) -> bool:
    """Whether nothing of it is to leave any more."""
    return bool(message.canceled or message.recalled or message.completed)


def leave_together(message: Message, later: Iterable[Message], level: Level) -> tuple[UUID, ...]:
    """Which of the messages that came after it in its thread leave with it, as one, oldest first.

    Only where the urgency lets them wait; only to the same people; none whose time is set, or that is over.
    """
    if not level.joins or message.to is not To.THREAD or message.joined:
        return ()
    return tuple(one.mid for one in later if _joins(one, message))[:TOGETHER]


def _joins(one: Message, first: Message) -> bool:
    alike = one.urgency == first.urgency and one.to is To.THREAD and one.channels == first.channels
    same_kind = (one.parent is None) == (first.parent is None)
    return alike and same_kind and not (one.scheduled or one.joined or is_over(one))


def table(
    items: Iterable[Item], holders: Mapping[UUID, tuple[str, float]], now: float
) -> list[dict[str, Any]]:
    """The queue for an operator: how many, by urgency and class; the age of the oldest; who works on them.

    Ids and counts only. Ages and overdue times in seconds.
    """
    counts: Counter[tuple[int, Kind]] = Counter()
    oldest: dict[tuple[int, Kind], Item] = {}
    owners: dict[tuple[int, Kind], Counter[str]] = {}
    for item in items:
        key = int(item.urgency), item.kind
        counts[key] += 1
        oldest[key] = min(item, oldest.get(key, item), key=lambda one: one.since)
        owner, until = holders.get(item.mid, ("", 0.0))
        if owner and until > now:
            owners.setdefault(key, Counter())[owner] += 1
    return [
        {
            "urgency": key[0],
            "class": str(key[1]),
            "waiting": counts[key],
            "oldest": f"{max(0.0, now - oldest[key].since):.0f} s",
            "overdue": f"{max(0.0, now - oldest[key].due):.0f} s",
            "message": str(oldest[key].mid),
            "owners": ", ".join(f"{name} ({n})" for name, n in owners.get(key, Counter()).most_common(3)),
        }
        for key in sorted(counts, key=lambda k: (-k[0], k[1]))
    ]


def whole_milliseconds(time: datetime) -> datetime:
    """Times as every store keeps them."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
