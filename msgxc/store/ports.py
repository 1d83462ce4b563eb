"""What the exchange asks of a store, in its own verbs. Two adapters: sqlite (embedded) and cassandra.

All calls are asynchronous and may be made again after StoreUnavailable: each says what a repetition does.
Batches are lists of at most BATCH; streams yield lists of at most BATCH. An unknown uid is left out of an
answer, never an error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from msgxc.expression import Narrowing
from msgxc.ledger import Campaign, Control, Lease, Result, Row, Seal, ShardState, Window
from msgxc.messages.records import Item, Join, Message
from msgxc.model import Channel, Device, Recipient, Subscription, Thread
from msgxc.store.gateway import Gateway

BATCH = 500
DEVICES = 20  # of one person, that enlisted them


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that must not be sent to: `address` is ids.address_hash, never the address itself."""

    address: bytes
    channel: Channel
    reason: str
    since: datetime


class Directory(Protocol):
    """The recipient tables: the one place of personal data."""

    async def put(self, recipients: Sequence[Recipient]) -> None:
        """Write whole records, by uid. Twice is the same as once; the later write wins."""

    async def get(self, uids: Collection[UUID]) -> dict[UUID, Recipient]:
        """The records of these uids; unknown ones are left out."""

    def scan(self, narrowing: Narrowing = ()) -> AsyncIterator[list[Recipient]]:
        """Everybody, each exactly once, in no order. `narrowing` may leave out people for whom one of its
        conditions fails, and need not: the caller still checks each record."""

    def scan_uids(self) -> AsyncIterator[list[UUID]]:
        """The uids of everybody, each exactly once, in no order, reading nothing else."""

    async def count(self) -> int:
        """How many people there are, exactly or (cassandra, large) as an estimate; only for sizing."""

    async def erase(self, uids: Collection[UUID]) -> None:
        """Remove all that is personal: the records, their cohort memberships and subscriptions."""

    async def prune(self, uid: UUID, token: str, dead_since: datetime | None) -> bool:
        """Remove one device, unless it was registered after `dead_since`. True if it was removed now."""

    async def enlist(self, uid: UUID, device: Device, address: bytes) -> UUID | None:
        """Put a device first in a person's list, in place of an older entry of the same token; whoever is not
        there comes into being. At most DEVICES stay, the newest.

        `address`: ids.address_hash of the token. Whoever had enlisted it before loses it: answers them.
        """

    async def choose(
        self, uid: UUID, consents: Collection[str], channels: Collection[Channel] | None
    ) -> bool:
        """What the person agrees to and by which channels they are reached; nothing else of them changes.
        False: there is nobody of that uid."""

    async def suppress(self, entries: Sequence[Suppression]) -> None:
        """Add to the suppression list; the first reason of an address stays."""

    async def unsuppress(self, addresses: Collection[bytes]) -> None:
        """Take addresses off the list."""

    async def suppressed(self, addresses: Collection[bytes]) -> dict[bytes, str]:
        """Which of these are suppressed, and why."""


class Cohorts(Protocol):
    """Named groups of recipients."""

    async def add(self, cohort: str, uids: Collection[UUID]) -> None:
        """Twice is the same as once. The cohort comes into being with its first member."""

    async def remove(self, cohort: str, uids: Collection[UUID]) -> None:
        """Members that are not there are passed over."""

    async def drop(self, cohort: str) -> None:
        """Forget the whole cohort."""

    async def members(self, cohort: str, uids: Collection[UUID]) -> set[UUID]:
        """Which of these are members."""

    def scan(self, cohort: str) -> AsyncIterator[list[UUID]]:
        """All members, each once."""

    async def sizes(self) -> dict[str, int]:
        """Every cohort and how many it has, by name."""


