"""What a sender tells while it sends: how far it is, once a second, over the bus.

Counts only, on `campaign.<id>`. The bus may lose them and may be away: the store is the record, and
`msgxc.watching` looks there too.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple
from uuid import UUID, uuid4

from msgxc.bus import Bus
from msgxc.delivery import Counts
from msgxc.ledger import Mark

TELL_SECONDS = 1.0


class Tally(NamedTuple):
    """What was done: people looked at; deliveries accepted and failed; people skipped, people reached."""

    people: int = 0
    accepted: int = 0
    failed: int = 0
    skipped: int = 0
    reached: int = 0

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def minus(self, other: Tally) -> Tally:
        """What was done since the other."""
        return Tally(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))

    def at_least(self, other: Tally) -> Tally:
        """The larger of each."""
        return Tally(*map(max, self, other))


NOTHING = Tally()


class Told(NamedTuple):
    """One message: which sender, for how many seconds it has been at work, what it has done in them."""

    sender: str
    seconds: float
    done: Tally

    def encode(self) -> bytes:
        """As it goes over the bus."""
        return json.dumps({"sender": self.sender, "seconds": self.seconds, **self.done._asdict()}).encode()

    @classmethod
    def decode(cls, text: bytes) -> Told | None:
        """As it came; None for what is no such message."""
        try:
            found = json.loads(text)
            done = Tally(*(int(found[name]) for name in Tally._fields))
            return cls(str(found["sender"]), float(found["seconds"]), done)
        except (ValueError, KeyError, TypeError):
            return None


def subject(campaign: UUID) -> str:
    """Where the senders of a campaign tell how far they are."""
    return f"campaign.{campaign}"


@asynccontextmanager
async def telling(
    bus: Bus, campaign: UUID, take: Callable[[Counts], None]
) -> AsyncIterator[Callable[[Counts], None]]:
    """A callable for the newest counts: passes them to `take`, and tells them over the bus.

    Once a second when they have grown, and at the end; what is done within a second tells nothing. A bus
    that is away delays nobody, and what it misses is gone.
    """
    teller = _Teller(bus, subject(campaign), take)
    ticking = asyncio.create_task(teller.keep_telling())
    try:
        yield teller.hear
    finally:
        ticking.cancel()
        if teller.told.people:
            await teller.tell()


@dataclass(slots=True)
class _Teller:
    bus: Bus
    subject: str
    take: Callable[[Counts], None]
    sender: str = field(default_factory=lambda: uuid4().hex)
    begun: float = field(default_factory=monotonic)
    counts: Counts = field(default_factory=Counts)
    told: Tally = NOTHING

    def hear(self, counts: Counts) -> None:
        self.counts = counts  # One object that grows.
        self.take(counts)

    async def tell(self) -> None:
        counts = self.counts
        sent = counts.of(Mark.ACCEPTED), counts.of(Mark.FAILED)
        now = Tally(counts.recipients, *sent, counts.marks["", Mark.SKIPPED], counts.reached)
        if now != self.told:
            self.told = now
            seconds = round(monotonic() - self.begun, 3)
            await self.bus.publish(self.subject, Told(self.sender, seconds, now).encode())

    async def keep_telling(self) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            await self.tell()
