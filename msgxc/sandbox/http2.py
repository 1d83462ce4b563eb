"""The server's side of one HTTP/2 connection (RFC 9113), as fast as the h2 library allows.

Writes are gathered and leave once per turn of the event loop. Nothing here is a coroutine: a request is
handed to `take` as soon as it is whole, and the answer comes back by a call.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from functools import partial

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from msgxc.sandbox.reset import abort
from msgxc.sandbox.wire import Request, Response, Take

#: What APNs announces.
MAX_STREAMS = 1000

#: Bytes of one request body; as wide as each stream's window, so that no stream ever needs a wider one.
MAX_BODY = 32 * 1024 * 1024

#: Bytes of all bodies of a connection that may be on their way; opened again when half is used up.
WINDOW = 1 << 30

_CONFIG = H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_outbound_headers=False,  # We write them, in lower case.
    normalize_outbound_headers=False,
    normalize_inbound_headers=False,  # It only joins cookies.
)

log = logging.getLogger(__name__)


class _Connection(H2Connection):
    """h2 looks at every stream to count the open ones, for each new one; the engine knows their number.

    h2 also forgets closed streams while it counts: so it does count, every 256th time.
    """

    open_now = 0
    _asked = 0

    @property
    def open_inbound_streams(self) -> int:
        """Asked once for each stream that is about to open."""
        self._asked += 1
        if self._asked % 256 == 0:
            self._open_streams(1)
        self.open_now += 1
        return self.open_now - 1


class Http2:
    """One connection; the transport's protocol passes it what arrives."""

    def __init__(self, transport: asyncio.Transport, take: Take) -> None:
        self._transport = transport
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._open: dict[int, tuple[dict[str, str], bytearray]] = {}
        self._blocked: deque[tuple[int, bytes]] = deque()
        self._used = 0
        self._writing = False
        self._conn = _Connection(_CONFIG)
        self._conn.local_settings = Settings(client=False, initial_values=_SETTINGS)
        self._conn.initiate_connection()
        self._conn.increment_flow_control_window(WINDOW)
        self._write()

    def received(self, data: bytes) -> None:
        """Take in what arrived. A peer that breaks the protocol gets GOAWAY and is disconnected."""
        try:
            events = self._conn.receive_data(data)
        except ProtocolError as error:
            log.info("a peer broke HTTP/2: %s", type(error).__name__)
            self._write()
            self._transport.close()
            return
        for event in events:
            self._on(event)
        self._conn.open_now = len(self._open)
        self._write_soon()

    def lost(self) -> None:
        """The connection is gone: answers that are still to come have nowhere to go."""
        self._open.clear()
        self._blocked.clear()

    def _on(self, event: Event) -> None:
        match event:
            case RequestReceived():
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
                self._open[event.stream_id] = (headers, bytearray())
            case DataReceived():
                self._data(event)
            case StreamEnded():
                self._ended(event.stream_id)
            case StreamReset():
                self._close(event.stream_id)
            case WindowUpdated() | RemoteSettingsChanged():
                self._unblock()
            case ConnectionTerminated():
                self._transport.close()

    def _data(self, event: DataReceived) -> None:
        self._used += event.flow_controlled_length
        if self._used > WINDOW // 2:
            self._conn.increment_flow_control_window(self._used)
            self._used = 0
        if event.stream_id in self._open:
            self._open[event.stream_id][1].extend(event.data)

    def _ended(self, stream: int) -> None:
        if (found := self._open.get(stream)) is None:
            return
        headers, body = found
        path, _, query = headers.get(":path", "").partition("?")
        request = Request(headers.get(":method", ""), path, query, headers, bytes(body))
        self._take(request, partial(self._respond, stream))

    def _respond(self, stream: int, response: Response | None) -> None:
        if stream not in self._open:
            return
        if response is None:
            abort(self._transport)
            return
        headers = [(":status", str(response.status)), *response.headers]
        try:
            self._conn.send_headers(stream, headers, end_stream=not response.body)
        except ProtocolError:  # The peer has reset the stream, or is about to leave.
            self._close(stream)
            return
        if response.body:
            self._blocked.append((stream, response.body))
            self._unblock()
        else:
            self._close(stream)
        self._write_soon()

    def _unblock(self) -> None:
        """Send the bodies that wait, as far as the peer's windows allow."""
        for _ in range(len(self._blocked)):
            stream, body = self._blocked.popleft()
            if stream not in self._open:
                continue
            try:
                rest = self._send(stream, body)
            except ProtocolError:
                rest = b""
            if rest:
                self._blocked.append((stream, rest))
            else:
                self._close(stream)

    def _send(self, stream: int, body: bytes) -> bytes:
        """Send what the windows allow, and give back the rest."""
        room = min(self._conn.local_flow_control_window(stream), self._conn.max_outbound_frame_size)
        if room > 0:
            self._conn.send_data(stream, body[:room], end_stream=len(body) <= room)
        return body[max(room, 0) :]

    def _close(self, stream: int) -> None:
        self._open.pop(stream, None)
        self._conn.open_now = len(self._open)

    def _write_soon(self) -> None:
        if not self._writing:
            self._writing = True
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        self._writing = False
        if (data := self._conn.data_to_send()) and not self._transport.is_closing():
            self._transport.write(data)


_SETTINGS: dict[SettingCodes, int] = {
    SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
    SettingCodes.INITIAL_WINDOW_SIZE: MAX_BODY,
    SettingCodes.MAX_HEADER_LIST_SIZE: 65_536,
}
