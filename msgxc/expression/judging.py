"""Whom an expression means, and what a store may know of that in advance."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, cast

from msgxc.expression.nodes import (
    PERSONAL_FIELDS,
    TIME_FIELDS,
    Age,
    And,
    Comparison,
    Condition,
    Expression,
    Has,
    Not,
    Or,
    Order,
    Present,
    Value,
    Within,
)
from msgxc.model import DEVICE_CHANNELS, Attribute, Channel, Recipient

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MIRRORED: Mapping[str, Order] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def matches(expression: Expression, recipient: Recipient, now: datetime) -> bool:
    """Whether the recipient is meant. `now` is aware; ages count back from it."""
    match expression:
        case Comparison(field, "!=", value):
            return not _holds(_field(recipient, field), "=", value, now)
        case Comparison(field, op, value):
            return _holds(_field(recipient, field), cast(Order, op), value, now)
        case Within(field, values):
            actual = _field(recipient, field)
            return any(_holds(actual, "=", value, now) for value in values)
        case Present(field, present):
            return (_field(recipient, field) is not None) is present
        case Has(what, which):
            return _has(recipient, what, which)
        case Not(term):
            return not matches(term, recipient, now)
        case And(terms):
            return all(matches(term, recipient, now) for term in terms)
        case Or(terms):
            return any(matches(term, recipient, now) for term in terms)


def narrow(expression: Expression, now: datetime) -> tuple[Condition, ...]:
    """Conditions that everybody who matches fulfils; there may be none."""
    match expression:
        case And(terms):
            return tuple(condition for term in terms for condition in narrow(term, now))
        case Within(field, (value,)):
            return narrow(Comparison(field, "=", value), now)
        case Comparison(field, op, value) if op != "!=" and field not in PERSONAL_FIELDS:
            if isinstance(value, date | Age):
                spans = _spans(op, value, now) if field in TIME_FIELDS else ()
                return tuple(Condition(field, order, at) for order, at in spans)
            return (Condition(field, op, value),)
    return ()


def _field(recipient: Recipient, field: str) -> Attribute | datetime:
    if field.startswith("attr."):
        return recipient.attributes.get(field[5:])
    if field == "uid":
        return str(recipient.uid)
    value: str | datetime | None = getattr(recipient, field)
    return value if value != "" else None


def _holds(actual: Attribute | datetime, op: Order, value: Value, now: datetime) -> bool:
    match value:
        case Age() | date():
            at = _moment(actual)
            return at is not None and all(_COMPARE[o](at, bound) for o, bound in _spans(op, value, now))
        case bool():
            return actual is value
        case str():
            return isinstance(actual, str) and actual == value
        case int() | float():
            numeric = isinstance(actual, int | float) and not isinstance(actual, bool)
            return numeric and _COMPARE[op](actual, value)


def _spans(op: Order, value: date | Age, now: datetime) -> tuple[tuple[Order, datetime], ...]:
    """The comparison as bounds on a moment. A date is its whole day in UTC; an age counts back from now."""
    if isinstance(value, Age):
        return ((_MIRRORED[op], now - value.length),)
    if isinstance(value, datetime):
        return ((op, value),)
    first = datetime.combine(value, time(), UTC)
    after = first + timedelta(days=1)
    bounds: Mapping[str, tuple[tuple[Order, datetime], ...]] = {
        "=": ((">=", first), ("<", after)),
        "<": (("<", first),),
        "<=": (("<", after),),
        ">": ((">=", after),),
        ">=": ((">=", first),),
    }
    return bounds[op]


def _moment(actual: Attribute | datetime) -> datetime | None:
    """A time; an attribute that holds one as text (ISO 8601; without a zone it means UTC); else None."""
    if not isinstance(actual, str):
        return actual if isinstance(actual, datetime) else None
    try:
        at = datetime.fromisoformat(actual)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _has(recipient: Recipient, what: str, which: str) -> bool:
    if what == "consent":
        return which in recipient.consents
    if what == "channel":
        return _reachable(recipient, Channel(which))
    return bool({"device": recipient.devices, "email": recipient.email, "cell": recipient.cell}[what])


def _reachable(recipient: Recipient, channel: Channel) -> bool:
    if recipient.channels is not None and channel not in recipient.channels:
        return False
    if channel in DEVICE_CHANNELS:
        return any(device.channel is channel for device in recipient.devices)
    return bool({Channel.EMAIL: recipient.email, Channel.SMS: recipient.cell}.get(channel, True))
