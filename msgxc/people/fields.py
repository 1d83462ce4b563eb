"""One cell of a file of people to one value. Pure. Each reader raises ValueError with a reason that repeats
nothing of the cell.

A cell of a CSV file is text; a field of a JSON line may also be a number, a list or an object.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from locale import locale_alias
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import idna
import phonenumbers
from email_validator import EmailNotValidError, validate_email
from msgspec import structs

from msgxc.campaign import NAME, Purpose, slug
from msgxc.endpoint import REMOVED
from msgxc.expression.nodes import MAX_NUMBER
from msgxc.model import MUTE, OLD_TYPES, Attribute, Channel, Device, one_spelling
from msgxc.providers.encryption import POINT, is_point, key_bytes
from msgxc.providers.mailbox import ascii_domain, mailbox
from msgxc.tracking import CONSENT

#: The registration time of a device whose file does not say it: older than any news of its death.
UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)
MAX_TEXT = 4096  # characters of one value
MAX_ITEMS = 100  # items of one list, attributes of one person

#: What needs consent, and can be chosen.
PURPOSES = (Purpose.MARKETING.value, Purpose.PRODUCT.value, CONSENT)

ATTRIBUTE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_WORD = re.compile(NAME)
_PLAIN_LOCAL = re.compile(r"[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*")
_A_LABEL = re.compile(r"xn--[a-z0-9-]+")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}")
#: A number as a spreadsheet or a data frame writes it that has taken an id for one: 1.23457E+11, 17.0.
_ROUNDED = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?[eE][+-][0-9]+|[0-9]+[.,]0+")
#: What stands where a program had no id, or could not work one out.
_NO_IDS = """
    NULL null (null) None nan NaN undefined N/A n/a
    #N/A #REF! #VALUE! #NAME? #DIV/0! #NUM! #NULL! #ERROR!
"""
_NO_ID = frozenset(_NO_IDS.split()) | {"[object Object]"}
#: Shown as nothing, or left over where a character was lost; besides the categories Cf, Cn and Co.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\ufffd\U000e0100-\U000e01ef]"
)
#: A mobile number of Mexico with the 1 that was dialled before it until 2019 (its plan of numbers of 2018).
_OLD_MEXICAN = re.compile("1([2-9][0-9]{9})")
_CELL = re.compile(r"\s*[+\uff0b]?[\d\s().\-/\u2010-\u2015\u2212]*")
_SECONDS = re.compile(r"[0-9]{1,10}")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_TOKENS = {
    Channel.APNS: re.compile(r"[A-Za-z0-9_-]{1,512}"),
    Channel.FCM: re.compile(r"[A-Za-z0-9_:-]{1,4096}"),
}
#: Apple's token as NSData describes itself, which many have sent as it is.
_DESCRIBED = re.compile(r"<(?:[0-9A-Fa-f]{8} ?)+>|[0-9A-Fa-f]{8}(?: [0-9A-Fa-f]{8})+")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
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


def without_invisible(text: str) -> str:
    """The text without what nobody sees: general category Cf, such as a byte order mark or a soft hyphen."""
    return "".join(character for character in text if unicodedata.category(character) != "Cf")


def near(word: str, known: Iterable[str]) -> str:
    """The known word that is written most like this one, to be asked for; "" when none is like it."""
    found = get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


def visible(text: str) -> str:
    """The text, if all of it is seen: no zero-width, soft or directing characters, none that was lost."""
    if not text.isascii() and (
        _UNSEEN.search(text)
        or any(unicodedata.category(character) in ("Cf", "Cn", "Co") for character in text)
    ):
        raise ValueError("an invisible or lost character: two ids that look the same would be two people")
    return text


def identity(value: Any) -> str:
    """A uid or a foreign id, as text in NFC; JSON may hold it as a whole number up to 2^53. Upper and lower
    case are two ids. What a spreadsheet has made of an id is refused, and so is what stands where none is:
    it would make several people one."""
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > MAX_NUMBER:
            raise ValueError("a number this large has to be written as text")
        value = str(value)
    text = visible(plain(value))
    if len(text) > 500:
        raise ValueError("longer than 500 characters")
    if text in _NO_ID:
        raise ValueError("a word for no id")
    if _ROUNDED.fullmatch(text):
        raise ValueError(
            "a number that a spreadsheet has rounded: format its column as text, and export anew"
        )
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def long_number(text: str) -> bool | None:
    """Of a number of more than the 15 digits that a spreadsheet keeps: whether only zeros follow them. None:
    it is no such number."""
    if len(text) <= 15 or not text.isdecimal():
        return None
    return text[0] != "0" and not text[15:].strip("0")


# -- addresses ----------------------------------------------------------------------------------------------


def normal_email(value: Any) -> str:
    """The address in lower case, its domain in Unicode (IDNA 2008): the one form that is stored, hashed and
    compared. Refused is what could not be sent to (providers/mailbox.py), at the door as at the way out.

    Lower case throughout: no mailbox in use depends on case, and providers report addresses in lower case.
    """
    local, at, domain = plain(value).rpartition("@")
    if not at:
        raise ValueError("an email address has an @-sign")
    if not local.isascii():
        raise ValueError("before the @-sign of an email address is ASCII only")
    local = local.lower()
    if not _PLAIN_LOCAL.fullmatch(local):
        local = _valid_email(f"{local}@example.com").rpartition("@")[0]
    address = f"{local}@{_mail_domain(domain)}"
    if not mailbox(address):
        raise ValueError("no mail can be sent there (RFC 5321): too long, or no such domain")
    return address


@lru_cache(maxsize=16_384)
def _mail_domain(domain: str) -> str:
    """The domain in Unicode: what the library knows of domains is asked of the form that DNS knows."""
    wire = ascii_domain(domain.lower() if domain.isascii() else domain)
    _valid_email(f"x@{_A_LABEL.sub('xx', wire) or domain}")
    return idna.decode(wire) if "xn--" in wire else wire


def _valid_email(text: str) -> str:
    try:
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None


def normal_cell(value: Any, region: str | None) -> str:
    """E.164. `region` (DE, US, …) is where a number without + is read; None: a number needs its +.

    Taken is what is possible in its country's number plan, also where nobody has been given such a number
    that we know of: plans grow. Refused is what would be dropped in silence: an extension, letters, a second
    number.
    """
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else plain(value)
    text = text if text.isascii() else without_invisible(text)
    if not _CELL.fullmatch(text):
        raise ValueError(
            "a phone number has digits and a + before them: no extension, no letters, no second one"
        )
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        hint = "" if region or text.startswith("+") else " (write it with +, or name a region)"
        raise ValueError(f"not a phone number{hint}") from None
    if number.country_code == 52 and (old := _OLD_MEXICAN.fullmatch(str(number.national_number))):
        number.national_number = int(old[1])
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        raise ValueError("no phone has this number: too long, too short, or without its area")
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


# -- languages, zones, times --------------------------------------------------------------------------------


_ISO_639_1 = """
    aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da
    de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz
    ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln
    lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi
    pl ps pt qu rm rn ro ru rw sa sc sd se sg sh si sk sl sm sn so sq sr ss st su sv sw ta te tg th
    ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
