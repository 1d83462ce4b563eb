"""Which ports of 127.0.0.1 a system of this machine has: those of its last start, where they are free.

Links were made with them: in a terminal, in mails that were sent long ago. A port that a person has chosen is
taken or refused, never replaced. Nobody else is given a port between its choice and the moment when a server
takes it, which may be seconds later.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil

from msgxc.errors import MsgxcError, WrongSettings
from msgxc.settings import Settings

#: In MSGXC_HOME: name -> the ports that it has had, the newest first.
FILE = "ports.json"
KEPT = 4
NONE = "no free port on 127.0.0.1"
LONGEST = 80  # characters that are shown of a command


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the console and the gateway listen; `earlier`: where the gateway did, at earlier starts."""

    console: int
    gateway: int
    earlier: tuple[int, ...]


@contextmanager
def chosen(
    settings: Settings, home: Path, say: Callable[[str], None], *, console: bool = True
) -> Iterator[Ports]:
    """The ports of the system that writes to `home`, its own until the end of the block; `say` is told when
    one is another than it was. Raises WrongSettings when one that a person has chosen cannot be had.

    `console`: no where the console runs elsewhere; its port is 0 then.
    """
    file, known = home / FILE, dict[str, list[int]]()
    with suppress(OSError, ValueError, TypeError, AttributeError):  # not there, or not what we have written
        known = {name: list(map(int, ports)) for name, ports in json.loads(file.read_text()).items()}
    with ExitStack() as held:
        for name in ("console", "gateway") if console else ("gateway",):
            port = _one(settings, name, known.get(name, []), held, say)
            known[name] = [port, *(one for one in known.get(name, []) if one != port)][:KEPT]
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(known) + "\n")
        fresh.replace(file)
        own = known["console"][0] if console else 0
        yield Ports(own, known["gateway"][0], tuple(known["gateway"][1:]))


def _one(
    settings: Settings, name: str, before: Sequence[int], held: ExitStack, say: Callable[[str], None]
) -> int:
    """What was chosen; else what it was, the usual port, any free one."""
    setting, field = f"MSGXC_{name.upper()}_PORT", f"{name}_port"
    wanted: int = getattr(settings, field)
    if wanted and field in settings.model_fields_set:
        if why := _take(wanted, held):
            raise WrongSettings(f"{setting}: port {wanted} {why}")
        return wanted
    known = dict.fromkeys([*before, *([wanted] if wanted else [])])
    missed: list[str] = []
    for port in (*known, *_others()):
        if not (why := _take(port, held)):
            break
        if port in known:
            missed.append(f"port {port} {why}")
    else:
        raise MsgxcError(NONE)
    if missed:
        say(
            f"The {name} is at port {port}, and stays there: {'; '.join(missed)}. "
            f"Another one: {setting} in .env."
        )
    return port


def _take(port: int, held: ExitStack) -> str:
    """Have nobody else given that port before `held` is closed. "": it is ours; else why not, in words."""
    try:
        _probe(port)
        held.enter_context(_name(port))
    except PermissionError:
        return "is not allowed to this user"
    except OSError:
        return f"is taken by {holder(port)}"
    return ""


def holder(port: int) -> str:
    """Who listens there: command and process, as far as this user may know."""
    with suppress(psutil.Error, OSError):
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid:
                process = psutil.Process(one.pid)
                command = " ".join(process.cmdline()) or process.name()
                command = command if len(command) <= LONGEST else f"{command[: LONGEST - 1]}…"
                return f"`{command}` (process {one.pid})"
    return "another program"


def free_port(wanted: int) -> int:
    """The wanted port of 127.0.0.1 if nobody has it, else any free one; nobody else is given it meanwhile.

    Below those that the system gives to connections: a server may take its port seconds after this.
    """
    return free_ports(wanted, 1)


def free_ports(wanted: int, many: int) -> int:
    """The first of so many free ports in a row: see free_port."""
    for first in (wanted, *_others()) if wanted else _others():
        with suppress(OSError):
            for port in range(first, first + many):
                _probe(port)
                _name(port).detach()  # until this process ends
            return first
    raise MsgxcError(NONE)


def _others() -> list[int]:
    return Random().sample(range(10_000, 32_000), 100)  # noqa: S311 - no secret


def _probe(port: int) -> None:
    """Raises OSError when somebody has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def _name(port: int) -> socket.socket:
    """As long as this is open no process of ours is given this port; raises OSError when one has been (on
    Linux: a name that is no file and goes with the process)."""
    name = socket.socket(socket.AF_UNIX)
    if sys.platform == "linux":
        try:
            name.bind(f"\0msgxc port {port}")
        except OSError:
            name.close()
            raise
    return name
