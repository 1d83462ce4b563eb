"""One cell to one value: what is taken, in which normal form, and what is refused."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from email_validator import EmailNotValidError, validate_email
from hypothesis import given
from hypothesis import strategies as st
from people_files import P256DH

from msgxc import ids
from msgxc.model import Channel
from msgxc.people import fields
from msgxc.people.record import Refused, change_of, draft, readers
from msgxc.people.rows import Rows
from msgxc.providers.encryption import is_point
from msgxc.providers.mailbox import mailbox
from msgxc.store.choices import Choices


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Anna.B@Example.COM", "anna.b@example.com"),
        ("  anna+news@example.com ", "anna+news@example.com"),
        ("Anna@Bücher.example.com", "anna@bücher.example.com"),
        ("anna@xn--bcher-kva.example.com", "anna@bücher.example.com"),
        ("ada@straße.de", "ada@straße.de"),
        ("ada@xn--strae-oqa.de", "ada@straße.de"),
        ("ada@ΟΔΟΣ.gr", "ada@οδοσ.gr"),  # a capital has no final form (UTS 46)
        ("ada@οδος.gr", "ada@οδος.gr"),
        ("ada@نامه\u200cای.com", "ada@نامه\u200cای.com"),  # RFC 5892, appendix A.1
        ("o'neil@example.com", "o'neil@example.com"),
    ],
)
def test_email_has_one_normal_form(text: str, normal: str) -> None:
    """However an address is written, it becomes one text, so that a suppression finds it."""
    assert fields.normal_email(text) == normal


@pytest.mark.parametrize(
    ("domain", "wire"),
    [
        ("straße.de", "xn--strae-oqa.de"),  # RFC 5891; strasse.de is somebody else
        ("faß.de", "xn--fa-hia.de"),
        ("οδος.gr", "xn--pxavbm.gr"),
        ("نامه\u200cای.com", "xn--mgba3gch31f060k.com"),
        ("bücher.example.com", "xn--bcher-kva.example.com"),
        ("x" * 63 + ".example.com", "x" * 63 + ".example.com"),
    ],
)
def test_a_domain_is_on_the_wire_as_dns_knows_it(domain: str, wire: str) -> None:
    """IDNA 2008: what the door takes leaves as the same domain."""
    assert mailbox(fields.normal_email(f"ada@{domain}")) == f"ada@{wire}"


@pytest.mark.parametrize(
    "text",
    [
        "a" * 65 + "@example.com",
        "ada@example.c",
        "ada@" + "x" * 64 + ".com",
        "a" * 64 + "@" + ".".join(["x" * 60] * 4) + ".com",  # 254 is the end
        "ada@" + ".".join(["ü" * 40] * 6) + ".com",  # after encoding
        "用户@example.com",
        "\u212aate@example.com",  # a Kelvin sign is no k
        ".ada@example.com",
        "ada.@example.com",
        "a..da@example.com",
        '"a da"@example.com',
        "ada@[192.0.2.1]",
        "ada@192.0.2.1",
        "ada@-x.com",
        "ada@x_y.com",
        "ada@example.com.",
        "ada@xn--a.com",
        "ada@a\u200db.com",  # joins nothing (RFC 5892, appendix A.2)
        "\u200bada@example.com",
        "ada@localhost",
    ],
)
def test_what_cannot_be_mailed_is_refused_at_the_door(text: str) -> None:
    """RFC 5321, section 4.5.3.1, and what SendGrid takes: not found out by every campaign anew."""
    with pytest.raises(ValueError):  # noqa: PT011 -- many reasons, one kind
        fields.normal_email(text)


@given(st.emails())
def test_whatever_the_door_takes_can_be_sent_to(address: str) -> None:
    """One rule: no address that is stored is turned down on the way out."""
    try:
        taken = fields.normal_email(address)
    except ValueError:
        return
    assert mailbox(taken)
    assert fields.normal_email(mailbox(taken)) == taken


LOCALS = st.text("abzAZ09._+-'\"@ ", max_size=70)
DOMAINS = st.sampled_from(
    ["example.com", "example", "ex ample.com", "", "a.example.org", "-x.com", "d" * 70 + ".com"]
)


@given(LOCALS, DOMAINS)
def test_the_quick_way_agrees_with_the_library(local: str, domain: str) -> None:
    """The short cut for plain local parts takes what email-validator takes and can be sent."""
    text = " ".join(f"{local}@{domain}".split()).lower()
    try:
        expected = validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError:
        expected = ""
    expected = expected if mailbox(expected) else ""
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
        ("+1 924 555 0123", None, "+19245550123"),  # an area code that is younger than our list
        ("\u202a+1 (202)\u00a0555\u20110123\u202c", None, "+12025550123"),  # copied from an address book
        ("+٩٧١ ٥٠ ١٢٣ ٤٥٦٧", None, "+971501234567"),
        ("\uff0b１２０２５５５０１２３", None, "+12025550123"),
        ("+52 1 55 1234 5678", None, "+525512345678"),  # as was dialled until 2019 (Mexico's plan of numbers)
        ("1 55 1234 5678", "MX", "+525512345678"),
        ("+52 55 1234 5678", None, "+525512345678"),
    ],
)
def test_cell_becomes_e164(text: object, region: str | None, normal: str) -> None:
    """A number with + stands for itself; one without is read in the region."""
    assert fields.normal_cell(text, region) == normal
    assert fields.normal_cell(normal, None) == normal


@pytest.mark.parametrize(
    "text",
    [
        "0301234567",
        "+1555",
        "anna",
        "",
        "+99912345678",
        "\ud800",
        "+1 415 555 0100 ext. 5",
        "+1 415 555 0100x5",
        "+1-415-555-0100;ext=5",
        "+1 415 555 0100 #5",
        "+1 415 555 0100,,5",
        "+1 800 FLOWERS",
        "+1 415 555 0100 (home)",
        "+14155550100 / +14155550101",
        "call +14155550100",
        "4.91512E+11",
        "+1 415 555 01000",
        "+1 555 0100",
    ],
)
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


@pytest.mark.parametrize(
    ("reader", "text", "says"),
    [
        (fields.consents, "marketting", "did you mean marketing?"),
        (fields.consents, "newsletter", "not a purpose that needs consent (marketing, product, tracking)"),
        (fields.consents, "marketing;prodct", "did you mean product?"),
        (fields.consents, "service", "not a purpose that needs consent"),
        (fields.channels, "e-mail", "did you mean email?"),
        (fields.language, "German", "did you mean de?"),
        (fields.language, "jp", "did you mean ja?"),
        (fields.language, "xx", "not a language of ISO 639"),
        (fields.language, "en-UK", "did you mean GB?"),
        (fields.zone, "Europe/Berln", "did you mean Europe/Berlin?"),
        (fields.zone, "new york", "did you mean America/New_York?"),
    ],
)
def test_words_that_nothing_asks_for_are_told(
    reader: Callable[[object], object], text: str, says: str
) -> None:
    """With the nearest word that is known, where there is one."""
    with pytest.raises(ValueError, match="not a") as caught:
        reader(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["1.23457E+11", "1,23457E+11", "1.23457e+011", "17.0", "NULL", "nan", "#N/A", "#REF!", "[object Object]"]
    + [
        f"p{c}6" for c in "\u200b\u00ad\u200d\ufeff\u202e\u2066\u034f\u3164\u2800\ufe0f\U000e0061\ufffd\ue000"
    ],
)
def test_what_would_make_two_people_one_is_no_id(text: str) -> None:
    """What a spreadsheet or a program put in an id's place; what nobody sees or what was lost in it."""
    with pytest.raises(ValueError, match=r"spreadsheet|no id|invisible"):
        fields.identity(text)


