"""When a part is started again, and when it counts as hung: by counts and times that are passed in."""

from __future__ import annotations

from msgxc.operations.restarts import AGAIN_AND_AGAIN, SILENT, SILENT_AT_FIRST, WELL_SECONDS, Restarts


def test_each_end_in_a_row_is_waited_for_longer() -> None:
    """At once, then 1, 2, 4 … 300 s, and never given up."""
    part, waits, now = Restarts(0.0), [], 0.0
    for _ in range(14):
        again = part.ended(now)
        waits.append(again - now)
        part.started(again)
        now = again + 1
    assert waits == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]


def test_a_part_that_ran_well_begins_anew() -> None:
    """An end now and then is none in a row."""
    part, now = Restarts(0.0), 0.0
    for _ in range(20):
        now += WELL_SECONDS
        assert part.ended(now) == now
        part.started(now)
        assert not part.hopeless


def test_a_person_is_told_once() -> None:
    """At the fifth end in a row, not at the sixth."""
    part, told = Restarts(0.0), []
    for number in range(1, 20):
        part.started(part.ended(number))
        told.append(part.hopeless)
    assert told.index(True) == AGAIN_AND_AGAIN - 1
    assert sum(told) == 1


def test_hung_is_a_count_of_questions_in_a_row() -> None:
    """One answer in between, and it counts from the beginning; time alone says nothing."""
    part = Restarts(0.0)
    assert not part.answered(True, 5.0)
    assert not any(part.answered(False, 1e6) for _ in range(SILENT - 1))
    assert not part.answered(True, 1e6)
    assert [part.answered(False, 2e6) for _ in range(SILENT)] == [False] * (SILENT - 1) + [True]


def test_who_is_coming_up_is_given_longer() -> None:
    """Also after it was started again."""
    part = Restarts(0.0)
    for _ in range(2):
        assert [part.answered(False, 5.0) for _ in range(SILENT_AT_FIRST)].index(True) == SILENT_AT_FIRST - 1
        part.answered(True, 6.0)
        part.started(7.0)
