"""The rules of triage: where a message stands in the queue, what leaves as one, what a failed try means.

Pure. The queue is in order of urgency, then of turns between those who speak, then of age; who works on an
item is told by the ledger's leases.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from heapq import heapify, heappop, heappush
from typing import Any
from uuid import UUID

from msgxc.messages.records import Item, Kind, Message, To
from msgxc.model import Urgency
from msgxc.owners import called
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
    return Item(message.urgency, due, message.mid, message.tid, kind, now, turn=_turn(message))


def _turn(message: Message) -> UUID:
    """A person's messages take that person's turn, wherever they are said; who speaks by right of a role
    takes the thread's (of a direct message: the recipient's)."""
    return message.tid if message.by_role or message.sender is None else message.sender


def again(item: Item, now: float, not_before: float | None = None) -> Item:
    """The item after a try that went wrong. `not_before`: when a provider or a lease allows the next one."""
    pause = min(FIRST_PAUSE * 2**item.tries, LONGEST_PAUSE)
    due = now + pause if not_before is None else max(not_before, now + 0.1)
    return replace(item, kind=Kind.FAILED, due=due, tries=min(item.tries + 1, 99))


def next_step(item: Item, step: str, due: float) -> Item:
    """What is owed for the same message after this."""
    return replace(item, step=step, due=due, kind=Kind.NEARLINE, tries=0)


#: What is remembered of whose turn it was, before what makes no difference is forgotten.
REMEMBERED = 10_000


@dataclass(slots=True)
class Turns:
    """Who is served next, among what is equally urgent: whoever has had least.

    Start-time fair queueing (Goyal, Vin and Cheng, 1996): each turn has a clock that its items advance by
    what they cost; the item that would begin earliest goes first. Whoever comes after a pause begins where
    the others are: nobody saves up turns, and a flood does not go before somebody who has one message.
    """

    _spent: dict[tuple[Urgency, UUID], float] = field(default_factory=dict)
    _now: dict[Urgency, float] = field(default_factory=dict)

    def order(self, items: Iterable[Item]) -> Iterator[Item]:
        """All of them, the most urgent first, then turn by turn; those of one turn by their time."""
        waiting: dict[Urgency, dict[UUID, deque[Item]]] = {}
        for item in sorted(items, key=lambda one: (one.due, one.mid)):
            waiting.setdefault(item.urgency, {}).setdefault(item.turn or item.tid, deque()).append(item)
        for urgency in sorted(waiting, reverse=True):
            turns = waiting[urgency]
            ahead = [(self._start(urgency, turn), some[0].due, turn) for turn, some in turns.items()]
            heapify(ahead)
            while ahead:
                start, _, turn = heappop(ahead)
                yield turns[turn].popleft()
                if turns[turn]:
                    heappush(ahead, (start + 1, turns[turn][0].due, turn))

    def began(self, item: Item) -> None:
        """It is under way: a turn was taken."""
        key = item.urgency, item.turn or item.tid
        start = self._start(*key)
        self._now[item.urgency] = start
        self._spent[key] = start + 1
        if len(self._spent) > REMEMBERED:
            self._spent = {key: at for key, at in self._spent.items() if at > self._now.get(key[0], 0.0)}

    def cost(self, item: Item, turns: float) -> None:
        """It was so much more work than one turn."""
        key = item.urgency, item.turn or item.tid
        self._spent[key] = self._start(*key) + turns

    def _start(self, urgency: Urgency, turn: UUID) -> float:
        return max(self._spent.get((urgency, turn), 0.0), self._now.get(urgency, 0.0))


def beyond(items: Iterable[Item], known: Iterable[Item], turns: int, each: int) -> list[Item]:
    """What a longer look at the queue adds to a short one: of turns that have nothing in the short one, the
    first `turns`, no more than `each` items."""
    there = {one.turn or one.tid for one in known}
    found: dict[UUID, list[Item]] = {}
    for item in items:
        turn = item.turn or item.tid
        if turn not in there and (turn in found or len(found) < turns):
            mine = found.setdefault(turn, [])
            if len(mine) < each:
                mine.append(item)
    return [item for mine in found.values() for item in mine]


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
    same_kind = (one.parent is None) == (first.parent is None) and not (one.is_silent or first.is_silent)
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
            owners.setdefault(key, Counter())[called(owner)] += 1
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