@pytest.mark.parametrize(
    "text", ["1e10", "12e5f", "1.10", "1234567890123456", "null-1", "Ann", "é", "0", "v1.0"]
)
def test_ids_that_look_odd_are_ids(text: str) -> None:
    """Hexadecimal, versions, any script."""
    assert fields.identity(text) == text


def test_one_id_has_one_spelling() -> None:
    """NFC, and blanks of all kinds are one; upper and lower case are two people, as in the systems that use
    both."""
    key = b"k" * 32
    (uid,) = {ids.uid_of(key, text) for text in ("Zo\u00eb 1", "Zoe\u0308\u00a0 1", " Zo\u00eb 1")}
    assert uid == ids.uid_of(key, fields.identity("Zoe\u0308 1"))
    assert uid != ids.uid_of(key, "zo\u00eb 1")
    assert fields.identity(42) == "42"
    with pytest.raises(ValueError, match="written as text"):
        fields.identity(1234567890123456789)


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


KEYS = {"p256dh": P256DH, "auth": "A" * 22}


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


TOKEN = "ad62ea6ea23d6974871cf59a06cbdb2783b85adbafe3355c0007362249d3e75c"
EIGHTS = " ".join(TOKEN[n : n + 8] for n in range(0, 64, 8))


@pytest.mark.parametrize("text", [TOKEN, TOKEN.upper(), f"<{EIGHTS}>", EIGHTS.upper(), f"<{TOKEN}>"])
def test_apples_token_has_one_spelling(text: str) -> None:
    """It is bytes: however its digits are written, it is one device. Google's is text."""
    assert [d.token for d in fields.tokens(text, Channel.APNS)] == [TOKEN]
    assert fields.tokens("fAb:cD", Channel.FCM)[0].token == "fAb:cD"


