"""Where a recall found everybody: the arithmetic. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from uuid import UUID

from msgxc.ledger import Mark, Row, may_have_left
from msgxc.messages.content import REPLACEABLE
from msgxc.messages.records import Recalled

#: The delivery may be on a screen, or in an inbox.
_LEFT = frozenset({Mark.UNKNOWN, Mark.ACCEPTED, Mark.DELIVERED, Mark.COMPLAINED})
_SEEN = frozenset({Mark.OPENED, Mark.CLICKED, Mark.READ})


class Fate(StrEnum):
    """What a recall means for one person. Exactly one holds."""

    UNSENT = "unsent"
    WITHDRAWN = "withdrawn"
    SEEN = "seen"
    BEYOND = "beyond"


def fate(rows: Iterable[Row], replaced: Collection[Row], *, read: bool) -> Fate:
    """One person's: `rows` of the message, `replaced` of what replaces it, and whether they have read it.

    Unsent is who surely has nothing of it. Withdrawn only where each delivery that has left, or may have, was
    replaced on its own channel.
    """
    rows = list(rows)
    if read or any(row.state in _SEEN for row in rows):
        return Fate.SEEN
    left = {row.channel for row in rows if _may_be_there(row)}
    if not left:
        return Fate.UNSENT
    back = {row.channel for row in replaced if row.state in _LEFT | _SEEN and row.state is not Mark.UNKNOWN}
    failed = {row.channel for row in replaced} - back
    return Fate.WITHDRAWN if left <= back and not left & failed else Fate.BEYOND


def _may_be_there(row: Row) -> bool:
    """Whether the delivery has left, or may have: whatever became of it afterwards, an answer was lost."""
    return row.state in _LEFT or row.doubts > 0 or (row.state is Mark.LATER and may_have_left(row))


def to_withdraw(rows: Mapping[UUID, Sequence[Row]], read: Collection[UUID]) -> list[UUID]:
    """Who has it, or may have, on a screen where it can be replaced, and has not seen it yet."""
    return [
        uid
        for uid, some in rows.items()
        if fate(some, (), read=uid in read) is Fate.BEYOND
        and any(row.channel in REPLACEABLE and _may_be_there(row) for row in some)
    ]


def counted(fates: Iterable[Fate]) -> Recalled:
    """The answer; its four numbers add up to as many as there were people."""
    found = dict.fromkeys(Fate, 0)
    for one in fates:
        found[one] += 1
    return Recalled(found[Fate.UNSENT], found[Fate.WITHDRAWN], found[Fate.SEEN], found[Fate.BEYOND])
