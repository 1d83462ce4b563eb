"""What an operator or a service asks for: the campaign form, checked once, at the door. Pure.

These models are the parameters of the `campaign` flow, so their titles, descriptions and limits are what the
form in the console shows, and what Prefect's API refuses. Only ids, names and choices stand here: never an
address.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    Tag,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import CoreSchema

from msgxc import ids
from msgxc.model import Channel, Urgency

NAME = r"^[a-z0-9][a-z0-9._-]*$"
#: The forms of `name` that are filled in from the time a run is due, in the run's own time zone.
PLACEHOLDERS = {"{date}": "%Y-%m-%d", "{week}": "%G-w%V", "{month}": "%Y-%m", "{hour}": "%Y-%m-%dt%H"}

Slug = Annotated[str, StringConstraints(pattern=NAME, max_length=100)]
NameForm = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]|\{(date|week|month|hour)\})*$", max_length=100)
]


_UUID = r"^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$"
Uid = Annotated[UUID, WithJsonSchema({"type": "string", "format": "uuid", "pattern": _UUID})]


def _choices(choices: type[Enum]) -> WithJsonSchema:
    """An enum's choices, written out in place: else the form shows the enum's title, not the field's."""
    values = [choice.value for choice in choices]
    return WithJsonSchema({"type": "integer" if isinstance(values[0], int) else "string", "enum": values})


def _without_kind(schema: dict[str, Any]) -> None:
    """Leave `kind` out of the form: which fields are filled in says it. By API it may still be given."""
    schema["patternProperties"] = {"^kind$": {"const": schema["properties"].pop("kind")["const"]}}


class _AnyOf:
    """Says `anyOf`, which both forms of the console draw as tabs, where pydantic says `oneOf`."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core)
        schema.pop("discriminator", None)
        return {**schema, "anyOf": schema.pop("oneOf")}


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _tab(title: str) -> ConfigDict:
    return ConfigDict(title=title, json_schema_extra=_without_kind)


class Everyone(_Form):
    """Everybody in the directory."""

    # It has to be said: an empty selection is a field that somebody forgot to fill in, and is refused.
    model_config = ConfigDict(title="Everyone", json_schema_extra={"required": ["kind"]})
    kind: Annotated[
        Literal["everyone"], WithJsonSchema({"type": "string", "enum": ["everyone"], "default": "everyone"})
    ] = Field(default="everyone", title="To all")


class Cohort(_Form):
    """A stored group of people."""

    model_config = _tab("Cohort")
    kind: Literal["cohort"] = "cohort"
    cohort: Slug = Field(
        title="Cohort", description="Name of the group, as `msgxc cohorts` lists it.", examples=["newsletter"]
    )


class Where(_Form):
    """Everybody for whom a rule holds."""

    model_config = _tab("Rule")
    kind: Literal["where"] = "where"
    where: str = Field(
        min_length=1,
        max_length=2000,
        title="Rule",
        description='About their attributes, for example: lang = "de" and last_seen < 30d',
        examples=['lang = "de" and last_seen < 30d'],
    )


class People(_Form):
    """People named one by one."""

    model_config = _tab("List of people")
    kind: Literal["people"] = "people"
    uids: tuple[Uid, ...] = Field(
        min_length=1,
        max_length=10_000,
        title="Uids",
        description="One uid each, as `msgxc people export` writes them.",
        examples=[["0192f0c1-6b2e-7c1a-9d55-2f0a3c4b5d6e"]],
    )


class Subscribers(_Form):
    """The subscribers of a thread; the thread's own channels and their preferences for it hold."""

    model_config = _tab("Subscribers of a thread")
    kind: Literal["thread"] = "thread"
    thread: Uid = Field(title="Thread", description="Id of the thread.")


class Unreached(_Form):
    """Those whom another campaign has not reached, as a fallback does."""

    model_config = _tab("Not reached by a campaign")
    kind: Literal["unreached"] = "unreached"
    campaign: Slug = Field(
        title="Campaign", description="Name of the campaign that came before.", examples=["spring-sale"]
    )


#: The field that each kind of selection has and no other has; everyone has none, and is said by its kind.
_FIELDS = {
    "cohort": "cohort",
    "where": "where",
    "people": "uids",
    "thread": "thread",
    "unreached": "campaign",
}


def _kind(value: Any) -> str:
    """Which kind of selection it is: what `kind` says, else what its fields say."""
    if isinstance(value, BaseModel):
        return str(getattr(value, "kind", ""))
    if not isinstance(value, dict) or "kind" in value:
        return str(value.get("kind")) if isinstance(value, dict) else ""
    return next((kind for kind, field in _FIELDS.items() if field in value), "")


Selection = Annotated[
    Annotated[Everyone, Tag("everyone")]
    | Annotated[Cohort, Tag("cohort")]
    | Annotated[Where, Tag("where")]
    | Annotated[People, Tag("people")]
    | Annotated[Subscribers, Tag("thread")]
    | Annotated[Unreached, Tag("unreached")],
    Discriminator(_kind),
    _AnyOf(),
]


class Audience(_Form):
    """Whom the message is for."""

    # No default: a form whose field was left empty must not mean everybody.
    to: Selection = Field(title="To", description="Who gets the message.")
    exclude: tuple[Selection, ...] = Field(
        default=(),
        max_length=20,
        title="But not to",
        description="Who does not get it, although they are among those above.",
    )


class Purpose(StrEnum):
    """What the message is for. All but `service` need the recipient's consent to that purpose."""

    MARKETING = "marketing"
    PRODUCT = "product"
    SERVICE = "service"

    __hash__ = str.__hash__  # as equal texts have: consents are texts


