"""The real deployment, broken where it hurts: `python -m benchmarks.crash_system [TRIAL …] [--keep]`

Each trial starts a copy of a prepared system as `make up` does, sends through Prefect's deployment, breaks
something, and goes on as an operator would: with `make up` again where it has ended, with Resume, with the
same name. The provider's journal is the judge. `--rounds` times each trial (2), in a home of its own.

Lost: nobody of the audience may be missing from the journal, unless the trial ends in a cancel or says that
they are unknown. Repeated: at most what the trial's faults allow. Going on: the longest silence after the
later one of fault, next start and whatever the operator did.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.crash_run import write
from benchmarks.deployed import FINAL, Deployed, deployed, folder, until
from msgxc.ledger import Control
from msgxc.reports.funnel import End

PEOPLE, PER_SECOND, TEXTS = 6_000, 300, 4_000
BOUND = 50  # of one killed process, as delivered
PATIENCE = 300.0
GOES_ON_SECONDS = 30.0


@dataclass
class Trial:
    """One trial under way. `allowed`: what may be repeated. `wanted`: how many are to have it at the end,
    None: whoever had it at the end of the fault, and nobody later. `since`: when it had to go on."""

    system: Deployed
    name: str = "hello"
    channel: str = "apns"
    run: str = ""
    allowed: int = 0
    wanted: int | None = PEOPLE
    since: float = 0.0
    said: list[str] = field(default_factory=list)

    def begin(self, at: int = 600, **sending: Any) -> None:
        """Start the campaign and wait until so many were accepted."""
        self.run = self.system.start(self.name, per_second=PER_SECOND, **sending)
        self.reach(at)

    def reach(self, many: int, seconds: float = 180) -> None:
        """Wait until so many have it."""
        until(lambda: len(self.accepted()) >= many, seconds, f"{many} have it")

    def accepted(self) -> dict[str, int]:
        """Address -> how often it was accepted."""
        return self.system.accepted(self.channel)

    def broken(self, kills: int = 0) -> None:
        """Something was broken just now; so many processes that send were killed."""
        self.allowed += kills * BOUND
        self.since = time.time()

    def up_again(self) -> None:
        """`make up` once more, if it has ended, or ends now because one of its parts did."""
        time.sleep(3)
        if not self.system.up_and_about:
            self.said.append("make up had ended")
            self.system.up()
            self.since = max(self.since, self.system.started)

    def still(self, seconds: float) -> None:
        """Nobody gets it any more from now on."""
        before = sum(self.accepted().values())
        time.sleep(seconds)
        later = sum(self.accepted().values()) - before
        if later:
            self.said.append(f"BROKEN: {later} accepted after the cancel")


Body = Callable[[Trial], None]


# -- a part of it is killed, or all


def kill_run(it: Trial) -> None:
    """kill -9 of the flow run's process"""
    it.begin()
    it.system.kill(it.system.run_processes(it.run))
    it.broken(kills=1)


def freeze_run(it: Trial) -> None:
    """SIGSTOP of the flow run's process for 45 s"""
    it.begin()
    pids = it.system.run_processes(it.run)
    it.system.kill(pids, signal.SIGSTOP)
    it.broken(kills=1)
    time.sleep(45)
    it.system.kill(pids, signal.SIGCONT)


def _kill_part(part: str, kills: int = 0) -> Body:
    def body(it: Trial) -> None:
        it.begin()
        it.system.kill(it.system.part(part))
        it.broken(kills)
        it.up_again()

    body.__name__, body.__doc__ = f"kill_{part}", f"kill -9 of the {part}"
    return body


kill_worker = _kill_part("worker", kills=1)
kill_server = _kill_part("server")
kill_gateway = _kill_part("gateway")
kill_sandbox = _kill_part("sandbox", kills=1)
kill_reconciler = _kill_part("reconciler")
kill_main = _kill_part("main", kills=1)


def power_cut(it: Trial) -> None:
    """everything killed at once, then make up"""
    it.begin()
    it.system.power_cut()
    it.broken(kills=1)
    it.up_again()


