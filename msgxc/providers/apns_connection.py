"""aioapns' pool and connection, with the answers kept apart that must not be mistaken for each other.

As it ships, aioapns sends again after a connection broke (a message may arrive twice), never gives inbound
flow control back, breaks off all streams for an answer that it cannot read, forgets a stream that is reset,
closes after 10 s without traffic and signs one token per connection. Kept are its request and result types,
its token signing, its pool and its HTTP/2 stack; replaced is what happens on each event.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aioapns.common import NotificationRequest, NotificationResult, PushType
from aioapns.connection import (
    APNsKeyConnectionPool,
    APNsTLSClientProtocol,
)
from aioapns.exceptions import ConnectionError as NoConnection
from h2 import events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from msgxc.http2 import Patience, Unanswered
from msgxc.providers.apns_token import ApnsSettings, Token, read_result
from msgxc.providers.http import trusted
from msgxc.providers.late import nearly
from msgxc.providers.wire import Lost, NotSent

# Every failure comes back as a receipt; the library would log one line for each message of an outage.
logging.getLogger("aioapns").setLevel(logging.CRITICAL)

PING_SECONDS = 60.0  # also how long a ping may stay unanswered
RECONNECT_SECONDS = 1.0  # not sooner after a failed connection: fast reconnecting looks like an attack


@dataclass(slots=True)
class _Stream:
    """One request under way."""

    request: NotificationRequest = field(repr=False)
    done: asyncio.Future[NotificationResult] = field(repr=False)
    status: str = ""
    body: bytes = field(default=b"", repr=False)


class Connection(APNsTLSClientProtocol):
    """One HTTP/2 connection that stays open. `request.message` holds the encoded payload."""

    def __init__(self, host: str, topic: str, token: Token, lost: Callable[[Connection], None]) -> None:
        super().__init__(topic, asyncio.get_running_loop())
        self._host, self._token, self._lost = host, token, lost
        self.ready: asyncio.Future[None] = self.loop.create_future()  # the peer's settings are known
        self.gone: asyncio.Future[None] = self.loop.create_future()
        self._streams: dict[int, _Stream] = {}
        self._room = asyncio.Event()
        self._unanswered_ping = False
        self._beat: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        """Whether nothing can be sent now: the pool then takes another connection."""
        return self.free_channels.is_busy or self.transport is None or self.transport.is_closing()

    async def send_notification(self, request: NotificationRequest) -> NotificationResult:
        """Send one request and wait for its result. Raises NotSent or Lost."""
        if self.is_busy:
            raise NotSent("no free stream")
        await self.free_channels.acquire()
        try:
            await self._wait_for_room(len(request.message))
            stream_id = self._write(request)
        except BaseException:
            self.free_channels.release()
            raise
        try:
            return await self._streams[stream_id].done
        except asyncio.CancelledError:
            self._abandon(stream_id)
            raise

    async def _wait_for_room(self, size: int) -> None:
        """Wait until the connection's flow control window takes `size` bytes (RFC 9113 section 6.9)."""
        if self.conn.remote_settings.initial_window_size < size:
            raise NotSent("the peer takes less at once")
        while not self.gone.done() and self.conn.outbound_flow_control_window < size:
            self._room.clear()
            await self._room.wait()
        if self.gone.done():
            raise NotSent("connection lost")

    def _write(self, request: NotificationRequest) -> int:
        try:
            stream_id = self.conn.get_next_available_stream_id()
            self.conn.send_headers(stream_id, self._headers(request))
            body: Any = request.message
            self.conn.send_data(stream_id, body, end_stream=True)
        except ProtocolError as failure:  # no stream ids left: start afresh
            self.close()
            raise NotSent(type(failure).__name__) from None
        self._streams[stream_id] = _Stream(request, self.loop.create_future())
        self.flush()
        return stream_id

    def _headers(self, request: NotificationRequest) -> list[tuple[str, str]]:
        ttl, kind = request.time_to_live, request.push_type or PushType.ALERT
        return [
            (":method", "POST"),
            (":scheme", "https"),
            (":path", f"/3/device/{request.device_token}"),
            (":authority", self._host),
            ("authorization", self._token.get_header()),
            ("apns-topic", self.apns_topic),
            ("apns-push-type", kind.value),
            ("apns-priority", str(request.priority)),
            ("apns-expiration", str(int(time.time()) + ttl if ttl else 0)),
            ("apns-id", request.notification_id),
            ("apns-collapse-id", request.collapse_key or ""),
        ]

    def data_received(self, data: bytes) -> None:
        """Handle what the peer sent; a peer that breaks the protocol is hung up on."""
        try:
            for event in self.conn.receive_data(data):
                self._handle(event)
        except ProtocolError:
            self.close()
        self.flush()

    def _handle(self, event: events.Event) -> None:
        match event:
            case events.ResponseReceived() if event.stream_id in self._streams:
                self._streams[event.stream_id].status = dict(event.headers)[b":status"].decode()
            case events.DataReceived():
                self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if (stream := self._streams.get(event.stream_id)) and len(stream.body) < 4096:
                    stream.body += event.data
            case events.StreamEnded():
                self._finish(event.stream_id)
            case events.StreamReset():
                refused = (
                    event.error_code == ErrorCodes.REFUSED_STREAM
                )  # never processed: RFC 9113 section 8.7
                self._fail(event.stream_id, (NotSent if refused else Lost)("stream reset"))
            case events.RemoteSettingsChanged():
                self._settled(event)
            case events.WindowUpdated():
                self._room.set()
            case events.PingAckReceived():
                self._unanswered_ping = False
            case events.ConnectionTerminated():
                self._go_away(event.last_stream_id or 0)
            case _:
                pass

    def _settled(self, event: events.RemoteSettingsChanged) -> None:
        if limit := event.changed_settings.get(SettingCodes.MAX_CONCURRENT_STREAMS):
            self.free_channels.bound = limit.new_value
        if not self.ready.done():
            self.ready.set_result(None)
        self._room.set()

    def _finish(self, stream_id: int) -> None:
        if stream := self._streams.pop(stream_id, None):
            self.free_channels.release()
            if not stream.done.done():
                stream.done.set_result(
                    read_result(stream.request.notification_id, stream.status, stream.body)
                )

    def _fail(self, stream_id: int, failure: Exception) -> None:
        if stream := self._streams.pop(stream_id, None):
            self.free_channels.release()
            if not stream.done.done():
                stream.done.set_exception(failure)

    def _abandon(self, stream_id: int) -> None:
        """Nobody waits for this stream any more: tell the peer, and let the next one have its place."""
        if self._streams.pop(stream_id, None):
            self.free_channels.release()
            try:
                self.conn.reset_stream(stream_id, ErrorCodes.CANCEL)
            except ProtocolError:
                return
            self.flush()

    def _go_away(self, last: int) -> None:
        """Streams above the peer's last id were not processed (RFC 9113 section 6.8); the others are lost.

        h2 reads nothing after a GOAWAY, so the answers that may still come are not waited for.
        """
        for stream_id in [s for s in self._streams if s > last]:
            self._fail(stream_id, NotSent("connection ended by the peer"))
        self.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello, and keep the connection alive from now on."""
        super().connection_made(transport)
        self._beat = self.loop.call_later(PING_SECONDS, self._ping)

    def _ping(self) -> None:
        if self._unanswered_ping and self.transport:
            self.transport.abort()
            return
        self._unanswered_ping = True
        self.conn.ping(b"msgxc...")
        self.flush()
        self._beat = self.loop.call_later(PING_SECONDS, self._ping)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio calls it so
        """Everything under way is in doubt now."""
        if self._beat:
            self._beat.cancel()
        self.gone.set_result(None)
        if not self.ready.done():
            self.ready.set_exception(NotSent("connection lost"))
            self.ready.exception()  # looked at, even when nobody waits any more
        self._room.set()
        self._lost(self)
        for stream_id in list(self._streams):
            self._fail(stream_id, Lost("connection lost"))

    def flush(self) -> None:
        """Write what is due."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(self.conn.data_to_send())

    def refresh_inactivity_timer(self) -> None:
        """An idle connection stays: it is pinged instead."""


