"""The filters of our templates: each bounded in what it makes, each paying a step for what it reads. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any

from jinja2 import Undefined, pass_context
from jinja2.filters import FILTERS as BUILT_IN
from jinja2.runtime import Context
from markupsafe import Markup, escape, soft_str

#: What a template may hold in a variable: the longest text, the longest list, the longest number (in bits).
TEXT, ITEMS, BITS = 64_000, 1_000, 256


class Refused(Exception):
    """A template does what is not offered, or what costs too much; the text holds no value."""


def measured(size: int, limit: int, what: str) -> None:
    """Raises Refused when something would be larger than its limit."""
    if size > limit:
        raise Refused(f"a {what} is too large: {limit} at most")


def shown(value: object) -> object:
    """A value as it may stand in a message: text or a number, never a list or nothing."""
    if isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Undefined):
        return str(value)  # raises UndefinedError and names it; "" for an inline `if` without `else`
    kind = "nothing (none)" if value is None else f"a {type(value).__name__}"
    raise Refused(f"{kind} cannot be shown: choose an item, or use |join or |default")


def _text(value: object) -> str:
    return soft_str(shown(value))


def _default(value: object, default: object = "", boolean: bool = False) -> object:
    return default if isinstance(value, Undefined) or (boolean and not value) else value


def _join(value: Iterable[object], separator: object = "") -> str:
    parts = [_text(item) for item in value]
    between = _text(separator)
    measured(sum(map(len, parts)) + len(between) * len(parts), TEXT, "text")
    if not any(isinstance(part, Markup) for part in (*parts, between)):
        return between.join(parts)
    return escape(between).join(parts)


def _replace(value: object, old: object, new: object) -> str:
    text, what, by = _text(value), _text(old), _text(new)
    measured(len(text) + text.count(what) * len(by), TEXT, "text")
    return text.replace(what, by)


def _list(value: Iterable[object]) -> list[object]:
    items = []
    for item in value:
        items.append(item)
        measured(len(items), TEXT, "list")
    return items


def _round(value: float, digits: int = 0) -> float:
    measured(abs(digits), 15, "count of digits")
    return round(float(value), digits)


def _sort(value: Iterable[Any], reverse: bool = False) -> list[Any]:
    return sorted(_list(value), key=_folded, reverse=reverse)


def _folded(item: Any) -> Any:
    return item.lower() if isinstance(item, str) else item


def _truncate(value: object, length: int = 255, end: str = "...") -> str:
    text = _text(value)
    return text if len(text) <= length else text[: max(length - len(end), 0)].rstrip() + end


def _number(value: Any, digits: int = 0) -> str:
    """1234.5 -> 1,234.50 for |number(2)."""
    measured(abs(digits), 15, "count of digits")
    return f"{float(value):,.{max(digits, 0)}f}"


_OURS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "capitalize": lambda value: _text(value).capitalize(),
    "count": len,
    "d": _default,
    "default": _default,
    "e": escape,
    "escape": escape,
    "first": lambda value: _list(value)[0],
    "float": float,
    "int": int,
    "join": _join,
    "last": lambda value: _list(value)[-1],
    "length": len,
    "list": _list,
    "lower": lambda value: _text(value).lower(),
    "max": max,
    "min": min,
    "number": _number,
    "replace": _replace,
    "reverse": lambda value: value[::-1],
    "round": _round,
    "safe": lambda value: Markup(_text(value)),  # noqa: S704  # the author of the template asks for it
    "sort": _sort,
    "string": _text,
    "title": lambda value: BUILT_IN["title"](_text(value)),
    "trim": lambda value: _text(value).strip(),
    "truncate": _truncate,
    "upper": lambda value: _text(value).upper(),
    "urlencode": lambda value: BUILT_IN["urlencode"](_text(value)),
}


def _paid(function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, with a step for each 64 items or characters that it reads, and its answer measured."""

    @pass_context
    @wraps(function)
    def filter_(work: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        read = len(value) if isinstance(value, (str, list, tuple, range, dict)) else 0
        work.tick(1 + read // 64)  # type: ignore[attr-defined]  # every context here is a Work
        made = function(value, *args, **kwargs)
        if isinstance(made, str):
            measured(len(made), TEXT, "text")
        return made

    return filter_


FILTERS: Mapping[str, Callable[..., Any]] = {name: _paid(function) for name, function in _OURS.items()}
