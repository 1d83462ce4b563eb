"""This process and others of its machine, as the kernel shows them; without Linux's /proc: nothing."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from msgxc.owners import Owner, Place, Seen, read_owner, surely_dead

_PROC = Path("/proc")
#: In a process's `stat`, behind its name: the state, how many threads it has, when it started.
_STATE, _THREADS, _STARTED = 0, 17, 19
#: What is over, but for somebody to take notice of it.
_OVER = frozenset("ZX")


def place() -> Place | None:
    """Where this process is; None when that cannot be told."""
    try:
        if os.readlink(_PROC / "self") != str(os.getpid()):
            return None  # It shows the processes of another namespace.
        spaces = [_PROC.joinpath("self", "ns", name).stat().st_ino for name in ("pid", "time")]
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return Place(socket.gethostname(), boot, ".".join(map(str, spaces)))


def own_name() -> str:
    """This process, as the owner of a lease."""
    here, seen = place(), look(os.getpid())
    if here is None or seen.started is None:
        return f"{socket.gethostname()}-{os.getpid()}"
    return Owner(here, os.getpid(), seen.started).name


def look(pid: int) -> Seen:
    """What there is under that number. Asked of the kernel, not of /proc, which may hide what others run."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return Seen(gone=True)
    except (OSError, OverflowError):
        pass  # Somebody else's.
    try:
        said = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        # The first thread may be over while others of its process run.
        return Seen(said[_STATE] in _OVER and int(said[_THREADS]) <= 1, int(said[_STARTED]))
    except (OSError, ValueError, IndexError):
        return Seen(gone=False)


def has_died(name: str) -> bool:
    """Whether the owner of that name was a process of this machine, and has surely died."""
    owner = read_owner(name)
    return owner is not None and surely_dead(owner, place(), look(owner.pid))
