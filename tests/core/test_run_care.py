"""What a run's states say, and what is to be done about it: the decisions alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgxc.ledger import Control
from msgxc.run_care import (
    CRASH_SECONDS,
    FINAL,
    INVALID,
    MISSED,
    NEVER_RESUMED,
    OURS,
    PENDING_SECONDS,
    PUT_BACK,
    QUIET_SECONDS,
    RECENT_SECONDS,
    REFUSED,
    STARTING_SECONDS,
    SUSPENDED,
    Care,
    Run,
    Standing,
    State,
    Word,
    care,
    last_word,
    lost,
    settled,
    too_late,
)

TYPES = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING", *sorted(FINAL))
UNHELD = Standing(Control.RUN, 0.0, finished=False, held=0.0)

states = st.builds(
    State,
    type=st.sampled_from(TYPES),
    name=st.sampled_from(["", "Suspended", REFUSED, MISSED]),
    at=st.floats(0, 1000),
    message=st.sampled_from(["", PUT_BACK, SUSPENDED, f"It was paused {NEVER_RESUMED}.", f"{INVALID}: x"]),
)
standings = st.builds(
    Standing,
    control=st.sampled_from(Control),
    told=st.floats(0, 1000),
    finished=st.booleans(),
    held=st.floats(0, 1000),
    died=st.booleans(),
)
words = st.none() | st.builds(
    Word, control=st.sampled_from([Control.RUN, Control.PAUSE, Control.CANCEL]), at=st.floats(0, 1000)
)


def history(*said: str) -> list[State]:
    """States of these types, a second each; `!`: ours, `expired`: as Prefect ends a pause."""
    found = []
    for at, word in enumerate(said):
        message = PUT_BACK if word.endswith("!") else f"paused {NEVER_RESUMED}" if word == "expired" else ""
        kind = "FAILED" if word == "expired" else word.rstrip("!")
        found.append(State(kind, "", float(at), message))
    return found


def run(state: State, flow: str = "campaign") -> Run:
    """A run in that state."""
    return Run("r", flow, "n", state, due=0.0)


@pytest.mark.parametrize(
    ("said", "schedule", "means"),
    [
        ("SCHEDULED PENDING RUNNING", False, Word(Control.RUN, 0)),
        ("SCHEDULED PENDING RUNNING", True, None),
        ("SCHEDULED! PENDING RUNNING", False, None),
        ("SCHEDULED RUNNING PAUSED", True, Word(Control.PAUSE, 2)),
        ("SCHEDULED RUNNING PAUSED RUNNING", True, Word(Control.RUN, 3)),
        ("SCHEDULED RUNNING PAUSED CRASHED", True, Word(Control.PAUSE, 2)),
        ("SCHEDULED RUNNING PAUSED CRASHED SCHEDULED!", True, Word(Control.PAUSE, 2)),
        ("SCHEDULED RUNNING PAUSED CRASHED PAUSED! SCHEDULED", True, Word(Control.RUN, 5)),
        ("SCHEDULED RUNNING PAUSED expired", True, Word(Control.RUN, 3)),
        ("SCHEDULED RUNNING FAILED SCHEDULED", True, Word(Control.RUN, 3)),
        ("SCHEDULED RUNNING CRASHED SCHEDULED!", True, None),
        ("SCHEDULED CANCELLED SCHEDULED RUNNING", False, Word(Control.CANCEL, 1)),
        ("SCHEDULED RUNNING CANCELLED!", True, None),
    ],
)
def test_what_a_person_has_said(said: str, schedule: bool, means: Word | None) -> None:
    """Start, Pause, Resume, Retry and Cancel are words, the end of a pause too; what we, a worker or a
    schedule have done is none. A cancel is final."""
    assert last_word(history(*said.split()), schedule=schedule) == means


@given(standings, words)
def test_the_newer_wish_counts_and_a_cancel_is_final(standing: Standing, said: Word | None) -> None:
    """Whoever asks, and however often it is taken over."""
    holds = settled(standing, said)
    if standing.control is Control.CANCEL:
        assert holds is Control.CANCEL
    elif said and said.control is Control.CANCEL:
        assert standing.finished or holds is Control.CANCEL
    elif standing.control is Control.RESTORED:
        assert holds is Control.RESTORED
    elif said and said.at > standing.told:
        assert holds is said.control
    else:
        assert holds is standing.control
    if said and not standing.finished:
        taken = replace(standing, control=holds, told=max(standing.told, said.at))
        assert settled(taken, said) is holds


@given(states, standings, st.floats(0, 2000))
def test_nothing_canceled_is_begun_again(state: State, standing: Standing, now: float) -> None:
    """A canceled campaign is never resumed or held; a run of it that is put back ends as canceled by itself,
    and one that has ended stays so."""
    canceled = replace(standing, control=Control.CANCEL, finished=False)
    what = care(run(state), canceled, None, now)
    assert what not in (Care.START, Care.HOLD, Care.SUSPEND)
    if state.type in ("CRASHED", "COMPLETED", "CANCELLED"):
        assert what in (Care.LEAVE, Care.LOOK_AGAIN, Care.CANCEL)


@given(states, standings, words, st.floats(0, 2000), st.floats(0, 2000))
def test_what_is_at_work_is_left_to_itself(
    state: State, standing: Standing, said: Word | None, now: float, since: float
) -> None:
    """A run that is shown as running, and whose campaign somebody answers for, is not touched."""
    held = replace(standing, held=now + 1)
    assert care(run(replace(state, type="RUNNING")), held, said, now, since) is Care.LEAVE


@given(standings, words, st.floats(0, 2000), st.sampled_from([REFUSED, MISSED]))
def test_a_refusal_is_final(standing: Standing, said: Word | None, now: float, name: str) -> None:
    """Nobody tries again what a person has to mend, unless somebody has let the campaign go on since then."""
    state = State("FAILED", name, 500.0)
    if care(run(state), standing, said, now) is Care.PUT_BACK:
        assert standing.control is Control.RUN
        assert standing.told > 500


def test_a_run_that_ended_badly_when_all_was_sent_is_made_again_for_its_report() -> None:
    """But not one of long ago, and not one that was refused."""
    over = replace(UNHELD, finished=True)
    for kind in ("CRASHED", "FAILED"):
        assert care(run(State(kind, "", 0.0)), over, None, CRASH_SECONDS) is Care.PUT_BACK
        assert care(run(State(kind, "", 0.0)), over, None, 2 * RECENT_SECONDS) is Care.LEAVE
    assert care(run(State("FAILED", REFUSED, 0.0)), over, None, CRASH_SECONDS) is Care.LEAVE


@pytest.mark.parametrize("kind", ["PENDING", "RUNNING"])
def test_a_start_has_its_time(kind: str) -> None:
    """A run is not called dead while it may still be starting; after that it is put back."""
    limit = PENDING_SECONDS if kind == "PENDING" else STARTING_SECONDS
    for age, what in ((limit - 1, Care.LEAVE), (limit + 1, Care.PUT_BACK)):
        assert care(run(State(kind, "", 0.0)), None, None, age) is what
        assert care(run(State(kind, "", 0.0)), UNHELD, None, age) is what


@pytest.mark.parametrize("kind", ["PENDING", "RUNNING"])
def test_what_a_worker_of_an_earlier_start_had_is_put_back_at_once(kind: str) -> None:
    """All workers that there are have begun later: nobody is starting it. Unless somebody is at work."""
    state = State(kind, "", 100.0)
    assert care(run(state), None, None, 101.0, 100.5) is Care.PUT_BACK
    assert care(run(state), None, None, 101.0, 99.5) is Care.LEAVE
    at_work = care(run(replace(state, type="RUNNING")), replace(UNHELD, held=110), None, 101.0, 100.5)
    assert at_work is Care.LEAVE


def test_the_dead_are_missed_when_their_worker_would_have_said_so() -> None:
    """Sooner than between two steps of one that lives; and while somebody else has the seat, nobody is."""
    state, died = State("RUNNING", "", 0.0), replace(UNHELD, held=10.0, died=True)
    assert care(run(state), died, None, 10 + CRASH_SECONDS - 0.1) is Care.LEAVE
    assert care(run(state), died, None, 10 + CRASH_SECONDS + 0.1) is Care.PUT_BACK
    assert care(run(state), replace(died, held=40.0), None, 10 + QUIET_SECONDS) is Care.LEAVE


def test_a_crash_is_believed_when_the_worker_has_said_it_twice() -> None:
    """Its second word would end the run that was put back after the first."""
    for flow in ("campaign", "fallback", "recall", "dispatch"):
        crashed = run(State("CRASHED", "", 0.0), flow)
        assert care(crashed, None, None, CRASH_SECONDS - 0.1) is Care.LOOK_AGAIN
        assert care(crashed, None, None, CRASH_SECONDS) is Care.PUT_BACK


def test_whoever_had_its_seat_is_missed_as_soon_as_that_is_free() -> None:
    """A run that had come as far as its seat has died once that is free for longer than between two steps."""
    state, held = State("RUNNING", "", 0.0), replace(UNHELD, held=10.0)
    assert care(run(state), held, None, 10 + QUIET_SECONDS - 0.1) is Care.LEAVE
    assert care(run(state), held, None, 10 + QUIET_SECONDS + 0.1) is Care.PUT_BACK
    paused = replace(held, control=Control.PAUSE)
    assert care(run(state), paused, None, 10 + QUIET_SECONDS + 0.1) is Care.SUSPEND


def test_what_leads_nothing_is_left_alone_unless_it_never_began() -> None:
    """A part of a campaign, upkeep: only a start that never was is made again. Recall and dispatch are made
    again when they have died, too."""
    for flow in ("slices", "dispatch", "upkeep", "recall"):
        assert care(run(State("PENDING", "", 0.0), flow), None, None, 1000) is Care.PUT_BACK
        assert care(run(State("RUNNING", "", 0.0), flow), None, None, 1000) is Care.LEAVE
        crashed = care(run(State("CRASHED", "", 0.0), flow), None, None, 1000)
        assert crashed is (Care.PUT_BACK if flow in ("recall", "dispatch") else Care.LEAVE)


def test_a_campaign_without_a_run() -> None:
    """The console's database is younger than the campaign: it has lost the run. It is older: a person has
    removed it, and the campaign is held, until somebody lets it go on."""
    assert lost(UNHELD, created=100, born=200, now=1000) is Care.START
    assert lost(UNHELD, created=200, born=100, now=1000) is Care.HOLD
    assert lost(replace(UNHELD, held=300, told=400), created=200, born=100, now=1000) is Care.START
    assert lost(replace(UNHELD, held=400, told=300), created=200, born=100, now=1000) is Care.HOLD
    for resting in (
        replace(UNHELD, finished=True),
        replace(UNHELD, control=Control.PAUSE),
        replace(UNHELD, held=1000),
    ):
        assert lost(resting, created=100, born=200, now=1000) is Care.LEAVE
    assert lost(UNHELD, created=990, born=2000, now=1000) is Care.LEAVE


def test_a_schedule_has_a_grace() -> None:
    """In time, and a little late: sent. Later than its grace, or with the next slot due as well: not."""
    assert not too_late(0, 1700, 1700, 1800, [])
    assert "30 minutes late" in too_late(0, 1801, 1801, 1800, [])
    assert "next one" in too_late(0, 1700, 1700, 1800, [-60, 0, 60])
    assert not too_late(0, 30, 30, 1800, [20])
    assert too_late(0, 1, 1, 0, [])


@given(st.lists(st.floats(0, 3000), min_size=1, unique=True), st.floats(0, 3000), st.floats(0, 3000))
def test_of_what_was_missed_the_last_one_is_sent(due: list[float], down: float, starts: float) -> None:
    """Whatever was due while nothing ran, and however long a start takes: of those that are taken together
    the last one goes out, and the earlier ones do not when they are late."""
    grace = 10_000.0
    waiting = sorted(at for at in due if at <= down)
    sent = [at for at in waiting if not too_late(at, down, down + starts, grace, due)]
    assert sent[-1:] == waiting[-1:]
    assert all(down + starts - at <= STARTING_SECONDS for at in sent[:-1])


@given(st.floats(0, 59), st.floats(0, 1000))
def test_a_schedule_whose_runs_start_slowly_sends(taken: float, starts: float) -> None:
    """Every minute, each taken before the next is due: none is given up for those that fall due meanwhile."""
    minutes = [60.0 * n for n in range(100)]
    assert not too_late(0.0, taken, taken + starts, 1800, minutes)


def test_our_own_words_begin_alike() -> None:
    """That is how they are told from a person's."""
    assert PUT_BACK.startswith(OURS)
    assert SUSPENDED.startswith(OURS)


