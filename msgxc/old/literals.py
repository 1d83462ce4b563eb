"""A cell of a CSV file that COPY TO has written, as JSON would have it. Pure."""

from __future__ import annotations

import re
from typing import Any

#: Columns of sets, lists, maps and types of their own; of true and false; of numbers.
_KINDS = (
    """roles rights ips params cohorts splits mdevices mtypes mcerts mcert mdevice mtempl cats fmtypes cmtypes
    admins perms perm sent outs subs pubs prefs interest perf repl meta users deliveries failures""",
    "sys archived opens open openp broadcast derive ftrack strack pending keep hidden",
    "urgency ephemeral ver mlast updatedms createdms imported seq retries",
)
_COLLECTIONS, _FLAGS, _NUMBERS = (frozenset(words.split()) for words in _KINDS)
_TOKEN = re.compile(r"\s*(?:'((?:[^']|'')*)'|([{}\[\],:])|([^\s{}\[\],:']+))\s*", re.DOTALL)
_CLOSING = {"{": "}", "[": "]"}
_WORDS: dict[str, Any] = {"null": None, "true": True, "false": False}


def literal(column: str, cell: str) -> Any:
    """The value of a cell. Raises ValueError when it is none of its column."""
    if column in _COLLECTIONS:
        return _Scanner(cell).whole()
    if column in _FLAGS:
        return _WORDS.get(cell.lower(), cell)
    if column in _NUMBERS:
        return int(cell)
    return float(cell) if column == "pct" else cell


class _Scanner:
    """CQL's collections and types of one's own: a set is a list, a map and a type are an object."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def whole(self) -> Any:
        """The one value of the text."""
        value = self._value(self._next())
        if self._at != len(self._text):
            raise ValueError("more than one literal")
        return value

    def _next(self) -> re.Match[str]:
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            raise ValueError("not a literal")
        self._at = found.end()
        return found

    def _value(self, token: re.Match[str]) -> Any:
        quoted, mark, bare = token.groups()
        if quoted is not None:
            return quoted.replace("''", "'")
        if mark is None:
            return _WORDS.get(bare.lower(), bare)
        if mark not in _CLOSING:
            raise ValueError("not a literal")
        return self._items(_CLOSING[mark])

    def _items(self, closing: str) -> Any:
        items: list[Any] = []
        pairs: dict[str, Any] = {}
        token = self._next()
        while token[2] != closing:
            value, token = self._value(token), self._next()
            if token[2] == ":":
                pairs[str(value)] = self._value(self._next())
                token = self._next()
            else:
                items.append(value)
            if token[2] == ",":
                token = self._next()
            elif token[2] != closing:
                raise ValueError("not a literal")
        return pairs or items
