"""What follows from a provider's answer, and how fast to go on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgxc.campaign import InDoubt
from msgxc.follow import Next, follow
from msgxc.ledger import Mark
from msgxc.model import Channel, Outcome, Reason, Receipt, Urgency
from msgxc.pacing import Breaker, Throttle, quarter_wait
from msgxc.reports.advice import advice
from msgxc.settings import Settings
from msgxc.urgency import levels


def after(receipt: Receipt, channel: Channel = Channel.APNS, **more: object) -> Next:
    given = {"attempt": 1, "attempts": 5, "policy": InDoubt.DEFAULT, "chance": Random(1), **more}
    return follow(receipt, channel, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("receipt", "channel", "mark"),
    [
        (Receipt(Outcome.ACCEPTED), Channel.APNS, Mark.ACCEPTED),
        (Receipt(Outcome.REFUSED, Reason.TOO_LARGE), Channel.APNS, Mark.FAILED),
        (Receipt(Outcome.DEAD, Reason.UNREGISTERED), Channel.FCM, Mark.FAILED),
        (Receipt(Outcome.LATER, Reason.THROTTLED), Channel.FCM, Mark.LATER),
        (Receipt(Outcome.BLOCKED, Reason.CREDENTIALS), Channel.FCM, Mark.LATER),
        (Receipt(Outcome.DOUBT, Reason.TIMEOUT), Channel.FCM, Mark.LATER),
        (Receipt(Outcome.DOUBT, Reason.TIMEOUT), Channel.SMS, Mark.UNKNOWN),
    ],
)
def test_each_outcome(receipt: Receipt, channel: Channel, mark: Mark) -> None:
    """Each kind of answer and its mark; a text message in doubt is held, a push is sent again."""
    assert after(receipt, channel).mark is mark


def test_only_what_must_follows() -> None:
    """A dead address is pruned, a STOP suppressed, a refused credential halts; nothing else does."""
    assert after(Receipt(Outcome.DEAD, Reason.UNREGISTERED)).prune
    assert after(Receipt(Outcome.REFUSED, Reason.STOPPED), Channel.SMS).suppress
    assert after(Receipt(Outcome.BLOCKED, Reason.CREDENTIALS)).halt
    plain = after(Receipt(Outcome.REFUSED, Reason.MALFORMED))
    assert (plain.prune, plain.suppress, plain.halt) == (False, False, False)


@given(st.integers(1, 60), st.sampled_from([Outcome.LATER, Outcome.DOUBT]))
def test_tries_end(attempt: int, outcome: Outcome) -> None:
    """After the last try a delivery is given up, never parked again; in doubt it has not failed."""
    decided = after(Receipt(outcome, Reason.UNAVAILABLE), attempt=attempt, attempts=5)
    given_up = Mark.UNKNOWN if outcome is Outcome.DOUBT else Mark.FAILED
    assert decided.mark is (Mark.LATER if attempt < 5 else given_up)


@given(st.integers(1, 17), st.none() | st.floats(0, 3600))
def test_waits_grow_and_respect_the_provider(attempt: int, asked: float | None) -> None:
    """Never shorter than Retry-After, never longer than five minutes and a quarter on its own."""
    decided = after(Receipt(Outcome.LATER, Reason.THROTTLED, retry_after=asked), attempt=attempt, attempts=18)
    assert decided.wait >= (asked or 0)
    assert decided.wait <= max(300.0, asked or 0) * 1.25


def test_fcm_waits_ten_seconds_after_a_503() -> None:
    """Firebase asks for at least 10 s before the first retry of a server error."""
    assert after(Receipt(Outcome.LATER, Reason.UNAVAILABLE), Channel.FCM).wait >= 10
    assert after(Receipt(Outcome.LATER, Reason.UNAVAILABLE), Channel.APNS).wait < 2


def test_eighteen_tries_take_about_an_hour() -> None:
    """The default number of tries outlasts an outage of an hour, as docs/settings.md says."""
    waits = [
        after(Receipt(Outcome.LATER), attempt=n, attempts=18, chance=Random(0)).wait for n in range(1, 18)
    ]
    assert 2400 <= sum(waits) <= 5400


def test_every_failure_has_advice() -> None:
    """An operator is told something of its own about each reason, and something about an unknown one."""
    told = [advice(reason) for reason in Reason]
    assert len(set(told)) == len(told)
    assert advice("no such reason") not in told


@given(st.integers(1, 5000), st.lists(st.integers(1, 50), min_size=1, max_size=200))
def test_a_throttle_holds_its_rate(rate: int, sizes: list[int]) -> None:
    """Over any run, no more units leave than the rate allows, plus a tenth of a second and one call."""
    throttle, now, sent = Throttle(rate), 1000.0, 0
    for size in sizes:
        now += throttle.wait(size, now)
        sent += size
    assert sent - sizes[-1] <= rate * (now - 1000.0 + 0.1) + 1e-6 * sent + 1


def test_a_quota_is_reached_in_a_minute() -> None:
    """With a ramp, the first second sends a small share of what the sixtieth does."""
    throttle, now, sent = Throttle(10_000, ramp=60), 0.0, []
    while now < 90:
        now += throttle.wait(50, now) + 1e-6
        sent.append(now)
    first = sum(1 for t in sent if t < 1) * 50
    last = sum(1 for t in sent if 80 <= t < 81) * 50
    assert first < 500
    assert 9_000 <= last <= 11_000


def test_no_limit_does_not_wait() -> None:
    """A rate of 0 is no limit."""
    assert Throttle(0).wait(10**6, 5.0) == 0.0


def test_a_breaker_opens_longer_each_time_and_closes_at_once() -> None:
    """1 s, 2 s, 4 s … to 60 s while nothing useful comes back; one useful answer ends it."""
    breaker, now, waits = Breaker(), 0.0, []
    for _ in range(8):
        breaker.note(useful=False, now=now)
        waits.append(breaker.wait(now))
        now += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    breaker.note(useful=True, now=now)
    breaker.note(useful=False, now=now)
    assert breaker.wait(now) == 1


@given(st.integers(0, 3599), st.sampled_from(Urgency))
def test_low_urgency_keeps_off_the_quarters(second: int, urgency: Urgency) -> None:
    """After the wait it is never within two minutes of a quarter of an hour; urgent messages do not wait."""
    now = datetime(2026, 1, 1, 10, tzinfo=UTC) + timedelta(seconds=second)
    wait = quarter_wait(urgency, now)
    into = ((second + wait) % 900) if urgency <= Urgency.LOW else 450
    assert 120 <= into < 780
    assert wait == 0 or urgency <= Urgency.LOW


def test_the_urgency_table_is_monotonous() -> None:
    """More urgent means less waiting and an earlier place in the queues; only the low levels are joined."""
    table = levels(Settings(_env_file=None))  # type: ignore[call-arg]
    rows = [table[level] for level in Urgency]
    assert [r.wait for r in rows] == sorted((r.wait for r in rows), reverse=True)
    assert [r.priority for r in rows] == sorted((r.priority for r in rows), reverse=True)
    assert [r.joins for r in rows] == [True, True, False, False]