def test_a_canceled_run_says_what_came_of_its_campaign() -> None:
    """Once: Prefect's own sentence has no numbers; what was finished before is no cancel of ours."""
    over = Standing(Control.CANCEL, 5.0, finished=True, held=0.0)
    theirs = State("CANCELLED", "Cancelled", 1.0, "Flow run was cancelled successfully.")
    assert care(run(theirs), over, None, 10.0) is Care.TELL
    assert care(run(replace(theirs, message=f"{OURS}canceled: 5 of 9")), over, None, 10.0) is Care.LEAVE
    assert care(run(theirs), replace(over, control=Control.RUN), None, 10.0) is Care.LEAVE
    assert care(run(theirs), replace(over, finished=False), None, 10.0) is Care.LEAVE


@pytest.mark.parametrize("kind", ["PENDING", "RUNNING"])
def test_a_busy_machine_takes_longer_to_start_a_run(kind: str) -> None:
    """Where three processes want each core, a run that is still being started is not put back as if it were
    dead; one whose worker is gone is, as soon as anywhere."""
    limit = PENDING_SECONDS if kind == "PENDING" else STARTING_SECONDS
    it = run(State(kind, "Submitting", 0.0))
    assert care(it, None, None, limit + 1) is Care.PUT_BACK
    assert care(it, None, None, limit + 1, busy=3.0) is Care.LEAVE
    assert care(it, None, None, 3 * limit + 1, busy=3.0) is Care.PUT_BACK
    assert care(it, None, None, limit + 1, workers_since=1.0, busy=3.0) is Care.PUT_BACK
