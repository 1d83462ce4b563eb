"""Retry-After in every form that providers, proxies and mistakes give it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgxc.providers.waiting import LONGEST, SHORTEST, rate_limit_reset, retry_after

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("0", SHORTEST),
        ("-30", SHORTEST),
        ("99999999999999999999", LONGEST),
        ("inf", LONGEST),
        ("-inf", SHORTEST),
        ("nan", None),
        ("", None),
        ("soon", None),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30),
        ("Sun, 22 Nov 2026 12:00:30 -0000", 30),
        ("Sun, 22 Nov 2026 11:00:00 GMT", SHORTEST),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST),
        ("Sun, 22 Nov 99999 12:00:30 GMT", None),
    ],
)
def test_retry_after(text, wait):
    """Seconds, HTTP dates, absurd, negative and unreadable values become a wait we can live with."""
    assert retry_after({"Retry-After": text}, NOW) == wait
    assert retry_after({"retry-after": text}, NOW) == wait


def test_a_missing_header_leaves_it_to_the_provider():
    """No header, no wait: each provider has its own default."""
    assert retry_after({}, NOW) is None
    assert rate_limit_reset({}, NOW) is None


def test_sendgrid_says_when_its_limit_resets():
    """X-RateLimit-Reset is a time in seconds since 1970."""
    assert rate_limit_reset({"X-RateLimit-Reset": str(int(NOW.timestamp()) + 42)}, NOW) == 42


@given(st.text(max_size=40))
def test_it_never_raises(text):
    """Any header value gives None or a wait within the limits."""
    wait = retry_after({"Retry-After": text}, NOW)
    assert wait is None or SHORTEST <= wait <= LONGEST
