"""The words of the exchange, as frozen records. Pure: no I/O, no clock, no chance.

Each word is explained once, in docs/glossary.md. Times are aware datetimes in UTC; a naive one is refused
where it would be stored. What is made once or more for each message is a struct of msgspec's: made in a
fifteenth of the time of a frozen dataclass, and unknown to the garbage collector, for none is part of a
cycle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum, StrEnum
from uuid import UUID

from msgspec import Struct
from msgspec import field as struct_field

Attribute = str | int | float | bool | None


class Channel(StrEnum):
    """A medium by which a recipient is reached."""

    WEBSOCKET = "websocket"
    APNS = "apns"
    FCM = "fcm"
    WEBPUSH = "webpush"
    SMS = "sms"
    EMAIL = "email"

    __hash__ = str.__hash__  # as equal texts have; an Enum's own is a slow function in Python


#: The type codes of the system before this one (its `mtypes`), and what they are called here.
#: emd, emw and emm are its daily, weekly and monthly email digests: email, later.
OLD_TYPES: Mapping[str, Channel] = {
    "ws": Channel.WEBSOCKET,
    "apn": Channel.APNS,
    "fcm": Channel.FCM,
    "wpn": Channel.WEBPUSH,
    "sms": Channel.SMS,
    "em": Channel.EMAIL,
    "emd": Channel.EMAIL,
    "emw": Channel.EMAIL,
    "emm": Channel.EMAIL,
}

#: In a list of channels or old type codes, anywhere: nothing at all.
MUTE = "~"

#: Channels whose address is a device that the app or the browser registered.
DEVICE_CHANNELS = frozenset({Channel.APNS, Channel.FCM, Channel.WEBPUSH})


class Urgency(IntEnum):
    """How much a message matters now: the levels of RFC 8030 section 5.3."""

    VERY_LOW = 1
    LOW = 2
    NORMAL = 3
    HIGH = 4

    __hash__ = int.__hash__  # as equal numbers have


def shown(record: object, *names: str) -> str:
    """What a record's repr tells, which finds its way into logs and errors: these fields alone. For records
    that hold what is personal, or a key."""
    return f"{type(record).__name__}({', '.join(f'{name}={getattr(record, name)!s}' for name in names)})"


_HEX = re.compile(r"[0-9A-Fa-f]+")
_ORIGIN = re.compile(r"https://([^/?#:@]+)(?::443)?(?=[/?#])", re.IGNORECASE)


def one_spelling(channel: Channel, token: str) -> str:
    """The token as it is stored and compared. Apple's is bytes, so that its digits have no case; of an
    endpoint the host has none, and 443 is its port anyway (RFC 3986, section 6.2)."""
    if channel is Channel.APNS and _HEX.fullmatch(token):
        return token.lower()
    if channel is Channel.WEBPUSH and (found := _ORIGIN.match(token)):
        return f"https://{found[1].lower()}{token[found.end() :]}"
    return token


class Device(Struct, frozen=True, gc=False):
    """One push token, or one web push subscription (then `token` is its endpoint URL)."""

    channel: Channel  # of DEVICE_CHANNELS
    token: str
    registered: (
        datetime  # When the app last confirmed the token: a younger one is never pruned by older news.
    )
    p256dh: str = ""
    auth: str = ""

    def __repr__(self) -> str:
        return shown(self, "channel")


class Recipient(Struct, frozen=True, gc=False):
    """One addressed person: all that is personal, and nothing of it leaves the recipient tables.

    `channels` is the recipient's own preference: None means every channel, an empty set means none (`~`).
    `email` is normalised, `cell` is E.164, either is "" when there is none.
    """

    uid: UUID
    name: str = ""
    email: str = ""
    cell: str = ""
    lang: str = ""
    tz: str = ""
    channels: frozenset[Channel] | None = None
    devices: tuple[Device, ...] = ()
    consents: frozenset[str] = frozenset()
    attributes: Mapping[str, Attribute] = struct_field(default_factory=dict)
    last_seen: datetime | None = None
    created: datetime | None = None

    def __repr__(self) -> str:
        return shown(self, "uid")


@dataclass(frozen=True, slots=True)
class Thread:
    """A topic that recipients subscribe to, with its own say on channels (the old `mthreads`).

    `channels`, `fallback` and `child_channels`: None means every channel; empty means none (`~`).
    `admins` may change it and invite; `publishers` may publish. `template` is a folder of templates/ by which
    its messages are rendered, "" for the text as it is. A `system` thread is the exchange's own. The messages
    of an `ephemeral` one are not stored: they reach open connections, and nobody else.
    """

    tid: UUID
    name: str = ""
    owner: UUID | None = None
    admins: frozenset[UUID] = frozenset()
    publishers: frozenset[UUID] = frozenset()
    open: bool = False
    open_to_publish: bool = False
    channels: frozenset[Channel] | None = None
    fallback: tuple[Channel, ...] | None = None
    child_channels: frozenset[Channel] | None = None
    urgency: Urgency = Urgency.NORMAL
    archived: bool = False
    system: bool = False
    ephemeral: bool = False
    template: str = ""

    def without(self, uid: UUID) -> Thread:
        """The thread without somebody among its staff."""
        owner = None if self.owner == uid else self.owner
        return replace(self, owner=owner, admins=self.admins - {uid}, publishers=self.publishers - {uid})


class Subscription(Struct, frozen=True, gc=False):
    """A recipient's membership of a thread; `channels` is their preference for it (the old `prefs`)."""

    tid: UUID
    uid: UUID
    channels: frozenset[Channel] | None = None


