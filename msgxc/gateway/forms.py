"""What callers send: the bodies of /api/v2, with the old system's names beside ours.

Old names: `msg` text, `opts` {data, …}, `pmid` parent, `sys` system, `msec` join request. Unknown fields are
refused, but for those within `opts`, which was open.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from msgxc.campaign import SlugOrNone
from msgxc.messages.records import DATA, PEOPLE, SUBJECT, TEXT
from msgxc.model import Channel, Urgency
from msgxc.people import fields
from msgxc.render import options

BULK = 100  # items of a bulk form
#: A uid or tid: a UUID, or a foreign id that stands for one.
_PLAIN = r"^[^\x00-\x1f\x7f]+$"
Id = Annotated[
    str,
    StringConstraints(min_length=1, max_length=500, pattern=_PLAIN, strip_whitespace=True),
    AfterValidator(fields.identity),
]
_WEB = re.compile(r"https?://[^\s\"'<>\\]{1,2040}|/[^\s\"'<>\\/][^\s\"'<>\\]{0,2040}|")


def _is_web(text: str) -> str:
    if not _WEB.fullmatch(text):
        raise ValueError("a http or https URL, or a path of this site")
    return text


def _texts(value: Any) -> Any:
    """`data` goes to devices as text: what is not text is written as JSON."""
    if not isinstance(value, dict):
        return value
    told = {str(name): one if isinstance(one, str) else json.dumps(one) for name, one in value.items()}
    if len(json.dumps(told, ensure_ascii=False).encode("utf-8", "replace")) > DATA:
        raise ValueError(f"more than {DATA} bytes as JSON")
    return told


def _chosen(value: dict[str, Any]) -> dict[str, Any]:
    """What push.json carries besides its words and data, under the same names. A text has to be UTF-8."""
    image = value.get("image", "")
    if not isinstance(image, str) or (image and not re.fullmatch(r"https://[^\s\"'<>\\]+", image)):
        raise ValueError("image must be an https URL")
    options.said({name: one for name, one in value.items() if name != "image"})
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text that is not UTF-8") from None
    return value


Pushed = Annotated[dict[str, Any], AfterValidator(_chosen)]
Web = Annotated[str, AfterValidator(_is_web), Field(max_length=2048)]
Data = Annotated[dict[str, str], BeforeValidator(_texts)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, populate_by_name=True, frozen=True)


class Opts(BaseModel):
    """The old system's options: `data` is passed to the device, the rest stands for fields of the message."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True, frozen=True)
    data: Data = Field(default_factory=dict)
    subject: str = Field(default="", max_length=SUBJECT)
    url: Web = ""

    @model_validator(mode="after")
    def _elsewhere(self) -> Self:
        """They were open: what nobody knows is passed over, but what a push can carry is not lost so."""
        if of_push := sorted({*options.NAMES, "image"}.intersection(self.model_extra or ())):
            raise ValueError(f"{', '.join(of_push)}: stands in `push`, beside `opts`")
        return self


class MessageForm(_Form):
    """What is said."""

    msg: str = Field(
        max_length=TEXT,
        validation_alias=AliasChoices("msg", "text"),
        description="The text of the message. Empty, with `opts.data` and no subject: for the app alone, in "
        "silence.",
    )
    opts: Opts = Field(default_factory=Opts, description="`opts.data` is passed to the device.")
    subject: str = Field(default="", max_length=SUBJECT, description="Title of a push, subject of an email.")
    url: Web = Field(default="", description="What opens when the message is clicked.")
    push: Pushed = Field(
        default_factory=dict,
        description="What a push carries besides: `image`, `badge`, `sound`, `title_loc_key` … as push.json "
        "has it (docs/templates.md).",
    )
    urgency: Urgency | None = Field(default=None, description="1 to 4; left out: the thread's.")
    scheduled: AwareDatetime | None = Field(default=None, description="Not before that time.")


