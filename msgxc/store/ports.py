"""What the exchange asks of a store, in its own verbs. Two adapters: sqlite (embedded) and cassandra.

All calls are asynchronous and may be made again after StoreUnavailable: each says what a repetition does.
Batches are lists of at most BATCH; streams yield lists of at most BATCH. An unknown uid is left out of an
answer, never an error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from msgxc.expression import Narrowing
from msgxc.ledger import Campaign, Control, Lease, Result, Row, Seal, ShardState, Window
from msgxc.messages.records import Item, Join, Message
from msgxc.model import Channel, Device, Recipient, Subscription, Thread
from msgxc.online import Heard
from msgxc.store.changes import Change
from msgxc.store.choices import Choice, Choices, Said
from msgxc.store.gateway import Gateway

BATCH = 500
LOOKED_AT = 3  # times as many messages as may be counted: silent ones may stand between
DEVICES = 20  # of one person: that they enlisted; under whose names their reading is kept


#: ids.address_hash of a device's token.
AddressOf = Callable[[Device], bytes]


def nowhere(_device: Device) -> bytes:
    """Nobody has enlisted it."""
    return b""


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that must not be sent to: `address` is ids.address_hash, never the address itself."""

    address: bytes
    channel: Channel
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Wish:
    """Somebody at an address wants nothing more there (STOP), or again (START), and said so at that time."""

    address: bytes  # ids.address_hash
    channel: Channel
    stop: bool
    at: datetime


