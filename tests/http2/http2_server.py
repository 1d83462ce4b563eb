"""A TLS server on 127.0.0.1 that does what a test tells it to: h2 reads, the test's function answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from listening import Listening


class Door(asyncio.Protocol):
    """One connection that was let in."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.reads = 0
        self.paths: dict[int, str] = {}
        self.resets: list[int] = []
        self.open = 0
        self.most_open = 0
        self.gone = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.server.doors.append(self)
        if not self.server.speaks:
            return
        self.h2.initiate_connection()
        if self.server.settings:
            self.h2.update_settings({getattr(SettingCodes, k): v for k, v in self.server.settings.items()})
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.reads += 1
        if not self.server.speaks or self.server.deaf:
            return
        try:
            events = self.h2.receive_data(data)
        except ProtocolError as error:
            self.server.faults.append(error)
            raise
        for event in events:
            if isinstance(event, RequestReceived):
                self.paths[event.stream_id] = dict(event.headers)[":path"]
                self.open += 1
                self.most_open = max(self.most_open, self.open)
            elif isinstance(event, DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamReset):
                self.resets.append(event.stream_id)
                self.open -= 1
            elif isinstance(event, StreamEnded):
                self.server.asked.append(self.paths[event.stream_id])
                self.server.answer(self, event.stream_id)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True

    def ok(self, stream: int, status: int = 200) -> None:
        self.open -= 1
        self.h2.send_headers(stream, [(":status", str(status))], end_stream=True)
        self.flush()

    def ok_later(self, stream: int, seconds: float) -> None:
        def answer() -> None:
            if not self.gone and stream not in self.resets:
                self.ok(stream)

        asyncio.get_running_loop().call_later(seconds, answer)

    def reset(self, stream: int, code: ErrorCodes) -> None:
        self.open -= 1
        self.h2.reset_stream(stream, code)

    def goaway(self, last: int) -> None:
        """By hand: h2 would read nothing afterwards."""
        self.flush()
        self.transport.write(b"\0\0\x08\x07\0\0\0\0\0" + last.to_bytes(4, "big") + b"\0\0\0\0")

    def flush(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(self.h2.data_to_send())


class Server(Listening):
    """Listens until it is closed. `answer(door, stream)` is called when a request is there."""

    protocols = ("h2",)
    door = Door

    def __init__(self, answer: Callable[[Door, int], None] = Door.ok, **settings: int) -> None:
        super().__init__()
        self.answer, self.settings = answer, settings
        self.speaks, self.deaf = True, False
        self.asked: list[str] = []
