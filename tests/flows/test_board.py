"""What the operator sees of a run, without a run: keys, the pace, the line of the log."""

from __future__ import annotations

from collections import Counter

import pytest

from msgxc.delivery import Counts
from msgxc.ledger import Mark
from msgxc.reports.tables import how_far
from tasks.board import LOG_SECONDS, Pace, key_of


def test_every_campaign_has_a_key_of_its_own() -> None:
    """A key has small letters, digits and dashes alone; names that differ in the rest have different keys."""
    assert key_of("report", "hello-1") == "report-hello-1"
    names = ["a-b", "a.b", "a_b", "a--b", "a-b.fallback", "a.b-fallback"]
    keys = {key_of("report", name) for name in names}
    assert len(keys) == len(names)
    assert not any(set(key) - set("abcdefghijklmnopqrstuvwxyz0123456789-") for key in keys)


def test_a_line_comes_every_five_seconds_while_something_moves() -> None:
    """The first one after five seconds; none while nothing moves; the pace is that of half a minute."""
    pace, said = Pace(), []
    for second in range(60):
        people = 100 + 10 * min(second, 30)
        if pace.due(people, float(second)):
            said.append((second, pace.take(people, float(second))))
    assert [second for second, _ in said] == [5, 10, 15, 20, 25, 30]
    assert {rate for _, rate in said} == {10.0}
    assert said[0][0] == LOG_SECONDS


@pytest.mark.parametrize(
    ("people", "rate", "says"),
    [
        (
            1215,
            17.4,
            "1,215 of 1,997 people looked at (60 %), 891 reached, 9 deliveries failed, 17 a second, "
            "about 45 s left",
        ),
        (1996, 0.0, "1,996 of 1,997 people looked at (99 %), 891 reached, 9 deliveries failed"),
        (1997, 3.0, "1,997 of 1,997 people looked at (100 %), 891 reached, 9 deliveries failed, 3 a second"),
        (1998, 3.0, "1,997 of 1,997 people looked at (100 %), 891 reached, 9 deliveries failed, 3 a second"),
        (
            0,
            0.1,
            "0 of 1,997 people looked at (0 %), 891 reached, 9 deliveries failed, 6 a minute, "
            "about 5 h 33 min left",
        ),
    ],
)
def test_the_line_has_counts_and_whole_percents(people: int, rate: float, says: str) -> None:
    """People looked at and reached (fewer than deliveries: some have two devices), deliveries that failed,
    the pace, and how long it will take."""
    marks = Counter({("apns", Mark.ACCEPTED): 902, ("apns", Mark.FAILED): 9})
    counts = Counts(people, marks, reached=891)
    assert how_far(counts, 1997, rate) == says