class Directory(Protocol):
    """The recipient tables: the one place of personal data."""

    async def put(self, recipients: Sequence[Recipient]) -> None:
        """Write whole records, by uid. Twice is the same as once; the later write wins.

        What people chose by themselves (`choose`) stays, and outweighs the record: it gives nothing back.
        """

    async def change(self, changes: Sequence[Change]) -> None:
        """Set just the fields that each change names (changes.changed), one change a person; whoever is not
        there comes into being. Twice is the same as once, and what is written meanwhile to other fields,
        devices and attributes stays."""

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
        """Remove all that is personal and theirs: the records, their cohort memberships, subscriptions, read
        marks, requests and invitations (in those by them, who it was), the ownership of devices, how long
        they were online, and the log of their choices."""

    async def bury(self, people: Collection[bytes], at: datetime) -> None:
        """Keep that these people were erased, by ids.tombstone, never a uid. Twice is the same as once."""

    async def unbury(self, people: Collection[bytes]) -> None:
        """They may come back."""

    async def buried(self, people: Collection[bytes]) -> set[bytes]:
        """Which of these were erased."""

    async def prune(self, uid: UUID, token: str, dead_since: datetime | None, address: bytes = b"") -> bool:
        """Remove one device, unless it was registered after `dead_since`. True if it was removed now; then
        nothing says any more that it is theirs (`address`: ids.address_hash of the token)."""

    async def enlist(
        self, uid: UUID, device: Device, address: bytes, address_of: AddressOf = nowhere
    ) -> UUID | None:
        """Put a device first in a person's list, in place of an older entry of the same token; whoever is not
        there comes into being. At most DEVICES stay, the newest; of the others (`address_of` them) nothing
        says any more whose they are.

        `address`: ids.address_hash of the token. Whoever had enlisted it before loses it: answers them.
        """

    async def seen(self, people: Mapping[UUID, datetime]) -> None:
        """These people were there at these times: `last_seen` moves forward, never back. Whoever is not in
        the directory is passed over. A power cut may lose the last of it."""

    async def note_online(self, people: Mapping[UUID, Heard]) -> None:
        """What was heard of how long these people were online (online.Online.after), of several callers at
        once too. Twice is the same as once. Whoever is not in the directory is passed over. A power cut may
        lose the last of it."""

    async def online(self, uids: Collection[UUID]) -> dict[UUID, int]:
        """For how many milliseconds these people have been online, all in all; who never was is left out."""

    async def owner(self, address: bytes) -> UUID | None:
        """Who has enlisted the device of this address (ids.address_hash of its token); None: nobody."""

    async def choose(self, uid: UUID, choice: Choice) -> bool:
        """What the person gives and takes back by themself, and its lines in the log; nothing else of them
        changes. Calls at the same time add up: none is lost. Twice is the same as once. False: there is
        nobody of that uid."""

    async def ask(self, uid: UUID, choice: Choice) -> None:
        """Note in the log that this was asked for and waits to be confirmed: nothing changes."""

    async def choices(self, uids: Collection[UUID]) -> dict[UUID, Choices]:
        """What these people chose by themselves; whoever never did is left out."""

    async def said(self, uid: UUID) -> list[Said]:
        """The log of one person's choices, the oldest first."""

    async def suppress(self, entries: Sequence[Suppression]) -> None:
        """Add to the suppression list, for good; the first reason of an address stays."""

    async def wish(self, wishes: Sequence[Wish]) -> None:
        """Note what people at these addresses asked for. Of each address the newest STOP and the newest START
        are kept, so neither order nor repetition matters."""

    async def suppressed(self, addresses: Collection[bytes]) -> dict[bytes, str]:
        """Which of these are suppressed, and why: the first reason, else "stopped", where the newest wish is
        a STOP (of equal times it is). A START takes nothing back but a STOP."""


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

    async def change(self, tid: UUID, fields: Mapping[str, Any]) -> None:
        """Set just these fields of a thread, by their names; one that is not there comes into being. Changes
        of different fields at the same time are all kept."""

    async def get(self, tid: UUID) -> Thread | None:
        """The thread, or None."""

    def scan(self) -> AsyncIterator[list[Thread]]:
        """Every thread, each once."""

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Write whole subscriptions, by (tid, uid): the subscriber's own word on channels."""

    async def enter(self, subscriptions: Sequence[Subscription]) -> None:
        """Subscribe these, as a file or somebody else says. Whoever is subscribed stays: with channels None
        as they are, else with these, but for what they took back by `leave`."""

    async def leave(self, tid: UUID, uid: UUID, channels: Collection[Channel]) -> bool:
        """The subscriber takes these channels back, whatever else is written meanwhile. False: there is no
        such subscription."""

    async def dismiss(self, uid: UUID) -> int:
        """Take somebody off the staff of every thread (owner, admins, publishers): of how many they were."""

    async def unsubscribe(self, tid: UUID, uids: Collection[UUID]) -> None:
        """Those who are not subscribed are passed over."""

    async def subscriptions(self, tid: UUID, uids: Collection[UUID]) -> dict[UUID, Subscription]:
        """The subscriptions of these uids to the thread."""

    def subscribers(self, tid: UUID) -> AsyncIterator[list[UUID]]:
        """All subscribers, each once."""

    async def size(self, tid: UUID, most: int) -> int:
        """How many subscribers a thread has, counting no further than `most`."""

    async def of(self, uid: UUID) -> list[Subscription]:
        """Every subscription of one person."""

    async def count_of(self, uid: UUID, most: int) -> int:
        """How many those are, counting no further than `most`."""


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
        self,
        tid: UUID,
        before: UUID | None = None,
        after: UUID | None = None,
        limit: int = 50,
        *,
        shown: bool = False,
    ) -> list[Message]:
        """At most `limit` messages. `after` None: the newest ones before `before` (exclusive), newest first.
        Else those after `after` (exclusive), oldest first. `shown`: only what people see
        (Message.is_shown), however much is hidden between."""

    async def count_after(self, tid: UUID, after: UUID | None, limit: int) -> int:
        """How many messages that people see, and that say something, there are after that one, counting no
        further than `limit`, and looking at LOOKED_AT times as many."""

    async def plan(self, sender: UUID, tid: UUID, mid: UUID, due: float, now: float) -> tuple[int, int]:
        """Note that a message waits for its time; answers how many of its sender's do then, in this thread
        and in all. Twice is the same as once. What is past its time does not count."""

    async def unplan(self, sender: UUID, tid: UUID, mid: UUID) -> None:
        """It waits no longer; one that was not noted is passed over."""

    async def forget(self, tid: UUID) -> None:
        """Remove everything that was said in a thread."""

    def naming(self, uid: UUID) -> AsyncIterator[list[Message]]:
        """Every message that this person said, or that names them among its people, each once. Reads all
        messages: for erasing alone."""

    def people(self) -> AsyncIterator[set[UUID]]:
        """Everybody who said something, or is named among the people of a message; somebody may come several
        times. Reads all messages: for a restore alone."""

    async def rewrite(self, message: Message) -> None:
        """Write anew what otherwise does not change of a message (its text, sender, people …); one that is
        gone stays gone."""


