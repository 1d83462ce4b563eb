"""What is looked at before any route: for which host a request is meant, and by which method it asks.

HEAD is answered wherever GET is, without the body (RFC 9110 section 9.3.2); OPTIONS tells what a path takes
(section 9.3.7), and so does a 405 (section 15.5.6). That lets no page of another site in: there is no CORS.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from msgxc.gateway.access import methods
from msgxc.gateway.problems import Problem, answer
from msgxc.settings import Settings

#: What load balancers ask by whatever address they know; it tells nothing.
PING = "/api/v2/ping"
#: As which every exchange is known on its own machine.
OWN = frozenset({"127.0.0.1", "localhost", "::1"})
#: Where the gateway listens when it listens everywhere: no name of it.
EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  # nothing is bound here


def hosts_of(settings: Settings) -> frozenset[str]:
    """The names under which the gateway is reached, in lower case; `*.example.org` for all below."""
    given = {one.strip().lower() for one in settings.hosts.split(",") if one.strip()}
    public = {urlsplit(settings.public_url).hostname or ""}
    return OWN | given | public | {settings.gateway_host.lower()} - EVERYWHERE


def is_ours(host: str, ours: frozenset[str]) -> bool:
    """Whether a Host header names one of these (RFC 9110 section 7.2)."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    above = name.partition(".")[2]
    return bool(name) and (name in ours or f"*.{above}" in ours or "*" in ours)


class Hosts:
    """Middleware. Refuses with 421 what is meant for another host: whose name leads here is not yet us."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._ours = app, hosts_of(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and scope["path"] != PING:
            named = [value for name, value in scope["headers"] if name == b"host"]
            if len(named) != 1 or not is_ours(named[0].decode("latin-1"), self._ours):
                refused = Problem(421, "wrong_host", "This is not the host that was asked for (MSGXC_HOSTS).")
                await answer(refused)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Methods:
    """Middleware: HEAD, OPTIONS, and the Allow header of a 405."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and (allowed := methods_of(scope["path"])):
            await Response(status_code=204, headers={"Allow": ", ".join(allowed)})(scope, receive, send)
        elif scope["method"] == "HEAD" and "HEAD" in methods_of(scope["path"]):
            scope.setdefault("state", {})["head"] = True
            await self._app({**scope, "method": "GET"}, receive, _without_body(send))
        else:
            await self._app(scope, receive, _telling(send, scope["path"]))


def methods_of(path: str) -> list[str]:
    """What a path takes, sorted; nothing where there is no such path."""
    if path == "*":
        return ["GET", "HEAD", "OPTIONS", "POST"]
    found = {"GET"} if path == "/openapi.json" else methods(path)
    return sorted(found | ({"HEAD"} if "GET" in found else set()) | ({"OPTIONS"} if found else set()))


def _without_body(send: Send) -> Send:
    """The answer's head alone, with the length that it would have had."""

    async def head(message: Message) -> None:
        if message["type"] == "http.response.body":
            if message.get("more_body"):
                return
            message = {**message, "body": b""}
        await send(message)

    return head


def _telling(send: Send, path: str) -> Send:
    """A 405 names what there is."""

    async def telling(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 405:
            MutableHeaders(scope=message)["Allow"] = ", ".join(methods_of(path))
        await send(message)

    return telling
