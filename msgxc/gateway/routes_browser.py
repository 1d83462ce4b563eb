"""What a browser loads: the client, the service worker, the key to subscribe with, and the demo page."""

from __future__ import annotations

import asyncio
import unicodedata
from functools import cache
from pathlib import Path
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, StringConstraints

from msgxc import ids
from msgxc.errors import NotFound
from msgxc.gateway import forms, listening
from msgxc.gateway.auth import make_token
from msgxc.gateway.calling import Here
from msgxc.gateway.problems import Problem
from msgxc.ids import base64url
from msgxc.messages import joining
from msgxc.messages.records import Principal, Role
from msgxc.model import Channel, Recipient
from msgxc.providers import webpush
from msgxc.providers.vapid import Vapid
from msgxc.sandbox.endpoints import read_endpoints
from msgxc.wiring import Exchange, sandbox_folder

router = APIRouter()

STATIC = Path(__file__).parent / "static"
TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
#: A page of ours loads from us alone, and talks to us alone.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "worker-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {"Cache-Control": "no-cache", "Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
GUEST_SECONDS = 24 * 3600
DEMO = "demo"  # the foreign id of its thread


def _own_name(name: str) -> str:
    letters = "".join(filter(str.isalpha, unicodedata.normalize("NFKC", name).casefold()))
    if letters == "theexchange":
        raise ValueError("nobody speaks as the exchange")
    return name


class GuestForm(BaseModel):
    """A guest of the demo."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    name: Annotated[
        str, StringConstraints(min_length=1, max_length=40, strip_whitespace=True), AfterValidator(_own_name)
    ]


class Guest(BaseModel):
    """Who the guest is now: `token` for all calls, `tid` the thread."""

    uid: str
    tid: str
    token: str


class PushKey(BaseModel):
    """The VAPID public key, in base64url."""

    key: str


class PresenceAnswer(BaseModel):
    """`online`: seconds of the oldest connection; `online_total`: for how many seconds they have been
    connected, all in all, half a minute ago; `active`: somebody touched the screen lately; `last_seen`: when
    they were connected, or enlisted a device, last."""

    connected: bool
    online: int
    online_total: int
    active: bool
    last_seen: AwareDatetime | None


@cache
def _file(name: str) -> bytes:
    return (STATIC / name).read_bytes()


def _static(name: str) -> Response:
    return Response(_file(name), media_type=TYPES[Path(name).suffix], headers=HEADERS)


@router.get("/client.js", include_in_schema=False)
async def client() -> Response:
    """The client: an ES module without dependencies."""
    return _static("client.js")


@router.get("/sw.js", include_in_schema=False)
async def service_worker() -> Response:
    """The service worker; at the top, so that it serves every page."""
    return _static("sw.js")


@router.get("/icon.svg", include_in_schema=False)
async def icon() -> Response:
    """The picture on notifications."""
    return _static("icon.svg")


@router.get("/demo", include_in_schema=False)
async def demo(exchange: Here) -> Response:
    """The page where one tries it."""
    _only_in_demo(exchange)
    return _static("demo.html")


@router.get("/demo/demo.js", include_in_schema=False)
async def demo_script() -> Response:
    """Its script."""
    return _static("demo.js")


@router.get("/demo/demo.css", include_in_schema=False)
async def demo_style() -> Response:
    """Its look."""
    return _static("demo.css")


@router.post("/demo/guest", include_in_schema=False)
async def guest(form: GuestForm, request: Request, exchange: Here) -> Guest:
    """Come in as a guest, with a token for a day. The name stays with the page: here it is not kept."""
    del form
    _only_in_demo(exchange)
    quota = request.app.state.rates.count("guests", asyncio.get_running_loop().time())
    if quota and quota.over:
        raise Problem(429, "too_many_requests", "Too many guests at once: come again in a minute.")
    uid, tid = uuid4(), ids.uid_of(exchange.key, DEMO)
    if await exchange.store.threads.get(tid) is None:
        await joining.found(exchange, tid, {"name": "Demo", "open": True, "open_to_publish": True})
    await exchange.store.directory.put([Recipient(uid=uid)])
    await joining.subscribe(exchange, Principal(uid), tid)
    token = make_token(exchange, uid, frozenset({Role.USER}), GUEST_SECONDS)
    return Guest(uid=str(uid), tid=str(tid), token=token)


@router.get("/api/v2/push/key", tags=["exchange"])
async def push_key(exchange: Here) -> PushKey:
    """With which a browser subscribes to our pushes (`applicationServerKey`)."""
    settings = exchange.settings
    if Channel.WEBPUSH in exchange.sandboxed:
        try:
            endpoints = read_endpoints(sandbox_folder(settings))
        except NotFound:
            raise Problem(404, "push_off", "Web push is not set up here.") from None
        found: webpush.WebPushSettings | None = webpush.from_sandbox(endpoints, settings.provider_timeout)
    else:
        found = webpush.from_settings(settings)
    assert found
    point = Vapid(found.vapid_key, found.contact).public_key
    return PushKey(key=base64url(point))


@router.get("/api/v2/presence/{uid}", tags=["exchange"])
async def presence(uid: forms.Id, exchange: Here) -> PresenceAnswer:
    """Whether a person has a websocket open anywhere, and somebody is at the screen."""
    whose = ids.uid_of(exchange.key, uid)
    found = await listening.presence(exchange, whose)
    person = (await exchange.store.directory.get([whose])).get(whose)
    total = (await exchange.store.directory.online([whose])).get(whose, 0)
    return PresenceAnswer(
        connected=found is not None,
        online=found.online if found else 0,
        online_total=total // 1000,
        active=found.active if found else False,
        last_seen=person.last_seen if person else None,
    )


def _only_in_demo(exchange: Exchange) -> None:
    if not exchange.settings.demo:
        raise Problem(404, "no_such_route", "Not Found.")
