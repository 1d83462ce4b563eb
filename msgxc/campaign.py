"""What an operator or a service asks for: the campaign form, checked once, at the door. Pure.

These models are the parameters of the `campaign` flow, so their titles, descriptions and limits are what the
form in the console shows, and what Prefect's API refuses. Only ids, names and choices stand here: never an
address.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    Tag,
    ValidationError,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import CoreSchema

from msgxc import ids
from msgxc.errors import WrongInput
from msgxc.model import Channel, Urgency

NAME = r"^[a-z0-9][a-z0-9._-]*$"
#: The forms of `name` that are filled in from the time a run is due, in the run's own time zone.
PLACEHOLDERS = {"{date}": "%Y-%m-%d", "{week}": "%G-w%V", "{month}": "%Y-%m", "{hour}": "%Y-%m-%dt%H"}
#: The longest name: a form of 100 characters with every placeholder filled in, and what a fallback adds.
LONGEST_NAME = 300

_PLAIN, _BETWEEN, _PLACEHOLDER = re.compile(NAME), re.compile(r"[^a-z0-9._-]+"), re.compile(r"\{[^{}]*\}")


def slug(text: str) -> str:
    """A name as it is kept, at every door: "Hello 1" is hello-1, "Grüße" is grusse. What is a name already
    stays as it is. Raises ValueError when no letter from a to z and no digit is left."""
    if _PLAIN.fullmatch(text):
        return text
    letters = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    found = _BETWEEN.sub("-", bare).strip("-._")
    if not found:
        raise ValueError("a name needs a letter from a to z, or a digit")
    return found


def name_form(text: str) -> str:
    """The same of a name with placeholders, which stay: "Weekly {date}" is weekly-{date}."""
    wrong = next((one for one in _PLACEHOLDER.findall(text) if one not in PLACEHOLDERS), None)
    if wrong:
        raise ValueError(f"{wrong} stands for nothing: there are {', '.join(PLACEHOLDERS)}")
    # Digits of their own stand for the placeholders meanwhile, so that what is between them is one name.
    signs = {placeholder: f"0{number}0placeholder0" for number, placeholder in enumerate(PLACEHOLDERS)}
    for placeholder, sign in signs.items():
        text = text.replace(placeholder, sign)
    text = slug(text)
    for placeholder, sign in signs.items():
        text = text.replace(sign, placeholder)
    return text


_ID = re.compile(r"[^@\x00-\x1f\x7f]{1,500}")


def _slug_or_none(text: str) -> str:
    return slug(text) if text else ""


SlugOrNone = Annotated[str, AfterValidator(_slug_or_none)]
#: No pattern: a form would show it to a person. The rule's own words say what is wrong.
Slug = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME), AfterValidator(slug)]
NameForm = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(name_form)]


def _known_id(value: Any) -> Any:
    """A UUID in any spelling is one; anything else is a foreign id, and stays."""
    if not isinstance(value, str):
        return value
    try:
        return UUID(value)
    except ValueError:
        if not _ID.fullmatch(value):
            raise ValueError("an id is no address, and is 500 characters long at most") from None
        return value


def _unless(pattern: str, sentence: str) -> dict[str, Any]:
    """A schema's part that refuses a text unless it matches, and says "SENTENCE was expected": whoever reads
    a `pattern` of a schema that was not matched is shown the pattern (jsonschema, and so Prefect)."""
    return {"if": {"type": "string", "not": {"pattern": pattern}}, "then": {"const": sentence}}


@dataclass(frozen=True)
class _Tabs:
    """Of `X | None`: how the form calls its two tabs, in place of "date-time" and "None". X's `_unless` is
    put beside `anyOf`: in it its sentence would not be told."""

    some: str
    none: str

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core)
        first, nothing = schema["anyOf"]
        first["title"], nothing["title"] = self.some, self.none
        return {**schema, **{key: first.pop(key) for key in ("if", "then") if key in first}}


#: Who or what is meant: a UUID, or a foreign id that stands for one. No address: Prefect keeps parameters.
AnyId = Annotated[
    UUID | str,
    BeforeValidator(_known_id),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": 500,
            **_unless("^[^@]+$", "an id, which is no address"),
        }
    ),
]

_UUID = r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}(?![\s\S])"
_SUCH_AS = "0192f0c1-6b2e-7c1a-9d55-2f0a3c4b5d6e"
Uid = Annotated[
    UUID,
    WithJsonSchema({"type": "string", "format": "uuid", **_unless(f"^{_UUID}", f"an id such as {_SUCH_AS}")}),
]


def _last_word(value: Any) -> Any:
    return value.split()[-1] if isinstance(value, str) and value.split() else value


#: A message: its id, or what a form lists, which ends with its id (msgxc/offering.py).
MessageId = Annotated[
    UUID,
    BeforeValidator(_last_word),
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": 500,
            **_unless(rf"(^|\s){_UUID}", f"one of the list, or an id such as {_SUCH_AS}"),
        }
    ),
]

_DAY = (
    r"((19|2[0-9])[0-9]{2}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    r"|02-(0[1-9]|1[0-9]|2[0-8]))|(19|2[0-9])([02468][48]|[2468]0|[13579][26])-02-29|2[048]00-02-29)"
)
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,9})?)?"
_ZONE = r"([Zz]|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])"


def _moment(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs a time zone, for example 2026-12-01T09:00:00+01:00")
    if not 1900 <= value.year <= 2999:
        raise ValueError("a time lies between 1900 and 2999")
    return value


#: A time with its zone. The pattern says all of it: Prefect refuses with the request what the flow would.
Moment = Annotated[
    datetime,
    AfterValidator(_moment),
    WithJsonSchema(
        {
            "type": "string",
            "format": "date-time",
            **_unless(
                rf"^{_DAY}[Tt ]{_TIME}{_ZONE}(?![\s\S])",
                "a time with its time zone, from 1900 to 2999, as in 2026-12-01T09:00:00+01:00",
            ),
        }
    ),
]


def _choices(choices: type[Enum]) -> WithJsonSchema:
    """An enum's choices, written out in place: else the form shows the enum's title, not the field's."""
    values = [choice.value for choice in choices]
    return WithJsonSchema({"type": "integer" if isinstance(values[0], int) else "string", "enum": values})


