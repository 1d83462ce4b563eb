"""One cell of a file of people to one value. Pure. Each reader raises ValueError with a reason that repeats
nothing of the cell.

A cell of a CSV file is text; a field of a JSON line may also be a number, a list or an object.
"""

from __future__ import annotations

import json
import re
import unicodedata
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from msgxc.campaign import NAME
from msgxc.expression.nodes import MAX_NUMBER
from msgxc.model import MUTE, OLD_TYPES, Attribute, Channel, Device

#: The registration time of a device whose file does not say it: older than any news of its death.
UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)
MAX_TEXT = 4096  # characters of one value
MAX_ITEMS = 100  # items of one list, attributes of one person

ATTRIBUTE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_WORD = re.compile(NAME)
_PLAIN_LOCAL = re.compile(r"[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_TOKENS = {
    Channel.APNS: re.compile(r"[A-Za-z0-9_-]{1,512}"),
    Channel.FCM: re.compile(r"[A-Za-z0-9_:-]{1,4096}"),
}
_CHANNELS: Mapping[str, Channel] = {**OLD_TYPES, **{channel.value: channel for channel in Channel}}


def plain(value: Any) -> str:
    """Text without control characters; line breaks and runs of blanks become one blank."""
    if not isinstance(value, str):
        raise ValueError("this has to be text")
    if len(value) > MAX_TEXT:
        raise ValueError(f"longer than {MAX_TEXT} characters")
    if value.isascii() and value.isprintable() and "  " not in value:
        return value.strip()
    return _checked(" ".join(value.split()))


def _checked(text: str) -> str:
    for character in text:
        kind = unicodedata.category(character)
        if kind == "Cs":
            raise ValueError("not UTF-8")
        if kind == "Cc":
            raise ValueError("a control character")
    return text


def identity(value: Any) -> str:
    """A uid or a foreign id, as text; JSON may hold it as a number."""
    text = plain(str(value) if isinstance(value, int) and not isinstance(value, bool) else value)
    if len(text) > 500:
        raise ValueError("longer than 500 characters")
    return text


# -- addresses ----------------------------------------------------------------------------------------------


def normal_email(value: Any) -> str:
    """The address in lower case, NFC, its domain checked: the one form that is stored, hashed and compared.

    Lower case throughout: no mailbox in use depends on case, and providers report addresses in lower case.
    """
    local, at, domain = plain(value).lower().rpartition("@")
    if not at:
        raise ValueError("an email address has an @-sign")
    if len(local) <= 64 and len(domain) <= 180 and _PLAIN_LOCAL.fullmatch(local):
        return f"{local}@{_mail_domain(domain)}"
    return _valid_email(f"{local}@{domain}")


@lru_cache(maxsize=16_384)
def _mail_domain(domain: str) -> str:
    return _valid_email(f"x@{domain}")[2:]


def _valid_email(text: str) -> str:
    try:
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None


