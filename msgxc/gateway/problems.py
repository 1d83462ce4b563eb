"""Errors as application/problem+json (RFC 9457), each with a stable `code`.

The text of a problem never holds a value of the request: it could be an address or a token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from msgxc.errors import (
    CampaignConflict,
    Conflict,
    Forbidden,
    MsgxcError,
    NotFound,
    ProviderBlocked,
    StoreUnavailable,
    TooMuch,
    Unauthorized,
    WrongInput,
)

MEDIA_TYPE = "application/problem+json"
#: What an error of the library is to a caller; the first class that fits.
STATUSES: Sequence[tuple[type[MsgxcError], int]] = (
    (Unauthorized, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (CampaignConflict, 409),
    (Conflict, 409),
    (TooMuch, 429),
    (WrongInput, 422),
    (StoreUnavailable, 503),
    (ProviderBlocked, 503),
)
#: Codes of errors that the framework finds before a route does.
CODES: Mapping[int, str] = {
    400: "bad_request",
    404: "no_such_route",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "media_type",
}


#: Mistakes that one answer lists; what a field's name looks like.
SHOWN = 50
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}|[0-9]{1,5}", re.ASCII)
#: The code of a token that nobody has signed.
FORGED = "token_invalid"


class Problem(HTTPException):
    """An answer that refuses: status, stable code, one sentence, and what else a client can use."""

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.code, self.more = code, more


def document(status: int, code: str, detail: str, **more: Any) -> dict[str, Any]:
    """The members of RFC 9457 section 3.1; `type` is our code as a URN."""
    title = HTTPStatus(status).phrase
    return {
        "type": f"urn:msgxc:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        **more,
    }


def answer(problem: Problem) -> JSONResponse:
    """The problem as a response."""
    body = document(problem.status_code, problem.code, str(problem.detail), **problem.more)
    return JSONResponse(body, problem.status_code, dict(problem.headers or {}), MEDIA_TYPE)


def of_error(error: MsgxcError) -> Problem:
    """An error of the library as a problem."""
    status = next((status for kind, status in STATUSES if isinstance(error, kind)), 500)
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}.get(status)
    if isinstance(error, TooMuch):
        headers = {"Retry-After": str(error.seconds)}
    detail = str(error) if status != 500 else "The exchange could not do this."
    return Problem(status, error.code, detail, headers)


def of_validation(error: RequestValidationError) -> Problem:
    """What the body's or the query's model refused, field by field; never the values."""
    errors = [
        {"field": ".".join(map(_field, one["loc"][1:])) or _field(one["loc"][0]), "message": one["msg"]}
        for one in error.errors()[:SHOWN]
    ]
    return Problem(422, "wrong_input", "The request cannot be used.", errors=errors)


def _field(part: object) -> str:
    """A field's name. The caller may have made it up: what does not look like one could be anything."""
    name = str(part)
    return name if _NAME.fullmatch(name) else "?"


def install(app: FastAPI, missed: Callable[[Request], Problem | None]) -> None:
    """Have the app answer problems; `missed` counts forged tokens, and may have another answer to one."""

    async def http(_: Request, error: Exception) -> JSONResponse:
        return answer(_of_http(cast(HTTPException, error)))

    async def ours(request: Request, error: Exception) -> JSONResponse:
        problem = of_error(cast(MsgxcError, error))
        return answer((problem.code == FORGED and missed(request)) or problem)

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        return answer(of_validation(cast(RequestValidationError, error)))

    async def unforeseen(_: Request, _error: Exception) -> JSONResponse:
        return answer(Problem(500, "internal", "The exchange could not do this."))

    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(MsgxcError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, unforeseen)


def _of_http(error: HTTPException) -> Problem:
    if isinstance(error, Problem):
        return error
    code = CODES.get(error.status_code, "refused")
    return Problem(error.status_code, code, HTTPStatus(error.status_code).phrase + ".", error.headers)
