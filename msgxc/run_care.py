"""What a run of the console says, and what is to be done so that its campaign is finished, canceled or
paused, and the console says so. Pure.

A run is one of Prefect's flow runs. Its states tell what a person wants (`last_word`); the leases in the
store tell whether anybody is at work (`Standing`). That Prefect calls a run running or crashed is not
believed in either direction: what is done here may be done to a run that lives, and costs it nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from msgxc.ledger import Control

#: What we say in a state's message begins like this: such a state is no person's word.
OURS = "msgxc: "
PUT_BACK = OURS + "nobody was at work on it; it goes on where it stood, and nobody gets two"
STOPPED = OURS + "stopped with its system; it goes on where it stood at the next start"
SUSPENDED = OURS + "paused; Resume goes on where it stood"
WAITS = OURS + "it has to wait, and holds no place of a worker meanwhile"
CANCELED = OURS + "canceled; nobody was at work on it any more"
GOES_ON = OURS + "nobody went on with it; started again, and nobody gets two"
#: The names of states in which our own flows end, and that nobody takes up again but a person.
REFUSED, MISSED, IN_VAIN = "Refused", "Missed", "Nobody reached"
#: How Prefect begins its message when the parameters are not those of the flow.
INVALID = "Validation of flow parameters failed"
#: And what it says when a pause has come to its end: its dialog promises that the run goes on then.
NEVER_RESUMED = "and never resumed"

#: A worker that has taken a run has begun it after so many seconds, or is gone; and a run that has begun has
#: taken its campaign's seat by then.
PENDING_SECONDS, STARTING_SECONDS = 30.0, 60.0
#: Between two steps of one run nobody holds the seat, for a moment.
QUIET_SECONDS = 6.0
#: When a run's process has died its worker says so; its word would end what was put back before.
CRASH_SECONDS = 3.0
#: A pause that ends by itself is ended so many seconds before Prefect would call the run failed.
EARLY_SECONDS = 8.0

#: A run that died when its campaign was over is made again for its report, but not one of long ago.
RECENT_SECONDS = 3600.0

FINAL = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
#: The flows whose runs answer for a campaign, and those that are made again although they do not.
LEADING, REPEATABLE = frozenset({"campaign", "fallback"}), frozenset({"recall", "dispatch"})


@dataclass(frozen=True, slots=True)
class State:
    """A state of a run, in Prefect's words. `at`, `until`: seconds since the epoch; `until`: when a pause
    ends by itself. `suspended`: a pause without a process, after which a worker starts one."""

    type: str
    name: str
    at: float
    message: str = ""
    until: float | None = None
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """A run as the console shows it. `flow`: whose; `due`: when it was to begin, which a new try does not
    change; `schedule`: id of the schedule that made it, "": somebody asked for it."""

    id: str
    flow: str
    name: str
    state: State
    due: float
    schedule: str = ""
    deployment: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()

    def far(self, now: float, seconds: float) -> bool:
        """Whether a schedule has made it for later than so many seconds from now: it says nothing about how
        its campaign stands, whose name it has already."""
        waits = self.state.type == "SCHEDULED" and self.state.name == "Scheduled"
        return bool(self.schedule) and waits and self.due > now + seconds


@dataclass(frozen=True, slots=True)
class Word:
    """What a person wants, since `at`."""

    control: Control
    at: float


@dataclass(frozen=True, slots=True)
class Standing:
    """What the store says of a campaign. `told`: when `control` was set last, 0: never; `held`: until when
    somebody was, or is, at work on it (0: nobody ever); `died`: whoever it was has surely died."""

    control: Control
    told: float
    finished: bool
    held: float
    died: bool = False

    def attended(self, now: float) -> bool:
        """Whether somebody is at work, or was a moment ago."""
        return self.held > now - (CRASH_SECONDS if self.died else QUIET_SECONDS)


class Care(StrEnum):
    """What is to be done about a run."""

    LEAVE = "leave"
    LOOK_AGAIN = "look again"  # in a moment
    PUT_BACK = "put back"  # scheduled again, as the console's Retry does
    RESUME = "resume"  # as the console's Resume does
    SUSPEND = "suspend"  # shown as paused, without a process
    CANCEL = "cancel"  # the campaign is canceled in the store, and the run ends
    END = "end"  # the run ends as canceled: the campaign is
    START = "start"  # another run
    TELL = "tell"  # its state is to say in numbers what came of the campaign
    HOLD = "hold"  # the campaign is paused: a person has to look at it


def last_word(states: Sequence[State], *, schedule: bool) -> Word | None:
    """What a person has last said about a run, by its states, the oldest first; None: nothing.

    Asking for a run says that its campaign is to run; a `schedule` has none. A cancel is final.
    """
    found, before = None, None
    for state in states:
        ours = state.message.startswith(OURS)
        if state.type in ("CANCELLING", "CANCELLED") and not ours:
            return Word(Control.CANCEL, state.at)
        if state.type == "PAUSED" and not ours:
            found = Word(Control.PAUSE, state.at)
        elif not ours and _goes_on(before, state, schedule=schedule):
            found = Word(Control.RUN, state.at)
        before = state
    return found


def _goes_on(before: State | None, state: State, *, schedule: bool) -> bool:
    """Whether a person has asked for the run, pressed Resume or Retry, or let a pause come to its end."""
    if before is None:
        return not schedule
    if before.type == "PAUSED":
        return state.type in ("RUNNING", "SCHEDULED") or expired(state)
    return before.type in FINAL and state.type in ("SCHEDULED", "PENDING", "RUNNING")


def expired(state: State) -> bool:
    """Whether a pause has come to its end: its dialog promised that the run goes on; Prefect says failed."""
    return state.type == "FAILED" and NEVER_RESUMED in state.message


def settled(standing: Standing, word: Word | None) -> Control:
    """What holds of the console's word and the store's: the newer one. A cancel is final, and what stands
    still in a restored store is only resumed there."""
    if word is None or standing.control is Control.CANCEL:
        return standing.control
    if word.control is Control.CANCEL and not standing.finished:
        return Control.CANCEL
    if standing.control is Control.RESTORED:
        return Control.RESTORED
    return word.control if word.at > standing.told else standing.control


def care(
    run: Run,
    standing: Standing | None,
    word: Word | None,
    now: float,
    workers_since: float = 0.0,
    busy: float = 1.0,
) -> Care:
    """What is to be done about a run. `standing` None: the store does not know its campaign.

    `workers_since`: all workers that there are have begun after that; 0: not known. It and `now` in seconds
    since the epoch. `busy`: how much longer than usual a process takes to start, on a machine where others
    wait for its cores. Doing it again, or to a run that lives, does no harm.
    """
    if run.flow in LEADING:
        of_state = _CARES.get(run.state.type)
        return (
            of_state(_Facts(run.state, standing, word, now, workers_since, busy)) if of_state else Care.LEAVE
        )
    if run.state.type == "CRASHED" and run.flow in REPEATABLE:
        return Care.PUT_BACK if now - run.state.at >= CRASH_SECONDS else Care.LOOK_AGAIN
    it = _Facts(run.state, standing, word, now, workers_since, busy)
    return _pending(it) if run.state.type == "PENDING" else Care.LEAVE


class _Facts:
    """What is known of a run that answers for a campaign. `attended`: somebody is at work; `over`: its
    campaign is; `resumed`: somebody let it go on after this state; `unknown`: to the store; `orphaned`: the
    worker that had it in this state is gone."""

    def __init__(
        self,
        state: State,
        standing: Standing | None,
        word: Word | None,
        now: float,
        workers_since: float,
        busy: float,
    ) -> None:
        self.busy = busy
        self.state, self.standing, self.word, self.now = state, standing, word, now
        self.age, self.unknown, self.orphaned = now - state.at, standing is None, state.at < workers_since
        known = standing or Standing(Control.RUN, 0.0, finished=False, held=0.0)
        self.control = settled(known, word)
        self.attended, self.over, self.held = known.attended(now), known.finished, known.held
        self.resumed = known.control is Control.RUN and known.told > state.at
        self.canceled = known.finished and known.control is Control.CANCEL
        self.stopped = known.finished or known.control is Control.CANCEL


def _canceled(it: _Facts) -> Care:
    if not it.stopped and not it.state.message.startswith(OURS):
        return Care.CANCEL
    if it.state.type == "CANCELLED" and it.canceled and not it.state.message.startswith(OURS):
        return Care.TELL
    stays = it.state.type == "CANCELLING" and not it.attended and it.age > QUIET_SECONDS
    return Care.END if stays else Care.LEAVE


def _pending(it: _Facts) -> Care:
    return Care.PUT_BACK if it.orphaned or it.age > PENDING_SECONDS * it.busy else Care.LEAVE


def _running(it: _Facts) -> Care:
    """Nobody is at work although somebody was since it began; or Resume was pressed, and nobody was there; or
    it has not come as far as to take its seat."""
    resumed = it.word is not None and it.word.at == it.state.at
    begun = it.held > it.state.at or resumed
    if it.attended or not (begun or it.orphaned or it.age > STARTING_SECONDS * it.busy):
        return Care.LEAVE
    return Care.SUSPEND if it.control is Control.PAUSE and not it.over else Care.PUT_BACK


def _paused(it: _Facts) -> Care:
    if it.state.until is not None and it.state.until - it.now < EARLY_SECONDS:
        return Care.RESUME
    if it.attended:
        return Care.LEAVE
    if it.control is Control.CANCEL:
        return Care.END
    if it.over or (it.resumed and it.control is Control.RUN):
        return Care.RESUME
    return Care.LEAVE if it.state.suspended else Care.SUSPEND


def _crashed(it: _Facts) -> Care:
    if it.age < CRASH_SECONDS:
        return Care.LOOK_AGAIN
    if it.over:
        return Care.PUT_BACK if it.age < RECENT_SECONDS else Care.LEAVE
    # What was restored is put back too: it ends at once, with the sentence that says what to do.
    return {Control.CANCEL: Care.CANCEL, Control.PAUSE: Care.SUSPEND}.get(it.control, Care.PUT_BACK)


def _ended(it: _Facts) -> Care:
    """Completed or failed, while its campaign may not be over."""
    if expired(it.state):
        return Care.LEAVE if it.attended else Care.PUT_BACK
    if it.over and it.state.type == "FAILED" and not refused(it.state) and it.age < RECENT_SECONDS:
        return Care.PUT_BACK  # for its report
    if it.unknown or it.over or it.attended or it.control is not Control.RUN:
        return Care.LEAVE
    if it.resumed:
        return Care.PUT_BACK
    return Care.HOLD if it.state.type == "COMPLETED" or refused(it.state) else Care.PUT_BACK


_CARES: Mapping[str, Callable[[_Facts], Care]] = {
    "CANCELLING": _canceled,
    "CANCELLED": _canceled,
    "PENDING": _pending,
    "RUNNING": _running,
    "PAUSED": _paused,
    "CRASHED": _crashed,
    "COMPLETED": _ended,
    "FAILED": _ended,
}


def too_late(due: float, taken: float, now: float, grace: float, others: Iterable[float]) -> str:
    """Why a campaign of a schedule is not sent any more; "": it is. All in seconds.

    `others`: when the schedule's other runs are due. Of several that were due when a worker took this one,
    at `taken`, the last one alone is sent. What falls due while a run starts takes nothing from it: else a
    schedule whose runs start slowly would never send.
    """
    late, followed = now - due, any(due < other <= taken for other in others)
    said = f"It was due {late / 60:,.0f} minutes ago"
    if late > grace:
        return (
            f"{said}, and is sent up to {grace / 60:,.0f} minutes late: nothing was sent. Retry sends it now."
        )
    if followed and late > STARTING_SECONDS:
        return f"{said}, and the schedule's next one is due as well: nothing was sent. Retry sends it now."
    return ""


def lost(standing: Standing, created: float, born: float, now: float) -> Care:
    """What is to be done about a campaign of which the console has no run. `created`: when it was; `born`:
    when the console's database was made.

    A database that is younger has lost the run; in one that is older, a person has removed it. Whoever lets
    the campaign go on after that wants it to be sent.
    """
    if standing.finished or standing.control is not Control.RUN or standing.attended(now):
        return Care.LEAVE
    if now - created < STARTING_SECONDS:
        return Care.LEAVE
    return Care.START if created < born or standing.told > standing.held else Care.HOLD


def refused(state: State) -> bool:
    """Whether a run has failed for a reason that only a person can mend: it is not tried again by itself."""
    return state.name in (REFUSED, MISSED, IN_VAIN) or state.message.startswith(INVALID)
