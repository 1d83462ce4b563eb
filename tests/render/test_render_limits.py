"""Poison templates: every one ends soon, costs little, and is one error with file and line."""

# ruff: noqa: E501  # one template a line

from __future__ import annotations

import time
import tracemalloc
from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msgxc.errors import WrongTemplate
from msgxc.model import Recipient
from msgxc.render.limits import GLOBALS
from msgxc.render.person import Links, variables
from msgxc.render.text import compiled

PERSON = Recipient(uid=UUID(int=1), name="Anna <b>", attributes={"plan": "pro", "visits": 3, "items": "7"})
GIVEN = GLOBALS | variables(
    PERSON, {"discount": "20 %"}, Links("https://u.example", "https://p.example"), "spring"
)

DOUBLED = "{% set a = 'xxxxxxxxxx' %}"
SYNTAX = [
    "{% if %}",
    "{{ name",
    "{% for x in y %}",
    "{{ name|nofilter }}",
    "{{ 1 is notest }}",
    "{% endif %}",
    "{% include 'x' %}",
    "{% extends 'x' %}",
    "{% import 'x' as y %}",
    "{% from 'x' import y %}",
    "{% block a %}{% endblock %}",
    "{% autoescape false %}{{ name }}{% endautoescape %}",
    "{% do 1 %}",
    "{{ self }}",
    "{{ " + "(" * 5_000 + ")" * 5_000 + " }}",
    "{{ " + "[" * 200 + "]" * 200 + " }}",
    "{% if 1 %}" * 500 + "{% endif %}" * 500,
    "{% for a in (1, 2) %}" * 40 + "{% endfor %}" * 40,
    "{{ " + "-" * 20_000 + "1 }}",
    "x{{ 1 }}" * 40_000,
]
ENDLESS = [
    "{% for a in range(1000000000) %}x{% endfor %}",
    "{% for a in range(1000) %}{% for b in range(1000) %}x{% endfor %}{% endfor %}",
    "{% for a in range(999) %}{% for b in range(999) if false %}{% endfor %}{% endfor %}",
    "{% for a in range(99) %}{% for b in range(99) %}{% for c in 'abcd' %}{% endfor %}{% endfor %}{% endfor %}",
    "{% for a in [1] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}",
    "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{% for i in range(999) %}{% call m() %}"
    + "x" * 999
    + "{% endcall %}{% endfor %}",
]
HUGE = [
    "{{ 10 ** 10 ** 10 }}",
    "{{ 9 ** 9 ** 9 ** 9 }}",
    "{{ 2 ** 100000 }}",
    "{% set a = 3 %}" + "{% set a = a * a %}" * 60 + "{{ a }}",
    "{{ 'x' * 10 ** 9 }}",
    "{{ 1000000000 * 'x' }}",
    "{{ [1] * 1000000000 }}",
    DOUBLED + "{% set a = a ~ a %}" * 60 + "{{ a }}",
    DOUBLED + "{% set a = a + a %}" * 60 + "{{ a }}",
    DOUBLED + "{% set a = a|replace('x', a) %}" * 60 + "{{ a }}",
    DOUBLED + "{% set a = [a, a]|join(a) %}" * 60 + "{{ a }}",
    DOUBLED + "{% set a = a|list|join(a) %}" * 60 + "{{ a }}",
    DOUBLED + "{% set a = a|urlencode|upper|urlencode %}{% set a = a ~ '%%%' ~ a %}" * 60 + "{{ a }}",
    DOUBLED + "{% set a %}{{ a }}{{ a }}{% endset %}" * 60,
    "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{{ " + "m(" * 40 + "'xxxx'" + ")" * 40 + " }}",
    "{% for a in range(999) %}" + "x" * 100_000 + "{% endfor %}",
    "{% for a in range(999) %}{% filter upper %}" + "x" * 100_000 + "{% endfilter %}{% endfor %}",
    "{{ '%999999999d' % 1 }}",
    "{{ '{:999999999}'.format(1) }}",
    "{{ 'a'.center(999999999) }}",
    "{{ 'a'|center(999999999) }}",
    "{{ 'a'.zfill(999999999) }}",
    "{{ ('a' * 999).expandtabs(999999999) }}",
    "{{ 'a'|indent(999999999) }}",
    "{{ 1.5|round(999999999) }}",
    "{{ 1|number(999999999) }}",
    "{{ lipsum(n=999999999) }}",
    "{{ 'abc'|batch(999999999, 'x')|list }}",
    "{% set a = [1] %}" + "{% set a = [a, a] %}" * 90 + "{{ a == a }}",
    "{% macro m() %}{{ m(varargs, varargs) }}{% endmacro %}{{ m(1) }}",
    "{{ dict(a=dict(b=1)) }}",
    "{{ " + "9" * 5_000 + " }}",
    "{{ name }}" * 19_000,
    "{# #}{% set a = 1 %}{{ a }}" * 4_000,
]
WRONG = [
    "{{ nope }}",
    "{{ nope.nope }}",
    "{{ attributes.nope }}",
    "{{ attributes['nope'] }}",
    "{{ values.nope|upper }}",
    "{{ name.__class__ }}",
    "{{ name.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ range.__globals__ }}",
    "{{ namespace.__init__ }}",
    "{{ attributes.pop('plan') }}",
    "{{ attributes.update({'a': 1}) }}",
    "{{ attributes.items }}{{ attributes.clear() }}",
    "{{ attributes }}",
    "{{ none }}",
    "{{ range }}",
    "{{ name.upper }}",
    "{{ [1, 2] }}",
    "{{ 1 / 0 }}",
    "{{ name + 1 }}",
    "{{ name < 1 }}",
    "{{ 'abc'[1:'x'] }}",
    "{{ 1() }}",
    "{% for a in 1 %}{% endfor %}",
    "{% for a, b in ['x'] %}{% endfor %}",
]


