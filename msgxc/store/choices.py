"""What somebody gave and took back by themself, kept beside what files and operators say of them. Pure.

A file of people is older than it looks: it was written before somebody unsubscribed. So their own word is
kept apart, an item and its time each, and what holds is computed: the newer of given and withdrawn, of equal
times the withdrawal; where they said nothing, what the record says. No order of writes can lose a withdrawal,
for nothing but the person's own later word (or a row that proves one) outweighs it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from msgxc.model import Channel

#: How an item is spelled: `consent:marketing`, `channel:email`, `thread:<tid>` (to be in it at all).
CONSENT, CHANNEL, THREAD = "consent:", "channel:", "thread:"
_EVERY = frozenset(Channel)


@dataclass(frozen=True, slots=True)
class Choice:
    """One act of one person. Items are spelled by `consent` and `channel`.

    `how`: by what they said it (one_click, page, confirmation, …), `link`: the campaign whose link it was;
    both go into the log that only grows, and neither holds an address.
    """

    at: datetime
    how: str
    given: frozenset[str] = frozenset()
    withdrawn: frozenset[str] = frozenset()
    link: UUID | None = None
    noted: datetime | None = None  # when it was said, where it counts from another time: a confirmation


@dataclass(frozen=True, slots=True)
class Said:
    """One line of the log of choices: an item that was given, withdrawn, or asked for (not yet confirmed)."""

    at: datetime
    item: str
    act: str  # given, withdrawn, asked
    how: str
    link: UUID | None = None


@dataclass(frozen=True, slots=True)
class Choices:
    """All that somebody chose by themself: item -> when they gave it last, when they took it back last."""

    given: Mapping[str, datetime] = field(default_factory=dict)
    withdrawn: Mapping[str, datetime] = field(default_factory=dict)

    def holds(self, item: str) -> bool | None:
        """Whether it was given or withdrawn last; None: they never said."""
        given, withdrawn = self.given.get(item), self.withdrawn.get(item)
        if withdrawn is not None and (given is None or given <= withdrawn):
            return False
        return True if given is not None else None

    def after(self, choice: Choice) -> Choices:
        """These and one more; of each item the later time stays, so their order does not matter."""
        return Choices(
            _with(self.given, choice.given, choice.at), _with(self.withdrawn, choice.withdrawn, choice.at)
        )

    def with_all(self, others: Choices) -> Choices:
        """These and what is known of the same person elsewhere; of each item the later time stays."""
        return Choices(_later(self.given, others.given), _later(self.withdrawn, others.withdrawn))

    def consents(self, said: frozenset[str]) -> frozenset[str]:
        """The consents that hold, where the record says these."""
        return frozenset(self._held(said, CONSENT))

    def channels(self, said: frozenset[Channel] | None) -> frozenset[Channel] | None:
        """The channels that hold; None: every one."""
        held = frozenset(map(Channel, self._held(_EVERY if said is None else said, CHANNEL)))
        return None if held == _EVERY else held

    def _held(self, said: Iterable[str], kind: str) -> set[str]:
        held = set(map(str, said))
        for item in {*self.given, *self.withdrawn}:
            if item.startswith(kind):
                (held.add if self.holds(item) else held.discard)(item.removeprefix(kind))
        return held


def consent(purpose: str) -> str:
    """The item of a purpose."""
    return CONSENT + purpose


def channel(name: Channel) -> str:
    """The item of a channel."""
    return CHANNEL + name


def thread(tid: UUID) -> str:
    """The item of being in a thread."""
    return f"{THREAD}{tid}"


def lines(choice: Choice, act: str = "") -> list[Said]:
    """What the log says of a choice; `act`: instead of given and withdrawn."""
    acts = ((choice.given, "given"), (choice.withdrawn, "withdrawn"))
    return [
        Said(choice.noted or choice.at, item, act or usual, choice.how, choice.link)
        for items, usual in acts
        for item in sorted(items)
    ]


def _with(before: Mapping[str, datetime], items: Collection[str], at: datetime) -> Mapping[str, datetime]:
    return {**before, **{item: max(at, before.get(item, at)) for item in items}} if items else before


def _later(one: Mapping[str, datetime], other: Mapping[str, datetime]) -> Mapping[str, datetime]:
    return {**one, **{item: max(at, one.get(item, at)) for item, at in other.items()}}
