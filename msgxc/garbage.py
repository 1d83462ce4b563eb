"""How often a process that sends looks for garbage: rarely, for a message leaves next to none."""

from __future__ import annotations

import gc
from functools import cache

#: Containers made and not let go of between two looks (Python's own: 700).
CONTAINERS = 50_000


@cache
def collect_rarely() -> None:
    """Called when the process is ready to send: all that is there by then is never looked at again. The first
    call counts; a flow run makes one at each of its tasks.

    With Python's own numbers a sixth of the CPU of an APNs campaign went into looks that found nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(CONTAINERS, 20, 100)
