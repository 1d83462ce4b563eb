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
from msgxc.pacing import LEAST, Breaker, Flow, Throttle, quarter_wait
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


@given(st.integers(1, 300), st.just(Outcome.LATER))
def test_nobody_is_given_up_by_count_while_everybody_is_throttled(attempt: int, outcome: Outcome) -> None:
    """However often it was tried; and the wait does not grow with the tries."""
    decided = after(Receipt(outcome, Reason.THROTTLED), attempt=attempt, attempts=5, spared=True)
    assert decided.mark is Mark.LATER
    assert decided.wait < 1.5
    assert after(Receipt(outcome, Reason.THROTTLED, retry_after=40.0), spared=True).wait >= 40


@given(st.integers(1, 60), st.sampled_from([Outcome.LATER, Outcome.DOUBT]))
def test_tries_end(attempt: int, outcome: Outcome) -> None:
    """After the last try a delivery is given up, never parked again; in doubt it has not failed."""
    decided = after(Receipt(outcome, Reason.UNAVAILABLE), attempt=attempt, attempts=5)
    given_up = Mark.UNKNOWN if outcome is Outcome.DOUBT else Mark.FAILED
    assert decided.mark is (Mark.LATER if attempt < 5 else given_up)


@pytest.mark.parametrize(
    ("channel", "policy", "tries"),
    [
        (Channel.APNS, InDoubt.DEFAULT, 2),
        (Channel.WEBPUSH, InDoubt.RESEND, 2),
        (Channel.FCM, InDoubt.HOLD, 1),
        (Channel.EMAIL, InDoubt.DEFAULT, 1),
        (Channel.EMAIL, InDoubt.RESEND, 2),
        (Channel.SMS, InDoubt.DEFAULT, 1),
        (Channel.SMS, InDoubt.RESEND, 2),
    ],
)
@pytest.mark.parametrize("before", [0, 3])
def test_two_tries_in_doubt_at_most(channel: Channel, policy: InDoubt, tries: int, before: int) -> None:
    """An answer that never comes: a push is sent twice in all, because the copy replaces the first one; email
    and text messages once. Tries that surely accepted nothing do not count."""
    lost, done, mark = Receipt(Outcome.DOUBT, Reason.TIMEOUT), 0, Mark.LATER
    while mark is Mark.LATER:
        mark = after(lost, channel, policy=policy, attempt=before + done + 1, attempts=18, doubts=done).mark
        done += 1
    assert (done, mark) == (tries, Mark.UNKNOWN)


def test_an_email_after_a_server_error_is_asked_once_more() -> None:
    """A 500 of SendGrid is an answer: once more, then unknown. Of Twilio: held, for a repeat costs money."""
    error = Receipt(Outcome.DOUBT, Reason.UNAVAILABLE)
    assert after(error, Channel.EMAIL).mark is Mark.LATER
    assert after(error, Channel.EMAIL, doubts=1).mark is Mark.UNKNOWN
    assert after(error, Channel.SMS).mark is Mark.UNKNOWN
    assert after(error, Channel.EMAIL, policy=InDoubt.HOLD).mark is Mark.UNKNOWN


@pytest.mark.parametrize("outcome", [Outcome.LATER, Outcome.BLOCKED])
def test_what_was_in_doubt_once_has_not_failed(outcome: Outcome) -> None:
    """A first try whose answer was lost, and others that were put off until the last: unknown, not failed."""
    given_up = after(Receipt(outcome, Reason.UNAVAILABLE), attempt=5, doubts=1)
    assert given_up.mark is Mark.UNKNOWN


def test_refused_credentials_end_as_that() -> None:
    """A delivery that is refused at its last try has failed by credentials, not by time."""
    decided = after(Receipt(Outcome.BLOCKED, Reason.CREDENTIALS), attempt=5)
    assert (decided.mark, decided.reason) == (Mark.FAILED, Reason.CREDENTIALS)


def test_somebody_who_is_not_there_is_looked_for_elsewhere() -> None:
    """No open websocket: the next channel takes over at once; where there is none, it has failed."""
    away = Receipt(Outcome.REFUSED, Reason.NOT_ACKNOWLEDGED)
    passed_on = after(away, Channel.WEBSOCKET, elsewhere=True)
    assert (passed_on.mark, passed_on.wait) == (Mark.LATER, 0)
    assert after(away, Channel.WEBSOCKET).mark is Mark.FAILED


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


def throttled_by(takes: float, seconds: float, flow: Flow, begin: float = 0.0) -> tuple[int, int, float]:
    """Windows of fifty to somebody who takes so many a second and says "not now" to the rest: how many were
    accepted and how many refused within these seconds, and when the last one left."""
    now, second, room, accepted, refused = begin, -1, 0.0, 0, 0
    while now < begin + seconds:
        now = max(now + 0.01, flow.until)
        now += flow.wait(50, now)
        if int(now) != second:
            second, room = int(now), takes
        taken = min(50, int(room))
        room, accepted, refused = room - taken, accepted + taken, refused + 50 - taken
        if taken < 45:
            flow.throttled(now, 1.0, taken)
        else:
            flow.accepted(taken, now)
    return accepted, refused, now


@given(st.integers(100, 4000))
def test_a_pace_is_found_and_kept(takes: int) -> None:
    """Whatever somebody takes: in a minute they are sent half of it at least, and of three that they are sent
    two are taken."""
    flow = Flow()
    _, _, now = throttled_by(takes, 10, flow)
    accepted, refused, _ = throttled_by(takes, 60, flow, now)
    assert accepted >= takes * 60 * 0.5
    assert refused <= accepted / 2


@given(st.floats(0.1, 3600), st.integers(1, 200))
def test_what_was_asked_for_is_waited_for(asked: float, times: int) -> None:
    """While everybody is throttled, one window leaves when the time that was asked for is over, each time."""
    flow, now = Flow(), 1.0
    for _ in range(times):
        flow.throttled(now, asked, 0)
        assert flow.until == now + asked
        now = flow.until
        waited = flow.wait(50, now)
        assert waited <= 1
        now += waited


def test_who_says_nothing_is_asked_ever_more_rarely() -> None:
    """1 s, 2 s, 4 s … to a minute; once somebody is accepted it is soon as quick as it was."""
    flow, now, waits = Flow(), 1.0, []
    for _ in range(8):
        flow.throttled(now, 0.0, 0)
        waits.append(flow.until - now)
        now = flow.until
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    accepted, _, _ = throttled_by(2000, 30, flow, now)
    assert accepted > 20_000
    assert flow.rate > 10 * LEAST


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
