"""Which calls are slow: beside the others, and not too many in a row."""

from __future__ import annotations

from msgxc.model import Channel
from msgxc.slow import FIRST, IN_A_ROW, LONGEST_USUAL, Slow

EMAIL, SMS = Channel.EMAIL, Channel.SMS


def waits(slow: Slow, channel: Channel) -> float:
    """Seconds for which a call that is alone is waited for."""
    patience = slow.patience(channel)
    assert patience
    return patience.grace(0.0)


def test_a_provider_that_answers_nobody_has_a_few_slow_calls() -> None:
    """So many in a row step aside, then it is waited for, until one is answered in time; a channel each."""
    slow = Slow(500)
    for _ in range(2):
        assert [slow.silent(EMAIL) for _ in range(IN_A_ROW + 3)] == [True] * IN_A_ROW + [False] * 3
        slow.learn(EMAIL, 10.0)
        assert not slow.silent(EMAIL)
        assert slow.silent(SMS)
        slow.answered(EMAIL, 0.1)
    assert slow.silent(EMAIL)


def test_the_usual_time_follows_the_answers() -> None:
    """A call alone is waited for a little longer than those before it took; one that took very long does not
    make everybody wait."""
    slow = Slow(500)
    for _ in range(50):
        slow.answered(EMAIL, 0.2)
    assert 0.2 <= waits(slow, EMAIL) < 0.21
    for _ in range(50):
        slow.answered(EMAIL, 60.0)
    assert waits(slow, EMAIL) <= 2 * LONGEST_USUAL
    for _ in range(50):
        slow.answered(EMAIL, 0.2)
    assert 0.2 <= waits(slow, EMAIL) < 0.25


def test_a_provider_that_is_far_away_is_known_by_its_first_answer() -> None:
    """The first call is not waited for for long; what it takes is usual, until others are answered in time. A
    later one that is slow says nothing."""
    slow = Slow(500)
    assert waits(slow, EMAIL) == FIRST
    assert slow.silent(EMAIL)
    slow.late(EMAIL, 0.4)
    assert 0.4 <= waits(slow, EMAIL) <= 0.8
    for _ in range(50):
        slow.answered(EMAIL, 0.4)
    slow.late(EMAIL, 9.0)
    assert waits(slow, EMAIL) < 0.41


def test_there_is_no_patience_without_room() -> None:
    """When as many are slow as may be, all are waited for."""
    slow = Slow(3)
    slow.under_way = 3
    assert slow.full
    assert slow.patience(EMAIL) is None
