"""Links that people follow: unsubscribe, preferences, tracked links, and the handover to the app.

All carry a token of ours and need no login. None leads to a place that we did not sign.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from msgxc import links
from msgxc.errors import StoreUnavailable, WrongInput
from msgxc.gateway.calling import Here
from msgxc.gateway.paper import Gone, page
from msgxc.gateway.problems import Problem
from msgxc.gateway.routes_hooks import intake_of, of_handle
from msgxc.model import Channel, Recipient
from msgxc.people import choosing
from msgxc.store.gateway import News, Received
from msgxc.tracking import CONSENT
from msgxc.wiring import Exchange

router = APIRouter(include_in_schema=False, default_response_class=Response)  # for people, not programs
PIXEL = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
NOTE_SECONDS = 1.0
PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}

# -- unsubscribe and preferences

ABOUT_PURPOSES = {
    "marketing": ("Offers and news", "Advertisements, newsletters"),
    "product": ("Tips and updates", "What is new in the things that you use"),
    CONSENT: ("Help us improve", "We may note whether emails are opened and links in them clicked"),
}
ABOUT_CHANNELS = {
    Channel.EMAIL: ("Email", "To your mailbox"),
    Channel.SMS: ("Text message", "To your phone number"),
    Channel.APNS: ("iPhone and iPad", "Notifications of the app"),
    Channel.FCM: ("Android", "Notifications of the app"),
    Channel.WEBPUSH: ("Browser", "Notifications of the web site"),
    Channel.WEBSOCKET: ("In the app", "While it is open"),
}


def _of(exchange: Exchange, token: str) -> tuple[UUID, UUID]:
    """(campaign, uid) of a link. Raises Gone."""
    try:
        return links.read_token(exchange.key, token)
    except WrongInput:
        raise Gone from None


@router.get("/u/{token}")
async def unsubscribe_page(token: str, exchange: Here) -> Response:
    """Ask; nothing is changed by looking (RFC 8058 section 3.1: mail scanners follow links)."""
    campaign, uid = _of(exchange, token)
    if not await exchange.store.directory.get([uid]):
        raise Gone
    what = _told(choosing.withdrawal(await exchange.store.ledger.campaign(campaign)))
    return page("unsubscribe.html", done="", what=f"You will no longer get {what}.", preferences=_p(token))


@router.post("/u/{token}")
async def unsubscribe(token: str, exchange: Here) -> Response:
    """Unsubscribe at once: no login, cookie or redirect, whatever the body says (RFC 8058 section 3.2)."""
    campaign, uid = _of(exchange, token)
    what = await choosing.unsubscribe(exchange, campaign, uid)
    if what is None:
        raise Gone
    return page("unsubscribe.html", done=f"You no longer get {_told(what)}.", preferences=_p(token))


def _told(what: choosing.Withdrawal) -> str:
    if what.thread is not None:
        return "emails about this thread"
    names = {"marketing": "offers and news", "product": "tips and updates", "*": "offers, news and updates"}
    return f"{names.get(what.purpose, 'emails')} from us"


def _p(token: str) -> str:
    return f"/p/{token}"


@router.get("/p/{token}")
async def preferences_page(token: str, exchange: Here) -> Response:
    """The person's channels and purposes, to be ticked."""
    _, uid = _of(exchange, token)
    person = (await exchange.store.directory.get([uid])).get(uid)
    return _preferences(person, saved=False)


@router.post("/p/{token}")
async def preferences(
    token: str,
    exchange: Here,
    request: Request,
) -> Response:
    """Save what was ticked."""
    _, uid = _of(exchange, token)
    ticked = _ticked(await request.body())
    channels = [Channel(value) for name, value in ticked if name == "channel" and value in set(Channel)]
    purposes = [value for name, value in ticked if name == "purpose"]
    return _preferences(await choosing.choose(exchange, uid, purposes, channels), saved=True)


def _ticked(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode(), max_num_fields=50)
    except ValueError:
        raise Problem(400, "bad_request", "Not a form.") from None


def _preferences(person: Recipient | None, *, saved: bool) -> Response:
    if person is None:
        raise Gone
    wanted = frozenset(Channel) if person.channels is None else person.channels
    return page(
        "preferences.html",
        done=saved,
        channels=list(_ticks(ABOUT_CHANNELS, wanted)),
        purposes=list(_ticks(ABOUT_PURPOSES, person.consents)),
    )


def _ticks(about: Mapping[Any, tuple[str, str]], on: Iterable[str]) -> Iterable[dict[str, object]]:
    held = set(on)
    for value, (name, told) in about.items():
        yield {"value": str(value), "name": name, "about": told, "on": value in held}


# -- tracked links


@router.get("/l/{token}")
async def follow(
    token: str, to: Annotated[str, Query(max_length=4096)], request: Request, exchange: Here
) -> Response:
    """Note the click, if its person consents, and lead on: only to the target that we signed."""
    try:
        handle = links.read_tracked(exchange.key, token, to)
    except WrongInput:
        raise Gone from None
    await _noted(request, of_handle(exchange, handle, News.CLICKED))
    return RedirectResponse(to, 302, PRIVATE)


@router.get("/o/{token}.gif")
async def opened(token: str, request: Request, exchange: Here) -> Response:
    """Note that an email was opened, if its person consents."""
    try:
        handle = links.read_receipt(exchange.key, token)
    except WrongInput:
        raise Gone from None
    await _noted(request, of_handle(exchange, handle, News.OPENED))
    return Response(PIXEL, headers=PRIVATE, media_type="image/gif")


async def _noted(request: Request, news: Received) -> None:
    """Put it into the inbox; whoever clicked is not kept waiting for a store that is slow or away."""
    with suppress(StoreUnavailable, TimeoutError):
        async with asyncio.timeout(NOTE_SECONDS):
            await intake_of(request).take([news])


# -- handover to the app

_PATH = re.compile(r"[A-Za-z0-9._~/-]{0,500}")


@router.get("/.well-known/apple-app-site-association", response_class=JSONResponse)
async def apple(exchange: Here) -> JSONResponse:
    """Which iPhone apps open /a/… (developer.apple.com, "Supporting associated domains")."""
    ids = [one.strip() for one in exchange.settings.apple_app_ids.split(",") if one.strip()]
    details = [{"appIDs": ids, "components": [{"/": "/a/*"}]}] if ids else []
    return JSONResponse({"applinks": {"details": details}})


@router.get("/.well-known/assetlinks.json", response_class=JSONResponse)
async def android(exchange: Here) -> JSONResponse:
    """Which Android app opens /a/… (developer.android.com, "Verify Android App Links")."""
    package, *fingerprints = exchange.settings.android_app.replace(",", " ").split() or [""]
    target = {
        "namespace": "android_app",
        "package_name": package,
        "sha256_cert_fingerprints": fingerprints,
    }
    relation = ["delegate_permission/common.handle_all_urls"]
    return JSONResponse([{"relation": relation, "target": target}] if package else [])


@router.get("/a/{path:path}")
async def app_page(path: str, exchange: Here) -> Response:
    """Where a link into the app leads who has not got it: it offers the app, and a page of the web."""
    if not _PATH.fullmatch(path) or ".." in path:
        raise Gone
    scheme, web = exchange.settings.app_scheme, exchange.settings.app_fallback.rstrip("/")
    return page(
        "app.html",
        app=f"{scheme}://{quote(path)}" if re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) else "",
        web=f"{web}/{quote(path)}" if web.startswith("https://") else "",
    )
