"""What mail clients do with an email's HTML, as far as its source tells: before anybody is sent to. Pure.

Where escaping a value is not enough is exposed.py's matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgxc.render.html import Html
from msgxc.render.masked import pieces
from msgxc.render.text import Text

#: What a mail client opens; others it takes out, or they do nothing.
SCHEMES = frozenset({"http", "https", "mailto", "tel", "sms"})
SCRIPTS = frozenset({"javascript", "vbscript", "data"})
#: Fields of the recipient: what people typed.
_TYPED = re.compile(r"\b(?:attributes|name|first_name)\b")
_OF_LINKS = {"a": "href", "area": "href", "img": "src", "form": "action"}
_SAFE = re.compile(r"\|\s*safe\b")
_MARK = "\x01"  # stands for a value
_VALUE = re.compile(_MARK)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_NOT_COPIED = re.compile(r":(?:hover|focus|active|visited|before|after)\b|::")

#: (whether it would fail, the line, what it is)
Found = tuple[bool, int, str]


def found_in(html: Text) -> list[Found]:
    """What is wrong with the HTML of an email."""
    values: list[str] = []
    parts: list[str] = []
    for kind, piece, _ in pieces(html):
        if kind == "data":
            parts.append(piece)
        elif kind == "value":
            parts.append(_MARK)
            values.append(piece)
    reader = _Reader(html.line)
    if any(_TYPED.search(value) and _SAFE.search(value) for value in values):
        reader.found.append((True, 0, "|safe on what people typed: it would be markup"))
    reader.feed("".join(parts))
    reader.close()
    found = reader.found
    if not any("unsubscribe_url" in value or "preferences_url" in value for value in values):
        found.append((False, 0, "no {{ unsubscribe_url }}: marketing needs it, only a service does not"))
    return found


class _Reader(Html):
    def __init__(self, first: int) -> None:
        super().__init__()
        self._first = first - 1
        self._inside = ""
        self.found: list[Found] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self._inside = tag if tag == "style" else ""
        if tag == "script":
            self._say(False, "a <script>: no mail client runs it, many refuse the mail")
        raw = self.get_starttag_text() or ""
        for name, value in self.attributes():
            self._attribute(tag, name, value.strip())
        if tag == "link" and re.search(r"\brel\s*=\s*[\"']?stylesheet", raw, re.IGNORECASE):
            self._say(False, "a <link>: nothing is loaded from elsewhere, so its CSS is lost")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside and "@import" in data:
            self._say(False, "an @import: nothing is loaded from elsewhere, so its CSS is lost")
        if self._inside and "@" not in data and _NOT_COPIED.search(data):
            self._say(False, "rules with :hover and the like are lost, unless they stand in an at-rule")

    def _attribute(self, tag: str, name: str, value: str) -> None:
        if name.startswith("on") and _VALUE.search(value):
            self._say(True, f"a value in {name}, which is a script")
        if name == _OF_LINKS.get(tag):
            for fails, what in self._link(tag, value):
                self._say(fails, what)

    def _link(self, tag: str, link: str) -> Iterator[tuple[bool, str]]:
        """What becomes of a link; "" and #top stay within the mail."""
        if not link or link.startswith("#") or _VALUE.match(link):
            return
        scheme = _SCHEME.match(link)
        word = scheme[1].lower() if scheme else ""
        if tag == "img" and word == "data":
            yield False, "a data: picture: most mail clients do not show it"
        elif word in SCRIPTS:
            yield True, f"a {word}: link: mail clients take it out"
        elif tag == "img" and word == "cid":
            yield True, "a cid: picture: nothing is attached"
        elif word and word not in SCHEMES:
            yield False, f"a {word}: link: most mail clients do not open it"
        elif not word:
            yield True, "a link without https://: a mail stands on no site"

    def _say(self, fails: bool, what: str) -> None:
        self.found.append((fails, self.getpos()[0] + self._first, what))