def _without_kind(schema: dict[str, Any]) -> None:
    """Leave `kind` out of the form: which fields are filled in says it. By API it may still be given."""
    kind = schema["properties"].pop("kind")["const"]
    del schema["additionalProperties"]  # it would name patterns; the names of the fields say the same
    schema["propertyNames"] = {"enum": [*schema["properties"], "kind"]}
    schema["dependentSchemas"] = {"kind": {"properties": {"kind": {"const": kind}}}}


def _to_be_chosen(schema: dict[str, Any]) -> None:
    """A choice of one, without a default."""
    schema.pop("default", None)
    schema["enum"] = [schema.pop("const")]


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

    # It has to be chosen: the form fills nothing in, and an empty selection is refused.
    model_config = ConfigDict(title="All", json_schema_extra={"required": ["kind"]})
    kind: Literal["everyone"] = Field(default="everyone", title="To all", json_schema_extra=_to_be_chosen)


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

    model_config = _tab("People")
    kind: Literal["people"] = "people"
    uids: tuple[AnyId, ...] = Field(
        min_length=1,
        max_length=10_000,
        title="Uids",
        description="One uid each, as `msgxc people export` writes them, or the foreign id of an import.",
        examples=[["0192f0c1-6b2e-7c1a-9d55-2f0a3c4b5d6e", "me"]],
    )


class Subscribers(_Form):
    """The subscribers of a thread; the thread's own channels and their preferences for it hold."""

    model_config = _tab("Thread")
    kind: Literal["thread"] = "thread"
    thread: AnyId = Field(title="Thread", description="Id of the thread.")


class Unreached(_Form):
    """Those whom another campaign has not reached, as a fallback does."""

    model_config = _tab("Rest")
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