class Spread(StrEnum):
    """How many of a recipient's channels one message uses."""

    FIRST = "first"
    EVERY = "every"


class InDoubt(StrEnum):
    """What to do about a delivery of which nobody knows whether the provider took it.

    resend: send again under the same identity. hold: mark it unknown. default: hold for SMS, else resend.
    """

    DEFAULT = "default"
    RESEND = "resend"
    HOLD = "hold"


class Sending(_Form):
    """How it is sent."""

    urgency: Annotated[Urgency, _choices(Urgency)] = Field(
        default=Urgency.NORMAL,
        title="Urgency",
        description="1 very low (advertisement), 2 low (topic update), 3 normal (chat, calendar), "
        "4 high (time-sensitive alert).",
    )
    channels: tuple[Annotated[Channel, _choices(Channel)], ...] = Field(
        default=(Channel.APNS, Channel.FCM, Channel.WEBPUSH),
        min_length=1,
        title="Channels",
        description="In order of preference. apns: iPhone, fcm: Android, webpush: browser.",
        json_schema_extra={"uniqueItems": True},
    )
    spread: Annotated[Spread, _choices(Spread)] = Field(
        default=Spread.FIRST,
        title="Spread",
        description="first: each person gets it once, on the first of these channels that is allowed and has "
        "an address. every: on each of them.",
    )
    purpose: Annotated[Purpose, _choices(Purpose)] = Field(
        default=Purpose.MARKETING,
        title="Purpose",
        description="Marketing and product messages go only to those who consented to that purpose; service "
        "messages (about their own order, account, safety) to all.",
    )
    not_before: datetime | None = Field(
        default=None, title="Not before", description="Start sending at this time; None: at once."
    )
    per_second: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        title="At most per second",
        description="Slows the sending down, for example to spare your own site; None: no limit.",
    )
    in_doubt: Annotated[InDoubt, _choices(InDoubt)] = Field(
        default=InDoubt.DEFAULT,
        title="After a crash",
        description="For the few messages of which nobody knows whether they left. resend: may repeat one, "
        "and the device replaces the first copy. hold: never repeats. default: hold for SMS, else resend.",
    )

    @field_validator("not_before")
    @classmethod
    def _aware(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a time needs a time zone, for example 2026-12-01T09:00:00+01:00")
        return value

    @field_validator("channels")
    @classmethod
    def _distinct(cls, value: tuple[Channel, ...]) -> tuple[Channel, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a channel stands twice in the list")
        return value


class FallbackWhen(StrEnum):
    """Who counts as not reached."""

    FAILED = "failed"  # no delivery was accepted, or there was no address
    UNCONFIRMED = "unconfirmed"  # and also: accepted, but nothing has confirmed that it arrived


class Fallback(_Form):
    """What happens with those who were not reached."""

    enabled: bool = Field(
        default=True,
        title="Fall back",
        description="Try those who were not reached once more, later, elsewhere.",
    )
    after_minutes: float = Field(
        default=30,
        ge=0,
        le=60 * 24 * 14,
        title="After how many minutes",
        description="Counted from the end of the sending; up to 14 days.",
    )
    channels: tuple[Annotated[Channel, _choices(Channel)], ...] = Field(
        default=(Channel.EMAIL,),
        min_length=1,
        title="Channels",
        description="Where to try, in order of preference.",
        json_schema_extra={"uniqueItems": True},
    )
    when: Annotated[FallbackWhen, _choices(FallbackWhen)] = Field(
        default=FallbackWhen.FAILED,
        title="For whom",
        description="failed: no delivery was accepted, or there was no address. unconfirmed: also those "
        "whose device has not confirmed it.",
    )
    template: str = Field(
        default="",
        pattern=r"^([a-z0-9][a-z0-9._-]*)?$",
        max_length=100,
        title="Template",
        description="Another message for the fallback; empty: the same one.",
    )

    @property
    def after(self) -> timedelta:
        """The wait, as a duration."""
        return timedelta(minutes=self.after_minutes)


class MessageOf(_Form):
    """That a campaign delivers one message of a thread: its content is the message's, not a template's.

    `others`: earlier or later messages that leave with it, as one. `into`: it left as part of that one, so
    that nobody gets it by itself. `withdraws`: it takes back what another campaign has delivered.
    """

    tid: UUID
    mid: UUID
    child: bool = False
    plain: bool = True  # False: rendered by the template, with the message's texts as values
    others: tuple[UUID, ...] = ()
    into: UUID | None = None
    withdraws: bool = False

    @property
    def newest(self) -> UUID:
        """Whoever has read up to this one has read all of it."""
        return max((self.mid, *self.others))

    def seen_in(self, key: bytes, uid: UUID) -> UUID:
        """The thread in which somebody sees it: of a multicast, which is a thread by itself, their own."""
        return ids.own_thread(key, uid) if self.tid == self.mid else self.tid


class CampaignSpec(_Form):
    """One campaign. The name says which one: starting the same name again finishes it, and repeats nobody."""

    name: Slug
    template: str = Field(pattern=NAME, max_length=100)
    audience: Audience = Audience(to=Everyone())
    sending: Sending = Sending()
    fallback: Fallback = Fallback()
    values: dict[str, str] = Field(
        default_factory=dict, description="Values for the template, the same for all."
    )
    parent: str = ""  # a fallback's campaign
    thread: UUID | None = None  # whose rules hold; set from the audience
    message: MessageOf | None = None  # it delivers one message (msgxc/messages)


def fill_name(form: str, due: datetime) -> str:
    """`weekly-{date}` with the time at which the run is due (aware, already in the campaign's zone)."""
    return re.sub(r"\{\w+\}", lambda m: due.strftime(PLACEHOLDERS[m.group()]).lower(), form)
