"""Template source with its Jinja2 tags out of the way, so that HTML tools can work on it once. Pure.

Inlining CSS and making plain text cost more than rendering. Done on the source instead of on each rendered
message they cost nothing per recipient. That is only right where it cannot make a difference, and the rules
for that are here: a template that breaks one is worked on after rendering, recipient by recipient.

- A {{ value }} may stand in text, or in an attribute other than class, id and style.
- A {% statement %} may stand in text only, and all tags of one `if` or `for` inside the same element, so that
  leaving a branch out leaves the structure as it is.
- No |safe, macro, call or block set: those can make elements that the source does not show.
- The HTML is well-formed: nothing that a parser would put in, move or close by itself (a missing tbody, a
  block within a paragraph), except html, head and body.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jinja2 import nodes

from msgxc.render.html import Html
from msgxc.render.text import Text

#: Elements that have no end tag (HTML Living Standard, section 13.1.2).
VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
_LOOKED_AT = frozenset({"class", "id", "style"})
_MAKES_ELEMENTS: tuple[type[nodes.Node], ...] = (
    nodes.Macro,
    nodes.CallBlock,
    nodes.AssignBlock,
    nodes.FilterBlock,
)
_ESCAPING = frozenset({"safe", "e", "escape"})
_OPENS, _GOES_ON = frozenset({"if", "for", "with"}), frozenset({"elif", "else"})
_PLACE = re.compile(r"msgxc(\d+)tag")
_COMMENT = re.compile(r"<!--msgxc(\d+)tag-->")


@dataclass(frozen=True, slots=True)
class Masked:
    """Source in which `msgxc0tag` stands for a value and `<!--msgxc1tag-->` for a statement."""

    source: str
    tags: tuple[str, ...]
    statements: frozenset[int]
    groups: tuple[tuple[int, ...], ...]  # the statements that belong together: if … elif … endif

    def unmask(self, text: str) -> str:
        """The tags back in their places; to be compiled without trimming, which has been done."""
        text = _COMMENT.sub(lambda found: self.tags[int(found[1])], text)
        return _PLACE.sub(lambda found: self.tags[int(found[1])], text)


def mask(text: Text) -> Masked | None:
    """The masked source, or None when the rules above do not hold for all of it."""
    if _PLACE.search(text.source):
        return None
    if text.root is None:
        return Masked(text.source, (), frozenset(), ())
    tree = text.tree()
    if any(tree.find(kind) for kind in _MAKES_ELEMENTS) or any(
        f.name in _ESCAPING for f in tree.find_all(nodes.Filter)
    ):
        return None
    tags, parts, statements = list[str](), list[str](), dict[int, str]()
    for kind, piece, word in pieces(text):
        if kind == "data":
            parts.append(piece)
        elif kind == "statement":
            statements[len(tags)] = word
            parts.append(f"<!--msgxc{len(tags)}tag-->")
            tags.append(piece)
        elif kind == "value" and piece.startswith("{%") and ("<" in piece or "&" in piece):
            return None  # a raw block with markup of its own
        elif kind == "value":
            parts.append(f"msgxc{len(tags)}tag")
            tags.append(piece)
    masked = Masked("".join(parts), tuple(tags), frozenset(statements), tuple(_groups(statements)))
    return masked if _fits(masked) else None


def pieces(text: Text) -> Iterator[tuple[str, str, str]]:
    """(data | value | statement | comment, its text, a statement's first word), in order.

    The blanks that a tag takes away (trim_blocks, `-`) are gone already; what is left is meant.
    """
    kind, tag, word = "", "", ""
    for _, at, value in text.sandbox.lex(text.source):
        if kind and at in (f"{kind}_end", "raw_end"):
            yield _KINDS[kind], tag + _bare(value), word
            kind, tag, word = "", "", ""
        elif kind:
            tag += value
            word = word or (value if at == "name" else "")
        elif at == "data":
            yield "data", value, ""
        else:
            kind, tag = at.removesuffix("_begin"), _bare(value)


def _bare(end: str) -> str:
    """One end of a tag without its marks for blanks: {%- is {%."""
    return end.strip().replace("-", "").replace("+", "")


_KINDS = {"variable": "value", "raw": "value", "block": "statement", "comment": "comment"}


def _groups(statements: dict[int, str]) -> Iterator[tuple[int, ...]]:
    stack: list[list[int]] = []
    for tag, word in statements.items():
        if word in _OPENS:
            stack.append([tag])
        elif word in _GOES_ON:
            stack[-1].append(tag)
        elif word.startswith("end"):
            yield (*stack.pop(), tag)
        else:
            yield (tag,)  # set


class _Walk(Html):
    """The elements and tags of masked HTML in order. `bad`: a tag stands where it may make a difference."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []
        self.inside: dict[int, tuple[int, ...]] = {}  # tag -> the numbers of the elements that it stands in
        self.bad = False
        self._open: list[tuple[int, str]] = []
        self._count = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _UNSEEN:
            self.events.append(f"<{tag}")
        for name, value in attrs:
            found = _PLACE.findall(value or "")
            self.bad |= "<!--msgxc" in (value or "") or "msgxc" in name or bool(found and name in _LOOKED_AT)
            self.events += found
            self.inside |= {int(number): () for number in found}
        self.bad |= "msgxc" in tag
        if tag not in VOID:
            self._count += 1
            self._open.append((self._count, tag))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _UNSEEN and tag not in VOID:
            self.events.append(f"</{tag}")
        if any(name == tag for _, name in self._open):
            while self._open.pop()[1] != tag:
                pass

    def handle_data(self, data: str) -> None:
        for number in _PLACE.findall(data):
            self._stands(number)
            self.bad |= not self._open or self._open[-1][1] in _NO_VALUES

    def handle_comment(self, data: str) -> None:
        if found := _PLACE.fullmatch(data):
            self._stands(found[1])
        else:
            self.bad |= "msgxc" in data

    def _stands(self, number: str) -> None:
        self.events.append(number)
        self.inside[int(number)] = tuple(count for count, _ in self._open)


#: Elements that HTML puts in by itself, and those that inlining takes out.
_UNSEEN = frozenset({"html", "head", "body", "style"})
_NO_VALUES = frozenset({"html", "head", "style", "script"})


def _walk(html: str) -> _Walk:
    walker = _Walk()
    walker.feed(html)
    walker.close()
    return walker


def _fits(masked: Masked) -> bool:
    found = _walk(masked.source)
    return (
        not found.bad
        and sorted(int(event) for event in found.events if event.isdigit()) == list(range(len(masked.tags)))
        and all(_together([found.inside[tag] for tag in group]) for group in masked.groups)
    )


def _together(places: list[tuple[int, ...]]) -> bool:
    """The tags of one group stand in the same element; what can be left out, in one that is really there."""
    return len(set(places)) == 1 and (len(places) == 1 or places[0] != ())


def same_places(masked: Masked, html: str) -> bool:
    """Whether a tool has repaired nothing: the same elements and tags, in the same order.

    Then a rendered message needs no repair either: leaving out balanced parts, or repeating them, makes no
    new pair of parent and child.
    """
    return _walk(masked.source).events == _walk(html).events


def whole_groups(masked: Masked, kept: Sequence[int]) -> bool:
    """Whether the tags that are kept still mean the same: each once, of each group all or none, statements in
    their order. With a `set`, values must not move either, and it must be there."""
    there = set(kept)
    sets = {group[0] for group in masked.groups if len(group) == 1}
    ordered = [tag for tag in kept if sets or tag in masked.statements]
    return (
        len(there) == len(kept)
        and sets <= there
        and ordered == sorted(ordered)
        and all(len(there.intersection(group)) in (0, len(group)) for group in masked.groups)
    )
