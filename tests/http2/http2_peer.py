"""A server in memory: the h2 library reads what we write, and complains when it breaks a rule."""

from __future__ import annotations

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, PingReceived, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

from msgxc.http2 import Head, Request
from msgxc.http2.connection import Connection

HEAD = Head(
    (
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "push.example"),
        ("authorization", "bearer " + "x" * 150),
        ("apns-topic", "com.example"),
    ),
    ("apns-id", "apns-collapse-id"),
)


def request(number: int = 1, body: bytes = b'{"aps":{}}', head: Head = HEAD) -> Request:
    return Request(head, b"/3/device/%d" % number, tuple(b"v%d" % number for _ in head.starts), body)


class Peer:
    """A Connection and the server at its other end; `pass_on` carries the bytes both ways."""

    def __init__(self, **settings: int) -> None:
        self.ours: Connection[int] = Connection()
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        if settings:
            self.h2.update_settings({getattr(SettingCodes, name): value for name, value in settings.items()})
        self.seen: list[object] = []
        self.ends: dict[int, list[object]] = {}
        self.pass_on()

    def pass_on(self, step: int = 1 << 20) -> None:
        """Until nobody has anything to say; in pieces of `step` bytes."""
        while True:
            ours, theirs = self.ours.take(), self.h2.data_to_send()
            for at in range(0, len(ours), step):
                self.seen += self.h2.receive_data(ours[at : at + step])
            for at in range(0, len(theirs), step):
                self.ours.receive(theirs[at : at + step])
            if not ours and not theirs:
                break
        self.collect()

    def collect(self) -> None:
        for token, result in self.ours.ended:
            self.ends.setdefault(token, []).append(result)
        self.ours.ended.clear()

    def ask(self, *bodies: bytes) -> None:
        """Start requests 1, 2, ... with these bodies."""
        for number, body in enumerate(bodies, 1):
            assert self.ours.start(number, request(number, body))
        self.pass_on()

    def answer(self, stream: int, status: int = 200, body: bytes = b"", **more: object) -> None:
        headers = [(":status", str(status)), *[(n.replace("_", "-"), str(v)) for n, v in more.items()]]
        self.h2.send_headers(stream, headers, end_stream=not body)
        if body:
            self.h2.send_data(stream, body, end_stream=True)

    def reset(self, stream: int, code: ErrorCodes) -> None:
        self.h2.reset_stream(stream, code)

    def of(self, kind: type) -> list:
        return [event for event in self.seen if isinstance(event, kind)]

    def body(self, stream: int) -> bytes:
        return b"".join(event.data for event in self.of(DataReceived) if event.stream_id == stream)


__all__ = [
    "HEAD",
    "DataReceived",
    "ErrorCodes",
    "Peer",
    "PingReceived",
    "RequestReceived",
    "StreamEnded",
    "StreamReset",
    "request",
]
