"""Text to expression: a recursive descent that raises WrongExpression and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from difflib import get_close_matches
from typing import NamedTuple, NoReturn, cast
from uuid import UUID

from msgxc.errors import WrongExpression
from msgxc.expression.nodes import (
    FIELDS,
    KEYWORDS,
    MAX_AGE,
    MAX_DEPTH,
    MAX_LENGTH,
    MAX_NUMBER,
    PERSONAL_FIELDS,
    TEXT_FIELDS,
    THINGS,
    TIME_FIELDS,
    UNITS,
    Age,
    And,
    Comparison,
    Expression,
    Has,
    Not,
    Op,
    Or,
    Present,
    Value,
    Within,
)
from msgxc.model import OLD_TYPES, Channel

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9]{2}:[0-9]{2}(?::[0-9]{2})?(?:Z|[+-][0-9]{2}:[0-9]{2}))?)
    | (?P<age>[0-9]+[hdw]\b)
    | (?P<number>[+-]?[0-9]+(?:\.[0-9]+)?)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)?)
    | (?P<op>!=|<=|>=|==|=|<|>)
    | (?P<mark>[(),])""",
    re.VERBOSE | re.DOTALL,
)
_FOUND = {"text": "text", "time": "a date", "age": "an age", "number": "a number", "end": "the end"}


class _Token(NamedTuple):
    kind: str
    text: str
    column: int

    @property
    def found(self) -> str:
        """How an error names it: words and signs as they are, never what somebody quoted."""
        return _FOUND.get(self.kind, f"`{self.text}`")


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            quoted = text[at] in "\"'"
            raise WrongExpression("this text has no closing quote" if quoted else "cannot read this", at + 1)
        if found.lastgroup != "space":
            yield _Token(str(found.lastgroup), found.group(), at + 1)
        at = found.end()
    yield _Token("end", "", len(text) + 1)


def parse(text: str) -> Expression:
    """Read an expression. Raises WrongExpression with the column and what was expected, and nothing else."""
    if len(text) > MAX_LENGTH:
        raise WrongExpression(f"an expression has at most {MAX_LENGTH} characters", MAX_LENGTH + 1)
    reader = _Reader(list(_tokens(text)))
    expression = reader.expression(0)
    if reader.next.kind != "end":
        reader.fail("`and`, `or` or the end")
    return expression


