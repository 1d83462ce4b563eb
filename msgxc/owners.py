"""Whose a lease is, and whether that process has surely died. Pure.

An owner's name says where its process runs and which one it is: the host, what tells one start of the kernel
and one view of its processes from others (boot, namespaces), the process's number, and when it started. Who
looks from the same place knows more than a lease says: a number that nobody has, or that another process has
by now, is a death. Whatever is in doubt is none: then the lease runs its time. A process that is stopped
(SIGSTOP) lives.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(
    r"(?P<host>.*)-(?P<pid>[1-9]\d{0,6})@(?P<started>\d{1,18})\.(?P<spaces>[\d.]+)\.(?P<boot>[0-9a-f-]{36})(?:/.*)?"
)


@dataclass(frozen=True, slots=True)
class Place:
    """From where the same numbers mean the same processes. `boot`: id of the kernel's start; `spaces`: ids of
    the namespaces of processes and of time, which the kernel gives to others only when nobody is in them."""

    host: str
    boot: str
    spaces: str


@dataclass(frozen=True, slots=True)
class Owner:
    """A process. `started`: ticks of the kernel's clock since its start."""

    place: Place
    pid: int
    started: int

    @property
    def name(self) -> str:
        """As it stands in a lease; whoever has several leases at once adds `/` and more."""
        return f"{self.place.host}-{self.pid}@{self.started}.{self.place.spaces}.{self.place.boot}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is under a process's number. `gone`: nothing that could still do anything; `started`: of
    what is there, None: that cannot be read."""

    gone: bool
    started: int | None = None


def read_owner(name: str) -> Owner | None:
    """Who it is; None: the name does not say, as those of earlier versions and of other systems."""
    said = _NAME.fullmatch(name)
    if said is None:
        return None
    return Owner(Place(said["host"], said["boot"], said["spaces"]), int(said["pid"]), int(said["started"]))


def called(name: str) -> str:
    """What a person calls an owner: host and number."""
    return name.partition("@")[0]


def surely_dead(owner: Owner | None, here: Place | None, seen: Seen) -> bool:
    """Whether a process that is not to be found from `here`, or not as it was, has died. None: not known."""
    if owner is None or here is None or owner.place != here:
        return False
    return seen.gone or (seen.started is not None and seen.started != owner.started)
