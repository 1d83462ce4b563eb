"""One cell to one value: what is taken, in which normal form, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given
from hypothesis import strategies as st

from msgxc.model import Channel
from msgxc.people import fields


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Anna.B@Example.COM", "anna.b@example.com"),
        ("  anna+news@example.com ", "anna+news@example.com"),
        ("ÄNNA@Bücher.example.com", "änna@bücher.example.com"),
        ("o'neil@example.com", "o'neil@example.com"),
    ],
)
def test_email_has_one_normal_form(text: str, normal: str) -> None:
    """However an address is written, it becomes one text, so that a suppression finds it."""
    assert fields.normal_email(text) == normal


LOCALS = st.text("abzAZ09._+-'\"@ é", max_size=70)
DOMAINS = st.sampled_from(
    ["example.com", "example", "ex ample.com", "", "a.example.org", "-x.com", "d" * 70 + ".com"]
)


@given(LOCALS, DOMAINS)
def test_the_quick_way_agrees_with_the_library(local: str, domain: str) -> None:
    """The short cut for plain local parts accepts what email-validator accepts, in the same form."""
    text = " ".join(f"{local}@{domain}".split()).lower()
    try:
        expected = validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError:
        expected = ""
    try:
        found = fields.normal_email(f"{local}@{domain}")
    except ValueError:
        found = ""
    assert found == expected


@pytest.mark.parametrize(
    ("text", "region", "normal"),
    [
        ("+1 (202) 555-0123", None, "+12025550123"),
        ("030 12345678", "DE", "+493012345678"),
        ("+49 (0)30 12345678", "US", "+493012345678"),
        (12025550123, "US", "+12025550123"),
    ],
)
def test_cell_becomes_e164(text: object, region: str | None, normal: str) -> None:
    """A number with + stands for itself; one without is read in the region."""
    assert fields.normal_cell(text, region) == normal
    assert fields.normal_cell(normal, None) == normal


@pytest.mark.parametrize("text", ["0301234567", "+1555", "anna", "", "+99912345678", "\ud800"])
def test_cell_refuses_what_is_no_number(text: str) -> None:
    """Without a region a number needs its +; what no phone has is refused."""
    with pytest.raises(ValueError, match=r"phone|UTF-8"):
        fields.normal_cell(text, None)


def test_words_of_channels() -> None:
    """Our names and the old codes mean the same; `~` anywhere mutes; `all` is every channel."""
    assert fields.channels("apn; email") == {Channel.APNS, Channel.EMAIL}
    assert fields.channels(["apns", "em", "emd"]) == {Channel.APNS, Channel.EMAIL}
    assert fields.channels("apns;~") == frozenset()
    assert fields.channels("all") is None
    for wrong in ("pigeon", ";"):
        with pytest.raises(ValueError, match="not a channel"):
            fields.channels(wrong)


@pytest.mark.parametrize(
    ("text", "value"),
    [("12", 12), ("-0.5", -0.5), ("true", True), ("007", "007"), ("1.10", "1.10"), ("1e5", "1e5"), ("", "")],
)
def test_attributes_of_csv_lose_nothing(text: str, value: object) -> None:
    """A cell becomes a number only when it would be written the same way again."""
    found = fields.guessed(text)
    assert found == value
    assert type(found) is type(value)


@given(st.text(max_size=20))
def test_a_guessed_attribute_is_written_the_same_way(text: str) -> None:
    """Whatever stands in a cell can be had back from the attribute."""
    try:
        value = fields.guessed(text)
    except ValueError:
        return
    assert (str(value).lower() if isinstance(value, bool) else str(value)) == text


def test_languages_zones_and_times() -> None:
    """Tags and zones get their usual case; times become UTC."""
    assert [fields.language(t) for t in ("DE", "pt_br", "zh-hant-tw")] == ["de", "pt-BR", "zh-Hant-TW"]
    assert fields.zone("europe/berlin") == "Europe/Berlin"
    assert fields.moment("2026-01-31T10:00+01:00") == datetime(2026, 1, 31, 9, tzinfo=UTC)
    assert fields.moment("2026-01-31") == datetime(2026, 1, 31, tzinfo=UTC)
    for reader, wrong in (
        (fields.language, "german"),
        (fields.zone, "../etc"),
        (fields.moment, "soon"),
        (fields.moment, "0001-01-01T00:00+23:00"),
    ):
        with pytest.raises(ValueError, match="not a"):
            reader(wrong)


KEYS = {"p256dh": "B" + "A" * 86, "auth": "A" * 22}


def test_devices_in_all_their_spellings() -> None:
    """Tokens with a time, subscriptions as the browser gives them, and the old system's mdevices."""
    at = datetime(2026, 1, 31, 9, tzinfo=UTC)
    first, second = fields.tokens("abc; def@2026-01-31T09:00:00Z", Channel.APNS)
    assert (first.registered, second.token, second.registered) == (fields.UNKNOWN, "def", at)
    endpoint = {"endpoint": "https://push.example.com/x", "keys": KEYS}
    found = fields.devices(
        [
            endpoint,
            {"channel": "fcm", "token": "f:1"},
            {"mtype": "apn", "did": "a", "updated": "2026-01-31T09:00Z"},
        ]
    )
    assert [d.channel for d in found] == [Channel.WEBPUSH, Channel.FCM, Channel.APNS]
    assert found[2].registered == at


@pytest.mark.parametrize(
    "value",
    [
        "http://push.example.com/x",
        "https://user@push.example.com/x",
        "https://push.example.com:8443/x",
        "https:///x",
        "https://push.example.com:x/",
        "file:///etc/passwd",
    ],
)
def test_endpoints_are_plain_https(value: str) -> None:
    """An endpoint is a URL that somebody gave us: no other scheme, port or user."""
    with pytest.raises(ValueError, match="endpoint"):
        fields.subscriptions({"endpoint": value, "keys": KEYS})


@pytest.mark.parametrize("token", ["../x", "a b", "a\r\nb", "\0", "x" * 5000, "a/b", "é"])
def test_malformed_tokens_are_refused(token: str) -> None:
    """Nothing becomes a token that could not stand in a URL or a header."""
    for channel in (Channel.APNS, Channel.FCM):
        with pytest.raises(ValueError, match=r"token|longer|control"):
            fields.tokens([token], channel)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(SCALARS, lambda x: st.lists(x) | st.dictionaries(st.text(), x), max_leaves=5)


@given(JSON)
def test_any_json_is_read_or_refused(value: object) -> None:
    """No reader raises anything but ValueError, whatever a file holds."""
    for reader in (
        *(fields.plain, fields.identity, fields.normal_email, fields.language, fields.zone, fields.moment),
        *(fields.channels, fields.words, fields.suppressions, fields.attribute, fields.attributes),
        *(fields.subscriptions, fields.devices, lambda v: fields.normal_cell(v, "DE")),
        lambda v: fields.tokens(v, Channel.FCM),
    ):
        try:
            reader(value)
        except ValueError:
            continue