class SendForm(MessageForm):
    """A message to one person."""

    uid: Id


class MulticastForm(MessageForm):
    """A message to some people: named one by one, or those of a cohort, a rule, or both."""

    uids: list[Id] | None = Field(default=None, min_length=1, max_length=PEOPLE)
    cohort: SlugOrNone = Field(default="", max_length=100, description="A stored group of people.")
    where: str = Field(
        default="", max_length=2000, description='A rule, for example: lang = "de" and last_seen < 30d'
    )

    @model_validator(mode="after")
    def _once(self) -> Self:
        if (self.uids is None) is not bool(self.cohort or self.where):
            raise ValueError("either uids, or cohort and where, or one of the two")
        return self


class PublishForm(MessageForm):
    """A message to a thread."""

    tid: Id
    pmid: UUID | None = Field(
        default=None,
        validation_alias=AliasChoices("pmid", "parent"),
        description="The message that this one answers.",
    )
    sys: bool = Field(default=False, validation_alias=AliasChoices("sys", "system"))
    broadcast: bool = Field(default=False, description="Also to every open connection.")
    ephemeral: bool = Field(default=False, description="To open connections alone; not stored.")


class Bulk(_Form):
    """Several publications; each has its own result, in the same order."""

    items: list[PublishForm] = Field(min_length=1, max_length=BULK)


class BulkSends(_Form):
    """Several messages to one person each; each has its own result, in the same order."""

    items: list[SendForm] = Field(min_length=1, max_length=BULK)


class ThreadForm(_Form):
    """A thread; `uid` by its admins and by operators: somebody else than the caller."""

    tid: Id
    uid: Id | None = None


class BulkThreads(_Form):
    """Several threads at once."""

    items: list[ThreadForm] = Field(min_length=1, max_length=BULK)


class InviteForm(_Form):
    """Somebody for a thread."""

    tid: Id
    uid: Id


class MessageRef(_Form):
    """One message of a thread."""

    tid: Id
    mid: UUID


class ExecuteForm(MessageRef):
    """A stored message that is to leave now. `qid` seals it for one executor; `svc` is not used."""

    qid: Id
    svc: str | None = Field(default=None, max_length=500)


