"""Places where a test can make this process stumble. They do nothing unless armed.

MSGXC_FAILPOINTS="name=action[@N],…" with the action kill (SIGKILL), stop (SIGSTOP), raise, or sleep:SECONDS;
@N: at the N-th passage (1 when left out). MSGXC_FAILPOINTS_ONCE names a file: only the process that makes it
stumbles, and whoever comes after it passes. The list of names is made from the source: grep for `failpoint(`.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter


def _armed(text: str) -> dict[str, tuple[str, int]]:
    armed = {}
    for part in filter(None, text.split(",")):
        name, _, action = part.partition("=")
        action, _, passage = action.partition("@")
        armed[name] = (action, int(passage or 1))
    return armed


_ARMED = _armed(os.environ.get("MSGXC_FAILPOINTS", ""))
_ONCE = os.environ.get("MSGXC_FAILPOINTS_ONCE", "")
_PASSED: Counter[str] = Counter()


def _first() -> bool:
    """Whether nobody has stumbled before, where that is asked for."""
    try:
        if _ONCE:
            os.close(os.open(_ONCE, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def failpoint(name: str) -> None:
    """Stumble here if this process was told to."""
    if name not in _ARMED:
        return
    action, passage = _ARMED[name]
    _PASSED[name] += 1
    if _PASSED[name] != passage or not _first():
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "stop":
        time.sleep(0.1)  # its other threads come to the end of what they hold: no lock of a file is frozen
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action.startswith("sleep:"):
        time.sleep(float(action.removeprefix("sleep:")))
    else:
        raise RuntimeError(f"failpoint {name}")
