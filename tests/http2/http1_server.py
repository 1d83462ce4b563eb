"""A TLS server on 127.0.0.1 that answers HTTP/1.1 as a test tells it to, and complains about its client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import h11
from listening import Listening

OK = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"


class Door(asyncio.Protocol):
    """One connection that was let in. The bodies of requests are their names."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.h11 = h11.Connection(h11.SERVER)
        self.asked: list[bytes] = []
        self.gone = False
        self._body = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.server.doors.append(self)
        self.server.met(self)

    def data_received(self, data: bytes) -> None:
        self.h11.receive_data(data)
        try:
            self._read()
        except h11.RemoteProtocolError as error:
            self.server.faults.append(repr(error))

    def _read(self) -> None:
        while not isinstance(event := self.h11.next_event(), type(h11.NEED_DATA)):
            if isinstance(event, h11.Data):
                self._body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.asked.append(self._body)
                self._body = b""
                if self.h11.trailing_data[0]:
                    self.server.faults.append("a second request before the answer")
                self.h11.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                self.h11.send(h11.EndOfMessage())
                self.h11.start_next_cycle()
                self.server.answer(self, self.asked[-1])

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True

    def say(self, data: bytes) -> None:
        if not self.gone:
            self.transport.write(data)

    def ok(self, _name: bytes = b"") -> None:
        self.say(OK)

    def later(self, seconds: float, data: bytes = OK) -> None:
        asyncio.get_running_loop().call_later(seconds, self.say, data)


class Server(Listening):
    """Listens until it is closed. `answer(door, name)` is called when a request is there, `met` when a
    connection is.
    """

    protocols = ("http/1.1",)
    door = Door

    def __init__(
        self,
        answer: Callable[[Door, bytes], object] = Door.ok,
        met: Callable[[Door], object] = lambda door: None,
    ) -> None:
        super().__init__()
        self.answer, self.met = answer, met

    @property
    def asked(self) -> list[bytes]:
        return [name for door in self.doors for name in door.asked]
