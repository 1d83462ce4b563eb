"""For how long somebody was online: the union of their connections' times, whatever is told, and how."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from msgxc.online import APART_MS, KEPT_MS, SPANS, STEP_SECONDS, Attendance, Heard, Online, Span, union
from msgxc.store.records import read_online, spell_online

T = 1_800_000_000_000
ANN = UUID(int=1)


def spans(longest: int, size: int = SPANS) -> st.SearchStrategy[list[Span]]:
    """Spans of at most 60 s, the last of which ends `longest` ms after T."""
    begin = st.integers(T, T + longest - 60_000)
    return st.lists(
        st.tuples(begin, st.integers(1, 60_000)).map(lambda s: (s[0], s[0] + s[1])), max_size=size
    )


def length(told: Sequence[Span]) -> int:
    """How long these are together, counted by their ends, and not as the rule does."""
    ends = sorted({time for span in told for time in span})
    return sum(
        later - earlier
        for earlier, later in pairwise(ends)
        if any(begin <= earlier and later <= end for begin, end in told)
    )


@given(spans(KEPT_MS), st.data())
def test_whatever_overlaps_counts_once(told: list[Span], data: st.DataObject) -> None:
    """Spans of any gateways, in any order and in any parts, some of them twice: their union, which is what
    the stores keep."""
    kept, now = Online(), T + KEPT_MS
    for span in data.draw(st.permutations([*told, *told[::2]])):
        kept = kept.after(Heard([span], now))
        kept = read_online(kept.total, spell_online(kept))
    assert kept.total == length(told)
    assert kept.after(Heard(told, now)) == kept


@given(st.lists(st.tuples(spans(4 * KEPT_MS, 5), st.integers(T, T + 4 * KEPT_MS)), max_size=20))
def test_it_never_falls_nor_counts_twice(told: list[tuple[list[Span], int]]) -> None:
    """However late, and by whatever clocks: it grows by no more than was told, told again by nothing, and
    what is kept is bounded and apart."""
    kept = Online()
    for ever, now in told:
        some = [(begin, min(end, now)) for begin, end in ever if begin < now]
        after = kept.after(Heard(some, now))
        assert 0 <= after.total - kept.total <= length(some)
        assert after.after(Heard(some, now)) == after
        assert len(after.lately) <= SPANS
        assert all(a[1] < b[0] for a, b in pairwise(after.lately))
        kept = after


@given(spans(KEPT_MS, 6), st.integers(0, 2 * KEPT_MS))
def test_a_file_says_the_least(told: list[Span], least: int) -> None:
    """An import lifts the total to what its file says, once, and takes nothing away."""
    kept = Online().after(Heard(told, T + KEPT_MS))
    lifted = kept.after(Heard(least=least))
    assert (lifted.total, lifted.lately) == (max(kept.total, least), kept.lately)
    assert lifted.after(Heard(least=least)) == lifted


#: What happens next on one of two gateways: a connection, an end, a tell that arrives, one that does not, and
#: one of which nobody knows whether it did; a kill.
WHATS = st.sampled_from(("come", "go", "tell", "vain", "lost", "kill"))
STEPS = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 1), WHATS), max_size=40)


@given(STEPS)
def test_two_gateways(steps: list[tuple[int, int, str]]) -> None:
    """Somebody with sockets on two gateways at once: time with one open counts once. A kill loses what that
    gateway had not told, and nothing else; a tell in vain loses nothing."""
    kept, there, clock, late = Online(), [Attendance(), Attendance()], 0, False
    opened, told, untold = [0, 0], list[Span](), [list[Span](), list[Span]()]
    for seconds, at, what in [*steps, (0, 0, "tell"), (0, 1, "tell")]:
        for gateway in (0, 1):
            if opened[gateway]:
                untold[gateway].append((clock * 1000, (clock + seconds) * 1000))
        clock += seconds
        now = (T / 1000 + clock, float(clock))
        if what == "come":
            there[at].come(ANN, now[1])
            opened[at] += 1
        elif what == "go" and opened[at]:
            there[at].go(ANN, *now)
            opened[at] -= 1
        elif what == "kill":
            there[at], opened[at], untold[at] = Attendance(), 0, []
        elif what in ("tell", "vain", "lost"):
            late |= bool(untold[at]) and clock * 1000 - untold[at][0][0] > KEPT_MS
            heard = there[at].tell(*now)
            if what != "vain" and ANN in heard:
                kept = kept.after(heard[ANN])
            if what != "tell":
                there[at].again(heard)
            if what != "vain":
                told += untold[at]
            if what == "tell":
                untold[at] = []
    assert kept.total <= length(told)
    assert late or kept.total == length(told)


SETS = st.lists(
    st.tuples(st.integers(1, 30), st.sampled_from((0, 0, 0, -1, 1)), st.integers(0, 7200)), max_size=30
)


@given(SETS, st.floats(0, 1))
def test_a_clock_that_is_set(steps: list[tuple[int, int, int]], scale: float) -> None:
    """Forward, or back a little, costs nothing; back by more at most a minute; nothing ever counts twice."""
    little = STEP_SECONDS - 0.01
    for most in (little, 7200.0):
        kept, there, clock, ticks, back = Online(), Attendance(), T / 1000, 0.0, 0
        there.come(ANN, ticks)
        for seconds, way, by in steps:
            ticks, clock = ticks + seconds, clock + seconds
            step = way * by * scale if way >= 0 else -min(by * scale, most)
            if way < 0 and most == little and back:
                step = 0.0  # several small ones are a large one
            back += step < 0
            clock += step
            kept = kept.after(there.tell(clock, ticks)[ANN])
        lost = ticks * 1000 - kept.total
        cost = 0 if most == little else back * (APART_MS + 30_000)
        assert -2 * len(steps) <= lost <= cost + 2 * len(steps)  # whole milliseconds


def test_a_restart_and_a_clock_that_was_wrong() -> None:
    """A day ahead, then right, in another process: what comes counts, though it lies before what was."""
    day = 86_400_000
    kept = Online().after(Heard([(T + day, T + day + 5_000)], T + day + 5_000))
    kept = kept.after(Heard([(T, T + 7_000)], T + 7_000))
    kept = kept.after(Heard([(T + 7_000, T + 9_000)], T + 9_000))
    assert kept.total == 14_000


def test_a_store_that_was_away_for_longer() -> None:
    """What is told after half an hour counts whole; and when another gateway tells the same then, once."""
    half = [(T, T + 3 * KEPT_MS)]
    kept = Online().after(Heard([(T - 5_000, T)], T)).after(Heard(half, T + 3 * KEPT_MS))
    assert kept.total == 5_000 + 3 * KEPT_MS
    assert kept.after(Heard(half, T + 3 * KEPT_MS)) == kept


def test_a_union() -> None:
    """Spans that touch are one, and one without length is none."""
    assert union([(5, 7), (1, 3), (3, 4), (6, 9), (9, 9)]) == [(1, 4), (5, 9)]
