"""The fields of FCM's messages:send request, and what each may hold. Pure.

From the REST reference of projects.messages. Like every Google API it takes names in snake case and in camel
case, and refuses names that it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

MAX_TTL = 2_419_200  # Four weeks, in seconds.

_RESERVED = re.compile(r"(from|message_type|collapse_key)$|google|gcm")
_DURATION = re.compile(r"(\d{1,12})(\.\d{1,9})?s")
_COLOR = re.compile(r"#[0-9A-Fa-f]{6}")
_LABEL = re.compile(r"[a-zA-Z0-9-_.~%]{1,50}")


class WrongField(ValueError):
    """A field is unknown, or holds what it must not; the text is the answer's message."""


Check = Callable[[object], bool]


def _text(value: object) -> bool:
    return isinstance(value, str)


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _text_map(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())


def _any_object(value: object) -> bool:
    return isinstance(value, dict)


def _data(value: object) -> bool:
    """Text to text; some names are the service's own."""
    return _text_map(value) and isinstance(value, dict) and not any(_RESERVED.match(key) for key in value)


def _one_of(*words: str) -> Check:
    return lambda value: isinstance(value, str) and value.upper() in words


def _shape(pattern: re.Pattern[str]) -> Check:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _duration(value: object) -> bool:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return found is not None and int(found[1]) <= MAX_TTL


def _durations(value: object) -> bool:
    return isinstance(value, list) and all(_duration(one) for one in value)


Schema = Mapping[str, "Check | Schema"]

_PLAIN = ("icon", "sound", "tag", "click_action", "body_loc_key", "title_loc_key", "channel_id", "ticker")

_ANDROID_NOTIFICATION: Schema = {
    **dict.fromkeys(("title", "body", "image", "event_time", *_PLAIN), _text),
    "color": _shape(_COLOR),
    "body_loc_args": _texts,
    "title_loc_args": _texts,
    **dict.fromkeys(
        (
            "sticky",
            "local_only",
            "default_sound",
            "default_vibrate_timings",
            "default_light_settings",
            "bypass_proxy_notification",
        ),
        _flag,
    ),
    "notification_priority": _one_of(
        "PRIORITY_UNSPECIFIED",
        "PRIORITY_MIN",
        "PRIORITY_LOW",
        "PRIORITY_DEFAULT",
        "PRIORITY_HIGH",
        "PRIORITY_MAX",
    ),
    "visibility": _one_of("VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"),
    "proxy": _one_of("PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"),
    "notification_count": _count,
    "vibrate_timings": _durations,
    "light_settings": _any_object,
}

_MESSAGE: Schema = {
    "name": _text,
    "token": _text,
    "topic": _text,
    "condition": _text,
    "data": _data,
    "notification": {"title": _text, "body": _text, "image": _text},
    "android": {
        "collapse_key": _text,
        "priority": _one_of("NORMAL", "HIGH"),
        "ttl": _duration,
        "restricted_package_name": _text,
        "data": _data,
        "notification": _ANDROID_NOTIFICATION,
        "fcm_options": {"analytics_label": _shape(_LABEL)},
        "direct_boot_ok": _flag,
        "bandwidth_constrained_ok": _flag,
        "restricted_satellite_ok": _flag,
    },
    "webpush": {
        "headers": _text_map,
        "data": _text_map,
        "notification": _any_object,
        "fcm_options": {"link": _text, "analytics_label": _shape(_LABEL)},
    },
    "apns": {
        "headers": _text_map,
        "payload": _any_object,
        "live_activity_token": _text,
        "fcm_options": {"analytics_label": _shape(_LABEL), "image": _text},
    },
    "fcm_options": {"analytics_label": _shape(_LABEL)},
}

REQUEST: Schema = {"validate_only": _flag, "message": _MESSAGE}


def snake(name: str) -> str:
    """collapseKey as collapse_key; a name in snake case stays."""
    return re.sub(r"[A-Z]", lambda found: "_" + found[0].lower(), name) if not name.islower() else name


def check(value: Mapping[str, object], schema: Schema, at: str = "") -> None:
    """Raises WrongField at the first field that is unknown or wrong."""
    for name, found in value.items():
        rule = schema.get(snake(name))
        if rule is None:
            where = f" at '{at}'" if at else ""
            raise WrongField(
                f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
            )
        _check_field(found, rule, f"{at}.{name}" if at else name)


def _check_field(found: object, rule: Check | Schema, at: str) -> None:
    if isinstance(rule, Mapping):
        if not isinstance(found, dict):
            raise WrongField(f"Invalid value at '{at}'")
        check(found, rule, at)
    elif not rule(found):
        raise WrongField(f"Invalid value at '{at}'")