# -- content: what a message says, per kind of channel ------------------------------------------------------


class Options(Struct, frozen=True, gc=False, kw_only=True):
    """What a push may carry besides its words; None: left to the provider. docs/templates.md says what each
    does and where; msgxc/render/options.py, what each may be."""

    # -- on more than one channel
    badge: int | None = None
    sound: str | None = None  # "": none
    tag: str | None = None
    ttl: int | None = None  # seconds, instead of the urgency's
    vibrate: tuple[int, ...] | None = None  # milliseconds on, off, on …
    title_loc_key: str | None = None  # names of the app's own texts, in the device's language
    title_loc_args: tuple[str, ...] | None = None
    body_loc_key: str | None = None
    body_loc_args: tuple[str, ...] | None = None
    # -- apns
    subtitle: str | None = None
    subtitle_loc_key: str | None = None
    subtitle_loc_args: tuple[str, ...] | None = None
    thread_id: str | None = None
    category: str | None = None
    target_content_id: str | None = None
    filter_criteria: str | None = None
    interruption_level: str | None = None
    relevance_score: float | None = None
    mutable_content: bool = False
    content_available: bool = False
    critical: bool = False  # of the sound, with its volume
    volume: float | None = None
    # -- fcm
    channel_id: str | None = None
    color: str | None = None
    icon: str | None = None
    click_action: str | None = None
    ticker: str | None = None
    visibility: str | None = None
    notification_priority: str | None = None
    notification_count: int | None = None
    sticky: bool | None = None
    local_only: bool | None = None
    # -- webpush
    web_icon: str | None = None
    web_badge: str | None = None
    actions: tuple[Mapping[str, str], ...] | None = None
    require_interaction: bool | None = None
    renotify: bool | None = None
    silent: bool | None = None


class Push(Struct, frozen=True, gc=False):
    """What a device, a browser or an open websocket shows. `data` goes to the app as it is. Without title and
    body it is silent: nothing is shown, the app alone gets it."""

    title: str
    body: str
    url: str = ""
    image: str = ""
    data: Mapping[str, str] = struct_field(default_factory=dict)
    options: Options | None = None

    @property
    def is_silent(self) -> bool:
        """Whether nobody sees it."""
        return not (self.title or self.body)

    def __repr__(self) -> str:
        return f"Push({len(self.title)}, {len(self.body)} characters)"


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What emails that took the same branches of one template have in common: the pieces of their HTML and of
    their plain text; between any two stands a value. One object for all of them."""

    html: tuple[str, ...] = field(repr=False)
    text: tuple[str, ...] = field(repr=False)
    size: int = field(init=False)  # bytes of the pieces in UTF-8; what cannot be encoded counts as `?`

    def __post_init__(self) -> None:
        size = sum(len(piece.encode("utf-8", "replace")) for piece in (*self.html, *self.text))
        object.__setattr__(self, "size", size)

    def filled(self, values: Sequence[str]) -> tuple[str, str]:
        """The HTML and the plain text with these values between the pieces, first the HTML's."""
        return self.page(values), self.plain(values)

    def page(self, values: Sequence[str]) -> str:
        """The HTML, of all values."""
        return filled(self.html, values[: len(self.html) - 1])

    def plain(self, values: Sequence[str]) -> str:
        """The plain text, of all values."""
        return filled(self.text, values[len(self.html) - 1 :])


def filled(pieces: Sequence[str], values: Sequence[str]) -> str:
    """The pieces in order, between any two of them its value."""
    return "".join([part for pair in zip(pieces, (*values, ""), strict=True) for part in pair])


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class Email:
    """One rendered email: CSS already inlined, the plain text always there.

    It is kept as what it shares with others and what is its own, and put together for whoever reads it; two
    are equal when they say the same. One that was written as a whole has a shape to itself, and no values.
    """

    subject: str
    shape: Shape
    values: tuple[str, ...]

    def __init__(self, subject: str, html: str, text: str) -> None:
        self._set(subject, Shape((html,), (text,)), ())

    @classmethod
    def shaped(cls, subject: str, shape: Shape, values: tuple[str, ...]) -> Email:
        """An email that shares its shape; the values are the HTML's, then the text's."""
        email = cls.__new__(cls)
        email._set(subject, shape, values)
        return email

    def _set(self, subject: str, shape: Shape, values: tuple[str, ...]) -> None:
        object.__setattr__(self, "subject", subject)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "values", values)

    @property
    def html(self) -> str:
        """The page."""
        return self.shape.page(self.values)

    @property
    def text(self) -> str:
        """The plain text."""
        return self.shape.plain(self.values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Email):
            return NotImplemented
        return self.subject == other.subject and self.shape.filled(self.values) == other.shape.filled(
            other.values
        )

    def __hash__(self) -> int:
        return hash((self.subject, *self.shape.filled(self.values)))

    def __repr__(self) -> str:
        """How long it is: what it says is somebody's own."""
        return f"Email({len(self.subject)}, {len(self.html)}, {len(self.text)} characters)"


