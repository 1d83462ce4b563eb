"""The parts of an expression, frozen; and what a store may use of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal, TypeAlias

MAX_LENGTH = 2000  # characters
MAX_DEPTH = 50  # parentheses and nots within each other
MAX_AGE = timedelta(days=36_500)
MAX_NUMBER = 2**53  # beyond it, integers and floats stop agreeing

TEXT_FIELDS = frozenset({"uid", "lang", "tz"})
TIME_FIELDS = frozenset({"last_seen", "created"})
PERSONAL_FIELDS = frozenset({"name", "email", "cell"})
FIELDS = TEXT_FIELDS | TIME_FIELDS | PERSONAL_FIELDS
THINGS = ("consent", "channel", "device", "email", "cell")
UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
KEYWORDS = frozenset({"and", "or", "not", "in", "is", "has", "set", "missing", "true", "false"})

Op = Literal["=", "!=", "<", "<=", ">", ">="]
Order = Literal["=", "<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class Age:
    """How long ago something was: `last_seen < 30d`."""

    length: timedelta


Value: TypeAlias = str | int | float | bool | date | datetime | Age


@dataclass(frozen=True, slots=True)
class Comparison:
    """`field` is a Recipient field's name or `attr.NAME`."""

    field: str
    op: Op
    value: Value


@dataclass(frozen=True, slots=True)
class Within:
    """The field equals one of the values."""

    field: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Present:
    """`is set` or `is missing`."""

    field: str
    present: bool


@dataclass(frozen=True, slots=True)
class Has:
    """`what` is one of THINGS; `which` names the consent or the channel, else "".

    A channel is had by who has an address on it and whose own preference does not rule it out.
    """

    what: str
    which: str = ""


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    term: Expression


@dataclass(frozen=True, slots=True)
class And:
    """Every term holds; at least two."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of the terms holds; at least two."""

    terms: tuple[Expression, ...]


Expression: TypeAlias = Comparison | Within | Present | Has | Not | And | Or


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that a store may use to read less: whoever matches the expression fulfils it.

    `field`: uid, lang, tz, last_seen, created, or `attr.NAME`. `value`: text (only with `=`), a number, a
    bool (only with `=`), or an aware datetime (only for last_seen and created). Who lacks the field fails it.
    """

    field: str
    op: Order
    value: str | int | float | bool | datetime


Narrowing: TypeAlias = Sequence[Condition]
