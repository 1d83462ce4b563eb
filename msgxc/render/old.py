"""The message templates of the system before this one, as sources of ours. Pure.

There a message names its template (`mtempl`, one per type) and its replacements (`repl`): `{{fn}}` becomes
the field `fn` of the user's record, and `{{text.msg}}` becomes the raw text that `repl` gives for it. What
nobody knows is left as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

#: Fields of the old user record, and what they are called here. Others are attributes.
_FIELDS = {
    "fn": "first_name",
    "first_name": "first_name",
    "firstname": "first_name",
    "uname": "name",
    "name": "name",
    "lang": "lang",
    "tz": "tz",
}
_RAW = "text."
_PLACEHOLDER = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")
_JINJA = re.compile(r"\{[{%#]")


def old_template(text: str, repl: Mapping[str, str]) -> str:
    """The source of a template that says what `text` said there.

    `repl` gives raw text for a placeholder (a key that starts with `text.`, or a value that does), or the
    name of the record's field that it stands for.
    """
    parts, at = list[str](), 0
    for found in _PLACEHOLDER.finditer(text):
        parts += [_literal(text[at : found.start()]), _placeholder(found[0], found[1], repl)]
        at = found.end()
    return "".join(parts) + _literal(text[at:])


def _placeholder(whole: str, key: str, repl: Mapping[str, str]) -> str:
    given = repl.get(key, repl.get(key.removeprefix(_RAW)))
    if key.startswith(_RAW):
        return _constant(whole if given is None else given)
    if given is not None and given.startswith(_RAW):
        return _constant(given.removeprefix(_RAW))
    record = given or key
    if record in _FIELDS:
        return f"{{{{ {_FIELDS[record]} }}}}"
    return f"{{{{ attributes[{_string(record)}]|default({_string(whole)}) }}}}"


def _literal(text: str) -> str:
    """Text in which nothing is a tag of ours."""
    return _JINJA.sub(lambda found: _constant(found[0]), text)


def _constant(text: str) -> str:
    return f"{{{{ {_string(text)} }}}}"


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
