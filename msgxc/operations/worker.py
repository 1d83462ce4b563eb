"""A Prefect worker whose runs are ended in good order before it is.

`python -m msgxc.operations.worker --pool msgxc --type process --name NAME …` starts a worker with these words
(tasks/worker.py), and is the one that is told to stop (SIGTERM, SIGINT, SIGHUP). Prefect's own worker sends
SIGKILL to its runs then. Here it is held still, so that it starts nothing more; its runs are asked to end and
waited for; then it is ended itself. When Prefect's worker dies, its runs are ended in the same way, and so
does this process.

When this process dies, Linux ends Prefect's worker, and the runs end by themselves (tasks/orphan.py).
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from psutil import Process

from msgxc.operations.processes import PART, end, families, marked, process, tell
from msgxc.operations.signals import Told, told_to_end

#: In the environment of Prefect's worker and its runs: whose they are.
MARK = "MSGXC_WORKER"
PREFECT_WORKER = (sys.executable, "-m", "tasks.worker")
#: A run has 12 s for what is under way, its helpers 14, its last report 5.
RUNS_SECONDS = 32.0
WORKER_SECONDS = 10.0
#: How long somebody who ends this program should wait.
GRACE_SECONDS = RUNS_SECONDS + WORKER_SECONDS + 5.0
LOOK_SECONDS = 0.2


def main(words: Sequence[str], command: Sequence[str] = PREFECT_WORKER) -> int:
    """Run the worker until it is told to end: 0. Its own status, or 1, when it has ended by itself."""
    mark = f"{os.getpid()} {secrets.token_hex(8)}"
    with told_to_end() as told:
        worker = subprocess.Popen(  # noqa: S603 - Prefect's own command
            [*_with_parent(), *command, *words],
            env={**os.environ, MARK: mark},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process alone.
        )
        known = process(worker.pid)
        wait(worker, told)
        by_itself = worker.poll() is not None
        if known and not by_itself:
            tell([known], signal.SIGSTOP)
        end_runs(known, mark)
        if known and not by_itself:
            end([known], WORKER_SECONDS)
        status = worker.wait()
        return (status if status > 0 else 1) if by_itself else 0


def wait(worker: subprocess.Popen[bytes], told: Told) -> None:
    """Until the worker ends, this process is told to, or the supervisor that has started it is gone."""
    parent = os.getppid() if PART in os.environ else 0
    while worker.poll() is None and not told:
        time.sleep(LOOK_SECONDS)
        if parent and os.getppid() != parent:
            return


def end_runs(worker: Process | None, mark: str) -> None:
    """Ask all runs to end, those too whose worker is gone, and wait for them."""

    def runs() -> set[Process]:
        return (marked(**{MARK: mark}) | families([worker] if worker else [])) - {worker}

    end(runs(), RUNS_SECONDS, runs)


def _with_parent() -> list[str]:
    """On Linux the worker ends with this process, however that ends. Its runs notice, and end too."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
