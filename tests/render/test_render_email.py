"""CSS and plain text made on the source: the same as made on each message, or not done."""

# ruff: noqa: E501  # one template a line

from __future__ import annotations

import re
import time
from contextlib import suppress
from uuid import UUID

import css_inline
import pytest
from html_samples import CSS, FAST, PIECES, TREES
from hypothesis import given, settings
from hypothesis import strategies as st

from msgxc.errors import WrongTemplate
from msgxc.model import Channel, Recipient
from msgxc.render import Links, Template
from msgxc.render.limits import GLOBALS
from msgxc.render.parts import EmailPart
from msgxc.render.person import variables
from msgxc.render.styled import inlined, plain_text, settled

PEOPLE = [
    Recipient(
        uid=UUID(int=1), name="Zoë & <b>Co</b> \"x\" 'y'", attributes={"a": 1, "b": True, "n": 3, "s": "x"}
    ),
    Recipient(uid=UUID(int=1), name="", attributes={"a": 0, "b": False, "n": 0, "s": ""}),
    Recipient(uid=UUID(int=1), name="Bo", attributes={"a": 0, "b": True, "n": 1, "s": "http://x/?a=1&b=2"}),
    Recipient(uid=UUID(int=1), name="Al", attributes={"a": 1, "b": False, "n": 2, "s": "{{ x }} <!-- -->"}),
]
AGAIN = css_inline.CSSInliner(load_remote_stylesheets=False, keep_at_rules=True)


def part_of(html: str) -> EmailPart:
    part = Template("t", {"em.html": html, "em.subject.txt": "s"}).part(Channel.EMAIL, "")
    assert isinstance(part, EmailPart)
    return part


def spoken(text: str) -> list[str]:
    """The lines without the addresses of links: one that is empty, or its own words, is told if it is a value."""
    return [re.sub(r" ?\([^)]*\)", "", line).strip() for line in text.splitlines()]


def assert_equivalent(html: str) -> EmailPart:
    """Whatever was made on the source says, for every person, what is made on their rendered message."""
    part = part_of(html)
    for person in PEOPLE:
        given_ = GLOBALS | variables(person, {"v": "<i>&"}, Links("u", "p"), "c")
        rendered = part.html.render(dict(given_), time.process_time)
        if part.styled is not None:
            fast = part.styled.render(dict(given_), time.process_time)
            assert AGAIN.inline(fast) == AGAIN.inline(inlined(rendered, "t"))
        if part.read is not None:
            text = settled(part.read.render(dict(given_), time.process_time))
            assert spoken(text) == spoken(plain_text(inlined(rendered, "t")))
    return part


SLOW = [
    ("<p class='{{ attributes.s }}'>x</p>", "a class that is a value"),
    ('<p class="a{% if attributes.b %} b{% endif %}">x</p>', "a statement in an attribute"),
    ("<p>{{ values.v|safe }}</p>", "markup from a value"),
    ("<table>{% if attributes.b %}<tr><td>x</td></tr>{% endif %}</table>", "a tbody that HTML puts in"),
    ("{% if attributes.b %}<div>{% endif %}<p>x</p>{% if attributes.b %}</div>{% endif %}", "unbalanced"),
    ("<p>{% if attributes.b %}<div>x</div>{% endif %}y</p>", "a block that closes a paragraph"),
    ("{% macro m(x) %}<p>{{ x }}</p>{% endmacro %}<div class='a'>{{ m(name) }}</div>", "a macro"),
    ("<style>p + p { top: 0 }</style><p>a</p>{% if attributes.b %}<b>x</b>{% endif %}<p>b</p>", "siblings"),
    (
        "<style>li:first-child { top: 0 }</style><ul>{% for i in range(2) %}<li>x</li>{% endfor %}</ul>",
        "order",
    ),
    ("<style>a[href^=http] { top: 0 }</style><a href='{{ attributes.s }}'>x</a>", "an attribute's value"),
    ("<style>p { color: {{ values.c|default('red') }} }</style><p>x</p>", "a value in the CSS"),
    ("<!--[if mso]><p>{{ name }}</p><![endif]--><p>x</p>", "a conditional comment"),
    ("<p>&#123;{ name }}</p><p>{{ name }}</p>", "braces that become a tag"),
    ("<div>{% raw %}<p>{{ raw }}</p>{% endraw %}</div>", "a raw block with markup"),
    ("{{ name }}</p><p>x</p>", "a value before any element"),
    ("<ul><li>{{ name }}<li>b</ul>", "end tags that HTML puts in"),
    ("<p>msgxc1tag {{ name }}</p>", "our own mark in the text"),
    ("<table><tbody><tr>{{ name }}<td>x</td></tr></tbody></table>", "text that HTML moves out of a table"),
]


@pytest.mark.parametrize("html", FAST)
def test_ordinary_html_is_made_once(html: str) -> None:
    """Values in text and attributes, balanced statements: inlined and read on the source, and equivalent."""
    part = assert_equivalent(CSS + html)
    assert part.styled is not None
    assert part.read is not None


@pytest.mark.parametrize(("html", "why"), SLOW, ids=[why for _, why in SLOW])
def test_what_could_differ_is_made_per_message(html: str, why: str) -> None:
    """Where the source cannot tell, nothing is guessed: each rendered message is inlined."""
    part = assert_equivalent(CSS + html)
    assert part.styled is None, why


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=14))
def test_any_html_is_equivalent_or_made_per_message(pieces: list[str]) -> None:
    """Random tag soup: what is made on the source is what would be made on the message."""
    html = CSS + "".join(pieces)
    with suppress(WrongTemplate):
        part_of(html)
        assert_equivalent(html)