@pytest.mark.parametrize("html", [False, True], ids=["text", "html"])
@pytest.mark.parametrize("source", [*SYNTAX, *ENDLESS, *HUGE, *WRONG], ids=lambda source: source[:60])
def test_poison_costs_little_and_names_file_and_line(source: str, html: bool) -> None:
    """Whatever a template tries: WrongTemplate with file and line, in seconds at most, under 60 MB."""
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(WrongTemplate, match=r"^t/em\.html(, line \d+)?: ") as caught:
            compiled(f"\n{source}", "t/em.html", html=html).render(dict(GIVEN), time.process_time)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 5  # tracemalloc makes it several times slower
    assert peak < 60_000_000
    assert "Anna" not in str(caught.value)
    if len(source) < 200:
        assert ", line 2: " in str(caught.value)


def test_clock_ends_what_steps_do_not() -> None:
    """When the caller's clock has run on by 2 s, the template is too slow, whatever it does."""
    seconds = iter(float(n) for n in range(1_000_000))
    source = "{% for a in range(999) %}x{% endfor %}"
    with pytest.raises(WrongTemplate, match="too slow"):
        compiled(source, "t").render(dict(GIVEN), lambda: next(seconds))
    assert compiled(source, "t").render(dict(GIVEN), time.process_time) == "x" * 999


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ name|upper }}", "ANNA <B>"),
        ("{{ attributes.items }} {{ attributes.visits + 1 }}", "7 4"),
        ("{% for k, v in attributes.items()|sort %}{{ k }}{{ v }} {% endfor %}", "items7 planpro visits3 "),
        ("{{ attributes.nope|default('none') }}{{ nope|d('-') }}", "none-"),
        ("{{ 'yes' if attributes.plan in ('pro', 'team') else 'no' }}", "yes"),
        ("{% set n = namespace(s=0) %}{% for i in range(5) %}{% set n.s = n.s+i %}{% endfor %}{{ n.s }}", "10"),
        ("{% for i in 'abc' %}{{ loop.index }}{{ i }}{{ loop.cycle('-', '+') }}{% endfor %}", "1a-2b+3c-"),
        ("{% macro b(t) %}[{{ t }}]{% endmacro %}{{ b('x') }}{{ b(name) }}", "[x][Anna <b>]"),
        ("{{ 1234.5|number(2) }} {{ 2 ** 10 }} {{ 7 % 4 }} {{ 3.14159|round(2) }}", "1,234.50 1024 3 3.14"),
        ("{{ [1, 2, 3]|join(', ') }} {{ name[:4] }} {{ name.split(' ')|first }}", "1, 2, 3 Anna Anna"),
        ("{{ 'a b'|urlencode }} {{ 'x'|truncate(3) }} {{ 'abcdef'|truncate(5) }}", "a%20b x ab..."),
        ("{% raw %}{{ name }}{% endraw %}{# gone #}", "{{ name }}"),
        ("{% if false %}x{% endif %}{{ 'x' if false }}", ""),
    ],
)  # fmt: skip
def test_what_is_offered_works(source: str, text: str) -> None:
    """The things that messages need are all there."""
    assert compiled(source, "t").render(dict(GIVEN), time.process_time) == text


FRAGMENTS = st.sampled_from(
    [
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        "{%-",
        "-%}",
        "{{-",
        "name",
        "nope",
        "attributes",
        ".plan",
        "['plan']",
        "values.discount",
        "|",
        "upper",
        "default('x')",
        "join",
        "for",
        "x",
        "in",
        "range(9)",
        "endfor",
        "if",
        "endif",
        "else",
        "set",
        "=",
        "macro",
        "m()",
        "endmacro",
        "call",
        "endcall",
        "filter",
        "endfilter",
        "with",
        "endwith",
        "(",
        ")",
        "[",
        "]",
        ",",
        ":",
        "1",
        "2.5",
        "'a'",
        "+",
        "-",
        "*",
        "**",
        "/",
        "//",
        "%",
        "~",
        "==",
        "<",
        "and",
        "or",
        "not",
        "is",
        "defined",
        "loop.index",
        "\n",
        "{%raw%}",
        "{%endraw%}",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(FRAGMENTS, max_size=25), st.booleans())
def test_no_source_raises_anything_else(parts: list[str], html: bool) -> None:
    """Random template code renders, or is WrongTemplate: never another exception."""
    with suppress(WrongTemplate):
        text = compiled(" ".join(parts), "t", html=html).render(dict(GIVEN), time.process_time)
        assert isinstance(text, str)
