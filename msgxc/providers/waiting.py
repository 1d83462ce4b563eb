"""How long a provider asks us to wait, read from its answer. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

SHORTEST = 1.0  # seconds
LONGEST = 3600.0  # seconds; a provider that asks for more is asked again by then


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds from `now` that Retry-After asks for (RFC 9110 section 10.2.3), from SHORTEST to LONGEST.

    None when the header is missing or says nothing readable: then the provider's own default holds. A
    negative wait or a date that is over means SHORTEST. Header names are compared without regard to case.
    """
    text = _header(headers, "retry-after")
    wait = _seconds(text)
    return _clamped(_until(text, now) if wait is None else wait)


def rate_limit_reset(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds until X-RateLimit-Reset, a time in seconds since 1970 (SendGrid); else as retry_after."""
    at = _seconds(_header(headers, "x-ratelimit-reset"))
    return _clamped(None if at is None else at - now.timestamp())


def _header(headers: Mapping[str, str], wanted: str) -> str:
    return next((value for name, value in headers.items() if name.lower() == wanted), "").strip()


def _clamped(wait: float | None) -> float | None:
    return None if wait is None else min(max(wait, SHORTEST), LONGEST)


def _seconds(text: str) -> float | None:
    try:
        wait = float(text)
    except ValueError:
        return None
    return None if math.isnan(wait) else wait


def _until(text: str, now: datetime) -> float | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:  # RFC 5322 "-0000"; HTTP dates are in UTC
        date = date.replace(tzinfo=UTC)
    return (date - now).total_seconds()
