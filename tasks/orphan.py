"""A run whose worker is gone ends in good order, as if it were told to (SIGTERM).

Whoever killed the worker, or the program around it, may not know of the run; it would send on unseen, and
hold its leases against the run that follows. A worker starts each run through a process of Prefect's between
them, so both are minded.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Thread

from psutil import Error, Process

LOOK_SECONDS = 0.7
#: Set by Prefect in the process of a run.
RUN = "PREFECT__FLOW_RUN_ID"
#: In the command of the process between a worker and its run.
BETWEEN = "prefect.runner._workspace_supervisor"
#: Who has started this run; empty: this is no run's process.
_starters: list[int] = []


def starters() -> list[int]:
    """Who has started this process, or has inherited it; and, where that is a go-between, the same of it."""
    found = [os.getppid()]
    with suppress(Error):
        between = Process(found[0])
        if BETWEEN in between.cmdline():
            found.append(between.ppid())
    return found


def mind(known: Sequence[int], *, end: Callable[[], None], look: float = LOOK_SECONDS) -> None:
    """Return when this process has other starters than these; `end` has been called then."""
    while starters() == known:
        time.sleep(look)
    end()


def is_orphan() -> bool:
    """Whether the worker of this run is gone."""
    return bool(_starters) and starters() != _starters


def _end() -> None:
    print("The worker of this run is gone: it ends.", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


def start() -> None:
    """In the process of a run: mind the worker from now on, in a thread of its own."""
    if RUN in os.environ:
        _starters[:] = starters()
        Thread(target=mind, args=(list(_starters),), kwargs={"end": _end}, name="orphan", daemon=True).start()
