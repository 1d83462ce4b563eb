"""Being told to end: SIGTERM, SIGINT (Ctrl-C) and SIGHUP (a closed terminal), whatever this process
inherited.

A shell that starts something in the background has it ignore SIGINT, and some programs hold signals back for
all that they start. Python then leaves it at that; we do not: who runs until it is told to end has to hear
it. Only SIGHUP stays ignored where it was: that is what nohup is for.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
Told = list[int]


@contextmanager
def heard(handler: Callable[[int], None]) -> Iterator[None]:
    """Within the block these signals go to the handler, and to nobody else. In the main thread only."""
    numbers = [it for it in ENDS if it != signal.SIGHUP or signal.getsignal(it) != signal.SIG_IGN]

    def handle(number: int, _frame: FrameType | None) -> None:
        handler(number)

    before = {number: signal.signal(number, handle) for number in numbers}
    held = signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)


@contextmanager
def told_to_end() -> Iterator[Told]:
    """A list that is filled when this process is told to end. Looked at, for a handler may set no lock."""
    told: Told = []
    with heard(told.append):
        yield told
