"""The server's side of one HTTP/1.1 connection (RFC 9112): keep-alive, chunks, pipelining in order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from http import HTTPStatus

import httptools

from msgxc.sandbox.reset import abort
from msgxc.sandbox.wire import Request, Response, Take

#: Bytes of one request body.
MAX_BODY = 32 * 1024 * 1024

log = logging.getLogger(__name__)


class Http1:
    """One connection; the transport's protocol passes it what arrives. The on_… names are the parser's."""

    def __init__(self, transport: asyncio.Transport, take: Take) -> None:
        self._transport = transport
        self._take = take
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._busy = False
        self._gone = False

    def received(self, data: bytes) -> None:
        """Take in what arrived. What is not HTTP gets 400 and is disconnected."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            log.info("a peer broke HTTP/1.1: %s", type(error).__name__)
            self._refuse(400)

    def lost(self) -> None:
        """The connection is gone: answers that are still to come have nowhere to go."""
        self._gone = True
        self._waiting.clear()

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body = b"", {}, bytearray()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > MAX_BODY:
            self._refuse(413)

    def on_message_complete(self) -> None:
        path, _, query = self._url.decode("latin-1").partition("?")
        method = self._parser.get_method().decode("latin-1")
        request = Request(method, path, query, self._headers, bytes(self._body))
        self._waiting.append((request, self._parser.should_keep_alive()))
        self._next()

    def _next(self) -> None:
        """Hand over the next request; its answer calls again, so answers keep the order of the requests."""
        if self._busy or self._gone or not self._waiting:
            return
        self._busy = True
        request, keep_alive = self._waiting.popleft()
        self._take(request, lambda response: self._respond(response, keep_alive))

    def _respond(self, response: Response | None, keep_alive: bool) -> None:
        self._busy = False
        if self._gone:
            return
        if response is None:
            abort(self._transport)
            return
        self._transport.write(_head(response, keep_alive) + response.body)
        if keep_alive:
            self._next()
        else:
            self._transport.close()

    def _refuse(self, status: int) -> None:
        self._gone = True
        self._transport.write(_head(Response(status), keep_alive=False))
        self._transport.close()


def _head(response: Response, keep_alive: bool) -> bytes:
    lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    lines.append(f"content-length: {len(response.body)}")
    if not keep_alive:
        lines.append("connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
