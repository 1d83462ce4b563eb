"""What is said in a thread, by whom, and where it stands; and what is owed, in the queue. Frozen, pure.

A message's id (`mid`) is a UUIDv7 (RFC 9562 section 5.7), so that ids sort by the time they were made. It is
also the id of the campaign by which the message is delivered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from msgxc import ids
from msgxc.model import Channel, Options, Urgency

#: The longest text and subject, in characters; `data` as JSON, in bytes; people of one multicast.
TEXT, SUBJECT, DATA, PEOPLE = 16_000, 200, 1_500, 10_000


class Role(StrEnum):
    """What a caller may do at all; what they may do in a thread is in rights.py."""

    USER = "user"
    SERVICE = "service"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. `uid` None: a service or an operator. `expires`: seconds since the epoch, 0: never.

    `service`: which one, 32 hexadecimal digits of its issuer and its name; "" for a person.
    """

    uid: UUID | None
    roles: frozenset[Role] = frozenset({Role.USER})
    token_id: str = ""
    expires: float = 0.0
    service: str = ""

    @property
    def account(self) -> str:
        """Whose it is, whichever token they come with: what quotas, keys and connections are counted by."""
        return f"uid:{self.uid}" if self.uid else f"svc:{self.service or self.token_id}"

    def has(self, *roles: Role) -> bool:
        """Whether the caller has one of these roles."""
        return not self.roles.isdisjoint(roles)


class To(StrEnum):
    """Whom a message is for."""

    THREAD = "thread"  # the subscribers of its thread
    PERSON = "person"
    PEOPLE = "people"
    EVERYONE = "everyone"


