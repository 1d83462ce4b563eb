"""Links that people follow: unsubscribe, preferences, tracked links, and the handover to the app.

All carry a token of ours and need no login. None leads to a place that we did not sign.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
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
from msgxc.privacy import confirmation
from msgxc.store import choices
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
NAMES: Mapping[str, str] = {
    **{choices.consent(purpose): name for purpose, (name, _) in ABOUT_PURPOSES.items()},
    **{choices.channel(channel): name for channel, (name, _) in ABOUT_CHANNELS.items()},
}
#: By what somebody is asked to confirm; by a notification otherwise.
ASKED_BY = {Channel.EMAIL: "an email", Channel.SMS: "a text message"}


def _of(exchange: Exchange, token: str) -> tuple[UUID, UUID]:
    """(campaign, uid) of a link. Raises Gone."""
    try:
        return links.read_token(exchange.key, token)
    except WrongInput:
        raise Gone from None


@router.get("/u/{token}")
async def unsubscribe_page(token: str, exchange: Here) -> Response:
    """Ask, unless it is done; nothing is changed by looking (RFC 8058 section 3.1: mail scanners follow
    links)."""
    campaign, uid = _of(exchange, token)
    person = await _person(exchange, uid)
    what = choosing.withdrawal(await exchange.store.ledger.campaign(campaign))
    if await choosing.is_unsubscribed(exchange, what, person):
        return _unsubscribed(exchange, what, token)
    told = f"You will no longer get {_told(exchange, what)}."
    return page("unsubscribe.html", done="", what=told, preferences=_p(token))


@router.post("/u/{token}")
async def unsubscribe(token: str, exchange: Here) -> Response:
    """Unsubscribe at once: no login, cookie or redirect, whatever the body says (RFC 8058 section 3.2)."""
    campaign, uid = _of(exchange, token)
    what = await choosing.unsubscribe(exchange, campaign, uid)
    if what is None:
        raise Gone
    return _unsubscribed(exchange, what, token)


def _unsubscribed(exchange: Exchange, what: choosing.Withdrawal, token: str) -> Response:
    done = f"You no longer get {_told(exchange, what)}."
    return page("unsubscribe.html", done=done, preferences=_p(token))


def _told(exchange: Exchange, what: choosing.Withdrawal) -> str:
    if what.thread is not None:
        return "emails about this thread"
    names = {"marketing": "offers and news", "product": "tips and updates", "*": "offers, news and updates"}
    return f"{names.get(what.purpose, 'emails')} from {_sender(exchange)}"


def _sender(exchange: Exchange) -> str:
    """Whose messages these are, by the name that stands above the emails."""
    return exchange.settings.email_from_name or "us"


def _p(token: str) -> str:
    return f"/p/{token}"


@router.get("/p/{token}")
async def preferences_page(token: str, exchange: Here) -> Response:
    """The person's channels and purposes, to be ticked."""
    _, uid = _of(exchange, token)
    return _preferences(exchange, await _person(exchange, uid))


@router.post("/p/{token}")
async def preferences(token: str, exchange: Here, request: Request) -> Response:
    """Save what was ticked: what is taken away at once, what is added after a confirmation.

    The form says what was ticked when it was shown (`was`), and only what differs from that is meant: a page
    that was left open takes nothing back. One without `was` means all of it.
    """
    campaign, uid = _of(exchange, token)
    said = _ticked(await request.body())
    shown = {value for name, value in said if name == "was"}
    kinds = {"purpose": choices.CONSENT, "channel": choices.CHANNEL}
    ticked = {kinds[name] + value for name, value in said if name in kinds} & choosing.SHOWN
    before = await _person(exchange, uid)
    taken = ((shown or choosing.SHOWN) - ticked) & choosing.SHOWN
    if taken:
        await choosing.withdraw(exchange, uid, taken, campaign, "page")
    asked = frozenset(ticked - choosing.held(before) - shown)
    note: tuple[str, Channel | None, str] = ("", None, "")
    if asked:
        named = ", ".join(NAMES[item] for item in choosing.ITEMS if item in asked)
        note = (*await confirmation.ask(exchange, before, asked, campaign, named), named)
    return _preferences(exchange, await _person(exchange, uid), saved=not asked or bool(taken), asked=note)


