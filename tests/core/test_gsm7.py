"""What a text message costs: 3GPP TS 23.038 (alphabet), TS 23.040 (parts)."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgxc import ids
from msgxc.gsm7 import TYPOGRAPHIC, composed, is_gsm7, plain, segments, told
from msgxc.messages.content import plain as shown
from msgxc.messages.records import Message
from msgxc.model import Channel, Sms
from msgxc.render import Links


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),  # the extension takes two places
        ("€" * 81, 2),
        ("€" * 152, 2),  # 76 in a part: its last place stays empty, for an escape is not parted
        ("€" * 153, 3),
        ("a" + "€" * 152, 2),
        ("ç" * 70, 1),  # only the large one is in the alphabet
        ("ç" * 71, 2),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("😀" * 66, 2),  # 33 in a part of 67: a pair of surrogates is not parted
        ("😀" * 67, 3),
        ("a" + "😀" * 66, 2),
    ],
)
def test_parts_are_counted_as_they_are_made(text: str, parts: int) -> None:
    """Places, not characters; nothing that takes two is cut."""
    assert segments(text) == parts


@given(st.text(max_size=400))
def test_plain_text_never_costs_more(text: str) -> None:
    """What stands for a typographic character is in the alphabet, and what it makes costs as much at most,
    unless all was UCS-2 anyway."""
    assert not any(not is_gsm7(put) for put in TYPOGRAPHIC.values())
    if is_gsm7(plain(text)):
        assert segments(plain(text)) <= segments(text)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Cafe\u0301 fu\u0308r A\u030angstro\u0308m", "Café für Ångström"),  # as file names of a Mac are
        ("\u212b", "Å"),  # the sign of the unit
        ("\u0958", "\u0958"),  # whose NFC is longer
        ("👩\u200d👧", "👩\u200d👧"),
    ],
)
def test_a_letter_with_its_accent_is_one_character(text: str, same: str) -> None:
    """What is canonically the same text (Unicode, UAX #15) costs the same: GSM-7 where its letters are in the
    alphabet, and never more than before."""
    assert composed(text) == same
    message = Message(ids.message_id(1_790_000_000, b"12345678"), UUID(int=1), text)
    assert shown(message, Channel.SMS, name="", others=0, where=Links()) == Sms(same)


@given(st.text(max_size=200))
def test_a_composed_text_never_costs_more(text: str) -> None:
    """Whatever it is; and twice is once."""
    assert segments(composed(text)) <= segments(text)
    assert composed(composed(text)) == composed(text)


@pytest.mark.parametrize(
    "odd", ["10\u20135", "5\u2032 11\u2033", "\u22125", "a\u2009b", "a\u2028b", "it\u02bcs"]
)
def test_what_a_keyboard_makes_of_plain_characters_is_told(odd: str) -> None:
    """Dashes, primes, a minus sign, narrow spaces, line separators: `template check` says what they cost."""
    assert not is_gsm7(odd)
    assert is_gsm7(plain(odd))


def test_the_reason_for_ucs_2_is_told() -> None:
    """The encoding, whose fault it is, and the price."""
    assert told("Hi €") == "GSM-7, 1 segment"
    assert told("a" * 200 + "…’") == "UCS-2 because of … ’, 4 segments"
    assert told("日本語日本語です!") == "UCS-2 because of 日 本 語 で す, 1 segment"
    assert told("абвгдеж") == "UCS-2 because of а б в г д …, 1 segment"


@pytest.mark.parametrize("extra", ["", "'", "€"])
def test_what_is_added_does_not_change_the_alphabet(extra: str) -> None:
    """A text of GSM-7 that has to be cut stays one, at the price of its length: 4 parts, not 9."""
    text = extra + "Dear customer, your parcel is on its way. " * 17
    message = Message(ids.message_id(1_790_000_000, b"12345678"), UUID(int=1), text)
    sent = shown(message, Channel.SMS, name="", others=0, where=Links())
    assert isinstance(sent, Sms)
    assert sent.text.endswith("...")
    assert told(sent.text) == "GSM-7, 4 segments"
