"""The bus over NATS (nats-py): core NATS only, for it wakes and never records.

The connection is kept for ever: after a loss it is sought again with a growing, jittered delay, so that many
processes do not come back in the same moment. While it is away publish answers False and request None, at
once. A server that goes silent is noticed by its missing PONGs (PING_SECONDS, twice).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import nats.errors
from nats.aio.client import Client, Server
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription

from msgxc.bus import (
    WAITING,
    Message,
    Subscription,
    checked_pattern,
    checked_payload,
    checked_subject,
)
from msgxc.bus.queue import Waiting
from msgxc.errors import WrongSettings

#: How long `connect` waits for a server before it goes on without one, in seconds.
FIRST_SECONDS = 2.0
#: The delay before a connection is sought again: doubled from the first to the longest, in seconds.
DELAY_FIRST, DELAY_LONGEST = 0.1, 5.0
PING_SECONDS = 5
DRAIN_SECONDS = 5
#: Bytes that may wait for a socket that takes nothing: beyond that the bus counts as away.
UNSENT = 1_048_576

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Listener:
    pattern: str
    waiting: Waiting
    client: Client | None = None  # that it is subscribed on, or about to be
    held: NatsSubscription | None = None


class NatsBus:
    """One connection to the NATS servers. Made by NatsBus.connect."""

    def __init__(self, servers: list[str], username: str = "", password: str = "") -> None:
        self._servers = servers
        self._username, self._password = username, password
        self._client = Client()
        self._listeners: list[_Listener] = []
        self._closing = False
        self._lost = asyncio.Event()
        self._first = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, url: str, username: str = "", password: str = "") -> NatsBus:
        """Connect to any of the servers (nats://host:port, separated by commas), with the login if given.

        Waits at most FIRST_SECONDS; when none is there it answers a bus that is away and goes on trying.
        Raises WrongSettings for a URL that cannot be read.
        """
        servers = [server.strip() for server in url.split(",") if server.strip()]
        bus = cls(servers, username, password)
        try:
            for server in servers:
                Client._parse_server_uri(server)
        except nats.errors.Error:
            raise WrongSettings("MSGXC_NATS_URL: not a NATS URL") from None
        if not servers:
            raise WrongSettings("MSGXC_NATS_URL: names no server")
        bus._keeper = asyncio.create_task(bus._keep(), name="bus")
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_SECONDS):
                await bus._first.wait()
        return bus

    async def publish(self, subject: str, payload: bytes) -> bool:
        """See Bus.publish. nats-py writes in the background: True means that the connection has taken it. A
        message that is handed over in the moment when the connection breaks may come late, or never."""
        return await self._publish(checked_subject(subject), checked_payload(payload))

    @asynccontextmanager
    async def subscribe(self, subject: str, *, waiting: int = WAITING) -> AsyncIterator[Subscription]:
        """See Bus.subscribe."""
        listener = _Listener(checked_pattern(subject), Waiting(waiting))
        if self._closing:
            listener.waiting.end()
        self._listeners.append(listener)
        try:
            if self._here:
                await self._listen(listener)
            yield listener.waiting
        finally:
            self._listeners.remove(listener)
            if listener.held is not None and self._here:
                with suppress(nats.errors.Error, OSError):
                    await listener.held.unsubscribe()

    async def request(self, subject: str, payload: bytes, timeout: float) -> bytes | None:  # noqa: ASYNC109
        """See Bus.request. NATS itself tells at once when nobody listens."""
        checked_payload(payload)
        checked_subject(subject)
        if not self._takes:
            return None
        try:
            answer = await self._client.request(subject, payload, timeout=timeout)
        except (nats.errors.Error, OSError):
            return None
        return bytes(answer.data)

    async def close(self) -> None:
        """See Bus.close. Drains for at most DRAIN_SECONDS."""
        if self._closing:
            return
        self._closing = True
        # Where draining takes too long the connection is closed all the same.
        for leave in (self._leave, self._client.close):
            with suppress(nats.errors.Error, OSError, TimeoutError):
                async with asyncio.timeout(DRAIN_SECONDS + 1):
                    await leave()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        for listener in self._listeners:
            listener.waiting.end()

    async def _leave(self) -> None:
        if not self._here:
            return await self._client.close()
        await self._settle()
        return await self._client.drain()

    @property
    def _here(self) -> bool:
        return self._client.is_connected and not self._client.is_draining

    @property
    def _takes(self) -> bool:
        return self._here and self._client.pending_data_size < UNSENT

    async def _publish(self, subject: str, payload: bytes) -> bool:
        if not self._takes:
            return False
        try:
            await self._client.publish(subject, payload)
        except (nats.errors.Error, OSError):
            return False
        return True

    async def _listen(self, listener: _Listener) -> None:
        """Subscribe, and wait until the server knows of it."""
        if listener.client is self._client:
            return
        listener.client = self._client

        async def arrived(message: Msg) -> None:
            async def answer(text: bytes) -> None:
                if message.reply:
                    await self._publish(message.reply, checked_payload(text))

            listener.waiting.put(Message(message.subject, bytes(message.data), answer))

        with suppress(nats.errors.Error, OSError):
            listener.held = await self._client.subscribe(listener.pattern, cb=arrived)
            await self._settle()

    async def _settle(self) -> None:
        """Wait until the server has processed all that was written so far. Twice, for the PING of nats-py's
        flush overtakes the commands that its background task has not written yet."""
        for _ in range(2):
            await self._client.flush(timeout=DRAIN_SECONDS)

    # -- the connection ----------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Connect; when the client gives up (the server refused it), begin anew with another one."""
        tries = 0
        while not self._closing:
            self._client, self._lost = Client(), asyncio.Event()
            try:
                await self._client.connect(**self._options())
            except (nats.errors.Error, OSError) as error:
                _log.warning("the bus refuses us: %s", type(error).__name__)
            else:
                tries = 0
                await self._connected()
                await self._lost.wait()
            tries += 1
            await asyncio.sleep(_delay(tries))

    async def _connected(self) -> None:
        for listener in list(self._listeners):
            await self._listen(listener)
        self._first.set()

    def _options(self) -> dict[str, Any]:
        # Answers come to an inbox of the user's own: another user may not listen there (servers/nats.conf).
        login = {
            "user": self._username,
            "password": self._password,
            "inbox_prefix": f"_INBOX_{self._username}",
        }
        return {
            **(login if self._username else {}),
            "servers": list(self._servers),
            "name": "msgxc",
            "error_cb": self._on_error,
            "disconnected_cb": self._on_disconnected,
            "reconnected_cb": self._on_reconnected,
            "closed_cb": self._on_closed,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 1,
            "reconnect_to_server_handler": _next_server,
            "connect_timeout": 2,
            "ping_interval": PING_SECONDS,
            "max_outstanding_pings": 2,
            "drain_timeout": DRAIN_SECONDS,
            "pending_size": 0,  # nothing is kept for a server that is away
        }

    async def _on_error(self, error: Exception) -> None:
        """Never the error's text: it may hold the server's URL, and that a password."""
        _log.debug("bus: %s", type(error).__name__)

    async def _on_disconnected(self) -> None:
        if not self._closing:
            _log.warning("the bus is away")

    async def _on_reconnected(self) -> None:
        _log.info("the bus is back")

    async def _on_closed(self) -> None:
        self._lost.set()


def _delay(tries: int) -> float:
    """Seconds before the next try: doubled each time, up to the longest, of which a random half is taken."""
    longest = min(DELAY_FIRST * 2.0 ** min(tries, 16), DELAY_LONGEST)
    return longest * (0.5 + random.random() / 2)  # noqa: S311  # jitter needs no secret


def _next_server(servers: list[Server], info: dict[str, Any]) -> tuple[Server | None, float]:
    """The server that has failed least, and how long to wait before it is tried."""
    del info
    server = min(servers, key=lambda one: one.reconnects)
    return server, _delay(server.reconnects)
