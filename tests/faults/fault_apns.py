"""An APNs of our own that obeys HTTP/2 (the h2 library) and misbehaves where a test says so.

It accepts every push that it answers by 200, notes it on the ground, and checks nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fault_world import Ground
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import Event, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from msgxc.sandbox.wire import Accepted


@dataclass
class Push:
    """One request: which of all (from 1), on which stream of which connection (from 1)."""

    number: int
    stream: int
    connection: int
    headers: dict[str, str]


@dataclass
class Line:
    """One connection of the peer."""

    h2: H2Connection
    writer: asyncio.StreamWriter
    number: int
    headers: dict[int, dict[str, str]] = field(default_factory=dict)
    gone: bool = False


@dataclass
class HostileApns:
    """`handle` decides about each push; without one all are accepted. `streams`: how many at a time."""

    ground: Ground
    handle: Callable[[HostileApns, Line, Push], None] | None = None
    streams: int = 100
    pushes: int = 0
    connections: int = 0
    most_at_once: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        line = Line(H2Connection(H2Configuration(client_side=False)), writer, self.connections)
        line.h2.initiate_connection()
        line.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: self.streams})
        flush(line)
        try:
            while data := await reader.read(65_536):
                for event in line.h2.receive_data(data):
                    self._on(line, event)
                flush(line)
        except (ProtocolError, OSError):
            writer.close()

    def _on(self, line: Line, event: Event) -> None:
        if isinstance(event, RequestReceived):
            line.headers[event.stream_id] = {n.decode(): v.decode() for n, v in event.headers}
            self.most_at_once = max(self.most_at_once, len(line.headers))
        if isinstance(event, StreamEnded) and event.stream_id in line.headers and not line.gone:
            self.pushes += 1
            push = Push(self.pushes, event.stream_id, line.number, line.headers[event.stream_id])
            if self.handle:
                self.handle(self, line, push)
            else:
                self.accept(line, push)

    def accept(self, line: Line, push: Push, *, answer: bool = True) -> None:
        """Take it, and (unless told not to) say so."""
        path, given = push.headers[":path"], push.headers
        self.ground.note(
            Accepted(
                "apns", path.rpartition("/")[2], given["apns-id"], given["apns-collapse-id"], at=time.time()
            )
        )
        line.headers.pop(push.stream, None)
        if answer:
            line.h2.send_headers(push.stream, [(":status", "200")], end_stream=True)

    def refuse(self, line: Line, push: Push) -> None:
        """REFUSED_STREAM: not looked at."""
        line.headers.pop(push.stream, None)
        line.h2.reset_stream(push.stream, ErrorCodes.REFUSED_STREAM)

    def go_away(self, line: Line, last: int) -> None:
        """GOAWAY: streams above `last` were not looked at."""
        line.gone = True
        line.h2.close_connection(last_stream_id=last)
        flush(line)
        line.writer.close()


def flush(line: Line) -> None:
    """Write what is due."""
    if data := line.h2.data_to_send():
        line.writer.write(data)