"""
_LANGUAGES = frozenset(_ISO_639_1.split())
#: Codes that others took the place of, and that phones still say.
_OLD_LANGUAGES = {"iw": "he", "in": "id", "ji": "yi"}


@lru_cache(maxsize=4096)
def _language(text: str) -> str:
    tag = text.replace("_", "-")
    if not _LANGUAGE.fullmatch(tag):
        raise ValueError(f"not a language tag such as de or pt-BR{_meant(text)}")
    first, *rest = tag.split("-")
    first = _OLD_LANGUAGES.get(first.lower(), first.lower())
    if len(first) == 2 and first not in _LANGUAGES:
        raise ValueError(f"not a language of ISO 639{_meant(text)}")
    regions = [part.upper() for part in rest if len(part) == 2]
    if not phonenumbers.SUPPORTED_REGIONS.issuperset(regions):
        raise ValueError(
            "not a country in a language tag" + ("; did you mean GB?" if "UK" in regions else "")
        )
    cases = {2: str.upper, 4: str.title}
    return "-".join([first, *(cases.get(len(part), str.lower)(part) for part in rest)])


def _meant(text: str) -> str:
    word = text.lower()
    code = (locale_alias.get(word) or locale_alias.get(f"{word}_{word}") or "")[:2]
    return f"; did you mean {code}?" if code in _LANGUAGES else ""


def language(value: Any) -> str:
    """A language tag in its usual case (BCP 47, section 2.1.1): de, pt-BR, zh-Hant."""
    return _language(plain(value))


@lru_cache(maxsize=1)
def _zones() -> Mapping[str, str]:
    return {name.lower(): name for name in available_timezones()}


def zone(value: Any) -> str:
    """The name of a time zone of the IANA database."""
    return _zone(plain(value).lower())


@lru_cache(maxsize=4096)
def _zone(text: str) -> str:
    zones = _zones()
    if name := zones.get(text):
        return name
    city = "/" + text.rpartition("/")[2].replace(" ", "_")
    meant = next((key for key in zones if key.endswith(city)), "") or next(
        iter(get_close_matches(text, zones, 1)), ""
    )
    raise ValueError(
        "not a time zone such as Europe/Berlin" + (f"; did you mean {zones[meant]}?" if meant else "")
    )


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


def span(value: Any) -> int:
    """Whole seconds, in milliseconds."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else plain(value)
    if not _SECONDS.fullmatch(text):
        raise ValueError("not a number of whole seconds")
    return int(text) * 1000


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
    if wrong := sorted(words - set(_CHANNELS)):
        raise ValueError(
            "not a channel: " + ", ".join(Channel) + ", `~` (none) or all" + near(wrong[0], Channel)
        )
    return frozenset(_CHANNELS[word] for word in words)


