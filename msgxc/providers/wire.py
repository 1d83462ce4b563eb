"""What the adapters share: clean text, JSON, and the two ways in which no answer comes. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from msgxc.http2.messages import Answer, Unanswered
from msgxc.model import Outcome, Outgoing, Reason, Receipt
from msgxc.render.person import whole as clean

__all__ = [
    "INVALID_ADDRESS",
    "MALFORMED",
    "TOO_LARGE",
    "Answer",
    "Lost",
    "NotSent",
    "clean",
    "ended",
    "fits",
    "form_value",
    "from_json",
    "receipt_of",
    "to_json",
    "unanswered",
    "unreadable",
    "utc_now",
]


class NotSent(Exception):
    """The request did not leave, or the peer says that it never looked at it: a repeat repeats nothing."""


class Lost(Exception):
    """The request left and no answer came: nobody but the provider knows whether it was accepted."""


MALFORMED = Receipt(Outcome.REFUSED, Reason.MALFORMED)
INVALID_ADDRESS = Receipt(Outcome.REFUSED, Reason.INVALID_ADDRESS)
TOO_LARGE = Receipt(Outcome.REFUSED, Reason.TOO_LARGE)


def receipt_of(outgoing: Outgoing, name: str = "receipt") -> dict[str, str]:
    """The token with which receipts of this delivery come back, under the channel's name for it."""
    return {name: outgoing.receipt} if outgoing.receipt else {}


def unanswered(failure: NotSent | Lost | Unanswered) -> Receipt:
    """LATER when nothing can have been accepted, DOUBT when it can."""
    if failure is Unanswered.NOT_PROCESSED or isinstance(failure, NotSent):
        return Receipt(Outcome.LATER, Reason.UNAVAILABLE)
    return Receipt(Outcome.DOUBT, Reason.TIMEOUT)


def ended(end: Answer | Unanswered, read: Callable[[Answer, datetime], Receipt], now: datetime) -> Receipt:
    """How a request ended, as a receipt; `read` knows the provider's words."""
    return read(end, now) if isinstance(end, Answer) else unanswered(end)


def unreadable(status: int) -> Receipt:
    """An answer that says "accepted" in words that the provider does not use (HTML, half a JSON)."""
    return Receipt(Outcome.DOUBT, Reason.REJECTED, code=f"{status} unreadable")


_TO_ESCAPE = re.compile(r"[^A-Za-z0-9_.~ -]+")


def _escaped(found: re.Match[str]) -> str:
    return "%" + found[0].encode().hex("%").upper()


def form_value(text: str) -> str:
    """A value as application/x-www-form-urlencoded has it: what urllib's quote_plus makes of it, sooner."""
    return _TO_ESCAPE.sub(_escaped, text).replace(" ", "+")


def fits(texts: Collection[str], limit: int) -> bool:
    """Whether texts have at most so many bytes in UTF-8; what cannot be encoded counts as `?`.

    A character has at most four, so short ones need not be encoded.
    """
    return 4 * sum(map(len, texts)) <= limit or sum(map(_utf8_bytes, texts)) <= limit


def _utf8_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def to_json(document: Mapping[str, Any]) -> bytes:
    """Compact UTF-8 JSON; what cannot be encoded becomes `?`."""
    try:
        return orjson.dumps(document)
    except TypeError:  # a lone surrogate
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def from_json(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`; {} when there is none."""
    try:
        document = orjson.loads(body)
    except ValueError:  # or something that only json knows: large numbers, NaN, half a surrogate
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return {}
    return document if isinstance(document, dict) else {}


def utc_now() -> datetime:
    """The wall clock, the default of every adapter."""
    return datetime.now(UTC)