def test_an_endpoint_has_one_spelling() -> None:
    """Host and scheme have no case and 443 is their port; the path is as it was given."""
    (device,) = fields.subscriptions({"endpoint": "HTTPS://Push.Example.com:443/Send/aB", "keys": KEYS})
    assert device.token == "https://push.example.com/Send/aB"


@pytest.mark.parametrize(
    "keys",
    [
        {"p256dh": "BA" + "A" * 85},  # no point
        {"p256dh": P256DH[:-2] + "bw"},  # beside the curve
        {"p256dh": "BP" + "_" * 85},  # beyond the field
        {"p256dh": "C" + P256DH[1:]},
        {"p256dh": P256DH[:-4]},
        {"p256dh": P256DH + "AAAA"},
        {"p256dh": P256DH[:-1] + "!"},
        {"auth": "A" * 21},
        {"auth": "A" * 24},
        {"auth": "A" * 10 + "=" + "A" * 12},
        {"auth": ""},
    ],
)
def test_keys_that_no_browser_gives_out_are_refused(keys: dict[str, str]) -> None:
    """RFC 8291: an uncompressed point of P-256 and 16 bytes, each in base64url."""
    with pytest.raises(ValueError, match="key"):
        fields.subscriptions({"endpoint": "https://push.example.com/x", "keys": {**KEYS, **keys}})


def test_keys_in_another_spelling_are_the_same_keys() -> None:
    """Pages that make them with btoa() write base64, padded; what is stored has one spelling."""
    (plain,) = fields.subscriptions({"endpoint": "https://push.example.com/x", "keys": KEYS})
    other = {name: urlsafe_to_base64(key) for name, key in KEYS.items()}
    assert other != KEYS
    assert fields.subscriptions({"endpoint": "https://push.example.com/x", "keys": other}) == [plain]


def urlsafe_to_base64(key: str) -> str:
    return b64encode(urlsafe_b64decode(key + "=" * (-len(key) % 4))).decode()


@given(st.integers(1, 2**255), st.integers(0, 64 * 8 - 1))
def test_a_point_is_one_for_the_library_too(secret: int, flipped: int) -> None:
    """Our test and the library's agree, on points and beside them."""
    public = ec.derive_private_key(secret, ec.SECP256R1()).public_key()
    point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert is_point(point)
    beside = bytes([4]) + (int.from_bytes(point[1:]) ^ (1 << flipped)).to_bytes(64)
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), beside)
    except ValueError:
        assert not is_point(beside)
    else:
        assert is_point(beside)


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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"uid": "ann", "uid": "bob"}', "a name stands there twice"),
        ('{"uid": "ann", "attributes": {"plan": "a", "plan": "b"}}', "a name stands there twice"),
        ('{"uid": "ann", "attributes": {"a": NaN}}', "not JSON"),
    ],
)
def test_a_name_stands_once_in_an_object(tmp_path: Path, text: str, reason: str) -> None:
    """Of two values under one name nobody knows which was meant (RFC 8259, section 4)."""
    file = tmp_path / "people.jsonl"
    file.write_text('{"uid": "u"}\n' + text)
    with Rows(file) as rows:
        assert [row.problem for row in rows] == ["", reason]


@pytest.mark.parametrize(
    "cell",
    [
        ("last_seen", "2999-01-01"),
        ("created", "2026-12-03T00:00:00Z"),
        ("apns", "aa@2036-10-01"),
        (
            "webpush",
            json.dumps(
                {"endpoint": "https://p.example.com/1", "keys": KEYS, "registered": "2099-01-01T00:00:00Z"}
            ),
        ),
    ],
)
def test_a_time_in_the_future_is_refused(cell: tuple[str, str]) -> None:
    """What only moves forward would never be put right again, and a device that was registered in 2036 would
    outlive every news of its death (Apple, "Handling notification responses": the timestamp of a 410). A day
    is let pass, for a date has no zone."""
    made = draft([("uid", "u"), cell], readers(None), typed=False)
    with pytest.raises(Refused, match="a time in the future"):
        change_of(None, made, UUID(int=1), datetime(2026, 12, 1, 12, tzinfo=UTC), Choices())
    soon = draft([("uid", "u"), ("last_seen", "2026-12-02")], readers(None), typed=False)
    assert change_of(None, soon, UUID(int=1), datetime(2026, 12, 1, 12, tzinfo=UTC), Choices()).fields


@pytest.mark.parametrize("value", ["vip,beta", "vip, beta;gold", ["vip,beta"]])
def test_a_list_of_cohorts_with_commas_is_refused(value: object) -> None:
    """Our own separator is ; (docs/audience.md): "vip,beta" would silently become one cohort, vip-beta."""
    with pytest.raises(ValueError, match="separated by ;"):
        fields.cohorts(value)
    assert fields.cohorts("VIP; early birds") == {"vip", "early-birds"}
