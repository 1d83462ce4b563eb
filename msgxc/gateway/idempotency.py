"""Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): a send that is repeated is made once.

The key belongs to the caller and the route, for 24 hours. The same key with another body is refused with 422;
while the first request is under way, with 409. When the process died in the middle, a repetition after
UNDER_WAY seconds does it again with the same message ids, so that what was done is found and not repeated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from hashlib import blake2b
from struct import pack, unpack
from typing import Any
from uuid import UUID

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from msgxc import ids
from msgxc.errors import MsgxcError
from msgxc.gateway.auth import principal_of
from msgxc.gateway.problems import Problem, of_error
from msgxc.messages.records import Principal
from msgxc.store.gateway import Reserved
from msgxc.wiring import Exchange

HEADER = "idempotency-key"
KEEP_SECONDS = 86_400.0
UNDER_WAY = 5.0
_KEY = re.compile(r'"?[\x21\x23-\x7e]{1,255}"?')
_KEPT_HEADERS = ("msgxc-message", "msgxc-thread", "content-type")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request under a key; `began` is when the first one with it came; `again`: this is another one, made
    because the first has no answer."""

    key: bytes
    began: float
    again: bool

    def mid(self, number: int = 0) -> UUID:
        """The id of the `number`-th message of this request: the same for every repetition."""
        return ids.message_id(self.began, blake2b(pack(">I", number), key=self.key, digest_size=8).digest())


class IdempotentRoute(APIRoute):
    """A route that answers a repeated request as it answered the first one."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def once(request: Request) -> Response:
            given = request.headers.get(HEADER)
            if given is None:
                return await handle(request)
            principal = await principal_of(request)
            return await _once(request, _checked(given), principal, handle)

        return once


def _checked(given: str) -> str:
    if not _KEY.fullmatch(given):
        raise Problem(400, "idempotency_key", "An Idempotency-Key has 1 to 255 printable characters.")
    return given.strip('"')


async def _once(request: Request, given: str, principal: Principal, handle: Any) -> Response:
    exchange: Exchange = request.app.state.exchange
    now, gateway = exchange.clock(), exchange.store.gateway
    key = _place(exchange, principal, request.url.path, given)
    digest = blake2b(await request.body(), digest_size=16).digest()
    found = await gateway.reserve(key, pack(">d", now) + digest, now, now + KEEP_SECONDS)
    if found.answer is not None or not found.mine:
        answer = _known(found, digest, now)
        if answer is not None:
            return answer
    (began,) = unpack(">d", found.digest[:8])
    request.state.attempt = Attempt(key, began, not found.mine)
    try:
        response: Response = await handle(request)
    except Problem as problem:
        if problem.status_code < 500:
            await gateway.release(key)
        raise
    except Exception as error:
        await _released(exchange, key, error)
        raise
    await gateway.answered(key, _spelled(response), now + KEEP_SECONDS)
    return response


def _place(exchange: Exchange, principal: Principal, path: str, given: str) -> bytes:
    """Under which key it stands: nobody finds another one's."""
    who = str(principal.uid or principal.account)
    return ids.receipt_id(exchange.key, "idempotency", f"{who}\0{path}\0{given}").bytes


def _known(found: Reserved, digest: bytes, now: float) -> Response | None:
    """What to answer for a key that is taken; None: the first request has died, do it again."""
    if found.digest[8:] != digest:
        raise Problem(422, "idempotency_key_reused", "This Idempotency-Key belongs to another request.")
    if found.answer is not None:
        return _read(found.answer)
    (began,) = unpack(">d", found.digest[:8])
    if now - began < UNDER_WAY:
        raise Problem(409, "in_flight", "The first request is still under way.", {"Retry-After": "1"})
    return None


async def _released(exchange: Exchange, key: bytes, error: Exception) -> None:
    """Nothing was done when the caller was refused; a store that did not answer may have done it."""
    refused = isinstance(error, RequestValidationError)
    if refused or (isinstance(error, MsgxcError) and of_error(error).status_code < 500):
        await exchange.store.gateway.release(key)


def _spelled(response: Response) -> bytes:
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    return orjson.dumps([response.status_code, headers, bytes(response.body).decode()])


def _read(answer: bytes) -> Response:
    status, headers, body = orjson.loads(answer)
    return Response(body, status, {**headers, "Idempotency-Replayed": "true"})
