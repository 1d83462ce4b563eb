"""File descriptors: each connection is one, and the process has only so many.

The gateway never runs out of them. It divides what it has (`places`), sends away whoever only waits when
others come, and beyond that closes what it accepts: nothing is left in the queue to be tried again and again,
and nothing is logged for each.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from msgxc.errors import WrongSettings
from msgxc.settings import Settings

#: For the store, the bus, the providers and whatever else the process opens.
OWN = 128
#: More than anybody needs.
MOST = 1 << 20
#: Connections without a request under way, and websockets that have not said who they are: at most.
IDLE, WAITING = 4_000, 2_000


@dataclass(frozen=True, slots=True)
class Places:
    """How many of each: websockets of whoever has a token; websockets that have brought none yet; HTTP
    connections without a request under way."""

    websockets: int
    waiting: int
    idle: int


def needed(settings: Settings) -> int:
    """Descriptors with which one gateway process has room for all that the settings let in."""
    return settings.websocket_connections + WAITING + IDLE + OWN


def places(descriptors: int, wanted: int) -> Places:
    """How so many descriptors are divided, of which `wanted` are to be websockets."""
    left = max(descriptors - OWN, 8)
    beside = left - wanted
    waiting = min(WAITING, max(left // 8, beside // 3))
    idle = min(IDLE, max(left // 8, beside - waiting))
    return Places(min(wanted, left - waiting - idle), waiting, idle)


def limit() -> int:
    """How many descriptors this process may have; raised to what the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST
    if soft < (most := MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)):
        with suppress(ValueError, OSError):  # Some systems allow less than they say.
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Listening(socket.socket):
    """A listening socket that closes whom there is no room for.

    An accept that fails for want of a descriptor leaves the connection in the queue: asyncio logs it, tries
    again as often as the queue is long, and once a second from then on. Here one descriptor is kept back, to
    take such a connection and let it go.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._most = limit() - OWN // 2
        self._spare = os.open(os.devnull, os.O_RDONLY)

    def accept(self) -> tuple[socket.socket, Any]:
        """See socket. Raises BlockingIOError also for whom there was no room."""
        try:
            connection, address = super().accept()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self._turn_away()
            raise BlockingIOError from None
        if connection.fileno() >= self._most:  # The lowest free number is given: nearly all are taken.
            connection.close()
            raise BlockingIOError
        return connection, address

    def close(self) -> None:
        """See socket."""
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        super().close()

    def _turn_away(self) -> None:
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        try:
            super().accept()[0].close()
        except OSError:
            pass
        finally:
            try:
                self._spare = os.open(os.devnull, os.O_RDONLY)
            except OSError:
                self._spare = -1


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen there, on each address of the name. Raises WrongSettings when one is taken."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        raise WrongSettings("MSGXC_GATEWAY_HOST: there is no such address") from None
    made: list[Listening] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            one = Listening(family, kind, protocol)
            made.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((address[0], made[0].getsockname()[1], *address[2:]) if len(made) > 1 else address)
    except OSError as error:
        for one in made:
            one.close()
        raise WrongSettings(f"MSGXC_GATEWAY_PORT: {error.strerror}") from None
    return [*made]