class Pool(APNsKeyConnectionPool):
    """Up to `connections` connections to one server, all with the same token. Needs a running event loop."""

    def __init__(
        self, host: str, port: int, topic: str, token: Token, tls: ssl.SSLContext, connections: int
    ) -> None:
        super().__init__(
            key="", key_id="", team_id="", topic=topic, max_connections=connections, ssl_context=tls
        )
        self._host, self._port, self._topic, self._token = host, port, topic, token
        self._not_before = 0.0

    async def create_connection(self) -> Connection:
        """Connect, and wait for the peer's settings, so that its limit of streams is known."""
        if self.loop.time() < self._not_before:
            raise NotSent("the last connection failed just now")
        self._not_before = self.loop.time() + RECONNECT_SECONDS
        make = partial(Connection, self._host, self._topic, self._token, self.discard_connection)
        _, connection = await self.loop.create_connection(make, self._host, self._port, ssl=self.ssl_context)
        try:
            await connection.ready
        except BaseException:
            connection.close()
            raise
        self._not_before = 0.0
        return connection

    def discard_connection(self, connection: Any) -> None:
        """Forget a lost connection; it may have been lost before it was ready."""
        if connection in self.connections:
            self.connections.remove(connection)

    async def aclose(self) -> None:
        """Close all connections and wait until they are closed, at most a second."""
        open_ones = [c.gone for c in self.connections if isinstance(c, Connection)]
        self.close()
        if open_ones:
            await asyncio.wait(open_ones, timeout=1)


class Library:
    """The way out over aioapns' own HTTP/2."""

    def __init__(self, settings: ApnsSettings, token: Token) -> None:
        self._settings, self._token = settings, token
        self.pool: Pool | None = None

    async def send(
        self, wanted: Sequence[NotificationRequest], until: float, patience: Patience | None = None
    ) -> list[NotificationResult | Unanswered | asyncio.Future[NotificationResult | Unanswered]]:
        """How each request ended, in order, at a time of the event loop at the latest; with `patience`, those
        that are later than the others are futures."""
        return await nearly([self._one(one, until) for one in wanted], patience)

    async def close(self) -> None:
        """Close the connections; a later send opens new ones."""
        pool, self.pool = self.pool, None
        if pool is not None:
            await pool.aclose()

    async def _one(self, wanted: NotificationRequest, until: float) -> NotificationResult | Unanswered:
        try:
            async with asyncio.timeout_at(until):
                connection = await self._open().acquire()
        except (NotSent, NoConnection, TimeoutError):
            return Unanswered.NOT_PROCESSED
        try:
            async with asyncio.timeout_at(until):
                return await connection.send_notification(wanted)
        except NotSent:
            return Unanswered.NOT_PROCESSED
        except (Lost, TimeoutError):
            return Unanswered.IN_DOUBT

    def _open(self) -> Pool:
        if self.pool is None:
            at, tls = self._settings, trusted(self._settings.ca)
            tls.set_alpn_protocols(["h2"])
            self.pool = Pool(at.host, at.port, at.topic, self._token, tls, at.connections)
        return self.pool