class Sms(Struct, frozen=True, gc=False):
    """One text message, before segmentation."""

    text: str

    def __repr__(self) -> str:
        return f"Sms({len(self.text)} characters)"


Content = Push | Email | Sms


# -- deliveries and what became of them ---------------------------------------------------------------------


class Target(Struct, frozen=True, gc=False):
    """Where one delivery goes: the channel and the one address on it."""

    channel: Channel
    address: str  # push token, web push endpoint, email address, E.164 number; the uid for a websocket
    device: Device | None = None  # only for channels of devices

    def __repr__(self) -> str:
        return shown(self, "channel")


class Outgoing(Struct, frozen=True, gc=False):
    """One delivery, ready for its provider.

    `delivery` is the same for every retry by any process. `collapse` is the identity under which a repeat
    replaces the first copy on the recipient's screen: <= 32 characters of base64url, so that it fits the
    `Topic` of RFC 8030 section 5.4 and every other provider's limit.
    `ttl` is in seconds; 0 asks for one attempt now.
    """

    delivery: UUID
    uid: UUID
    target: Target
    content: Content
    urgency: Urgency
    ttl: int
    collapse: str
    campaign: str = ""  # the campaign's name, for the provider's own statistics
    unsubscribe: str = ""  # a one-click URL (RFC 8058); email only, "" when the mail is not bulk
    receipt: str = ""  # the token with which this delivery's receipts come back (links.receipt); "" for none

    def __repr__(self) -> str:
        return shown(self, "delivery", "uid", "target", "campaign")


class Outcome(StrEnum):
    """What a provider's answer means for one delivery. What follows from it is decided elsewhere."""

    ACCEPTED = "accepted"  # the provider took it; that is not yet "delivered"
    REFUSED = "refused"  # final for this delivery
    DEAD = "dead"  # final, and the address is dead: prune it
    LATER = "later"  # certainly not accepted; may be tried again
    BLOCKED = "blocked"  # the provider refuses us (credentials, project): nobody will get through
    DOUBT = "doubt"  # sent, but the answer was lost


class Reason(StrEnum):
    """Why a delivery failed or has to wait, in our words; the provider's code stands beside it."""

    UNREGISTERED = "unregistered"
    INVALID_ADDRESS = "invalid_address"
    MISMATCH = "mismatch"  # the address belongs to another app, project or sender
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"  # our bug: never retried
    CREDENTIALS = "credentials"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    STOPPED = "stopped"  # the recipient said STOP to the provider
    REJECTED = "rejected"  # refused for a reason that the provider keeps to itself
    EXPIRED = "expired"  # given up: still not accepted when its time was over
    TEMPLATE = "template"  # rendering failed for this recipient
    NOT_ACKNOWLEDGED = "not_acknowledged"  # no session of the recipient answered (websocket)


class Receipt(Struct, frozen=True, gc=False):
    """A provider's answer for one delivery, in normal form.

    `code` is the provider's own word (never free text: it could hold an address). `ref` is the provider's
    id of the message. `retry_after` is in seconds. `dead_since` is when the provider learnt of the death.
    """

    outcome: Outcome
    reason: Reason | None = None
    code: str = ""
    ref: str = ""
    retry_after: float | None = None
    dead_since: datetime | None = None


class Skip(StrEnum):
    """Why somebody in the audience is not sent to. Exactly one holds; the first in this order."""

    ERASED = "erased"  # sealed, but no longer in the directory
    THREAD_DISABLED = "thread_disabled"  # the thread's channels are `~`, or it is archived
    MUTED = "muted"  # the recipient's own channels are `~`
    THREAD_MUTED = "thread_muted"  # the recipient's channels for this thread are `~`
    NO_CONSENT = "no_consent"
    CHANNEL_OFF = "channel_off"  # channels are left by none of campaign, template, thread and recipient
    NO_ADDRESS = "no_address"  # a channel is allowed, but there is no live address on it
    SUPPRESSED = "suppressed"  # each address left is suppressed (bounce, complaint, STOP)
    REACHED = "reached"  # fallback only: a good receipt came in meanwhile
    READ = "read"  # already read on a device of theirs (a message; docs/dispatch.md)
    JOINED = "joined"  # left as part of a later message of its thread
    BUDGET = "budget"  # the day's budget of text messages was spent
    CANCELED = "canceled"