def words(value: Any) -> frozenset[str]:
    """Names of purposes, in lower case; `~`: none."""
    return _words(";".join(items(value)))


@lru_cache(maxsize=4096)
def _words(text: str) -> frozenset[str]:
    found = frozenset(text.lower().split(";")) - {""}
    if MUTE in found:
        return frozenset()
    if not all(_WORD.fullmatch(word) and len(word) <= 100 for word in found):
        raise ValueError("a name has letters, digits, . _ and - and starts with a letter or digit")
    return found


def cohorts(value: Any) -> frozenset[str]:
    """Names of cohorts, each as it is kept everywhere; `~`: none. A comma would make one name of two."""
    found = ";".join(items(value))
    if "," in found:
        raise ValueError("cohorts are separated by ;")
    return _cohorts(found)


@lru_cache(maxsize=4096)
def _cohorts(text: str) -> frozenset[str]:
    found = frozenset(text.split(";")) - {""}
    if MUTE in found:
        return frozenset()
    named = frozenset(map(slug, found))
    if any(len(name) > 100 for name in named):
        raise ValueError("a name has at most 100 characters")
    return named


def consents(value: Any) -> frozenset[str]:
    """The purposes that somebody consents to; `~`: none. One that no message has would never be asked for."""
    return _consents(words(value))


@lru_cache(maxsize=256)
def _consents(found: frozenset[str]) -> frozenset[str]:
    if wrong := sorted(found.difference(PURPOSES)):
        known = ", ".join(PURPOSES)
        raise ValueError(f"not a purpose that needs consent ({known}){near(wrong[0], PURPOSES)}")
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
        return json.loads(text, parse_constant=no_constant, object_pairs_hook=once)
    except Twice:
        raise
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None


def no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class Twice(ValueError):
    """A JSON object has a name twice: nobody knows which of its values was meant (RFC 8259, section 4)."""


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises Twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Twice("a name stands there twice")
    return found


# -- devices ------------------------------------------------------------------------------------------------


def tokens(value: Any, channel: Channel) -> list[Device]:
    """Push tokens, each with an optional registration time: `token@2026-01-31T09:00:00Z`."""
    return [_token(channel, *item.partition("@")[::2]) for item in items(value)]


def _token(channel: Channel, token: str, registered: Any) -> Device:
    if channel is Channel.APNS and _DESCRIBED.fullmatch(token):
        token = token.strip("<>").replace(" ", "")
    if not _TOKENS[channel].fullmatch(token):
        raise ValueError(f"not an {channel} token")
    return Device(channel, one_spelling(channel, token), moment(registered) if registered else UNKNOWN)


def subscriptions(value: Any) -> list[Device]:
    """Web push subscriptions: the browser's JSON {endpoint, keys: {p256dh, auth}}, one or a list of them."""
    found = _json(value) if isinstance(value, str) else value
    some = found if isinstance(found, list) else [found]
    return [_subscription(one) for one in some if not _has_ended(one)]


def _has_ended(value: Any) -> bool:
    """Whether its browser has removed it: no address, whatever its keys are."""
    endpoint = value.get("endpoint") if isinstance(value, dict) else None
    return isinstance(endpoint, str) and endpoint.startswith(REMOVED)


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
        p256dh=_key(p256dh, POINT),
        auth=_key(auth, 16),
    )


def _endpoint(url: str) -> str:
    """Whether its push service is one of ours is looked at before sending, and what nobody would send to is
    passed over and pruned then (msgxc/endpoint.py): here, that it is a plain URL."""
    parts = urlsplit(url)
    try:
        wrong = parts.scheme != "https" or not parts.hostname or parts.port not in (None, 443)
    except ValueError:
        wrong = True
    if wrong or "@" in parts.netloc or not url.isascii() or " " in url or parts.fragment:
        raise ValueError("an endpoint is an https URL on port 443, without a user")
    return one_spelling(Channel.WEBPUSH, url)


def _key(value: Any, size: int) -> str:
    """In base64url without padding, as PushSubscription.toJSON() writes it (RFC 8291, section 3.1). Pages
    with btoa() write base64, padded: the same key in another spelling."""
    text = plain(value).rstrip("=").replace("+", "-").replace("/", "_")
    key = key_bytes(text) if _BASE64URL.fullmatch(text) else b""
    if len(key) != size:
        raise ValueError(f"a key of a subscription has {size} bytes in base64url")
    if size == POINT and not is_point(key):
        raise ValueError("the key is none of a browser: no point of P-256 (RFC 8291)")
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
        return subscriptions(one)
    channel = _CHANNELS.get(str(one.get("channel") or one.get("mtype")))
    token, registered = one.get("token") or one.get("did"), one.get("registered") or one.get("updated")
    if channel is Channel.WEBPUSH:
        since = moment(registered) if registered else UNKNOWN
        return [structs.replace(d, registered=max(d.registered, since)) for d in subscriptions(token)]
    if channel not in _TOKENS:
        raise ValueError("a device's channel is apns, fcm or webpush")
    return [_token(channel, plain(token), registered)]
