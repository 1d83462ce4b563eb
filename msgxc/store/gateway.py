"""What the gateway asks of a store: idempotency keys, revocations, and the inbox of receipts.

Beside ports.py, which holds the other ports. All calls may be made again after StoreUnavailable.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from msgxc.ledger import Mark
from msgxc.model import Channel

INBOX_PAGE = 500  # what the inbox hands out at once


class News(StrEnum):
    """What a receipt tells. Most are a mark of the ledger; two are about the address alone."""

    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    FAILED = "failed"
    OPENED = "opened"
    CLICKED = "clicked"
    READ = "read"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    STOPPED = "stopped"  # wants nothing more at this address
    STARTED = "started"  # takes that back

    @property
    def mark(self) -> Mark | None:
        """The mark that it leaves in the ledger."""
        return None if self in WISHES else Mark(self.value)


@dataclass(frozen=True, slots=True)
class Received:
    """One receipt, verified, without any address: `address` is ids.address_hash, b"" where there is none.

    `id` is the same for every repetition. `campaign` None: it is about the address alone.
    """

    id: UUID
    news: News
    channel: Channel
    at: datetime
    campaign: UUID | None = None
    uid: UUID | None = None
    delivery: UUID | None = None
    address: bytes = b""
    reason: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Reserved:
    """What stands under an idempotency key: the request's digest, and its answer once there is one."""

    mine: bool  # it was free, and is the caller's now
    digest: bytes
    answer: bytes | None = None


#: News that are a wish about the address, and no mark.
WISHES = frozenset({News.STOPPED, News.STARTED})


class Gateway(Protocol):
    """The gateway's own tables. No personal data: keyed hashes, uids, JSON of answers."""

    async def reserve(self, key: bytes, digest: bytes, now: float, until: float) -> Reserved:
        """Take an idempotency key that is free or past its time, or say what stands under it.

        One compare-and-set. Again by the same caller after a lost answer: it may find its own reservation
        and not know it; then it answers as if the first request were still under way.
        """

    async def answered(self, key: bytes, answer: bytes, until: float) -> None:
        """The answer that every repetition gets until then (seconds since the epoch)."""

    async def release(self, key: bytes) -> None:
        """The request came to nothing: the key is free. Twice is the same as once."""

    async def revoke(self, name: str, before: float, until: float, at: float) -> None:
        """Tokens of `name` ("jti:…" or "uid:…") that were issued before are refused; the later time holds.
        Forgotten at `until`, when all of them have expired. Said at `at`: now."""

    async def revoked(self, names: Collection[str]) -> Mapping[str, float]:
        """Of these names, before which time tokens are refused."""

    async def revoked_since(self, at: float) -> Mapping[str, float]:
        """Which names were revoked at that time or later, of the last day, and when. Costs no more, however
        many were revoked before."""

    async def receive(self, receipts: Sequence[Received]) -> None:
        """Put receipts into the inbox, durable when it returns. The same id twice is one, also when the first
        one was merged since; a wish that comes again counts from the time of the first one."""

    async def inbox(self) -> list[Received]:
        """Up to INBOX_PAGE receipts that nobody has merged, the oldest first, as far as there is an order."""

    async def merged(self, receipts: Collection[Received], until: float) -> None:
        """Take them out of the inbox, and remember their ids until then (seconds since the epoch). Twice is
        the same as once."""

    async def tidy(self, now: float) -> None:
        """Forget what is past its time (a store that forgets by itself does nothing)."""
