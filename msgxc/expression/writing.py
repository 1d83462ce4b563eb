"""Expression to text."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from types import UnionType

from msgxc.expression.nodes import (
    UNITS,
    Age,
    And,
    Comparison,
    Expression,
    Has,
    Not,
    Or,
    Present,
    Value,
    Within,
)


def unparse(expression: Expression) -> str:
    """The expression as text, which parses to the same expression (if it is not longer than MAX_LENGTH)."""
    match expression:
        case Comparison(field, op, value):
            return f"{field} {op} {_written(value)}"
        case Within(field, values):
            return f"{field} in ({', '.join(map(_written, values))})"
        case Present(field, present):
            return f"{field} is {'set' if present else 'missing'}"
        case Has(what, which):
            return f"has {what} {_written(which) if what == 'consent' else which}".rstrip()
        case Not(term):
            return f"not {_inner(term, And | Or)}"
        case And(terms):
            return " and ".join(_inner(term, And | Or) for term in terms)
        case Or(terms):
            return " or ".join(_inner(term, Or) for term in terms)


def _inner(term: Expression, looser: type[And] | type[Or] | UnionType) -> str:
    return f"({unparse(term)})" if isinstance(term, looser) else unparse(term)


def _written(value: Value) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
        case Age(length):
            days, rest = divmod(length, UNITS["d"])
            return f"{length // UNITS['h']}h" if rest else f"{days}d"
        case date():
            return value.isoformat()
        case int() | float():
            return format(Decimal(repr(value)), "f")