def freeze_part(it: Trial) -> None:
    """reconciler and gateway stopped (SIGSTOP), the run killed"""
    it.begin()
    it.system.kill([*it.system.part("reconciler"), *it.system.part("gateway")], signal.SIGSTOP)
    it.system.kill(it.system.run_processes(it.run))
    it.broken(kills=1)


# -- it is asked to end


def ctrl_c(it: Trial) -> None:
    """Ctrl-C, then make up"""
    it.begin()
    _stop_and_go_on(it)


def ctrl_c_twice(it: Trial) -> None:
    """Ctrl-C twice within 0.3 s, then make up"""
    it.begin()
    assert it.system.main
    it.system.main.send_signal(signal.SIGINT)
    time.sleep(0.3)
    _stop_and_go_on(it)


def _stop_and_go_on(it: Trial) -> None:
    it.system.stop()
    it.broken()
    it.up_again()


def ctrl_c_texts(it: Trial) -> None:
    """Ctrl-C while text messages leave (hold), then make up"""
    it.channel, it.wanted = "sms", TEXTS
    it.run = it.system.start(it.name, "texts", per_second=PER_SECOND)
    it.reach(400)
    _stop_and_go_on(it)


def stops_of_texts(it: Trial) -> None:
    """twenty polite stops while text messages leave (hold)"""
    it.channel, it.wanted = "sms", TEXTS
    it.run = it.system.start(it.name, "texts", per_second=60)
    for number in range(20):
        now = len(it.accepted())
        it.reach(min(TEXTS, now + 20 + 7 * number % 40))
        it.system.stop(signal.SIGTERM if number % 2 else signal.SIGINT)
        it.broken()
        it.system.up()
        it.since = it.system.started


# -- before the first window


def kill_pending(it: Trial) -> None:
    """power cut while the run is Pending"""
    it.run = it.system.start(it.name, per_second=PER_SECOND)
    until(lambda: it.system.state(it.run) == "PENDING", 60, "the run is Pending", 0.02)
    it.system.power_cut()
    it.broken(kills=1)
    it.up_again()


def kill_accepted(it: Trial) -> None:
    """power cut right after the 201"""
    it.run = it.system.start(it.name, per_second=PER_SECOND)
    it.system.power_cut()
    it.broken(kills=1)
    it.up_again()


def kill_starting(it: Trial) -> None:
    """kill -9 of the run's process at its start"""
    it.run = it.system.start(it.name, per_second=PER_SECOND)
    it.system.kill(until(lambda: it.system.run_processes(it.run), 60, "the process is there", 0.02))
    it.broken(kills=1)


def kill_sealing(it: Trial) -> None:
    """kill -9 of the run's process once the campaign stands in the store, before its first window"""
    it.run = it.system.start(it.name, per_second=PER_SECOND)
    until(lambda: it.system.report(it.name) is not None, 60, "it stands in the store", 0.01)
    it.system.kill(it.system.run_processes(it.run))
    it.broken(kills=1)


def waiting_without_prefect(it: Trial) -> None:
    """a campaign that waits for its time, and Prefect's file is gone"""
    at = datetime.now(UTC) + timedelta(seconds=100)
    it.run = it.system.start(it.name, per_second=PER_SECOND, not_before=at.isoformat())
    until(lambda: it.system.state(it.run) in FINAL, 60, "it is planned and sealed")
    it.system.stop()
    _forget_prefect(it)
    it.system.up()
    it.since = max(it.system.started, at.timestamp())


def sending_without_prefect(it: Trial) -> None:
    """Prefect's file removed in mid-campaign"""
    it.begin()
    it.system.power_cut()
    _forget_prefect(it)
    it.broken(kills=1)
    it.up_again()


def _forget_prefect(it: Trial) -> None:
    for file in (it.system.home / "prefect").glob("prefect.db*"):
        file.unlink()


# -- what the operator does


def pause_kill_resume(it: Trial) -> None:
    """paused, the run killed, resumed in the console, or by the same name where that is refused"""
    _pause_and_kill(it)
    _resume(it)


def pause_power_resume(it: Trial) -> None:
    """paused, power cut, make up, resumed in the console"""
    it.begin()
    _pause(it)
    it.system.power_cut()
    it.broken(kills=1)
    it.up_again()
    _resume(it)


