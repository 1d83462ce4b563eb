"""Emails as a shape and values: what they say is what the whole template says, by Jinja2 alone."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from html_samples import CSS, FAST, PIECES, TREES
from hypothesis import given, settings
from hypothesis import strategies as st

from msgxc.errors import WrongTemplate
from msgxc.model import Channel, Email, Recipient, Shape
from msgxc.providers.email_batch import by_shape, join
from msgxc.providers.wire import clean
from msgxc.render import Links, Template, render
from msgxc.render.limits import GLOBALS, Work
from msgxc.render.parts import EmailPart, _close
from msgxc.render.person import variables, whole
from msgxc.render.styled import settled
from msgxc.render.text import Text, compiled

LINKS = Links("https://x.example/u/1?a=1&b=2", "https://x.example/p/1")
#: What could be mistaken for a tag, for markup, for a blank or for layout, and what UTF-8 cannot hold.
ODD = [
    *(
        "",
        " ",
        "x ",
        " x",
        "a  b",
        "a\nb",
        "\n\n\n",
        "a\n\n\nb",
        "a\tb",
        "\xa0x",
        "x\u2003",
        "\u2028",
        "\x1e",
    ),
    *("\x00", "a\x00b", "&<>'\"", "<b>", "{{ 7 }}", "{% x %}", "m0x", "-m0x1-", "m0x3-", "-~0-", "~", "~`"),
    *("0-", "-", "👩‍👩‍👧", "e\u0301", "\ud83d", "\ude00", "\ud83d\ude00", "佐藤 さくら", "x" * 3000),
]
WORDS = st.one_of(st.sampled_from(ODD), st.text(max_size=8), st.sampled_from(["Ann", "Bo Li", "Zoë"]))
PEOPLE = st.lists(
    st.builds(
        lambda name, s, n, b: Recipient(UUID(int=1), name, attributes={"a": n, "b": b, "n": n, "s": s}),
        WORDS,
        WORDS,
        st.integers(0, 3),
        st.booleans(),
    ),
    min_size=1,
    max_size=9,
)
LINES = [
    *("Hi {{ name }}", "{{ attributes.s }}", "{{ name }}{{ attributes.s }}", "\n", "\n\n", "a", " ", "\x00"),
    *("{{ values.v }}", "{{ values.v }}{{ values.v }}", "{% if attributes.b %}b{{ values.v }}{% endif %}"),
    "{% for i in range(attributes.n) %}{{ i }}\n{% endfor %}",
]
TEXTS = st.one_of(st.none(), st.lists(st.sampled_from(LINES), max_size=8).map("".join))


def by_jinja(text: Text, given_: dict[str, Any]) -> str:
    """The text as Jinja2 writes it, all of it."""
    if text.root is None:
        return text.source
    work = Work(text.sandbox, given_, text.file)
    work.allow(time.process_time)
    return whole("".join(text.root(work)))


def as_a_whole(part: EmailPart, person: Recipient, v: str) -> tuple[str, str]:
    """HTML and plain text, each rendered and laid out as a whole."""
    given_ = GLOBALS | variables(person, {"v": v}, LINKS, "c")
    assert part.styled
    if part.text:
        return by_jinja(part.styled, given_), _close(by_jinja(part.text, given_)) + "\n"
    assert part.read
    return by_jinja(part.styled, given_), settled(by_jinja(part.read, given_))


def shown(template: Template, person: Recipient, v: str = "<i>&") -> Email:
    email = render(
        template,
        Channel.EMAIL,
        person,
        values={"v": v},
        links=LINKS,
        now=time.process_time,
        campaign="c",
    )
    assert isinstance(email, Email)
    return email


def mailed(emails: Sequence[Email], chance: random.Random) -> list[tuple[str, str]]:
    """What SendGrid would mail, in whatever order it substitutes."""
    found: dict[int, tuple[str, str]] = {}
    joined, rest = by_shape(emails)
    for one in joined + (join(emails, rest) if rest else []):
        for member, values in zip(one.members, one.values, strict=True):
            html, text, subject = one.html, one.text, emails[member].subject
            for tag in chance.sample(list(values), len(values)):
                html, text = html.replace(tag, values[tag]), text.replace(tag, values[tag])
                assert tag not in subject
            assert member not in found
            found[member] = html, text
    return [found[n] for n in range(len(emails))]


def assert_the_same(
    html: str, text: str | None, people: Sequence[Recipient], v: str, chance: random.Random
) -> None:
    """Each email says what the template says, and so does each as it is mailed."""
    files = {"em.html": html, "em.subject.txt": "For {{ attributes.s or name or 1 }} {{ campaign }}"}
    template = Template("t", files if text is None else {**files, "em.txt": text})
    part = template.part(Channel.EMAIL, "")
    assert isinstance(part, EmailPart)
    if part.styled is None or part.is_slow:
        return
    emails = [shown(template, person, v) for person in people]
    said = [as_a_whole(part, person, v) for person in people]
    assert [(email.html, email.text) for email in emails] == said
    assert mailed(emails, chance) == [(clean(page), clean(words)) for page, words in said]


@pytest.mark.parametrize("html", FAST)
@settings(max_examples=20, deadline=None)
@given(people=PEOPLE, text=TEXTS, v=WORDS, chance=st.randoms(use_true_random=False))
def test_ordinary_emails_say_what_the_template_says(
    html: str, people: list[Recipient], text: str | None, v: str, chance: random.Random
) -> None:
    """For anybody, whatever they are called."""
    assert_the_same(CSS + html, text, people, v, chance)


@settings(max_examples=200, deadline=None)
@given(
    html=TREES | st.lists(PIECES, max_size=14).map("".join),
    people=PEOPLE,
    text=TEXTS,
    v=WORDS,
    chance=st.randoms(use_true_random=False),
)
def test_any_email_says_what_the_template_says(
    html: str, people: list[Recipient], text: str | None, v: str, chance: random.Random
) -> None:
    """Random elements, branches and loops: several ways through one template, some of them alone."""
    with suppress(WrongTemplate):
        assert_the_same(
            f"<body><div>{html.replace('{{ loop.index }}', '!')}</div></body>", text, people, v, chance
        )


def people(count: int) -> list[Recipient]:
    return [Recipient(UUID(int=n), f"Person {n}", attributes={"b": n % 2 == 0}) for n in range(count)]


def test_emails_that_take_the_same_way_share_a_shape() -> None:
    """So many shapes as ways through the template, whatever the names are."""
    html = (
        "<div>{{ name }}{% if attributes.b %}<p>b</p>{% endif %} {{ values.v }} {{ unsubscribe_url }}</div>"
    )
    template = Template("t", {"em.html": html, "em.subject.txt": "s"})
    emails = [shown(template, person) for person in people(40)]
    assert len({email.shape for email in emails}) == 2
    assert {email.shape for email in emails[::2]}.isdisjoint(email.shape for email in emails[1::2])


def test_a_part_made_anew_for_many_says_the_same() -> None:
    """What is the same for the whole campaign becomes a piece: fewer values, the same words."""
    html = "<div>{{ name }} {{ values.v }} {% if attributes.b %}{{ campaign|upper }}{% endif %}</div>"
    template = Template("t", {"em.html": html, "em.subject.txt": "s"})
    before = [shown(template, person) for person in people(2)]
    for person in people(300):
        shown(template, person)
    after = [shown(template, person) for person in people(2)]
    assert before == after
    assert [len(email.values) for email in before] == [6, 4]
    assert [len(email.values) for email in after] == [2, 2]


def test_languages_with_one_file_share_it() -> None:
    """A template without German: Germans get the same shape as everybody, in the same request."""
    template = Template("t", {"em.html": "<p>{{ name }} {{ values.v }}</p>", "em.subject.txt": "s"})
    emails = [shown(template, Recipient(UUID(int=1), "Al", lang=lang)) for lang in ("", "de", "fr-CA")]
    assert len({email.shape for email in emails}) == 1


def test_ways_without_end_are_not_kept_without_end() -> None:
    """A template that everybody takes another way through: the ways are forgotten, the words are right."""
    text = compiled("{% for i in range(attributes.n) %}a{{ name }}{% endfor %}", "t")
    for n in range(300):
        parts = text.parts({"attributes": {"n": n}, "name": "b", **GLOBALS}, time.process_time)
        assert parts.values == ("b",) * n
        assert "".join(parts.pieces) == "a" * n
    assert len(text._ways) <= 128


@pytest.mark.parametrize("statement", ["", "{% if name %}!{% endif %}"])
def test_halves_of_a_character_are_joined_or_replaced(statement: str) -> None:
    """Two values that are a surrogate each: a character together, U+FFFD apart."""
    html = f"<p>{{{{ values.a }}}}{{{{ values.b }}}} {{{{ values.a }}}} {{{{ name }}}}{statement}</p>"
    template, values = Template("t", {"em.html": html, "em.subject.txt": "s"}), {"a": "\ud83d", "b": "\ude00"}
    person = Recipient(UUID(int=1), "Al")
    email = render(template, Channel.EMAIL, person, values=values, links=LINKS, now=time.process_time)
    assert isinstance(email, Email)
    assert email.html == f"<p>\U0001f600 \ufffd Al{'!' if statement else ''}</p>"
    assert email.text == f"\U0001f600 \ufffd Al{'!' if statement else ''}\n"


def test_straight_text_keeps_the_limits() -> None:
    """Text that is only shown is counted all the same; a list, nothing, or too much is refused as ever."""
    text = compiled("{{ name }}{{ attributes.s }}", "t")
    assert text.straight
    for wrong in ([1], None, "x" * 250_001):
        with pytest.raises(WrongTemplate):
            text.parts({"name": "a", "attributes": {"s": wrong}}, time.process_time)
    with pytest.raises(WrongTemplate, match="'s' is undefined"):
        text.render({"name": "a", "attributes": {}}, time.process_time)
    assert text.render({"name": "a", "attributes": {"s": 7}}, time.process_time) == "a7"


def test_emails_are_equal_when_they_say_the_same() -> None:
    """However they are kept; and what they say is not in their repr."""
    shaped = Email.shaped("Hi", Shape(("<p>", "</p>"), ("Dear ", "\n")), ("Ann", "Ann"))
    whole_one = Email("Hi", "<p>Ann</p>", "Dear Ann\n")
    assert (shaped.html, shaped.text) == (whole_one.html, whole_one.text)
    assert shaped == whole_one
    assert hash(shaped) == hash(whole_one)
    assert shaped != Email("Hi", "<p>Bob</p>", "Dear Ann\n")
    assert "Ann" not in repr(shaped) + repr(whole_one)