@settings(max_examples=300, deadline=None)
@given(TREES)
def test_well_formed_html_is_equivalent_too(tree: str) -> None:
    """Random nested elements, branches and loops: mostly made on the source, and then the same."""
    html = f"<html><body>{CSS}<div>{tree.replace('{{ loop.index }}', '{{ name }}')}</div></body></html>"
    assert_equivalent(html)


def test_plain_text_reads_well() -> None:
    """Blocks on their own lines, links with their address, pictures by their alt text, nothing hidden."""
    html = """<html><head><title>t</title><style>p{}</style></head><body>
      <div style="display: none">preheader</div><h1>Hello</h1><p>one
      two<br>three</p><p hidden>no</p><ul><li>a</li><li>b</li></ul><p><img src="x" alt="A cat"> <del>9</del> 5</p>
      <p><a href="https://x.example/?a=1&amp;b=2">Go</a> <a href="mailto:a@x.example">a@x.example</a>
      <a href="#top">up</a></p><script>no()</script></body></html>"""
    assert plain_text(html) == (
        "Hello\n\none two\nthree\n\n- a\n- b\n\nA cat 5\n\nGo (https://x.example/?a=1&b=2) a@x.example up\n"
    )


def test_lines_of_preformatted_text_stay() -> None:
    """A poem, a table of plain text: HTML standard, "Rendering", `pre { white-space: pre }`."""
    html = "<p>one\ntwo</p><pre>\n3 x <b>tea\n</b>1 x cake</pre><div hidden><pre>a</div>b\nc"
    assert plain_text(html) == "one two\n\n3 x tea\n1 x cake\nb c\n"


# -- what is left as it is

REVEALED = '<![if !mso]><p class="o">for the others, {{ name }}</p><![endif]>'
PUBLIC_ID = '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/xhtml1.dtd">'


@pytest.mark.parametrize(
    "kept",
    [
        "<!--[if mso]><p>for Outlook</p><![endif]-->",
        '<!--[if mso]><v:rect fill="t"><v:fill type="tile" src="https://x.example/i" /></v:rect><![endif]-->',
        "<!--[if !mso]><!-->",
        "<!--<![endif]-->",
        "<![if !mso]>",
        "<![if (gte mso 9)|(IE)]>",
        "<![endif]>",
        "<w:anchorlock/>",
        '<v:fill type="tile" color="#fff" />',
        '<style media="screen and (max-width:500px)">p { color: pink }</style>',
        "<style media=print>p { color: pink }</style>",
        '<table mso-padding-alt="0"><tbody><tr><td>x</td></tr></tbody></table>',
    ],
)
@pytest.mark.parametrize("doctype", [PUBLIC_ID, "<!doctype html>", ""])
def test_inlining_changes_css_and_nothing_else(kept: str, doctype: str) -> None:
    """Conditional comments of both kinds, VML, the document type, CSS for some screens: as they were."""
    made = inlined(f"{doctype}<style>p {{ top: 0 }}</style><p>a</p>{kept}<p>b</p>", "f")
    assert made.startswith(doctype)
    assert kept in made
    assert "pink" not in made.replace(kept, "")
    assert made.count('<p style="top: 0;">') == 2


def test_comments_within_comments_stay_where_they_are() -> None:
    """What stands in a comment is the comment's."""
    html = "<style>p { top: 0 }</style><!--[if mso]><![if gte mso 9]>x<![endif]><w:a/><![endif]--><p>y</p>"
    assert "<!--[if mso]><![if gte mso 9]>x<![endif]><w:a/><![endif]-->" in inlined(html, "f")


def test_a_revealed_comment_costs_no_speed_and_is_no_text() -> None:
    """The statement is not read aloud, its content is; the template is still made once."""
    part = part_of(f"<html><head><style>.o {{ top: 0 }}</style></head><body>{REVEALED}</body></html>")
    assert not part.is_slow
    email = part.content({**GLOBALS, **variables(PEOPLE[2], {}, Links(), "c")}, time.process_time)
    assert '<![if !mso]><p class="o" style="top: 0;">for the others, Bo</p><![endif]>' in email.html
    assert email.text == "for the others, Bo\n"


@pytest.mark.parametrize("odd", ["<![foo]>", "<![CDATA[x]]>", "<![", "<![if", "<!x>", "<!"])
def test_no_declaration_stops_the_reader(odd: str) -> None:
    """Whatever begins as one: nothing is raised."""
    assert plain_text(f"<p>a</p>{odd}").startswith("a")


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ('<a href="https://x.example/?a=1&region=3">go</a>', "go (https://x.example/?a=1&region=3)"),
        ("<a title=' href=\"z\"' href='/?a&amp;copy=1'>go</a>", "go (/?a&copy=1)"),
        ("<a HREF = /?a&lt=1>go</a>", "go (/?a&lt=1)"),
    ],
)
def test_a_link_is_read_by_the_rules_of_attributes(html: str, text: str) -> None:
    """`&region=` is no sign: HTML standard, named character reference state."""
    assert plain_text(html) == text + "\n"
