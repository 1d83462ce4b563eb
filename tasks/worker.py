"""Prefect's process worker, which leaves a run alone as long as it has an earlier process of the same run.

`python -m tasks.worker …` is `prefect worker start …`. A run may be scheduled again (by Retry, by Resume, by
the reconciler) while its worker still tidies up after the process that has died or left. Prefect's own worker
gives each run one of its places, by the run's id, and ends with an exception when it is to give a second one
(prefect/workers/base.py, `_submit_scheduled_flow_runs`): all its other runs end with it.

And it says of a run whose process has died that it has crashed, and says so again some time later: the second
word would end what was put back after the first. In between it starts a process that imports the flow, to ask
it for hooks; the run keeps its place for so long, 5 to 20 s, and cannot be started again. No flow of ours has
any.

A run's process that is stopped (SIGSTOP), or waits for a device for ever, keeps the run's place, although the
run is long due again because nobody holds its leases. It is ended by force.

A run that has a command is one process. Without one, Prefect starts another before it, which imports Prefect
to find the project's folder: half of what a start costs. Ours is installed, and needs no preparation.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Set
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.cli import app
from prefect.runner._hook_runner import HookRunner
from prefect.utilities.processutils import command_to_string
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker
from psutil import STATUS_DISK_SLEEP, STATUS_STOPPED, Error, Process

from msgxc.operations.processes import marked, parent, tell
from msgxc.operations.worker import RUNS_SECONDS
from tasks import orphan

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.client.schemas.responses import WorkerFlowRunResponse


async def submit_others(self: Any, flow_run_response: list[WorkerFlowRunResponse]) -> list[FlowRun]:
    """Take the runs that are due, but for those that have a place already: they come with a later look. Of
    these, a process that is stopped for so long that somebody else should go on is ended by force."""
    held = set(self._limiter.statistics().borrowers) if self._limiter else set()
    again = held & {each.flow_run.id for each in flow_run_response}
    found = {run: processes for run in again if (processes := stopped(run))}
    for run in overdue(_stopped, found.keys(), time.monotonic()):
        print(f"The process of run {run} is stopped, and the run is due again: it is ended.", flush=True)
        tell(found[run], signal.SIGKILL)
    return await _submit(self, [each for each in flow_run_response if each.flow_run.id not in held])


def stopped(run: UUID) -> set[Process]:
    """The process of a run, if it is stopped, or waits for a device, just now. What it has started itself
    ends when it does."""
    found = marked(**{orphan.RUN: str(run)})
    pids = {one.pid for one in found}
    with suppress(Error):
        return {
            one
            for one in found
            if parent(one) not in pids and one.status() in (STATUS_STOPPED, STATUS_DISK_SLEEP)
        }
    return set()


def overdue(since: dict[UUID, float], now_stopped: Set[UUID], now: float) -> list[UUID]:
    """Which of the runs that are stopped now were so at every look for longer than a run has for its end.
    `since`: when each was first seen so (seconds), which is kept up to date here. Pure."""
    for run in since.keys() - now_stopped:
        del since[run]
    return [run for run in now_stopped if now - since.setdefault(run, now) > RUNS_SECONDS]


async def report_once(self: Any, flow_run: FlowRun, message: str, client: Any = None) -> None:
    """Say that a run has crashed, unless whoever has watched its process has said so already."""
    if not message.startswith(SECOND):
        await _report(self, flow_run, message, client)


async def no_hooks(self: Any, flow_run: FlowRun, state: State) -> None:
    """What is asked of a flow whose process has died or was canceled: nothing."""


def one_process(self: Any, *run: Any, **more: Any) -> None:
    """Make ready for a run: its command is Prefect's engine, with this Python."""
    self.command = self.command or ENGINE
    _prepare(self, *run, **more)


ENGINE = command_to_string([sys.executable, "-m", "prefect.engine"])
#: How the second word begins.
SECOND = "Flow run infrastructure exited with non-zero status code"
#: Runs that are due again while their process is stopped, and since when.
_stopped: dict[UUID, float] = {}
_submit = ProcessWorker._submit_scheduled_flow_runs
_report = ProcessWorker._propose_crashed_state
_prepare = ProcessJobConfiguration.prepare_for_flow_run


def main() -> None:
    """Start a worker with the words of the command line. Its runs know who it is (tasks/orphan.py)."""
    orphan.name_worker()
    ProcessWorker._submit_scheduled_flow_runs = submit_others  # type: ignore[method-assign]
    ProcessWorker._propose_crashed_state = report_once  # type: ignore[method-assign]
    ProcessJobConfiguration.prepare_for_flow_run = one_process  # type: ignore[method-assign]
    HookRunner.run_crashed_hooks = no_hooks  # type: ignore[method-assign]
    HookRunner.run_cancellation_hooks = no_hooks  # type: ignore[method-assign]
    sys.argv[:] = ["prefect", "worker", "start", *sys.argv[1:]]
    app()


if __name__ == "__main__":
    main()