class ReadForm(MessageRef):
    """Everything up to this message was seen, on this device."""

    device: str = Field(default="", max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")


def _channels(value: Any) -> Any:
    """Channels by our names or the old codes; null or `all`: every one; `~` or an empty list: none."""
    if value is None:
        return None
    return frozenset() if value == [] else fields.channels(value)


class PreferForm(_Form):
    """By which channels the caller wants a thread: null all, [] or ["~"] none."""

    tid: Id
    channels: Annotated[frozenset[Channel] | None, BeforeValidator(_channels)] = Field(
        validation_alias=AliasChoices("channels", "mtypes"),
    )


class NativeForm(_Form):
    """A push token of a phone."""

    os: Literal["ios", "android"]
    token: str = Field(min_length=1, max_length=4096)


class Keys(BaseModel):
    """Of a browser's subscription."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, frozen=True)
    p256dh: str = Field(max_length=200)
    auth: str = Field(max_length=100)


class BrowserForm(_Form):
    """A browser's push subscription, as `PushSubscription.toJSON()` gives it."""

    endpoint: str = Field(min_length=1, max_length=4096)
    keys: Keys
    expirationTime: float | None = None


class EndedForm(BaseModel):
    """A browser's subscription that is over: its endpoint is enough."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, frozen=True)
    endpoint: str = Field(min_length=1, max_length=4096)


def _kind(value: Any) -> str:
    return "browser" if isinstance(value, dict) and "endpoint" in value else "native"


DeviceForm = Annotated[
    Annotated[NativeForm, Tag("native")] | Annotated[BrowserForm, Tag("browser")], Discriminator(_kind)
]
EndForm = Annotated[
    Annotated[NativeForm, Tag("native")] | Annotated[EndedForm, Tag("browser")], Discriminator(_kind)
]


class ReceiptForm(_Form):
    """What a device or a browser tells of one delivery."""

    receipt: str = Field(min_length=1, max_length=200, description="The token that came with the message.")
    event: Literal["delivered", "opened", "clicked", "read"] = "delivered"


class ReceiptForms(_Form):
    """Several at once, as a phone that was offline has them."""

    items: list[ReceiptForm] = Field(min_length=1, max_length=BULK)


def _one_or_more(value: Any) -> str:
    return "more" if isinstance(value, dict) and "items" in value else "one"


Receipts = Annotated[
    Annotated[ReceiptForm, Tag("one")] | Annotated[ReceiptForms, Tag("more")], Discriminator(_one_or_more)
]


class RevokeForm(_Form):
    """Tokens that do not count any more: one by its `jti`, or all that were issued until now, of a person, or
    of a service (`issuer`: whose; left out, the app's own)."""

    jti: Id | None = None
    uid: Id | None = None
    service: Id | None = None
    issuer: str = Field(default="", max_length=500)


class ChoicesForm(_Form):
    """What the caller gives and takes back by themself: `consent:marketing`, `channel:email`, …"""

    given: list[str] = Field(default_factory=list, max_length=16)
    withdrawn: list[str] = Field(default_factory=list, max_length=16)


class ChoicesAnswer(BaseModel):
    """What holds now, of what people choose by themselves."""

    held: list[str]


class PersonForm(_Form):
    """Somebody: a uid, or a foreign id."""

    uid: Id


class FoundForm(_Form):
    """A thread as it is to be. What is left out stays as it was; what is empty is emptied."""

    tid: Id
    name: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$")] = Field(
        default="", max_length=200
    )
    owner: Id | None = Field(default=None, description="null: nobody.")
    admins: list[Id] = Field(default_factory=list, max_length=100, description="[]: nobody.")
    publishers: list[Id] = Field(
        default_factory=list,
        max_length=1000,
        validation_alias=AliasChoices("publishers", "pubs"),
        description="[]: nobody.",
    )
    open: bool = False
    open_to_publish: bool = Field(default=False, validation_alias=AliasChoices("open_to_publish", "openp"))
    channels: Annotated[frozenset[Channel] | None, BeforeValidator(_channels)] = Field(
        default=None,
        validation_alias=AliasChoices("channels", "mtypes"),
        description="null: every channel; []: none, the thread is disabled.",
    )
    fallback: list[Channel] | None = Field(
        default=None, max_length=6, description="Where it is tried again, in order. null or []: nowhere."
    )
    child_channels: Annotated[frozenset[Channel] | None, BeforeValidator(_channels)] = Field(
        default=None, description="Those of answers (`pmid`), as `channels`."
    )
    urgency: Urgency = Urgency.NORMAL
    archived: bool = False
    ephemeral: bool = False
    template: str = Field(default="", max_length=100, description='A folder of templates/; "": as it is.')


# -- answers ------------------------------------------------------------------------------------------------


class Page(BaseModel):
    """A page of messages; `next` is the cursor of the page after it, null at the end."""

    messages: list[dict[str, Any]]
    next: str | None


class UnreadThread(BaseModel):
    """A thread of the caller; `count` stops at 100."""

    tid: str
    count: int
    last: str | None


class JoinEntry(BaseModel):
    """A request to join, or an invitation."""

    tid: str
    uid: str
    state: str
    at: AwareDatetime


class Results(BaseModel):
    """One entry for each item, in order: the message's id, or the problem that refused it."""

    results: list[dict[str, Any]]


class RecalledAnswer(BaseModel):
    """Where a recall found the people; the four add up."""

    unsent: int
    withdrawn: int
    seen: int
    beyond: int


class Upcoming(BaseModel):
    """Messages that wait for their time, and those of late."""

    messages: list[Mapping[str, Any]]
