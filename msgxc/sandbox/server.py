"""One TLS port of the sandbox: accepts connections, and brings each request through provider and journal."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import ssl
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from msgxc.sandbox.http1 import Http1
from msgxc.sandbox.http2 import Http2
from msgxc.sandbox.journal import Journal
from msgxc.sandbox.wire import Answer, Handler, Reply, Request, Response

PREFACE = b"PRI * HTTP/2.0"
#: How often a held answer looks whether it is released, in seconds.
LOOK = 0.02
#: The host under which this machine alone reaches it.
LOCAL = "localhost"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Desk:
    """The order of things for one provider: answer, journal, wait, and only then reply.

    `latency` is in seconds, added to every answer. Held answers wait until there is a file `release`.
    """

    handler: Handler
    journal: Journal
    release: Path
    latency: float = 0.0

    def take(self, request: Request, reply: Reply) -> None:
        """Answer one request, now or later; `reply` is called once."""
        now = time.time()
        try:
            answer = self.handler(request, now)
        except Exception:  # A bug of ours must not leave a client waiting.
            log.exception("the sandbox failed at a request")
            answer = Answer(Response(500))
        if answer.accepted:
            self.journal.add(answer.accepted, now, partial(self._reply, answer, reply))
        else:
            self._reply(answer, reply)

    def _reply(self, answer: Answer, reply: Reply) -> None:
        if answer.delay == math.inf and not self.release.exists():
            asyncio.get_running_loop().call_later(LOOK, self._reply, answer, reply)
        elif answer.delay == math.inf:
            reply(answer.response)
        elif delay := self.latency + answer.delay:
            asyncio.get_running_loop().call_later(delay, reply, answer.response)
        else:
            reply(answer.response)


class Connection(asyncio.Protocol):
    """One connection: HTTP/2 when TLS agreed on it or the first bytes say so (RFC 9113 section 3.3)."""

    def __init__(self, desk: Desk, *, http2_only: bool) -> None:
        self._desk = desk
        self._http2_only = http2_only
        self._engine: Http1 | Http2 | None = None
        self._first = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        agreed = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        if agreed == "h2":
            self._engine = Http2(transport, self._desk.take)

    def data_received(self, data: bytes) -> None:
        if self._engine is None:
            self._first += data
            if len(self._first) < len(PREFACE) and PREFACE.startswith(self._first):
                return
            self._choose()
            data, self._first = self._first, b""
        if self._engine is not None:
            self._engine.received(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        if self._engine is not None:
            self._engine.lost()

    def _choose(self) -> None:
        if self._first.startswith(PREFACE):
            self._engine = Http2(self._transport, self._desk.take)
        elif self._http2_only:
            self._transport.close()
        else:
            self._engine = Http1(self._transport, self._desk.take)


def bind(port: int = 0, host: str = LOCAL) -> socket.socket:
    """A socket on 127.0.0.1, or for other machines on all addresses; port 0 takes a free one.

    Raises OSError when the port is taken.
    """
    address = "127.0.0.1" if host == LOCAL else "0.0.0.0"  # noqa: S104 - whoever names another host wants it
    bound = socket.create_server((address, port), backlog=1024)
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio sets it only on sockets of its own
    return bound


async def listen(
    bound: socket.socket, desk: Desk, tls: ssl.SSLContext, *, http2_only: bool = False
) -> asyncio.Server:
    """Serve one provider on a bound socket."""
    return await asyncio.get_running_loop().create_server(
        lambda: Connection(desk, http2_only=http2_only), sock=bound, ssl=tls
    )
