"""How many parts a text message takes, which is what it costs: 3GPP TS 23.038 (alphabet), TS 23.040 (parts).
Pure."""

from __future__ import annotations

from unicodedata import normalize

#: The characters of the basic set; those of its extension take two places.
BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = frozenset("^{}\\[~]|€\f")


#: What word processors make of plain characters, and what stands in the basic set for it.
TYPOGRAPHIC = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u2032`\u00b4", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("\u00a0\u2002\u2003\u2007\u2008\u2009\u200a\u202f\u205f\t", " "),
    **dict.fromkeys("\u2028\u2029\u0085\v", "\n"),
    **dict.fromkeys("\u200b\u2060\ufeff\u00ad", ""),
    **{"\u2026": "...", "\u2022": "*", "\u2039": "<", "\u203a": ">"},
}
_PLAIN = str.maketrans(TYPOGRAPHIC)


def is_gsm7(text: str) -> bool:
    """Whether the text can be sent in GSM-7; else it is sent in UCS-2, in which parts hold less than half.
    National tables are not counted on: nobody says that the way there knows them."""
    return all(char in BASIC or char in EXTENSION for char in text)


def segments(text: str) -> int:
    """Parts that a text takes: 160 places of GSM-7 or 70 of UCS-2 in one, 153 or 67 each in several. What
    takes two places (the extension; a pair of surrogates) is in one part, whole."""
    gsm7 = is_gsm7(text)
    wide = [char in EXTENSION for char in text] if gsm7 else [char > "\uffff" for char in text]
    length, alone, each = len(text) + sum(wide), *((160, 153) if gsm7 else (70, 67))
    if length <= alone:
        return 1
    if length == len(text):
        return -(-length // each)
    parts, room = 1, each
    for places in wide:
        if room < 1 + places:
            parts, room = parts + 1, each
        room -= 1 + places
    return parts


def told(text: str) -> str:
    """The encoding, what is the reason for it, and the parts: "GSM-7, 2 segments"."""
    count = segments(text)
    parts = f"{count} segment{'s' * (count > 1)}"
    if is_gsm7(text):
        return f"GSM-7, {parts}"
    odd = "".join(dict.fromkeys(char for char in text if not is_gsm7(char)))
    return f"UCS-2 because of {' '.join(odd[:5])}{' …' * (len(odd) > 5)}, {parts}"


def composed(text: str) -> str:
    """The same text, a letter and its accent as one character where Unicode has that (NFC): so é, which a Mac
    may write as two, is in the alphabet. Never longer."""
    if text.isascii():
        return text
    found = normalize("NFC", text)
    return found if len(found) <= len(text) else text


def plain(text: str) -> str:
    """The text with plain characters for typographic ones."""
    return text.translate(_PLAIN)
