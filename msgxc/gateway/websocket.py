"""The websocket: who may open one, who it is, and the loop that reads it. docs/websocket.md says the rest.

The token comes in the Authorization header, in a cookie (then the page's Origin must be on our list: a cookie
is sent by foreign pages too), or in the first frame. Nothing is shown before.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from msgxc.errors import Forbidden, MsgxcError, StoreUnavailable, Unauthorized, WrongInput
from msgxc.gateway import frames, problems
from msgxc.gateway.auth import authenticate
from msgxc.gateway.hub import Hub
from msgxc.gateway.line import TOO_SLOW, line
from msgxc.gateway.misses import missed
from msgxc.gateway.peers import peer_of
from msgxc.gateway.session import Pace, Session, paced
from msgxc.messages.records import Principal
from msgxc.settings import Settings

router = APIRouter()

#: The cookie that may hold the token.
COOKIE = "msgxc_token"
#: How old a session's id may be, and how far its clock may be ahead, in seconds.
SESSION_SECONDS, AHEAD_SECONDS = 48 * 3600, 300
#: How long a client may take to say who it is, and to take its closing frame.
HELLO_SECONDS, CLOSE_SECONDS = 10.0, 5.0
#: Connections of one account, in one process.
OF_ACCOUNT = 50
#: Closing codes: 4000 and the status that HTTP would have (RFC 6455 section 7.4.2); 1013 as IANA has it.
REFUSED, UNAUTHORIZED, TOO_MANY, LATER = 4400, 4401, 4429, 1013
VISITOR = 64  # characters
#: With which the task of a connection is cancelled that has to end, or to make room.
OVER, CROWDED = "over", "crowded"
_V1_EPOCH = datetime(1582, 10, 15, tzinfo=UTC).timestamp()


@router.websocket("/api/v2/connect/{vid}/{sid}")
async def connect(websocket: WebSocket, vid: str, sid: str) -> None:
    """One connection, from its first to its last frame."""
    hub: Hub = websocket.app.state.hub
    with suppress(WebSocketDisconnect):
        try:
            token = _opening(hub, websocket, vid, sid)
            principal = await authenticate(hub.exchange, token) if token else None
        except MsgxcError as error:
            problem = problems.of_error(error)
            forged = problem.code == problems.FORGED and missed(websocket)
            await websocket.send_denial_response(problems.answer(forged or problem))
            return
        await websocket.accept()
        hub.connections += 1
        try:
            await _converse(hub, websocket, vid, token, principal)
        finally:
            hub.connections -= 1


def _opening(hub: Hub, websocket: WebSocket, vid: str, sid: str) -> str:
    """The token, "" when it comes later. Raises Forbidden, StoreUnavailable, WrongInput."""
    _has_room(hub)
    if not 0 < len(vid) <= VISITOR:
        raise WrongInput(f"a visitor's id has at most {VISITOR} characters")
    check_session(sid, hub.exchange.clock())
    scheme, _, token = websocket.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    cookie = websocket.cookies.get(COOKIE, "")
    if cookie and not is_ours(websocket.headers.get("origin", ""), hub.exchange.settings):
        raise Forbidden("this page may not use the cookie", "origin")
    return cookie


def _has_room(hub: Hub) -> None:
    """Those who have not said who they are take nobody's place. Raises StoreUnavailable."""
    if len(hub.deadlines) >= hub.places.websockets:
        raise StoreUnavailable("too many connections: come again later")


def check_session(sid: str, now: float) -> None:
    """A session's id is a timeuuid (version 1) of the last 48 hours. Raises WrongInput."""
    try:
        session = UUID(sid)
    except ValueError:
        raise WrongInput("a session's id is a timeuuid") from None
    age = now - (_V1_EPOCH + session.time / 1e7)
    if session.version != 1 or not -AHEAD_SECONDS <= age <= SESSION_SECONDS:
        raise WrongInput("a session's id is a timeuuid of the last 48 hours")


