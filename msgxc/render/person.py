"""What a template sees of a recipient: cleaned so that no field can break or disguise a message. Pure.

A field is text and stays text: it is never compiled as a template. Unicode's directional overrides and
isolates (UAX #9) are taken out, for a name must not turn the rest of a sentence around; joiners stay, for
emoji and Persian need them; control characters become spaces; a lone surrogate becomes U+FFFD.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from unicodedata import category

from msgxc.model import Attribute, Recipient

#: The longest name and the longest attribute that a template sees, in characters; longer ones end in "...",
#: for which no text message costs more.
NAME, ATTRIBUTE = 100, 1_000

_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_JOINER = "\u200d"


@dataclass(frozen=True, slots=True)
class Links:
    """The recipient's own links; "" where there is none."""

    unsubscribe: str = field(default="", repr=False)
    preferences: str = field(default="", repr=False)


def clean(text: str) -> str:
    """The text of a field, safe to stand in a message."""
    if text.isprintable():
        return text
    return whole(_CONTROLS.sub(" ", _DIRECTIONS.sub("", text)))


def whole(text: str) -> str:
    """The text with pairs of surrogates joined and lone ones replaced, so that UTF-8 can hold it."""
    if text.isascii():
        return text
    try:
        text.encode()  # a tenth of what a search for surrogates costs
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def cut(text: str, length: int, mark: str = "…") -> str:
    """At most `length` characters; what is cut ends in the mark, and never within an emoji or a letter."""
    if len(text) <= length:
        return text
    end = length - len(mark)
    while end > 0 and _continues(text, end):
        end -= 1
    return text[:end].rstrip() + mark


def _continues(text: str, at: int) -> bool:
    """Whether the character belongs to the one before it: marks, variation selectors, joiners, skin tones."""
    char = text[at]
    return (
        text[at - 1] == _JOINER
        or char == _JOINER
        or "\U0001f3fb" <= char <= "\U0001f3ff"
        or category(char) in ("Mn", "Me", "Mc")
    )


#: The names that a template may use.
NAMES = frozenset({"name", "first_name", "lang", "tz", "attributes", "values", "campaign"}) | {
    "unsubscribe_url",
    "preferences_url",
}


def variables(
    person: Recipient,
    values: Mapping[str, str],
    links: Links | Callable[[], Links],
    campaign: str,
    reads: frozenset[str] = NAMES,
) -> dict[str, Any]:
    """What those of the names that somebody `reads` mean for this recipient."""
    given: dict[str, Any] = {"values": values if type(values) is dict else dict(values), "campaign": campaign}
    if "name" in reads or "first_name" in reads:
        given["name"] = name = _name(person.name)
        own = person.attributes.get("first_name")
        given["first_name"] = (own if own is None else _attribute(own)) or name.partition(" ")[0]
    if "attributes" in reads:
        given["attributes"] = {
            key: _attribute(value) for key, value in person.attributes.items() if value is not None
        }
    if "lang" in reads:
        given["lang"] = clean(person.lang)
    if "tz" in reads:
        given["tz"] = clean(person.tz)
    if "unsubscribe_url" in reads or "preferences_url" in reads:
        own_links = links if isinstance(links, Links) else links()
        given["unsubscribe_url"] = own_links.unsubscribe
        given["preferences_url"] = own_links.preferences
    return given


def _name(name: str) -> str:
    name = (name if name.isprintable() else " ".join(clean(name).split())).strip()
    return name if len(name) <= NAME else cut(name, NAME, "...")


def _attribute(value: Attribute) -> Attribute:
    return cut(clean(value), ATTRIBUTE, "...") if type(value) is str else value