class Threads(Protocol):
    """Threads and their subscribers."""

    async def put(self, thread: Thread) -> None:
        """Write the whole record, by tid."""

    async def get(self, tid: UUID) -> Thread | None:
        """The thread, or None."""

    def scan(self) -> AsyncIterator[list[Thread]]:
        """Every thread, each once."""

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Write whole subscriptions, by (tid, uid)."""

    async def unsubscribe(self, tid: UUID, uids: Collection[UUID]) -> None:
        """Those who are not subscribed are passed over."""

    async def subscriptions(self, tid: UUID, uids: Collection[UUID]) -> dict[UUID, Subscription]:
        """The subscriptions of these uids to the thread."""

    def subscribers(self, tid: UUID) -> AsyncIterator[list[UUID]]:
        """All subscribers, each once."""

    async def of(self, uid: UUID) -> list[Subscription]:
        """Every subscription of one person."""


class Messages(Protocol):
    """The messages of threads, by thread and time. A message's id sorts by time."""

    async def put(self, message: Message, item: Item | None, copies: Sequence[Message] = ()) -> None:
        """Write the message, what is owed for it, and its copies in the threads of single persons: all of it,
        or when there is no answer maybe a part, and the call is made again."""

    async def get(self, tid: UUID, mid: UUID) -> Message | None:
        """The message as it stands."""

    async def note(
        self,
        tid: UUID,
        mid: UUID,
        *,
        canceled: datetime | None = None,
        completed: datetime | None = None,
        recalled: datetime | None = None,
        joined: UUID | None = None,
        unscheduled: bool = False,
    ) -> None:
        """Write what is given; `unscheduled` takes its time away. Twice is the same as once. Of `joined` the
        first one stays: a compare-and-set."""

    async def take(self, tid: UUID, mid: UUID, qid: str) -> str | None:
        """Seal the message for one executor; answers whose it is now (the first one's), None: no message.
        One compare-and-set."""

    async def history(
        self, tid: UUID, before: UUID | None = None, after: UUID | None = None, limit: int = 50
    ) -> list[Message]:
        """At most `limit` messages. `after` None: the newest ones before `before` (exclusive), newest first.
        Else those after `after` (exclusive), oldest first."""

    async def count_after(self, tid: UUID, after: UUID | None, limit: int) -> int:
        """How many messages there are after that one, counting no further than `limit`."""

    async def forget(self, tid: UUID) -> None:
        """Remove everything that was said in a thread."""


class Reads(Protocol):
    """Who has read how far, per thread and device. A mark only moves forward."""

    async def mark(self, uid: UUID, tid: UUID, mid: UUID, device: str) -> None:
        """All up to this message is read on this device (a name that the app chose, "" for one)."""

    async def last(self, places: Collection[tuple[UUID, UUID]]) -> dict[UUID, UUID]:
        """How far each (thread, person) of these is read on any device: person -> message. Each person stands
        there once; whoever has read nothing is left out."""

    async def of(self, uid: UUID) -> dict[UUID, dict[str, UUID]]:
        """How far one person has read: thread -> device -> message."""


class Triage(Protocol):
    """What is owed, in order of urgency, then age. Who works on it is told by the ledger's leases."""

    async def add(self, items: Sequence[Item]) -> None:
        """Stand in the queue. The same (urgency, due, mid, step) twice is once."""

    async def due(self, now: float, limit: int) -> list[Item]:
        """The first `limit` items whose time has come: highest urgency first, then the oldest."""

    async def remove(self, items: Sequence[Item]) -> None:
        """Nothing is owed any more; one that is gone already is passed over."""

    def scan(self) -> AsyncIterator[list[Item]]:
        """Everything in the queue, also what is not due, each once, highest urgency first."""


class Joins(Protocol):
    """Requests to join a thread, and invitations."""

    async def put(self, join: Join) -> None:
        """Write it, by (tid, uid)."""

    async def get(self, tid: UUID, uid: UUID) -> Join | None:
        """The request or invitation of one person."""

    async def of_thread(self, tid: UUID) -> list[Join]:
        """All of a thread, the oldest first."""

    async def of_person(self, uid: UUID) -> list[Join]:
        """All of a person, the oldest first."""

    async def remove(self, tid: UUID, uid: UUID) -> None:
        """Gone; one that is not there is passed over."""