def pause_kill_name(it: Trial) -> None:
    """paused, the run killed, the same name started again"""
    _pause_and_kill(it)
    it.run = it.system.start(it.name, per_second=PER_SECOND)
    it.since = time.time()


def _pause_and_kill(it: Trial) -> None:
    it.begin()
    _pause(it)
    it.system.kill(it.system.run_processes(it.run))
    it.broken(kills=1)
    time.sleep(10)


def _pause(it: Trial) -> None:
    it.system.press(it.run, "pause")
    until(lambda: _control(it) == Control.PAUSE, 30, "the pause has arrived")
    time.sleep(1)


def _control(it: Trial) -> str:
    found = it.system.report(it.name)
    return found.control if found else ""


def _resume(it: Trial) -> None:
    said = it.system.press(it.run, "resume")
    it.since = time.time()
    if said != "ACCEPT":
        it.said.append(f"Resume: {said}")
        it.run = it.system.start(it.name, per_second=PER_SECOND)


def cancel_sending(it: Trial) -> None:
    """cancelled at 50 %"""
    it.begin(PEOPLE // 2)
    it.system.press(it.run, "cancel")
    time.sleep(2)
    it.wanted = None
    it.still(20)


def cancel_killed(it: Trial) -> None:
    """the run killed, then cancelled, then the same name again"""
    it.begin()
    it.system.kill(it.system.run_processes(it.run))
    it.broken(kills=1)
    it.system.press(it.run, "cancel")
    time.sleep(2)
    it.wanted = None
    it.still(60)
    it.system.start(it.name, per_second=PER_SECOND)
    it.still(30)


def cancel_early(it: Trial) -> None:
    """cancelled as soon as it stands in the store, then the same name again"""
    it.run = it.system.start(it.name, per_second=PER_SECOND)
    until(lambda: it.system.report(it.name) is not None, 60, "it stands in the store", 0.01)
    it.system.press(it.run, "cancel")
    time.sleep(2)
    it.wanted = None
    it.still(10)
    it.system.start(it.name, per_second=PER_SECOND)
    it.still(40)


def cancel_waiting(it: Trial) -> None:
    """cancelled before any process was there to hear it, then the same name again"""
    at = datetime.now(UTC) + timedelta(hours=1)
    it.run = it.system.start(it.name, per_second=PER_SECOND, not_before=at.isoformat())
    until(lambda: it.system.state(it.run) in FINAL, 60, "it waits for its time")
    body = {"flow_runs": {"name": {"any_": [it.name]}, "state": {"type": {"any_": ["SCHEDULED"]}}}}
    waiting = it.system.json("POST", "/flow_runs/filter", body)[0]["id"]
    it.system.press(waiting, "cancel")
    it.wanted = None
    time.sleep(10)
    it.system.start(it.name, per_second=PER_SECOND, not_before=at.isoformat())
    it.still(40)
    if _control(it) != Control.CANCEL:
        it.said.append(f"BROKEN: the store says {_control(it)!r}")


# -- urgent, fallback


def urgent_behind_seven(it: Trial) -> None:
    """seven throttled campaigns fill the worker; an urgent one to everybody"""
    for number in range(7):
        it.system.start(f"slow-{number}", per_second=1)
    until(lambda: sum(it.accepted().values()) > 20, 120, "the slow ones are under way")
    it.name, it.wanted, it.allowed = "urgent", None, 10**6
    it.run = it.system.start(it.name, deployment="campaign-urgent", urgency=4)
    it.since = time.time()
    until(lambda: _finished(it), PATIENCE, "the urgent one is finished")


def _finished(it: Trial) -> bool:
    found = it.system.report(it.name)
    return bool(found and found.finished)


TRIALS: tuple[Body, ...] = (
    kill_run,
    freeze_run,
    kill_worker,
    kill_server,
    kill_gateway,
    kill_sandbox,
    kill_reconciler,
    kill_main,
    power_cut,
    freeze_part,
    ctrl_c,
    ctrl_c_twice,
    ctrl_c_texts,
    kill_accepted,
    kill_pending,
    kill_starting,
    kill_sealing,
    waiting_without_prefect,
    sending_without_prefect,
    pause_kill_resume,
    pause_power_resume,
    pause_kill_name,
    cancel_sending,
    cancel_killed,
    cancel_early,
    cancel_waiting,
    urgent_behind_seven,
)
#: Trials that take long, and are run when they are named.
LONG: tuple[Body, ...] = (stops_of_texts,)


@dataclass(frozen=True)
class Found:
    """What one trial came to. `goes_on`: seconds, None where nothing had to go on."""

    trial: str
    what: str
    lost: int
    repeated: int
    allowed: int
    unknown: int
    goes_on: float | None
    states: list[str]
    said: list[str]

    @property
    def good(self) -> bool:
        """Whether it is as promised."""
        late = self.goes_on is not None and self.goes_on > GOES_ON_SECONDS
        return not (self.lost or self.repeated > self.allowed or self.unknown or late or self.said_broken)

    @property
    def said_broken(self) -> bool:
        """Whether the trial itself has found something wrong."""
        return any("BROKEN" in line for line in self.said)


def try_it(body: Body, template: Path, place: Path) -> Found:
    """One trial in a home of its own, to the end of its campaign."""
    with deployed(template, place) as system:
        it = Trial(system)
        try:
            body(it)
            if it.wanted is not None:
                until(lambda: _over(it), PATIENCE, "the campaign is over in store and console")
        except TimeoutError as error:
            it.said.append(f"BROKEN: {error}")
        accepted, report = it.accepted(), system.report(it.name)
        unknown = report.ends[End.UNKNOWN] if report else 0
        return Found(
            trial=body.__name__,
            what=(body.__doc__ or "").partition("\n")[0],
            lost=0 if it.wanted is None else it.wanted - len(accepted) - unknown,
            repeated=sum(accepted.values()) - len(accepted),
            allowed=it.allowed,
            unknown=unknown,
            goes_on=_silence(it),
            states=system.states(it.name),
            said=it.said,
        )


def _over(it: Trial) -> bool:
    """Whether the store calls it finished, and the console no run of it Running or Pending any more."""
    states = it.system.states(it.name) if _finished(it) else ["RUNNING"]
    return not {"RUNNING", "PENDING", "SCHEDULED", "PAUSED", "CANCELLING"}.intersection(states)


def _silence(it: Trial) -> float | None:
    """The longest time without a message, from when it had to go on to the last one: a run whose worker was
    killed may send for a moment, and then stand still."""
    if not it.since:
        return None
    after = [one.at for one in it.system.journal() if one.channel == it.channel and one.at > it.since]
    return round(max(b - a for a, b in pairwise(sorted([it.since, *after]))), 1) if after else None


def show(found: list[Found], console: Console) -> None:
    """The table."""
    table = Table(box=None, pad_edge=False)
    for column in ("trial", "lost", "repeated", "unknown", "goes on after", "the console says", ""):
        table.add_column(column)
    for one in found:
        goes_on = "–" if one.goes_on is None else f"{one.goes_on} s"
        said = "; ".join([", ".join(one.states), *one.said])
        mark = "[green]✔[/green]" if one.good else "[red]✘[/red]"
        repeated = f"{one.repeated} of {one.allowed}"
        table.add_row(one.what, str(one.lost), repeated, str(one.unknown), goes_on, said, mark)
    console.print(table)


def main() -> int:
    """The command line."""
    known = {body.__name__: body for body in (*TRIALS, *LONG)}
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help=", ".join(known))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="write the result under benchmarks/results")
    given = parser.parse_args()
    if wrong := set(given.trials) - known.keys():
        parser.error(f"no such trial: {', '.join(sorted(wrong))}")
    bodies = [known[name] for name in given.trials] if given.trials else list(TRIALS)
    console, found = Console(width=200), list[Found]()
    place = Path(tempfile.mkdtemp(prefix="msgxc-crash-"))
    try:
        folder(place / "template", pushes=PEOPLE, texts=TEXTS)
        for body in bodies:
            for number in range(given.rounds):
                found.append(try_it(body, place / "template", place / f"{body.__name__}-{number}"))
                show(found[-1:], console)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    console.print()
    show(found, console)
    if given.keep:
        rows = [{**vars(one), "good": one.good} for one in found]
        console.print(f"written to {write('crash-system', {'people': PEOPLE, 'trials': rows})}")
    return 0 if all(one.good for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