class _Reader:
    """Recursive descent over the tokens; `depth` counts parentheses and nots."""

    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens = tokens
        self.at = 0

    @property
    def next(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        token = self.next
        self.at += token.kind != "end"
        return token

    def skip(self, word: str) -> bool:
        """Step over this keyword or sign, if it comes next."""
        here = self.next.kind in ("word", "mark") and self.next.text.lower() == word
        self.at += here
        return here

    def expect(self, word: str) -> None:
        if not self.skip(word):
            self.fail(f"`{word}`")

    def fail(self, expected: str) -> NoReturn:
        raise WrongExpression(f"expected {expected}, found {self.next.found}", self.next.column)

    def expression(self, depth: int) -> Expression:
        terms = [self.conjunction(depth)]
        while self.skip("or"):
            terms.append(self.conjunction(depth))
        return Or(tuple(terms)) if len(terms) > 1 else terms[0]

    def conjunction(self, depth: int) -> Expression:
        terms = [self.term(depth)]
        while self.skip("and"):
            terms.append(self.term(depth))
        return And(tuple(terms)) if len(terms) > 1 else terms[0]

    def term(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise WrongExpression(f"more than {MAX_DEPTH} levels of parentheses and nots", self.next.column)
        if self.skip("not"):
            return Not(self.term(depth + 1))
        if self.skip("("):
            inner = self.expression(depth + 1)
            self.expect(")")
            return inner
        return self.has() if self.skip("has") else self.test(self.field())

    def has(self) -> Has:
        what = self.next.text.lower()
        if self.next.kind != "word" or what not in THINGS:
            self.fail("`consent`, `channel`, `device`, `email` or `cell`")
        self.take()
        if what == "consent":
            return Has(what, self.text())
        return Has(what, self.channel()) if what == "channel" else Has(what)

    def text(self) -> str:
        if self.next.kind != "text":
            self.fail("a purpose in quotes")
        return cast(str, self.value())

    def channel(self) -> str:
        name = self.next.text.lower().strip("\"'")
        channel = {**OLD_TYPES, **{c.value: c for c in Channel}}.get(name)
        if channel is None:
            self.fail("a channel (" + ", ".join(Channel) + ")")
        self.take()
        return channel.value

    def field(self) -> str:
        token = self.next
        name = token.text
        if token.kind != "word" or name.lower() in KEYWORDS:
            self.fail("a field, `has`, `not` or `(`")
        if name not in FIELDS and not name.startswith("attr."):
            raise WrongExpression(_unknown_field(name), token.column)
        self.take()
        return name

    def test(self, field: str) -> Expression:
        if self.skip("is"):
            return Present(field, self.presence())
        if self.skip("not"):
            self.expect("in")
            return Not(Within(field, self.values(field)))
        if self.skip("in"):
            return Within(field, self.values(field))
        if self.next.kind != "op":
            self.fail("a comparison (= != < <= > >=), `in` or `is`")
        token = self.take()
        op = cast(Op, "=" if token.text == "==" else token.text)
        return Comparison(field, op, self.checked(field, op))

    def presence(self) -> bool:
        if self.skip("set"):
            return True
        if not self.skip("missing"):
            self.fail("`set` or `missing`")
        return False

    def values(self, field: str) -> tuple[Value, ...]:
        self.expect("(")
        values = [self.checked(field, "=")]
        while self.skip(","):
            values.append(self.checked(field, "="))
        self.expect(")")
        return tuple(values)

    def checked(self, field: str, op: Op) -> Value:
        """The next value, if it can be compared with the field in this way."""
        column = self.next.column
        value = self.value()
        wrong = _mismatch(field, op, value)
        if wrong:
            raise WrongExpression(wrong, column)
        return str(UUID(cast(str, value))) if field == "uid" else value

    def value(self) -> Value:
        token = self.next
        word = token.text.lower()
        if token.kind == "word" and word in ("true", "false"):
            value: Value = word == "true"
        elif token.kind in _LITERALS:
            value = _literal(token)
        elif token.kind == "word":
            raise WrongExpression(f'text needs quotes: "{token.text}"', token.column)
        else:
            self.fail('a value such as "de", 12, true, 30d or 2026-01-31')
        self.take()
        return value


def _unknown_field(name: str) -> str:
    if name in ("consents", "channels", "devices"):
        return f"ask for {name} with `has {name.removesuffix('s')}`"
    near = get_close_matches(name.lower(), sorted(FIELDS), n=1, cutoff=0.6)
    meant = f", or did you mean `{near[0]}`?" if near else ""
    return f"no field `{name}`: an attribute is written `attr.{name.rpartition('.')[2]}`{meant}"


def _mismatch(field: str, op: Op, value: Value) -> str:
    """Why the field cannot be compared so, or ""."""
    if field in PERSONAL_FIELDS:
        return f"{field} is personal: only `{field} is set` and `{field} is missing` may be asked"
    if field in TIME_FIELDS and not isinstance(value, date | Age):
        return f"{field} is a time: compare it with an age (30d) or a date (2026-01-31)"
    if field in TEXT_FIELDS and not isinstance(value, str):
        return f"{field} is text: compare it with text in quotes"
    if isinstance(value, Age) and op in ("=", "!="):
        return "an age is compared with < <= > or >="
    if isinstance(value, str | bool) and op not in ("=", "!="):
        return "text, true and false are compared with = or !="
    if field == "uid" and not _is_uuid(cast(str, value)):
        return "a uid looks like 6f1c0f1e-5a0e-4c5e-9d53-2f1f6f7a8b9c"
    return ""


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _literal(token: _Token) -> Value:
    try:
        return _LITERALS[token.kind](token.text)
    except ValueError as error:
        raise WrongExpression(str(error), token.column) from None


def _read_text(text: str) -> str:
    value = re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
    if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value):
        raise ValueError("text with a character that cannot be stored")
    return value


def _read_number(text: str) -> int | float:
    value = float(text) if "." in text else int(text)
    if abs(value) > MAX_NUMBER:
        raise ValueError(f"a number lies between -{MAX_NUMBER} and {MAX_NUMBER}")
    return value


def _read_age(text: str) -> Age:
    count, unit = int(text[:-1]), UNITS[text[-1]]
    if count > MAX_AGE // unit:
        raise ValueError(f"an age is at most {MAX_AGE.days}d")
    return Age(count * unit)


def _read_time(text: str) -> date | datetime:
    try:
        value = datetime.fromisoformat(text) if "T" in text else date.fromisoformat(text)
    except ValueError:
        raise ValueError("there is no such date") from None
    if not 1900 <= value.year <= 2999:
        raise ValueError("a date lies between 1900 and 2999")
    return value.astimezone(UTC) if isinstance(value, datetime) else value


_LITERALS: Mapping[str, Callable[[str], Value]] = {
    "text": _read_text,
    "number": _read_number,
    "age": _read_age,
    "time": _read_time,
}
