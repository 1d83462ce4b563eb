"""Processes of this machine: who has started whom, who belongs to which system, and how they are ended.

A system's processes carry its mark in their environment, which all that they start inherits: so that they are
known again when whoever started them is gone.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import psutil
from psutil import Process

#: In the environment of each process that a supervisor has started: its home, and which part of it this is.
SYSTEM = "MSGXC_SYSTEM"
PART = "MSGXC_PART"
GRACE_SECONDS = 12.0
LOOK_SECONDS = 0.1


def process(pid: int) -> Process | None:
    """The process of that id; it stays the same one when the id is given to another. None: it is gone."""
    with suppress(psutil.Error):
        found = Process(pid)
        return found if lives(found) else None
    return None


def lives(one: Process) -> bool:
    """Whether it is there; one that has ended and that nobody has looked after yet (a zombie) is not."""
    with suppress(psutil.Error):
        return bool(one.is_running() and one.status() != psutil.STATUS_ZOMBIE)
    return False


def parent(one: Process) -> int:
    """The id of the process that has started it, or has inherited it; 0: it is gone."""
    with suppress(psutil.Error):
        return int(one.ppid())
    return 0


def families(roots: Iterable[Process]) -> set[Process]:
    """The living among these, and all the living that they have started."""
    table = {it: it.info["ppid"] for it in psutil.process_iter(["ppid", "status"]) if _not_zombie(it)}
    found = {root for root in roots if root in table}
    new = {root.pid for root in found}
    while new:
        children = {it for it, parent in table.items() if parent in new} - found
        found |= children
        new = {it.pid for it in children}
    return found


def _not_zombie(one: Process) -> bool:
    return bool(one.info["status"] != psutil.STATUS_ZOMBIE)


def marked(**marks: str) -> set[Process]:
    """The living whose environment has all these values, but for this process itself.

    Those of other users are not seen, unless this is root's.
    """
    return {it for it in psutil.process_iter(["status"]) if it.pid != os.getpid() and _has(it, marks)}


def _has(one: Process, marks: dict[str, str]) -> bool:
    with suppress(psutil.Error, OSError):
        return bool(_not_zombie(one) and one.environ().items() >= marks.items())
    return False


def tell(some: Iterable[Process], number: int) -> None:
    """Send them a signal. One that is stopped is woken, or it would not hear it."""
    for one in some:
        with suppress(psutil.Error):
            one.send_signal(number)
            if number != signal.SIGSTOP:
                one.send_signal(signal.SIGCONT)


def end(
    roots: Iterable[Process],
    grace: float = GRACE_SECONDS,
    others: Callable[[], Iterable[Process]] = tuple,
) -> None:
    """End processes and all that belongs to them; returns when they are gone.

    Only the roots are asked (SIGTERM), at once: each may have an order in which it ends what it has started.
    What has lost its parent is asked then; `grace` seconds after the first word whatever is left is ended by
    force. `others`: what belongs to them although they have not started it, looked for as long as this takes.
    """
    known, asked = set[Process](), set[Process]()
    begun = time.monotonic()
    for known in _looks({*roots}, others):
        pids = {it.pid for it in known}
        orphans = {it for it in known if parent(it) not in pids} - asked
        tell(orphans, signal.SIGTERM)
        asked |= orphans
        if time.monotonic() - begun > grace:
            tell(known, signal.SIGKILL)
        time.sleep(LOOK_SECONDS)


def _looks(known: set[Process], others: Callable[[], Iterable[Process]]) -> Iterator[set[Process]]:
    """Who is there, again and again until nobody is."""
    while known := families({*known, *others()}):
        yield known
