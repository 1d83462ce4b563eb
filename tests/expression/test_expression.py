"""The audience language: what it means, what it refuses, and what a store may take from it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgxc.errors import WrongExpression
from msgxc.expression import Condition, Expression, matches, narrow, parse, unparse
from msgxc.expression.nodes import (
    MAX_DEPTH,
    MAX_LENGTH,
    Age,
    And,
    Comparison,
    Has,
    Not,
    Or,
    Present,
    Within,
)
from msgxc.model import Channel, Device, Recipient

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
UID = UUID("6f1c0f1e-5a0e-4c5e-9d53-2f1f6f7a8b9c")
ANNA = Recipient(
    uid=UID,
    name="Anna",
    email="anna@example.com",
    lang="de",
    tz="Europe/Berlin",
    channels=frozenset({Channel.APNS, Channel.EMAIL}),
    devices=(Device(Channel.APNS, "a1", NOW), Device(Channel.FCM, "f1", NOW)),
    consents=frozenset({"marketing"}),
    attributes={
        "plan": "gold",
        "visits": 12,
        "score": 0.5,
        "vip": True,
        "joined": "2026-01-31",
        "none": None,
    },
    last_seen=NOW - timedelta(days=10),
    created=datetime(2026, 1, 31, 23, 59, tzinfo=UTC),
)
NOBODY = Recipient(uid=UUID(int=1))


HOLDS = [
    'lang = "de" and last_seen < 30d',
    "last_seen > 1w AND last_seen <= 240h",
    'lang in ("fr", "de") and lang not in ("ja")',
    "attr.visits >= 12 and attr.visits < 12.5 and attr.score = 0.5",
    "attr.vip = true and not attr.vip = false",
    "attr.plan != \"silver\" and attr.plan == 'gold'",
    "attr.joined = 2026-01-31 and attr.joined > 2026-01-30 and attr.joined < 400d",
    "created = 2026-01-31 and created <= 2026-01-31 and created < 2026-02-01",
    "created >= 2026-01-31T23:59:00Z and created > 2026-01-31T00:00+01:00",
    'has consent "marketing" and has channel apn and has channel email and has device and has email',
    "not has channel fcm and not has channel websocket and not has cell and cell is missing",
    "name is set and attr.no is missing and attr.other is missing",
    'uid = "6F1C0F1E-5A0E-4C5E-9D53-2F1F6F7A8B9C"',
    'lang = "fr" or lang = "en" or lang = "de" and tz = "Europe/Berlin"',
    'not (lang = "de" and not tz = "Europe/Berlin")',
]


@pytest.mark.parametrize("text", HOLDS)
def test_what_holds_for_anna(text: str) -> None:
    """Each form of the language means what docs/audience.md says, and its opposite does not hold."""
    assert matches(parse(text), ANNA, NOW)
    assert not matches(parse(f"not ({text})"), ANNA, NOW)


@pytest.mark.parametrize(
    "test",
    [
        'lang = "de"',
        "last_seen < 30d",
        "last_seen > 30d",
        "attr.visits < 5",
        "attr.visits >= 0",
        "attr.x = false",
    ],
)
def test_what_is_missing_fails_every_comparison(test: str) -> None:
    """A missing field makes a comparison false, whichever way it points."""
    assert not matches(parse(test), NOBODY, NOW)


def test_unequal_is_the_opposite_of_equal() -> None:
    """`!=` holds for whoever lacks the field or has another type in it."""
    assert matches(parse('lang != "de" and attr.visits != 12'), NOBODY, NOW)
    assert matches(parse('attr.visits != "12"'), ANNA, NOW)


@pytest.mark.parametrize(
    "text", ["attr.vip = 1", 'attr.visits = "12"', "attr.score = true", "attr.plan < 30d"]
)
def test_types_are_kept_apart(text: str) -> None:
    """Text, numbers and true/false never equal one another."""
    assert not matches(parse(text), ANNA, NOW)


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("", 1, "expected a field"),
        ('lang = "de" lang', 13, "expected `and`, `or` or the end, found `lang`"),
        ('(lang = "de"', 13, "expected `)`, found the end"),
        ("lang = de", 8, 'text needs quotes: "de"'),
        ('lang = "de', 8, "no closing quote"),
        ('lnag = "de"', 1, "did you mean `lang`?"),
        ('plan = "gold"', 1, "written `attr.plan`"),
        ('consents = "x"', 1, "`has consent`"),
        ('email = "a@example.com"', 9, "email is personal"),
        ("lang < 3", 8, "lang is text"),
        ('lang < "de"', 8, "compared with = or !="),
        ("last_seen < 3", 13, "is a time"),
        ("last_seen = 3d", 13, "compared with < <= > or >="),
        ("last_seen < 99999999999w", 13, "at most 36500d"),
        ("created < 2026-02-30", 11, "no such date"),
        ("attr.n = 9007199254740993", 10, "between"),
        ("has wings", 5, "expected `consent`"),
        ("has channel pigeon", 13, "expected a channel"),
        ("lang is empty", 9, "expected `set` or `missing`"),
        ('uid = "anna"', 7, "a uid looks like"),
        ("lang ; drop", 6, "cannot read this"),
        ("not " * (MAX_DEPTH + 1) + "has email", 4 * (MAX_DEPTH + 1) + 1, "levels"),
        ("x" * (MAX_LENGTH + 1), MAX_LENGTH + 1, "at most 2000"),
    ],
)
def test_errors_say_where_and_what(text: str, column: int, says: str) -> None:
    """A wrong expression names its column and what was expected there."""
    with pytest.raises(WrongExpression) as caught:
        parse(text)
    assert caught.value.column == column
    assert says in str(caught.value)


def test_errors_do_not_repeat_quoted_text() -> None:
    """What stands in quotes may be an address, so no error repeats it."""
    for text in [
        'email = "anna@example.com"',
        'has "anna@example.com"',
        'uid = "anna@example.com"',
        '"anna" = 1',
    ]:
        with pytest.raises(WrongExpression) as caught:
            parse(text)
        assert "anna" not in str(caught.value)


def test_narrowing_of_the_usual_question() -> None:
    """Language and age become conditions on columns; a date becomes its whole day."""
    assert narrow(parse('lang = "de" and last_seen < 30d'), NOW) == (
        Condition("lang", "=", "de"),
        Condition("last_seen", ">", NOW - timedelta(days=30)),
    )
    assert narrow(parse("created = 2026-01-31"), NOW) == (
        Condition("created", ">=", datetime(2026, 1, 31, tzinfo=UTC)),
        Condition("created", "<", datetime(2026, 2, 1, tzinfo=UTC)),
    )


# -- properties ---------------------------------------------------------------------------------------------

TEXTS = st.sampled_from(["de", "en", "gold", "12", "true", "2026-01-31", 'q"\\', "é🎉"])
NUMBERS = st.sampled_from([0, 1, -1, 12, 0.5, 1.0, -2.25, 1e-7, 2**53])
DATES = st.sampled_from([date(2026, 1, 31), date(2026, 2, 1), NOW, NOW - timedelta(days=10)])
AGES = st.sampled_from([Age(timedelta(hours=h)) for h in (0, 5, 24, 240, 7 * 24)])
ATTRIBUTES = st.sampled_from(["attr.a", "attr.b"])
TIMES = st.sampled_from(["last_seen", "created"])
ORDERS = st.sampled_from(["<", "<=", ">", ">="])
EQUALS = st.sampled_from(["=", "!="])
LEAVES = st.one_of(
    st.builds(Comparison, st.sampled_from(["lang", "tz"]) | ATTRIBUTES, EQUALS, TEXTS),
    st.builds(Comparison, ATTRIBUTES, EQUALS, st.booleans()),
    st.builds(Comparison, ATTRIBUTES, ORDERS | EQUALS, NUMBERS | DATES),
    st.builds(Comparison, TIMES, ORDERS | EQUALS, DATES),
    st.builds(Comparison, TIMES | ATTRIBUTES, ORDERS, AGES),
    st.builds(Within, st.just("lang") | ATTRIBUTES, st.lists(TEXTS, min_size=1, max_size=3).map(tuple)),
    st.builds(
        Within, ATTRIBUTES, st.lists(NUMBERS | st.booleans() | DATES, min_size=1, max_size=3).map(tuple)
    ),
    st.builds(Present, st.sampled_from(["lang", "name", "email", "last_seen", "attr.a"]), st.booleans()),
    st.builds(Has, st.just("consent"), TEXTS),
    st.builds(Has, st.just("channel"), st.sampled_from([c.value for c in Channel])),
    st.builds(Has, st.sampled_from(["device", "email", "cell"])),
)


def _grow(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    several = st.lists(inner, min_size=2, max_size=4).map(tuple)
    return st.builds(Not, inner) | st.builds(And, several) | st.builds(Or, several)


EXPRESSIONS = st.recursive(LEAVES, _grow, max_leaves=8)
MOMENTS = st.none() | DATES.map(
    lambda d: d if isinstance(d, datetime) else datetime(d.year, d.month, d.day, tzinfo=UTC)
)
RECIPIENTS = st.builds(
    Recipient,
    uid=st.just(UID),
    lang=st.sampled_from(["", "de", "en"]),
    tz=st.sampled_from(["", "de"]),
    email=st.sampled_from(["", "a@example.com"]),
    channels=st.none() | st.frozensets(st.sampled_from(Channel)),
    consents=st.frozensets(TEXTS),
    attributes=st.dictionaries(st.sampled_from(["a", "b"]), TEXTS | NUMBERS | st.booleans() | st.none()),
    last_seen=MOMENTS,
    created=MOMENTS,
)


def fulfils(condition: Condition, recipient: Recipient) -> bool:
    """How a store reads a condition: by the type of its value, the field's own or the attribute's."""
    if condition.field.startswith("attr."):
        actual = recipient.attributes.get(condition.field[5:])
    else:
        actual = getattr(recipient, condition.field) or None
    value = condition.value
    if actual is None or isinstance(actual, bool) != isinstance(value, bool):
        return False
    if isinstance(value, str) or isinstance(actual, str):
        return condition.op == "=" and actual == value
    return {
        "=": actual == value,
        "<": actual < value,
        "<=": actual <= value,
        ">": actual > value,
        ">=": actual >= value,
    }[condition.op]


@given(EXPRESSIONS, RECIPIENTS)
def test_narrowing_never_excludes_a_match(expression: Expression, recipient: Recipient) -> None:
    """Whoever matches fulfils every condition; a store sees only fields and values it was promised."""
    conditions = narrow(expression, NOW)
    if matches(expression, recipient, NOW):
        assert all(fulfils(condition, recipient) for condition in conditions)
    for condition in conditions:
        assert (
            condition.field in {"uid", "lang", "tz", "last_seen", "created"} or condition.field[:5] == "attr."
        )
        assert condition.op == "=" or not isinstance(condition.value, str | bool)
        assert (condition.field in {"last_seen", "created"}) == isinstance(condition.value, datetime)


@given(EXPRESSIONS)
def test_printing_and_reading_round_trip(expression: Expression) -> None:
    """What is printed reads as the same expression."""
    assert parse(unparse(expression)) == expression


ODD = ["2026-99-01", "0000-00-00", "9" * 30 + "w", "1e5", "'x", '"', "\\", "é", "\0", "\ud800"]
WORDS = st.sampled_from([*" ".join(HOLDS).split(), *ODD])


def read(text: str) -> Expression | int:
    """The expression, or the column where it was refused."""
    try:
        return parse(text)
    except WrongExpression as error:
        return error.column


@given(st.lists(WORDS, max_size=25).map(" ".join) | st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but WrongExpression comes out of parse; what is read can be judged, narrowed and printed."""
    expression = read(text)
    if isinstance(expression, int):
        assert 1 <= expression <= len(text) + 1
    else:
        assert matches(expression, ANNA, NOW) is not matches(Not(expression), ANNA, NOW)
        narrow(expression, NOW)
        assert parse(unparse(expression)) == expression