async def _person(exchange: Exchange, uid: UUID) -> Recipient:
    """Raises Gone."""
    found = (await exchange.store.directory.get([uid])).get(uid)
    if found is None:
        raise Gone
    return found


def _ticked(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode(), max_num_fields=50)
    except ValueError:
        raise Problem(400, "bad_request", "Not a form.") from None


def _preferences(
    exchange: Exchange,
    person: Recipient,
    *,
    saved: bool = False,
    asked: tuple[str, Channel | None, str] = ("", None, ""),
) -> Response:
    outcome, channel, named = asked
    held = choosing.held(person)
    return page(
        "preferences.html",
        sender=_sender(exchange),
        done=saved,
        asked=outcome,
        by=ASKED_BY.get(channel, "a notification") if channel else "",
        named=named,
        was=sorted(held),
        channels=list(_ticks(choices.CHANNEL, ABOUT_CHANNELS, held)),
        purposes=list(_ticks(choices.CONSENT, ABOUT_PURPOSES, held)),
    )


def _ticks(
    kind: str, about: Mapping[Any, tuple[str, str]], held: Iterable[str]
) -> Iterable[dict[str, object]]:
    for value, (name, told) in about.items():
        yield {"value": str(value), "name": name, "about": told, "on": kind + value in held}


# -- confirmations


@router.get("/c/{token}")
async def confirmation_page(token: str, exchange: Here) -> Response:
    """What is asked for, and a button; nothing is changed by looking."""
    uid, _, items, _ = _asked(exchange, token)
    await _person(exchange, uid)
    return page("confirm.html", done=False, items=_named(items))


@router.post("/c/{token}")
async def confirm(token: str, exchange: Here) -> Response:
    """Confirmed: what was asked for holds, unless it was taken back since."""
    _, _, items, _ = _asked(exchange, token)
    person = await confirmation.confirm(exchange, token)
    if person is None:
        raise Gone
    now = items & choosing.held(person)
    missing = _named(items - now)
    return page("confirm.html", done=True, items=_named(now), missing=missing, sender=_sender(exchange))


def _asked(exchange: Exchange, token: str) -> tuple[UUID, UUID, frozenset[str], datetime]:
    try:
        return confirmation.read(exchange, token)
    except WrongInput:
        raise Gone from None


def _named(items: frozenset[str]) -> list[str]:
    return [NAMES[item] for item in choosing.ITEMS if item in items]


# -- tracked links


@router.get("/l/{token}")
async def follow(
    token: str, to: Annotated[str, Query(max_length=links.LONGEST)], request: Request, exchange: Here
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
    """Put it into the inbox; whoever clicked is not kept waiting for a store that is slow or away. HEAD is no
    click: scanners ask so."""
    if getattr(request.state, "head", False):
        return
    with suppress(StoreUnavailable, TimeoutError):
        async with asyncio.timeout(NOTE_SECONDS):
            await intake_of(request).take([news])


# -- handover to the app

_PATH = re.compile(r"[A-Za-z0-9._~/-]{0,500}")
_QUERY = "!$&'()*+,;=:@/?%"  # what may stand in one as it is (RFC 3986 section 3.4)


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
async def app_page(path: str, request: Request, exchange: Here) -> Response:
    """Where a link into the app leads who has not got it: it offers the app, and a page of the web. Both get
    the link's query as it came."""
    query = quote(request.scope["query_string"], safe=_QUERY)
    if not _PATH.fullmatch(path) or ".." in path or len(query) > links.LONGEST:
        raise Gone
    scheme, web = exchange.settings.app_scheme, exchange.settings.app_fallback.rstrip("/")
    rest = quote(path) + (f"?{query}" if query else "")
    return page(
        "app.html",
        app=f"{scheme}://{rest}" if re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) else "",
        web=f"{web}/{rest}" if web.startswith("https://") else "",
    )
