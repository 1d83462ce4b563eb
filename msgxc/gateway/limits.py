"""How much a request may be, and how long its body may take: looked at before any route, for every type.

The body is read whole here, so that a route never waits for a slow client, and a client that sends too much
is told so as soon as that is known: by Content-Length before a byte of it, in chunks when the limit is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from msgxc.gateway.problems import Problem, answer
from msgxc.settings import Settings

HOOKS = 8  # times as much may a webhook bring: providers send many events at once
TOGETHER = 268_435_456  # bytes of all bodies under way in this process


class BodyLimit:
    """Middleware. Refuses with 413 and 408; with 503 when all bodies under way are too much together."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._held = 0  # bytes of bodies under way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._settings.body_limit * (HOOKS if scope["path"].startswith("/hooks/") else 1)
        body = bytearray()
        try:
            await self._read(scope, receive, limit, body)
            await self._app(scope, _replay(bytes(body), receive), send)
        except Refused as refused:
            await answer(refused.problem)(scope, receive, send)
        except Left:
            pass
        finally:
            self._held -= len(body)

    async def _read(self, scope: Scope, receive: Receive, limit: int, body: bytearray) -> None:
        """Read the whole body into `body`. Raises Refused, Left."""
        if _announced(scope) > limit:
            raise _too_large(limit)
        try:
            async with asyncio.timeout(self._settings.body_seconds):
                more = True
                while more:
                    more = self._add(await receive(), limit, body)
        except TimeoutError:
            raise Refused(408, "body_too_slow", "The request's body did not arrive in time.") from None

    def _add(self, message: Message, limit: int, body: bytearray) -> bool:
        """One piece; whether there are more."""
        if message["type"] == "http.disconnect":
            raise Left
        piece = message.get("body", b"")
        if len(body) + len(piece) > limit:
            raise _too_large(limit)
        if self._held + len(piece) > TOGETHER:
            raise Refused(503, "busy", "Too much is under way: come again.", {"Retry-After": "1"})
        body += piece
        self._held += len(piece)
        return bool(message.get("more_body"))


class Refused(Exception):
    """The body is not taken; the rest of it is not read, so the connection ends."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code)
        self.problem = Problem(status, code, detail, {"Connection": "close", **(headers or {})})


class Left(Exception):
    """The client is gone."""


def _too_large(limit: int) -> Refused:
    return Refused(413, "body_too_large", f"A request has at most {limit} bytes.")


def _announced(scope: Scope) -> int:
    """What Content-Length says; 0 when it says nothing that can be read."""
    values = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(values[0]) if values and values[0].isdigit() else 0


def _replay(body: bytes, receive: Receive) -> Receive:
    """`receive` with the body in one piece, then what comes after it."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return left.pop() if left else await receive()

    return replayed
