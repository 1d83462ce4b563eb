"""The lean way out below fcm and webpush: many requests at once to an https origin, over HTTP/2.

A server that speaks no HTTP/2 gets the same requests over HTTP/1.1.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from msgxc.http2 import Client, Limits, Pace, Patience, Request, Result, Unanswered
from msgxc.providers.http import Http, trusted

ORIGINS = 64  # with connections at once; the one that was not used for longest goes
_PACE = Pace(unused=300.0)  # seconds


class Lean:
    """Clients by origin, used from one event loop. `connections` are for each; `timeout` is in seconds."""

    def __init__(self, *, ca: Path | None, connections: int, timeout: float) -> None:
        self._ca = ca
        self._limits = Limits(connections=connections, connect=timeout, pace=_PACE)
        self._http = Http(ca=ca, connections=connections, timeout=timeout)
        self._tls: ssl.SSLContext | None = None
        self.clients: dict[str, Client] = {}

    async def post_each(
        self, origin: str, requests: Sequence[Request], until: float, patience: Patience | None = None
    ) -> list[Result | asyncio.Future[Result]]:
        """Send to `https://host[:port]`, until a time of the event loop; how each ended, in order; with
        `patience`, those that are later than the others are futures."""
        client = self._client(origin)
        ends = await client.send_some(requests, until, patience)
        if client.speaks_other:
            left = [at for at, end in enumerate(ends) if end is Unanswered.NOT_PROCESSED]
            over = await self._http.post_each(origin, [requests[at] for at in left], until, patience)
            for at, end in zip(left, over, strict=True):
                ends[at] = end
        return ends

    async def close(self) -> None:
        """Close all connections; the next request opens new ones."""
        clients, self.clients = self.clients, {}
        await asyncio.gather(*(client.close() for client in clients.values()))
        await self._http.close()

    def _client(self, origin: str) -> Client:
        client = self.clients.pop(origin, None) or self._new(origin)
        self.clients[origin] = client  # the last one used stands last
        while len(self.clients) > ORIGINS and (idle := self._idle()):
            self.clients.pop(idle).leave()
        return client

    def _idle(self) -> str:
        return next((origin for origin, client in self.clients.items() if not client.busy), "")

    def _new(self, origin: str) -> Client:
        if self._tls is None:
            self._tls = trusted(self._ca)
            self._tls.set_alpn_protocols(["h2", "http/1.1"])
        at = urlsplit(origin)
        return Client(at.hostname or "", at.port or 443, self._tls, self._limits)
