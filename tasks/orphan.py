"""A run whose worker is gone ends in good order, as if it were told to (SIGTERM).

Whoever killed the worker, or the program around it, may not know of the run; it would send on unseen, and
hold its leases against the run that follows. A worker of ours (tasks/worker.py) names itself in the run's
environment: so its death is seen too when it comes while the run still starts. Of other workers it is seen
when the run is inherited by another process. They start a run through a process of Prefect's between them, so
both are minded.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread

from psutil import Error, Process

from msgxc.operations.worker import RUNS_SECONDS
from msgxc.this_machine import has_died, own_name

LOOK_SECONDS = 0.7
#: Set by Prefect in the process of a run.
RUN = "PREFECT__FLOW_RUN_ID"
#: And by our worker: its name, as the owner of a lease would have it.
WORKER = "MSGXC_WORKER_PROCESS"
#: In the command of the process between a worker and its run.
BETWEEN = "prefect.runner._workspace_supervisor"


def name_worker() -> None:
    """In a worker's process: all runs that it starts from now on know who it is."""
    os.environ[WORKER] = own_name()


def starters() -> list[int]:
    """Who has started this process, or has inherited it; and, where that is a go-between, the same of it."""
    found = [os.getppid()]
    with suppress(Error):
        between = Process(found[0])
        if BETWEEN in between.cmdline():
            found.append(between.ppid())
    return found


#: Of this process when it began.
_STARTERS = starters()


def is_orphan() -> bool:
    """Whether this is a run's process, and the worker that has started it is gone."""
    return RUN in os.environ and (has_died(os.environ.get(WORKER, "")) or starters() != _STARTERS)


def mind(tell: Callable[[int], None], *, look: float = LOOK_SECONDS, grace: float = RUNS_SECONDS) -> None:
    """Wait until the worker is gone; then have this process told to end, after `grace` seconds by force: it
    may be where no signal is heard."""
    while not is_orphan():
        time.sleep(look)
    print("The worker of this run is gone: it ends.", flush=True)
    tell(signal.SIGTERM)
    time.sleep(grace)
    tell(signal.SIGKILL)


def start() -> None:
    """In the process of a run: mind the worker from now on, in a thread of its own."""
    if RUN in os.environ:
        Thread(target=mind, args=(partial(os.kill, os.getpid()),), name="orphan", daemon=True).start()
