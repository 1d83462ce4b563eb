"""How much a request may be, how long its body may take, and how much of the memory one caller may fill.

What is cheap is looked at before a byte is read: the route, its method, its webhook's settings and signature,
the token. What nobody will look at is not read. The rest is read whole here, so that a route never waits for
a slow client, and a client that sends too much is told so as soon as that is known: by Content-Length before
a byte of it, in chunks when the limit is over.

All bodies under way share TOGETHER. Nobody fills it alone: each account has a share, and whoever has no login
one for each address; those without a login have at most half of it, and what is small has a reserve.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from msgxc.errors import StoreUnavailable, Unauthorized
from msgxc.gateway.access import rule, says_json
from msgxc.gateway.auth import principal_of
from msgxc.gateway.peers import peer_of
from msgxc.gateway.problems import Problem, answer
from msgxc.providers.sms import CALLBACK_PATH
from msgxc.receipts import sendgrid, twilio
from msgxc.settings import Settings

HOOKS = 8  # times as much may a webhook bring: providers send many events at once
SMALL = 65_536  # bytes of what needs no login, but for webhooks: forms of pages, receipts of devices
TOGETHER = 268_435_456  # bytes of all bodies under way in this process
RESERVE = 33_554_432  # beside those, for what is small
AT_ONCE = 256  # bodies of one account or address that may be on their way
SHARES = 8  # of TOGETHER one account, or one address without a login, has one


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one request may bring: bytes, and whose share they are of. `known`: somebody with a login. `told`:
    past the limit the app answers, without the body."""

    limit: int
    holder: str
    known: bool = False
    told: bool = False


class BodyLimit:
    """Middleware. Refuses with 413 and 408; with 503 when all bodies under way are too much together."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._held = 0  # bytes of bodies under way
        self._strangers = 0  # of them, those without a login
        self._of: Counter[str] = Counter()  # by whose they are
        self._reading: Counter[str] = Counter()  # how many, by whose they are

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        body, allowance = bytearray(), Allowance(0, "")
        try:
            most = self._settings.body_limit * (HOOKS if scope["path"].startswith("/hooks/") else 1)
            if _announced(scope) > most:
                raise _too_large(most)
            allowance = await self._allowance(scope)
            if allowance.limit:
                await self._read(scope, receive, allowance, body)
                await self._app(scope, _replay(bytes(body), receive), send)
            else:
                await self._app(scope, _replay(b"", receive), _closing(send))
        except _Unread:
            self._let_go(allowance, body)
            await self._app(scope, _replay(b"", receive), _closing(send))
        except Refused as refused:
            await answer(refused.problem)(scope, receive, send)
        except Left:
            pass
        finally:
            self._let_go(allowance, body)

    async def _allowance(self, scope: Scope) -> Allowance:
        """What this request may bring; nothing where nobody would look at it."""
        path, peer = scope["path"], peer_of(scope, self._settings)
        small = min(SMALL, self._settings.body_limit)
        needed = rule(scope["method"], path)
        if needed is None or scope["method"] != "POST":
            return Allowance(0, peer)
        if path.startswith("/hooks/"):
            signed = _header(scope, _hook_header(path, self._settings).encode())
            return Allowance(self._settings.body_limit * HOOKS if signed else 0, peer)
        if path.startswith("/api/") and not says_json(_header(scope, b"content-type")):
            return Allowance(small, peer, told=True)
        if needed:
            try:
                principal = await principal_of(HTTPConnection(scope))
                return Allowance(self._settings.body_limit, principal.account, known=True)
            except (Unauthorized, StoreUnavailable):
                return Allowance(small, peer, told=True)
        return Allowance(small, peer)

    async def _read(self, scope: Scope, receive: Receive, allowance: Allowance, body: bytearray) -> None:
        """Read the whole body into `body`. Raises Refused, Left, _Unread."""
        if _announced(scope) > allowance.limit:
            raise _Unread if allowance.told else _too_large(allowance.limit)
        if self._reading[allowance.holder] >= AT_ONCE:
            raise _busy()
        self._reading[allowance.holder] += 1
        try:
            async with asyncio.timeout(self._settings.body_seconds):
                more = True
                while more:
                    more = self._add(await receive(), allowance, body)
        except TimeoutError:
            raise Refused(408, "body_too_slow", "The request's body did not arrive in time.") from None
        finally:
            self._reading[allowance.holder] -= 1
            if not self._reading[allowance.holder]:
                del self._reading[allowance.holder]

    def _add(self, message: Message, allowance: Allowance, body: bytearray) -> bool:
        """One piece; whether there are more."""
        if message["type"] == "http.disconnect":
            raise Left
        piece = message.get("body", b"")
        size = len(body) + len(piece)
        if size > allowance.limit:
            raise _Unread if allowance.told else _too_large(allowance.limit)
        if not self._has_room(allowance, len(piece), size):
            raise _busy()
        body += piece
        self._held += len(piece)
        self._of[allowance.holder] += len(piece)
        self._strangers += 0 if allowance.known else len(piece)
        return bool(message.get("more_body"))

    def _has_room(self, allowance: Allowance, more: int, size: int) -> bool:
        """Whether so many bytes more fit: for all, for those without a login, for this one."""
        share = max(TOGETHER // SHARES, allowance.limit)
        beside = RESERVE if size <= SMALL else 0
        return (
            self._held + more <= TOGETHER + beside
            and (allowance.known or self._strangers + more <= TOGETHER // 2 + beside)
            and self._of[allowance.holder] + more <= share + beside // SHARES
        )

    def _let_go(self, allowance: Allowance, body: bytearray) -> None:
        self._held -= len(body)
        self._strangers -= 0 if allowance.known else len(body)
        self._of[allowance.holder] -= len(body)
        if not self._of[allowance.holder]:
            del self._of[allowance.holder]
        body.clear()


class Refused(Exception):
    """The body is not taken; the rest of it is not read, so the connection ends."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code)
        self.problem = Problem(status, code, detail, {"Connection": "close", **(headers or {})})


class Left(Exception):
    """The client is gone."""


class _Unread(Exception):
    """It is too much, and would be refused anyway: the app says why."""


def _busy() -> Refused:
    return Refused(503, "busy", "Too much is under way: come again.", {"Retry-After": "1"})


def _too_large(limit: int) -> Refused:
    return Refused(413, "body_too_large", f"A request has at most {limit} bytes.")


def _hook_header(path: str, settings: Settings) -> str:
    """The header in which the provider of this webhook signs, "" where the webhook is off."""
    if path.startswith(CALLBACK_PATH):
        return twilio.SIGNATURE.lower() if settings.twilio_auth_token.get_secret_value() else ""
    return sendgrid.SIGNATURE.lower() if settings.sendgrid_webhook_key.get_secret_value() else ""


def _header(scope: Scope, name: bytes) -> str:
    """What the first header of that name says, "" for nothing."""
    return next((value.decode("latin-1") for one, value in scope["headers"] if one == name), "")


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0")
        for name, value in scope["headers"]
    )


def _announced(scope: Scope) -> int:
    """What Content-Length says; 0 when it says nothing that can be read."""
    values = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(values[0]) if values and values[0].isdigit() and len(values[0]) < 20 else 0


def _replay(body: bytes, receive: Receive) -> Receive:
    """`receive` with the body in one piece, then what comes after it."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return left.pop() if left else await receive()

    return replayed


def _closing(send: Send) -> Send:
    """The answer ends the connection: the body was not read, and would be taken for the next request."""

    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await send(message)

    return closing
