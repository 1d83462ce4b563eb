"""What push.json may say besides words, and what each of it may be. Pure.

Apple, "Generating a remote notification" (the payload keys); Firebase, "REST Resource: projects.messages"
(AndroidNotification); WHATWG, Notifications API (the options of showNotification).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from msgxc.errors import WrongTemplate
from msgxc.model import Options

#: The longest text of an option, in characters; tag: in bytes, for Apple's sake no longer than a collapse id.
TEXT, TAG = 500, 64
LONGEST_TTL, LONGEST_BUZZ, BUZZES, ACTIONS, ARGUMENTS = 2_419_200, 10_000, 20, 4, 10


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > TEXT:
        raise ValueError(f"text of at most {TEXT} characters")
    return value


def _tag(value: Any) -> str:
    if len(_text(value).encode("utf-8", "replace")) > TAG:
        raise ValueError(f"text of at most {TAG} bytes")
    return str(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _number(lowest: int, highest: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise ValueError(f"a whole number from {lowest} to {highest}")
        return value

    return check


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError("a number from 0 to 1")
    return value


def _word(*words: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return str(value)

    return check


def _color(value: Any) -> str:
    if not re.fullmatch(r"#[0-9A-Fa-f]{6}", _text(value)):
        raise ValueError("a color as #rrggbb")
    return str(value)


def _web(value: Any) -> str:
    if not re.fullmatch(r"https://[^\s\"'<>\\]+|/[^\s\"'<>\\/][^\s\"'<>\\]*|", _text(value)):
        raise ValueError("an https URL, or a path of the site")
    return str(value)


def _buzzes(value: Any) -> tuple[int, ...]:
    right = isinstance(value, list) and 0 < len(value) <= BUZZES
    if not right or any(
        isinstance(one, bool) or not isinstance(one, int) or not 0 <= one <= LONGEST_BUZZ for one in value
    ):
        raise ValueError(f"1 to {BUZZES} whole numbers, milliseconds from 0 to {LONGEST_BUZZ:,}")
    return tuple(value)


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= ARGUMENTS:
        raise ValueError(f"a list of 1 to {ARGUMENTS} texts")
    return tuple(_text(one) for one in value)


def _actions(value: Any) -> tuple[Mapping[str, str], ...]:
    rule = f"1 to {ACTIONS} objects of texts: action, title, and as needed icon and url"
    if not isinstance(value, list) or not 0 < len(value) <= ACTIONS:
        raise ValueError(rule)
    for one in value:
        if not isinstance(one, dict) or not {"action", "title"} <= one.keys() <= _OF_ACTIONS:
            raise ValueError(rule)
        for text in one.values():
            _text(text)
        _web(one.get("icon", "")), _web(one.get("url", ""))
    return tuple(value)


_OF_ACTIONS = frozenset({"action", "title", "icon", "url"})
_count = _number(0, 2**31 - 1)
#: Options whose text is a template of its own, as that of `data` is, and looked at again when it is rendered.
WRITTEN: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("subtitle", "thread_id", "category", "target_content_id", "filter_criteria"), _text),
    **dict.fromkeys(("channel_id", "icon", "click_action", "ticker", "sound"), _text),
    **dict.fromkeys(("title_loc_key", "subtitle_loc_key", "body_loc_key"), _text),
    **dict.fromkeys(("badge", "notification_count"), _count),
    **dict.fromkeys(("web_icon", "web_badge"), _web),
    "tag": _tag,
}
#: Options that are the same for everybody.
FIXED: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("mutable_content", "content_available", "sticky", "local_only"), _flag),
    **dict.fromkeys(("require_interaction", "renotify", "silent"), _flag),
    **dict.fromkeys(("title_loc_args", "subtitle_loc_args", "body_loc_args"), _texts),
    "interruption_level": _word("passive", "active", "time-sensitive", "critical"),
    "relevance_score": _share,
    "color": _color,
    "visibility": _word("private", "public", "secret"),
    "notification_priority": _word("min", "low", "default", "high", "max"),
    "ttl": _number(0, LONGEST_TTL),
    "vibrate": _buzzes,
    "actions": _actions,
}
NAMES = (*WRITTEN, *FIXED)
#: What a push that shows nothing may have.
OF_SILENT = frozenset({"badge", "ttl", "content_available"})


def fixed(name: str, value: Any) -> Mapping[str, Any]:
    """An option that is no template, as fields of Options. Raises ValueError with what it may be."""
    if name == "sound" and isinstance(value, dict):
        if not value.keys() <= {"name", "critical", "volume"} or not isinstance(value.get("name"), str):
            raise ValueError("text, or an object with name, and as needed critical and volume")
        found = {"sound": _text(value["name"]), "critical": _flag(value.get("critical", False))}
        return {**found, "volume": _share(value["volume"])} if "volume" in value else found
    return {name: (FIXED.get(name) or WRITTEN[name])(value)}


def made(known: Mapping[str, Any], written: Iterable[tuple[str, str, str]]) -> Options:
    """The options of one push: what is known, and (name, rendered text, where it stands). An empty text is
    left out, but that of `sound`. Raises WrongTemplate, which holds nothing of the text."""
    found = dict(known)
    for name, text, where in written:
        try:
            if text or name == "sound":
                found[name] = WRITTEN[name](text)
        except ValueError as error:
            raise WrongTemplate(f"{where}: {name} must be {error}") from None
    return Options(**found)


def conflict(names: Mapping[str, Any]) -> str:
    """Why options cannot stand together; "" when they can."""
    if names.get("silent") and names.keys() & {"vibrate", "renotify"}:
        return "silent goes with neither vibrate nor renotify: browsers refuse that"
    for part in ("title", "subtitle", "body"):
        if f"{part}_loc_args" in names and not names.get(f"{part}_loc_key"):
            return f"{part}_loc_args are for {part}_loc_key"
    return ""


def said(values: Mapping[str, Any]) -> Options | None:
    """The options of one message, in which nothing is a template; None: there are none. Raises ValueError
    that names what is wrong and repeats no value."""
    found = dict[str, Any]()
    for name, value in values.items():
        if name not in NAMES:
            near = get_close_matches(name, NAMES, 1)
            raise ValueError(f"no such option of a push{f'; did you mean {near[0]}?' if near else ''}")
        try:
            found.update(fixed(name, value))
        except ValueError as error:
            raise ValueError(f"{name} must be {error}") from None
    if wrong := conflict(values):
        raise ValueError(wrong)
    return Options(**found) if found else None