def is_ours(origin: str, settings: Settings) -> bool:
    """Whether a page of this origin may use the cookie."""
    own = urlsplit(settings.public_url)
    listed = {one.strip().rstrip("/").lower() for one in settings.websocket_origins.split(",")}
    return bool(origin) and origin.lower() in {f"{own.scheme}://{own.netloc}".lower(), *listed}


async def _converse(
    hub: Hub, websocket: WebSocket, vid: str, token: str, principal: Principal | None
) -> None:
    ref = ""
    try:
        if principal is None:
            token, ref = await _hello(hub, websocket)
            principal = await authenticate(hub.exchange, token)
        _has_room(hub)
        if hub.deadlines.count(principal.account) >= OF_ACCOUNT:
            raise _Crowded("this account has too many connections")
    except _Crowded as error:
        await _close(websocket, TOO_MANY, error)
    except StoreUnavailable as error:
        await _close(websocket, LATER, error)
    except MsgxcError as error:
        forged = error.code == problems.FORGED and missed(websocket)
        await _close(websocket, TOO_MANY if forged else UNAUTHORIZED, error)
    else:
        session = Session(hub, line(websocket), principal, vid, websocket.app.state.rates)
        await _attend(hub, websocket, session, token, ref)


class _Crowded(MsgxcError):
    """Too many of this account, or too many that have not said who they are."""

    code = "too_many_connections"


async def _hello(hub: Hub, websocket: WebSocket) -> tuple[str, str]:
    """The token and the ref of the first frame. Raises _Crowded, Unauthorized, WrongInput,
    WebSocketDisconnect."""
    peer, waiting = peer_of(websocket.scope, hub.exchange.settings), asyncio.current_task()
    assert waiting

    def leave() -> None:
        waiting.cancel(CROWDED)

    hub.doorstep.enter(peer, leave)
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            inbound = frames.read(await _receive(websocket))
    except TimeoutError:
        raise Unauthorized("no token came in time", "token_missing") from None
    except asyncio.CancelledError as cancelled:
        if cancelled.args != (CROWDED,):
            raise
        waiting.uncancel()
        raise _Crowded("too many connections wait for their token: come again later") from None
    finally:
        hub.doorstep.left(peer, leave)
    if not isinstance(inbound.asked, frames.Authenticate):
        raise Unauthorized("the first frame has to bring a token", "token_missing")
    return inbound.asked.token, inbound.ref


async def _attend(hub: Hub, websocket: WebSocket, session: Session, token: str, ref: str) -> None:
    """Do what the client asks until it leaves, or its token does not count any more."""
    pace, attending, over = Pace(monotonic()), asyncio.current_task(), list[MsgxcError]()
    assert attending

    def end(error: Unauthorized) -> None:
        over.append(error)
        attending.cancel(OVER)

    deadline = hub.deadlines.begin(session.principal, token, end)
    code = UNAUTHORIZED
    try:
        await session.begin(ref)
        while True:
            await paced(session, pace, await _receive(websocket))
    except asyncio.CancelledError as cancelled:
        if not over and cancelled.args != (TOO_SLOW,):
            raise
        attending.uncancel()
    except MsgxcError as error:
        code = LATER if isinstance(error, StoreUnavailable) else REFUSED
        over.append(error)
    finally:
        deadline.stop()
        session.end()
    if over:
        await _close(websocket, code, over[0])


async def _receive(websocket: WebSocket) -> str | bytes:
    """The next frame. Raises WebSocketDisconnect."""
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text: str | bytes | None = message.get("text")
    return text if text is not None else message.get("bytes") or b""


async def _close(websocket: WebSocket, code: int, error: MsgxcError) -> None:
    """Say why, then hang up; whoever does not even read that is not waited for."""
    if websocket.application_state is WebSocketState.CONNECTED:
        wire = frames.refusal("/close", "", error.code, str(error))
        with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await websocket.send_text(wire.text.decode())
                await websocket.close(code, error.code)
