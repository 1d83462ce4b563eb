"""Places of an HTML part where escaping a value is not enough. Pure.

It keeps a value within text and within quotes. Outside of quotes a blank ends it; in a script or a style it
is code; a whole link that a person has written may have any scheme.
"""

from __future__ import annotations

import re

from msgxc.render.html import Html

_TAG = re.compile(r"\{\{(.*?)\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_LINKS = frozenset({"href", "src", "action", "formaction", "background", "poster"})
#: What a person, or a file of people, has written.
_WRITTEN = re.compile(r"\s*(name|first_name|attributes)\b")
#: Each value is a letter that no text has (Unicode, private use), so many at most.
_FIRST, _LETTERS = 0xE000, 6_400
_VALUE = re.compile(f"[{chr(_FIRST)}-{chr(_FIRST + _LETTERS - 1)}]")


def exposed(source: str) -> list[tuple[int, str]]:
    """(line, what) of each such place, in order."""
    values: list[str] = []

    def masked(found: re.Match[str]) -> str:
        lines = "\n" * found[0].count("\n")
        if found[1] is None or len(values) == _LETTERS:
            return lines
        values.append(found[1])
        return chr(_FIRST + len(values) - 1) + lines

    looking = _Looking(values)
    looking.feed(_TAG.sub(masked, source))
    looking.close()
    return looking.found


class _Looking(Html):
    def __init__(self, values: list[str]) -> None:
        super().__init__()
        self.found: list[tuple[int, str]] = []
        self._values = values

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Outside of quotes; or a whole link."""
        if _VALUE.search(_QUOTED.sub("", self.get_starttag_text() or "")):
            self._note(f"a value outside of quotes in <{_VALUE.sub('…', tag)}>")
        for name, value in attrs:
            first = _VALUE.match((value or "").strip())
            if name in _LINKS and first and _WRITTEN.match(self._values[ord(first[0]) - _FIRST]):
                self._note(f"{name} begins with what a person has written: any scheme")

    def handle_data(self, data: str) -> None:
        """In a script or a style, which hold no text."""
        if self.cdata_elem and _VALUE.search(data):
            self._note(f"a value in <{self.cdata_elem}>")

    def _note(self, what: str) -> None:
        self.found.append((self.getpos()[0], what))
