"""The websocket: who may open one, who it is, and the loop that reads it. docs/websocket.md says the rest.

The token comes in the Authorization header, in a cookie (then the page's Origin must be on our list: a cookie
is sent by foreign pages too), or in the first frame. Nothing is shown before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
from msgxc.gateway.session import Pace, Session, paced
from msgxc.messages.records import Principal
from msgxc.settings import Settings

router = APIRouter()

#: The cookie that may hold the token.
COOKIE = "msgxc_token"
#: How old a session's id may be, and how far its clock may be ahead, in seconds.
SESSION_SECONDS, AHEAD_SECONDS = 48 * 3600, 300
#: How long a client may take to say who it is; how often a token is looked at again.
HELLO_SECONDS, AGAIN_SECONDS = 10.0, 300.0
#: Connections that have not said yet who they are; connections of one person. In one process.
UNKNOWN, OF_PERSON = 2_000, 50
#: Closing codes: 4000 and the status that HTTP would have (RFC 6455 section 7.4.2).
REFUSED, UNAUTHORIZED, TOO_MANY = 4400, 4401, 4429
VISITOR = 64  # characters
_V1_EPOCH = datetime(1582, 10, 15, tzinfo=UTC).timestamp()


@router.websocket("/api/v2/connect/{vid}/{sid}")
async def connect(websocket: WebSocket, vid: str, sid: str) -> None:
    """One connection, from its first to its last frame."""
    hub: Hub = websocket.app.state.hub
    try:
        token = _opening(hub, websocket, vid, sid)
        principal = await authenticate(hub.exchange, token) if token else None
    except MsgxcError as error:
        await websocket.send_denial_response(problems.answer(problems.of_error(error)))
        return
    await websocket.accept()
    async with _counted(hub):
        await _converse(hub, websocket, vid, token, principal)


def _opening(hub: Hub, websocket: WebSocket, vid: str, sid: str) -> str:
    """The token, "" when it comes later. Raises Forbidden, StoreUnavailable, WrongInput."""
    if hub.connections >= hub.exchange.settings.websocket_connections or hub.unknown >= UNKNOWN:
        raise StoreUnavailable("too many connections: come again later")
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


@asynccontextmanager
async def _counted(hub: Hub) -> AsyncIterator[None]:
    hub.connections += 1
    try:
        yield
    finally:
        hub.connections -= 1


async def _converse(
    hub: Hub, websocket: WebSocket, vid: str, token: str, principal: Principal | None
) -> None:
    ref = ""
    try:
        if principal is None:
            token, ref = await _hello(hub, websocket)
            principal = await authenticate(hub.exchange, token)
    except MsgxcError as error:
        await _close(websocket, UNAUTHORIZED, error)
        return
    except WebSocketDisconnect:
        return
    async with _one_more(hub, principal) as welcome:
        if not welcome:
            await _close(websocket, TOO_MANY, WrongInput("this person has too many connections"))
            return
        await _attend(hub, websocket, Session(hub, line(websocket), principal, vid), token, ref)


async def _hello(hub: Hub, websocket: WebSocket) -> tuple[str, str]:
    """The token and the ref of the first frame. Raises Unauthorized, WrongInput, WebSocketDisconnect."""
    hub.unknown += 1
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            inbound = frames.read(await _receive(websocket))
    except TimeoutError:
        raise Unauthorized("no token came in time", "token_missing") from None
    finally:
        hub.unknown -= 1
    if not isinstance(inbound.asked, frames.Authenticate):
        raise Unauthorized("the first frame has to bring a token", "token_missing")
    return inbound.asked.token, inbound.ref


@asynccontextmanager
async def _one_more(hub: Hub, principal: Principal) -> AsyncIterator[bool]:
    """Whether this person may have one more connection."""
    uid = principal.uid
    if uid is None:
        yield True
        return
    there = hub.of_person.get(uid, 0)
    hub.of_person[uid] = there + 1
    try:
        yield there < OF_PERSON
    finally:
        hub.of_person[uid] -= 1
        if not hub.of_person[uid]:
            del hub.of_person[uid]


async def _attend(hub: Hub, websocket: WebSocket, session: Session, token: str, ref: str) -> None:
    """Do what the client asks until it leaves, or its token does not count any more."""
    pace = Pace(monotonic())
    try:
        await session.begin(ref)
        while True:
            try:
                async with asyncio.timeout(_patience(session.principal, hub.exchange.clock())):
                    text = await _receive(websocket)
            except TimeoutError:
                session.principal = await authenticate(hub.exchange, token)
                continue
            await paced(session, pace, text)
    except WebSocketDisconnect:
        return
    except asyncio.CancelledError as cancelled:
        if cancelled.args != (TOO_SLOW,):
            raise
    except Unauthorized as error:
        await _close(websocket, UNAUTHORIZED, error)
    except MsgxcError as error:
        await _close(websocket, REFUSED, error)
    finally:
        session.end()


def _patience(principal: Principal, now: float) -> float:
    """Seconds until the token is looked at again."""
    left = principal.expires - now if principal.expires else AGAIN_SECONDS
    return min(max(left, 1.0), AGAIN_SECONDS)


async def _receive(websocket: WebSocket) -> str | bytes:
    """The next frame. Raises WebSocketDisconnect."""
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text: str | bytes | None = message.get("text")
    return text if text is not None else message.get("bytes") or b""


async def _close(websocket: WebSocket, code: int, error: MsgxcError) -> None:
    """Say why, then hang up."""
    if websocket.application_state is WebSocketState.CONNECTED:
        wire = frames.refusal("/close", "", error.code, str(error))
        try:
            await websocket.send_text(wire.text.decode())
            await websocket.close(code, error.code)
        except (WebSocketDisconnect, RuntimeError):
            return
