"""Who renews a lease without working is told from who waits for good reason; by counts of renewals."""

from __future__ import annotations

from msgxc.standstill import LEASES, LEAST_SECONDS, RENEWALS, Work, most_still

MOST = 9


def still_after(work: Work, most: int = MOST) -> int:
    """How many renewals without a step it takes until it stands still; 1,000: it does not."""
    for count in range(1000):
        if work.stands_still(most):
            return count
        work.renewed()
    return 1000


def test_three_leases_and_a_minute() -> None:
    """Three leases' time, and a minute where leases are short."""
    assert most_still(30) == most_still(3600) == LEASES * RENEWALS
    assert most_still(3) * 3 / RENEWALS == LEAST_SECONDS


def test_renewals_alone_are_no_work() -> None:
    """So many after the first one, whether it has ever made a step or not."""
    work = Work()
    assert still_after(work) == MOST + 1
    work.step()
    assert not work.stands_still(MOST)
    assert still_after(work) == MOST + 1


def test_a_step_between_two_renewals_is_enough() -> None:
    """However rarely it comes."""
    work = Work()
    for _ in range(50):
        for _ in range(MOST):
            work.renewed()
            assert not work.stands_still(MOST)
        work.step()


def test_who_waits_for_its_turn_stands_still_where_the_others_do() -> None:
    """Behind others it is as alive as they are; once it has its turn, as it is itself."""
    all_of_them = Work()
    first, second = Work(all_of_them), Work(all_of_them)
    with second.behind(all_of_them):
        for _ in range(50):
            first.step()
            second.renewed()
            assert not second.stands_still(1)
        assert still_after(second) == MOST, "the first has stopped"
        first.step()
        assert not second.stands_still(MOST)
    for _ in range(MOST + 2):
        first.step()
        second.renewed()
    assert second.stands_still(MOST), "what the others do is not its own work"


def test_a_step_is_one_of_the_whole() -> None:
    """Of those around it, to the outermost: whoever waits there sees it."""
    outermost = Work()
    inner = Work(Work(outermost))
    outside = Work()
    with outside.behind(outermost):
        outside.renewed()
        inner.step()
        outside.renewed()
        assert not outside.stands_still(1)
