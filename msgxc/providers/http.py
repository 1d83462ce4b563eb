"""Kept HTTP/1.1 connections of aiohttp: for push services without HTTP/2, and for the library transports.

It tells of a failure whether the request left.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
from yarl import URL

from msgxc.http2 import Answer, Patience, Request, Result, Unanswered
from msgxc.providers.late import nearly
from msgxc.providers.wire import Lost, NotSent

BODY_LIMIT = 65_536  # bytes of an answer that are read; providers' answers have a few hundred


def trusted(ca: Path | None) -> ssl.SSLContext:
    """Verifies the peer against the system's certificates, or against those in `ca` alone."""
    return ssl.create_default_context(cafile=ca)


class Http:
    """Connections that stay open: at most `connections`, verified TLS, no redirects, no cookies, no proxies.

    Used from one event loop. A request that finds no free connection waits for one within its own timeout.
    """

    def __init__(self, *, ca: Path | None, connections: int, timeout: float) -> None:
        self._ca, self._connections, self._timeout = ca, connections, timeout
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, url: str, *, body: bytes, headers: Mapping[str, str], seconds: float | None = None
    ) -> Answer:
        """Send one request. `seconds` bound all of it (default: the timeout). Raises NotSent or Lost."""
        seconds = self._timeout if seconds is None else seconds
        if seconds <= 0:
            raise NotSent("no time left")
        written = SimpleNamespace(headers=False)
        try:
            response = await self._open().post(
                URL(url, encoded=True),
                data=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=seconds),
                allow_redirects=False,
                trace_request_ctx=written,
            )
        except (aiohttp.ClientError, OSError, ValueError) as failure:
            raise (Lost if written.headers else NotSent)(type(failure).__name__) from None
        return Answer(response.status, response.headers, await _read(response))

    async def post_each(
        self, origin: str, requests: Sequence[Request], until: float, patience: Patience | None = None
    ) -> list[Result | asyncio.Future[Result]]:
        """Send to `https://host[:port]`, until a time of the event loop; how each ended, in order; with
        `patience`, those that are later than the others are futures."""
        return await nearly([self._one(origin, request, until) for request in requests], patience)

    async def _one(self, origin: str, request: Request, until: float) -> Result:
        url, left = origin + request.path.decode("ascii"), until - asyncio.get_running_loop().time()
        try:
            return await self.post(url, body=request.body, headers=request.headers(), seconds=left)
        except NotSent:
            return Unanswered.NOT_PROCESSED
        except Lost:
            return Unanswered.IN_DOUBT

    async def close(self) -> None:
        """Close all connections; the next request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_note)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, ssl=trusted(self._ca)),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[trace],
                headers={"Accept-Encoding": "identity"},
            )
        return self._session


async def _note(_session: aiohttp.ClientSession, context: SimpleNamespace, _sent: Any) -> None:
    context.trace_request_ctx.headers = True


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Up to BODY_LIMIT bytes of the body. The status is known, so what breaks off here is not an error."""
    body = bytearray()
    try:
        while len(body) < BODY_LIMIT and (piece := await response.content.read(BODY_LIMIT - len(body))):
            body += piece
    except (aiohttp.ClientError, OSError):
        response.close()
    if response.content.at_eof():
        response.release()
    else:
        response.close()
    return bytes(body)