@dataclass(frozen=True, slots=True)
class Draft:
    """A message as it is asked for. `tid` is only for publish; send, multicast and broadcast pass none.

    `data` goes to the app as it is (the old `opts.data`). `parent` makes it a child message (the old `pmid`).
    `image`, `options`: what a push carries besides (docs/templates.md). `urgency` None: the thread's.
    `scheduled`: not before that time. `mid`: the id to use, when the caller has chosen it (a repeated call
    with the same one publishes once); None: a fresh one. `again`: it repeats a call of the last day, of which
    nobody knows whether it was made; `mid` is that one's.
    """

    text: str = field(repr=False)
    tid: UUID | None = None
    subject: str = field(default="", repr=False)
    data: Mapping[str, str] = field(default_factory=dict, repr=False)
    url: str = field(default="", repr=False)
    image: str = field(default="", repr=False)
    options: Options | None = field(default=None, repr=False)
    parent: UUID | None = None
    scheduled: datetime | None = None
    urgency: Urgency | None = None
    system: bool = False
    broadcast: bool = False  # publish: also to every open connection, as /broadcast/system
    ephemeral: bool = False  # to open connections alone: not stored, and nothing is owed
    channels: frozenset[Channel] | None = None  # no others than these; None: those of the thread
    mid: UUID | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the store holds it. `qid`: who has sealed it to send it now, "" for nobody.

    One that was `scheduled` comes out under a fresh id, as which it `joined`: so that it stands in the
    history, and behind whatever a connection has seen, where people got it.
    """

    mid: UUID
    tid: UUID
    text: str = field(repr=False)
    to: To = To.THREAD
    uids: tuple[UUID, ...] = ()  # for PERSON and PEOPLE
    sender: UUID | None = None
    subject: str = field(default="", repr=False)
    data: Mapping[str, str] = field(default_factory=dict, repr=False)
    url: str = field(default="", repr=False)
    image: str = field(default="", repr=False)
    options: Options | None = field(default=None, repr=False)
    parent: UUID | None = None
    urgency: Urgency = Urgency.NORMAL
    system: bool = False
    broadcast: bool = False
    channels: frozenset[Channel] | None = None
    scheduled: datetime | None = None
    canceled: datetime | None = None
    completed: datetime | None = None  # nothing is owed to anybody any more
    recalled: datetime | None = None
    joined: UUID | None = None  # as which it left: the one it was joined with, or the one it came out as
    qid: str = ""
    by_role: bool | None = None  # said by right of a role, not of the thread; None: not known (older ones)

    @property
    def created(self) -> datetime:
        """When it was made: its id says so."""
        return ids.message_time(self.mid)

    @property
    def people(self) -> frozenset[UUID]:
        """Who said it, and whom it is for by name."""
        return frozenset(uid for uid in (self.sender, *self.uids) if uid is not None)

    def names(self, uid: UUID) -> bool:
        """Whether somebody said it, or is one of the people whom it is for by name."""
        return self.sender == uid or uid in self.uids

    @property
    def out(self) -> Message:
        """The message as it came out, if it was scheduled: a multicast is a thread by itself."""
        if self.scheduled is None or self.joined is None:
            return self
        tid = self.joined if self.tid == self.mid else self.tid
        return replace(self, mid=self.joined, tid=tid, scheduled=None, joined=None, qid="")

    @property
    def is_shown(self) -> bool:
        """Whether people see it: it is out, and was not taken back."""
        return not (self.scheduled or self.canceled or self.recalled)

    @property
    def is_silent(self) -> bool:
        """Whether it says nothing to anybody: its data is for the app alone."""
        return not (self.text.strip() or self.subject.strip())

    @property
    def slug(self) -> str:
        """Under which open connections hear of it."""
        return "/broadcast/system" if self.to is To.EVERYONE else f"/thread/{self.tid}"


def frame(message: Message) -> dict[str, Any]:
    """What open connections are told (JSON): the frame of `thread.<tid>`. The same for a repeat."""
    opts: dict[str, Any] = {
        **message.data,
        "mid": str(message.mid),
        "pmid": message.parent and str(message.parent),
        "subject": message.subject,
        "created": message.created.isoformat(),
        "urgency": int(message.urgency),
    }
    if message.url:
        opts["url"] = message.url
    if message.image:
        opts["image"] = message.image
    sender = message.sender and str(message.sender)
    return {"slug": message.slug, "ok": True, "msg": message.text, "opts": opts, "sender": sender}


def withdrawal(message: Message) -> dict[str, Any]:
    """What open connections are told when it is recalled: take `mid` off the screen."""
    opts = {"mid": str(message.mid), "tid": str(message.tid)}
    return {"slug": "/withdraw", "ok": True, "msg": "", "opts": opts, "sender": None}


# -- what is owed -------------------------------------------------------------------------------------------


class Kind(StrEnum):
    """The class of what is owed."""

    REALTIME = "realtime"  # at once: urgency 4, or execute
    NEARLINE = "nearline"  # soon: it waits for readers, or for others to be joined with
    SCHEDULED = "scheduled"  # its time has not come
    FAILED = "failed"  # a try went wrong; it is made again


@dataclass(frozen=True, slots=True)
class Item:
    """One place in triage: what is owed for one message. `due`: seconds since the epoch, not before that.

    `since`: when it was asked for; its age counts from there. `step`: send, fallback or withdraw. `turn`:
    whose turn it takes among what is as urgent (triage.Turns); None: its thread's.
    """

    urgency: Urgency
    due: float
    mid: UUID
    tid: UUID
    kind: Kind
    since: float
    tries: int = 0
    step: str = "send"
    turn: UUID | None = None


@dataclass(frozen=True, slots=True)
class Recalled:
    """Where a recall found the people of the audience; the four add up to `audience`."""

    unsent: int  # nothing had left, surely, and nothing will
    withdrawn: int  # it had left, or may have, and was replaced on every device
    seen: int  # they had read, opened or clicked it
    beyond: int  # it had left, or may have, and cannot be taken back

    @property
    def audience(self) -> int:
        """How many it was for."""
        return self.unsent + self.withdrawn + self.seen + self.beyond

    def told(self) -> str:
        """In one line."""
        return (
            f"{self.unsent:,} unsent, {self.withdrawn:,} withdrawn, {self.seen:,} seen, "
            f"{self.beyond:,} beyond recall"
        )


# -- membership ---------------------------------------------------------------------------------------------


class JoinState(StrEnum):
    """A request to join a thread, or an invitation (the old `msec`)."""

    ASKED = "asked"
    INVITED = "invited"


@dataclass(frozen=True, slots=True)
class Join:
    """One person who is not yet a subscriber: asked by themself, or invited `by` somebody."""

    tid: UUID
    uid: UUID
    state: JoinState
    by: UUID | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Unread:
    """One thread of a person: `last` is the last message they read on any device; `count` stops at 100."""

    tid: UUID
    count: int
    last: UUID | None