class Ledger(Protocol):
    """Campaigns, their sealed audiences, the leases, the windows and the results."""

    async def create(self, campaign: Campaign) -> Campaign:
        """Store it unless its id is taken; answers what is stored. Two callers get the same answer."""

    async def campaign(self, campaign: UUID) -> Campaign | None:
        """The campaign as it stands now."""

    def campaigns(self, *, messages: bool = False) -> AsyncIterator[list[Campaign]]:
        """Every campaign that has a name, or every one that delivers a single message; in no order."""

    async def control(self, campaign: UUID) -> Control:
        """The operator's wish, read afresh: looked at before every window, at most ten times a second."""

    async def set_control(self, campaign: UUID, control: Control) -> Control:
        """Set it; CANCEL is final. Answers what holds now."""

    async def begin(self, campaign: UUID) -> int | None:
        """Begin to expand, afresh: what others have added, and what they still add or seal with an older
        token, counts for nothing. Answers the token for `expand` and `seal`; None: it is sealed already."""

    async def expand(self, campaign: UUID, members: Sequence[tuple[int, UUID]], token: int = 0) -> None:
        """Add (shard, uid) pairs, as many as one likes, to an audience that is not sealed; the same pair
        twice is one. Of no effect when somebody has begun after `token`, however late the write arrives (0:
        before anybody began)."""

    async def seal(self, campaign: UUID, seal: Seal, token: int = 0) -> Seal:
        """Fix the audience: the first caller's seal stays and is what everybody gets. Raises LeaseLost when
        somebody has begun after `token`, and has not sealed yet."""

    async def members(self, campaign: UUID, shard: int) -> list[UUID]:
        """The sealed (or so far expanded) recipients of a shard, ascending."""

    async def claim(self, campaign: UUID, shard: int, owner: str, now: float, until: float) -> Lease | None:
        """Take the shard's lease, or None: somebody holds it (also oneself), it is parked, or it is finished.

        One compare-and-set; the epoch is one more than the last owner's. When the answer of the
        compare-and-set is lost, the adapter reads back, serially, whether it was applied.
        """

    async def renew(self, lease: Lease, until: float) -> Lease | None:
        """Hold it longer, or None when it is no longer ours."""

    async def release(self, lease: Lease, not_before: float) -> None:
        """Let go before the shard is finished; nobody claims it before `not_before`. Not ours: no effect."""

    async def finish(self, lease: Lease) -> bool:
        """Nothing in this shard is left to send. False when the lease is no longer ours."""

    async def unfinished(self, campaign: UUID, first: int, last: int) -> dict[int, float]:
        """The shards in [first, last) that are not finished -> when each may be claimed (lease end, or
        not_before, seconds since the epoch; 0: now)."""

    async def load(self, lease: Lease) -> ShardState:
        """All that is known of the shard."""

    async def open_window(self, lease: Lease, window: Window, done: Window | None = None) -> bool:
        """Write the intent, and that every intent of `done` has its result. Durable when it returns. Twice is
        the same as once. Answers whether the lease, read after the intent was written, is as it is here."""

    async def record(self, lease: Lease, results: Sequence[Result]) -> None:
        """Add marks to the shard's rows, durable when it returns, in one write. Never fails for a lost lease:
        the truth about a provider's answer is worth having from anybody. Twice is the same as once."""

    async def close_window(self, lease: Lease, window: Window) -> None:
        """Every intent of the window has its result."""

    async def note(self, campaign: UUID, shard: int, results: Sequence[Result]) -> None:
        """Add marks that come from elsewhere (receipts, settlements): as `record`, without a lease."""

    async def rows(self, campaign: UUID, shard: int) -> list[Row]:
        """All rows of one shard, by uid, for reports."""

    async def create_sealed(self, campaign: Campaign, members: Sequence[tuple[int, UUID]]) -> Campaign:
        """Store a campaign with its whole audience and its seal, unless its id is taken; answers what is
        stored. For small audiences (a message's): one write instead of many."""

    async def holders(self, campaigns: Collection[UUID]) -> dict[UUID, tuple[str, float]]:
        """Who holds the first shard of each of these, and until when; left out where nobody ever did."""

    async def finish_campaign(self, campaign: UUID, at: datetime) -> None:
        """The first caller's time stays."""

    async def forget(self, campaign: UUID) -> None:
        """Remove the campaign, its audience, leases, windows and rows (retention)."""


class Store(Protocol):
    """One store: its parts share a connection."""

    @property
    def directory(self) -> Directory:
        """The recipient tables."""

    @property
    def cohorts(self) -> Cohorts:
        """Named groups."""

    @property
    def threads(self) -> Threads:
        """Threads and subscriptions."""

    @property
    def messages(self) -> Messages:
        """The messages of threads."""

    @property
    def reads(self) -> Reads:
        """Who has read how far."""

    @property
    def triage(self) -> Triage:
        """What is owed."""

    @property
    def joins(self) -> Joins:
        """Requests and invitations."""

    @property
    def gateway(self) -> Gateway:
        """The gateway's own tables."""

    @property
    def ledger(self) -> Ledger:
        """Campaigns and their windows."""

    async def open(self) -> None:
        """Connect and check the schema; SchemaMismatch when it is newer, older or half applied."""

    async def apply_schema(self) -> int:
        """Bring the schema to the newest version, step by step; answers it. Twice is the same as once."""

    async def close(self) -> None:
        """Flush and let go; may be called twice."""