def normal_cell(value: Any, region: str | None) -> str:
    """E.164. `region` (DE, US, …) is where a number without + is read; None: a number needs its +."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else plain(value)
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        hint = "" if region or text.startswith("+") else " (write it with +, or name a region)"
        raise ValueError(f"not a phone number{hint}") from None
    if not phonenumbers.is_valid_number(number):
        raise ValueError("no phone has this number")
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


# -- languages, zones, times --------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _language(text: str) -> str:
    tag = text.replace("_", "-")
    if not _LANGUAGE.fullmatch(tag):
        raise ValueError("not a language tag such as de or pt-BR")
    first, *rest = tag.split("-")
    cases = {2: str.upper, 4: str.title}
    return "-".join([first.lower(), *(cases.get(len(part), str.lower)(part) for part in rest)])


def language(value: Any) -> str:
    """A language tag in its usual case (BCP 47, section 2.1.1): de, pt-BR, zh-Hant."""
    return _language(plain(value))


@lru_cache(maxsize=1)
def _zones() -> Mapping[str, str]:
    return {name.lower(): name for name in available_timezones()}


def zone(value: Any) -> str:
    """The name of a time zone of the IANA database."""
    name = _zones().get(plain(value).lower())
    if name is None:
        raise ValueError("not a time zone such as Europe/Berlin")
    return name


def moment(value: Any) -> datetime:
    """An ISO 8601 time in UTC; one without a zone, and a date, mean UTC."""
    try:
        at = datetime.fromisoformat(plain(value))
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("not a time such as 2026-01-31T09:00:00Z") from None
    if not 1900 <= at.year <= 2999:
        raise ValueError("a time lies between 1900 and 2999")
    return at


# -- lists of words -----------------------------------------------------------------------------------------


def items(value: Any) -> list[str]:
    """The items of a list: separated by ; in text, or a JSON list of texts. Empty ones fall out."""
    if isinstance(value, str) and ";" not in value:
        return [text] if (text := plain(value)) else []
    parts = value if isinstance(value, list) else plain(value).split(";")
    if len(parts) > MAX_ITEMS:
        raise ValueError(f"more than {MAX_ITEMS} items")
    return [text for text in map(plain, parts) if text]


def channels(value: Any) -> frozenset[Channel] | None:
    """Channels by our names or the old codes; `~` anywhere: none; `all`: every one, which is None."""
    return _channels(";".join(items(value)))


@lru_cache(maxsize=4096)
def _channels(text: str) -> frozenset[Channel] | None:
    words = set(text.lower().split(";"))
    if MUTE in words:
        return frozenset()
    if "all" in words:
        return None
    if not words <= set(_CHANNELS):
        raise ValueError("not a channel: " + ", ".join(Channel) + ", `~` (none) or all")
    return frozenset(_CHANNELS[word] for word in words)


def words(value: Any) -> frozenset[str]:
    """Names of purposes or cohorts, in lower case; `~`: none."""
    return _words(";".join(items(value)))


@lru_cache(maxsize=4096)
def _words(text: str) -> frozenset[str]:
    found = frozenset(text.lower().split(";")) - {""}
    if MUTE in found:
        return frozenset()
    if not all(_WORD.fullmatch(word) and len(word) <= 100 for word in found):
        raise ValueError("a name has letters, digits, . _ and - and starts with a letter or digit")
    return found


def suppressions(value: Any) -> frozenset[Channel]:
    """The channels whose address is blocked: email, sms."""
    found = channels(value)
    if found is None or not found <= {Channel.EMAIL, Channel.SMS}:
        raise ValueError("only email and sms can be suppressed")
    return found


# -- attributes ---------------------------------------------------------------------------------------------


def attribute(value: Any) -> Attribute:
    """An attribute as JSON holds it: text, a number, true, false or null."""
    if isinstance(value, str):
        if not value.isprintable():
            _checked(value.replace("\n", " ").replace("\r", " ").replace("\t", " "))
        if len(value) > MAX_TEXT:
            raise ValueError(f"longer than {MAX_TEXT} characters")
        return value
    if isinstance(value, int | float) and abs(value) > MAX_NUMBER:
        raise ValueError("a number this large has to be written as text")
    if value is None or isinstance(value, bool | int | float):
        return value
    raise ValueError("an attribute is text, a number, true, false or null")


def guessed(text: str) -> Attribute:
    """An attribute as a CSV cell holds it: true, false, and numbers that would be written the same way again.

    So 12 and -0.5 are numbers, while 007, 1.10 and 1e5 stay text.
    """
    if text in ("true", "false"):
        return text == "true"
    if len(text) <= 15 and _NUMBER.fullmatch(text):
        number = float(text) if "." in text else int(text)
        if str(number) == text:
            return number
    return attribute(text)


def attributes(value: Any) -> dict[str, Attribute]:
    """All attributes at once: a JSON object, in a CSV cell as its text."""
    found = _json(value) if isinstance(value, str) else value
    if not isinstance(found, dict) or len(found) > MAX_ITEMS:
        raise ValueError(f"a JSON object with at most {MAX_ITEMS} attributes")
    if not all(ATTRIBUTE_NAME.fullmatch(name) for name in found):
        raise ValueError("an attribute's name has letters, digits and _ and starts with a letter")
    return {name: attribute(one) for name, one in found.items()}


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=no_constant)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None


def no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# -- devices ------------------------------------------------------------------------------------------------


def tokens(value: Any, channel: Channel) -> list[Device]:
    """Push tokens, each with an optional registration time: `token@2026-01-31T09:00:00Z`."""
    return [_token(channel, *item.partition("@")[::2]) for item in items(value)]


def _token(channel: Channel, token: str, registered: Any) -> Device:
    if not _TOKENS[channel].fullmatch(token):
        raise ValueError(f"not an {channel} token")
    return Device(channel, token, moment(registered) if registered else UNKNOWN)


def subscriptions(value: Any) -> list[Device]:
    """Web push subscriptions: the browser's JSON {endpoint, keys: {p256dh, auth}}, one or a list of them."""
    found = _json(value) if isinstance(value, str) else value
    return [_subscription(one) for one in (found if isinstance(found, list) else [found])]


def _subscription(value: Any) -> Device:
    try:
        endpoint, keys = value["endpoint"], value["keys"]
        p256dh, auth = keys["p256dh"], keys["auth"]
    except (KeyError, TypeError):
        raise ValueError("a subscription has endpoint, keys.p256dh and keys.auth") from None
    registered = value.get("registered")
    return Device(
        channel=Channel.WEBPUSH,
        token=_endpoint(plain(endpoint)),
        registered=moment(registered) if registered else UNKNOWN,
        p256dh=_key(p256dh, 65),
        auth=_key(auth, 16),
    )


def _endpoint(url: str) -> str:
    """Whether its push service is one of ours is looked at before sending: here, that it is a plain URL."""
    parts = urlsplit(url)
    try:
        wrong = parts.scheme != "https" or not parts.hostname or parts.port not in (None, 443)
    except ValueError:
        wrong = True
    if wrong or "@" in parts.netloc or not url.isascii() or " " in url or parts.fragment:
        raise ValueError("an endpoint is an https URL on port 443, without a user")
    return url


@lru_cache(maxsize=1024)
def _key_size(text: str) -> int:
    try:
        return len(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        return -1


def _key(value: Any, size: int) -> str:
    text = plain(value).rstrip("=")
    if _key_size(text) != size:
        raise ValueError(f"a key of a subscription has {size} bytes in base64url")
    return text


def devices(value: Any) -> list[Device]:
    """JSON Lines only: a list of {channel, token, registered?} or of web push subscriptions.

    The old system's {mtype, did, updated} means the same; its `did` of a wpn is the subscription's JSON.
    """
    if not isinstance(value, list) or len(value) > MAX_ITEMS:
        raise ValueError(f"a list of at most {MAX_ITEMS} devices")
    return [device for one in value for device in _device(one)]


def _device(one: Any) -> Iterable[Device]:
    if not isinstance(one, dict):
        raise ValueError("a device is an object")
    if "endpoint" in one:
        return [_subscription(one)]
    channel = _CHANNELS.get(str(one.get("channel") or one.get("mtype")))
    token, registered = one.get("token") or one.get("did"), one.get("registered") or one.get("updated")
    if channel is Channel.WEBPUSH:
        return subscriptions(token)
    if channel not in _TOKENS:
        raise ValueError("a device's channel is apns, fcm or webpush")
    return [_token(channel, plain(token), registered)]
