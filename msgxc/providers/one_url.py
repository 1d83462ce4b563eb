"""One URL that gets many requests, over our own HTTP/1.1: nothing but the body differs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from msgxc import http1
from msgxc.http2 import Patience, Request, Result, post_head
from msgxc.providers.http import trusted


class OneUrl:
    """`fields` stand in the head of every request. Used from one event loop; a send opens what it needs."""

    def __init__(
        self,
        url: str,
        fields: Mapping[str, str],
        *,
        ca: Path | None,
        connections: int,
        timeout: float,
        spare: bool = False,
    ) -> None:
        at = urlsplit(url)
        same = {name.lower(): value for name, value in fields.items()} | {"accept-encoding": "identity"}
        self._head, self._path = post_head(at.netloc, same, ()), at.path.encode()
        self._client = http1.client(
            at.hostname or "",
            at.port or 443,
            trusted(ca),
            connections=connections,
            connect=timeout,
            spare=spare,
        )

    def request(self, body: bytes) -> Request:
        """What leaves for one body."""
        return Request(self._head, self._path, (), body)

    async def send(self, bodies: Iterable[bytes], until: float) -> list[Result]:
        """How each request ended, in order, at a time of the event loop at the latest."""
        return await self._client.send([self.request(body) for body in bodies], until)

    async def send_some(
        self, bodies: Iterable[bytes], until: float, patience: Patience | None
    ) -> list[Result | asyncio.Future[Result]]:
        """The same; with `patience`, those that are later than the others are futures."""
        return await self._client.send_some([self.request(body) for body in bodies], until, patience)

    async def close(self) -> None:
        """Close the connections; a later send opens new ones."""
        await self._client.close()