#: The tabs of the form, in this order: the first is open, so it is not everyone.
Selection = Annotated[
    Annotated[Cohort, Tag("cohort")]
    | Annotated[Where, Tag("where")]
    | Annotated[People, Tag("people")]
    | Annotated[Subscribers, Tag("thread")]
    | Annotated[Unreached, Tag("unreached")]
    | Annotated[Everyone, Tag("everyone")],
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


PerSecond = Annotated[int, Field(ge=1, le=100_000)]


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
    not_before: Annotated[Moment | None, _Tabs("Time", "At once")] = Field(
        default=None,
        title="Not before",
        description="Start sending at this time, with its time zone.",
    )
    per_second: Annotated[PerSecond | None, _Tabs("Number", "No limit")] = Field(
        default=None,
        title="At most per second",
        description="Slows the sending down, for example to spare your own site.",
    )
    in_doubt: Annotated[InDoubt, _choices(InDoubt)] = Field(
        default=InDoubt.DEFAULT,
        title="After a crash",
        description="For the few messages of which nobody knows whether they left. resend: may repeat one, "
        "and the device replaces the first copy. hold: never repeats. default: hold for SMS, else resend.",
    )

    @field_validator("channels")
    @classmethod
    def _distinct(cls, value: tuple[Channel, ...]) -> tuple[Channel, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a channel stands twice in the list")
        return value


class UrgentSending(Sending):
    """How it is sent when it cannot wait: what is left out is that of an alert, not of an advertisement."""

    urgency: Annotated[Urgency, _choices(Urgency)] = Field(
        default=Urgency.HIGH, title="Urgency", description=Sending.model_fields["urgency"].description
    )
    purpose: Annotated[Purpose, _choices(Purpose)] = Field(
        default=Purpose.SERVICE, title="Purpose", description=Sending.model_fields["purpose"].description
    )


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
    template: SlugOrNone = Field(
        default="",
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
    template: Slug
    audience: Audience  # no default: that somebody forgot it must not mean everybody
    sending: Sending = Sending()
    fallback: Fallback = Fallback()
    values: dict[str, str] = Field(
        default_factory=dict, description="Values for the template, the same for all."
    )
    parent: str = ""  # a fallback's campaign
    thread: UUID | None = None  # whose rules hold; set from the audience
    message: MessageOf | None = None  # it delivers one message (msgxc/messages)


class OfCampaign(_Form):
    """The form of `fallback`: which campaign it follows."""

    campaign: Slug


Shard = Annotated[int, Field(ge=0)]
LastShard = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]


class PartOfCampaign(OfCampaign):
    """The form of `slices`: which shards, and how much of the campaign's throttle."""

    first: Shard
    last: LastShard
    share: Share = 1.0


#: What is typed where a form offers a list besides, and that nothing is (msgxc/offering.py).
TYPED, NOTHING = "Text", "None"
_TYPED = _Tabs(TYPED, NOTHING)
NameOrNone = Annotated[Slug | None, _TYPED]
MessageOrNone = Annotated[MessageId | None, _TYPED]
UidOrNone = Annotated[Uid | None, _TYPED]


class Recall(_Form):
    """The form of `recall`: a campaign, or a message."""

    campaign: NameOrNone = None
    message: MessageOrNone = None
    thread: UidOrNone = None


def fill_name(form: str, due: datetime) -> str:
    """`weekly-{date}` with the time at which the run is due (aware, already in the campaign's zone). The hour
    that comes twice, when clocks are put back, has a `b` behind it the second time."""

    def filled(found: re.Match[str]) -> str:
        again = "b" if found.group() == "{hour}" and due.fold else ""
        return due.strftime(PLACEHOLDERS[found.group()]).lower() + again

    return re.sub(r"\{\w+\}", filled, form)


# -- what Prefect hands over --------------------------------------------------------------------------------

_KIND, _OF_PREFECT = "__prefect_kind", "__prefect"
_HOLDS = {"none": "value", "json": "value", "jinja": "template", "workspace_variable": "variable_name"}
_DEEPEST = 50  # of parameters within parameters
_LEFT_OUT = object()
_JINJA = re.compile(r"\{[{%#]")


def asked(parameters: Mapping[str, Any], sending: type[Sending] = Sending) -> CampaignSpec:
    """The campaign that a form, a schedule or a request asks for; `sending`: whose defaults hold.

    The name's placeholders are to be filled in before. Raises WrongInput, with one sentence.
    """
    with _in_words():
        given = unpacked(parameters)
        how = given.get("sending", {})
        if isinstance(how, Mapping):
            how = {**sending().model_dump(), **how}
        elif isinstance(how, Sending):
            how = how.model_dump()
        return CampaignSpec.model_validate({**given, "sending": how})


Filled = TypeVar("Filled", OfCampaign, PartOfCampaign, Recall)


def filled_in(form: type[Filled], parameters: Mapping[str, Any]) -> Filled:
    """What a form, a schedule or a request has filled in. Raises WrongInput, with one sentence."""
    with _in_words():
        return form.model_validate(unpacked(parameters))


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        raise WrongInput(_words(error)) from None
    except ValueError as error:
        raise WrongInput(str(error)) from None


def unpacked(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as somebody has filled them in. Prefect resolves those of runs; those of a schedule it hands
    over as its form has stored them: {"__prefect_kind": "json", "value": "…"}, without a value: left out.

    Raises ValueError, with one sentence, for what cannot be known here: a template or a variable of
    Prefect's, and any other key that is Prefect's own.
    """
    found = _unpacked(parameters, "", 0)
    return found if isinstance(found, dict) else {}


def _unpacked(value: Any, where: str, depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError(f"{where}: more than {_DEEPEST} levels")
    if isinstance(value, Mapping):
        if _KIND in value:
            return _of_prefect(value, where, depth)
        if own := next((key for key in value if str(key).startswith(_OF_PREFECT)), None):
            raise ValueError(
                f"{where or 'the parameters'}: {own} is a key of Prefect's, and says nothing here"
            )
        named = ((key, _unpacked(one, f"{where}.{key}".lstrip("."), depth + 1)) for key, one in value.items())
        return {key: one for key, one in named if one is not _LEFT_OUT}
    if isinstance(value, list | tuple):
        each = (_unpacked(one, where, depth + 1) for one in value)
        return [one for one in each if one is not _LEFT_OUT]
    return value


def _of_prefect(value: Mapping[str, Any], where: str, depth: int) -> Any:
    """What an object of Prefect's stands for."""
    kind, where = value[_KIND], where or "the parameters"
    holds = _HOLDS.get(kind) if isinstance(kind, str) else None
    if holds is None or set(value) - {_KIND, *_HOLDS.values()}:
        raise ValueError(f"{where}: not a value that Prefect's form stores; type it in again")
    if holds not in value:
        return _LEFT_OUT
    held = _unpacked(value[holds], where, depth + 1)
    if kind == "workspace_variable":
        raise ValueError(f"{where}: a variable of Prefect's is not looked up here; type the value itself")
    if kind == "jinja" and (not isinstance(held, str) or _JINJA.search(held)):
        raise ValueError(f"{where}: a template of Prefect's is not filled in here; type the value itself")
    if kind == "json" and isinstance(held, str):
        if not held.strip():
            return _LEFT_OUT
        try:
            held = json.loads(held)
        except (ValueError, RecursionError):
            raise ValueError(f"{where}: what was typed there is not JSON") from None
        return _unpacked(held, where, depth + 1)
    return held


def _words(error: ValidationError) -> str:
    """What is wrong, for a person: where, and why."""
    tags, said = {*_FIELDS, "everyone"}, []
    for one in error.errors(include_url=False, include_context=False, include_input=False)[:3]:
        loc = one["loc"]  # which kind of selection it is stands behind `to`, or the number of an exclusion
        kinds = {at + 1 for at, part in enumerate(loc) if part == "to" or isinstance(part, int)}
        path = ".".join(str(part) for at, part in enumerate(loc) if at not in kinds or part not in tags)
        why = {
            "missing": "has to be filled in",
            "union_tag_invalid": _TO_CHOOSE,
            "extra_forbidden": "not known",
        }
        text = one["msg"].removeprefix("Value error, ")
        said.append(f"{path}: {why.get(one['type'], text)}" if path else text)
    return "; ".join(said)


_TO_CHOOSE = "choose one: a cohort, a rule, people, a thread, those unreached, or everyone"