class Reads(Protocol):
    """Who has read how far, per thread and device. A mark only moves forward."""

    async def mark(self, uid: UUID, tid: UUID, mid: UUID, device: str) -> None:
        """All up to this message is read on this device (a name that the app chose, "" for one). What more
        devices of a person than DEVICES read is kept under "", as if they were one."""

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


class Budgets(Protocol):
    """What may be spent in a day, with a hard stop."""

    async def spend(self, name: str, day: int, units: int, limit: int) -> int:
        """Take up to so many units of what is left of `limit` on that day; answers how many: 0 when nothing
        is left. Fewer than none: they are given back. One compare-and-set; made again after a lost answer it
        may count twice, so that no more than `limit` is ever spent. A power cut may lose the last of it, but
        not what something that was written afterwards rests on."""


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

    async def set_control(self, campaign: UUID, control: Control, at: datetime | None = None) -> Control:
        """Set it; CANCEL is final, and RESTORED is ended by CANCEL or `resume_restored` alone. Answers what
        holds now. `at`: when it was wished; None: nobody asks."""

    async def resume_restored(self, campaign: UUID) -> None:
        """RESTORED becomes RUN; anything else stays."""

    async def created_since(self, at: datetime) -> list[UUID]:
        """The campaigns with a name that were created at that time or later (cassandra: of the last month),
        in no order. One whose making was cut off may be among them."""

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
        """Let go before the shard is finished: it is nobody's, and nobody claims it before `not_before`. Not
        ours: no effect."""

    async def finish(self, lease: Lease) -> bool:
        """Nothing in this shard is left to send. False when the lease is no longer ours."""

    async def unfinished(self, campaign: UUID, first: int, last: int) -> dict[int, float]:
        """The shards in [first, last) that are not finished -> when each may be claimed (lease end, or
        not_before, seconds since the epoch; 0: now)."""

    async def held(self, campaign: UUID, first: int, last: int) -> list[Lease]:
        """The leases in [first, last) that somebody has taken and neither finished nor let go of, as they
        stand, also those that have ended; by shard."""

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
    def budgets(self) -> Budgets:
        """What was spent."""

    @property
    def gateway(self) -> Gateway:
        """The gateway's own tables."""

    @property
    def ledger(self) -> Ledger:
        """Campaigns and their windows."""

    async def open(self, *, restored: bool = False) -> None:
        """Connect and check the schema; SchemaMismatch when it is newer, older or half applied. WrongStore
        when it is older than what was here last, as far as that can be told; not if it was `restored`."""

    async def fingerprint(self, own: bytes = b"") -> bytes:
        """Of the key that the store was made with; `own` is it from now on where there is none yet. b"":
        there is none."""

    async def accept(self) -> None:
        """What is here now is the store, however old it is: the end of a restore."""

    async def scrub(self) -> bool:
        """Nothing that was removed can be read in the store's files any more, as far as they are ours. False:
        somebody reads in them now, so it is to be asked again."""

    async def shrink(self) -> int:
        """Give the room of what was removed back to the disk, a little at a time; answers how many bytes.
        Others write meanwhile."""

    async def apply_schema(self) -> int:
        """Bring the schema to the newest version, step by step; answers it. Twice is the same as once."""

    async def close(self) -> None:
        """Flush and let go; may be called twice."""
