"""HTML as browsers and mail clients read it, where Python's own parser reads it otherwise. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from html.entities import html5
from html.parser import HTMLParser

_REFERENCE = re.compile(r"&(?:#(?:[0-9]+|[xX][0-9A-Fa-f]+);?|[A-Za-z][A-Za-z0-9]*(?:;|(?![=A-Za-z0-9;])))")

_ATTRIBUTE = re.compile(r"([^\s\"'<>/=]+)\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s>]+)")


def attribute(value: str) -> str:
    """An attribute's value, decoded: `&region=3` stays, for no reference ends before `=`, a letter or a digit
    there (HTML Living Standard, named character reference state). In text it does, so unescape is no use."""
    return _REFERENCE.sub(_decoded, value) if "&" in value else value


def _decoded(found: re.Match[str]) -> str:
    return unescape(found[0]) if found[0][1] == "#" else html5.get(found[0][1:], found[0])


class Html(HTMLParser):
    """A reader of HTML that no declaration stops: `<![if !mso]>` and whatever else begins so is a comment, up
    to the next `>` (HTML Living Standard, bogus comment state)."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def parse_html_declaration(self, i: int) -> int:
        """Its name and answer are HTMLParser's."""
        if not self.rawdata.startswith("<![", i):
            return super().parse_html_declaration(i)
        return self.rawdata.find(">", i) + 1 or -1

    def attributes(self) -> Iterator[tuple[str, str]]:
        """Names, in small letters, and decoded values of the start tag that is being read."""
        for name, value in _ATTRIBUTE.findall(self.get_starttag_text() or ""):
            yield name.lower(), attribute(value[1:-1] if value[0] in "\"'" else value)

    def own(self, name: str) -> str:
        """An attribute of the start tag that is being read, decoded; "" when it has none."""
        return next((value for own, value in self.attributes() if own == name), "")
