"""Who may talk to Prefect's server: a wall before its app that knows nothing of Prefect.

Prefect has a login. What it has not is a look at who sends a browser's request: a page of somebody else, open
in the operator's browser, may use what the browser knows, or a name that suddenly leads to 127.0.0.1. Three
rules, for requests and websockets alike:

- **Host** is one of ours, against DNS rebinding (Starlette's TrustedHostMiddleware).
- **Origin** is the console's own, and so is what `Sec-Fetch-Site` says (W3C, Fetch Metadata Request Headers).
  Programs send neither. A link that leads to the console is followed, as long as it is not drawn in a frame.
- **A body is JSON and says so**: what a form may send, or any request without a preflight, is not taken.

`/open/PATH#LOGIN` is the console's page PATH with the login filled in (without PATH: /v2): see `LINK`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import HTMLResponse, JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Under these everybody reaches a server of their own machine.
LOCAL = ("127.0.0.1", "localhost")
LINK = "/open"
#: The login stands behind the `#`: browsers send that to no server. Both of Prefect's UIs keep it under this
#: name. It is tried first: a link of somebody else cannot put a wrong one in its place.
_SCRIPT = """
(async () => {
  const say = (text) => { document.getElementById("say").textContent = text; };
  const login = decodeURIComponent(location.hash.slice(1));
  const on = location.origin + (location.pathname.slice("/open".length) || "/v2") + location.search;
  history.replaceState(null, "", location.pathname);
  if (!login) return location.replace(on);
  const key = btoa(login);
  let answer;
  try {
    const headers = { Authorization: "Basic " + key };
    answer = await fetch("/api/admin/version", { headers, cache: "no-store" });
  } catch { return say("The console does not answer."); }
  if (!answer.ok) return say("This login is not the console's. `make up` says the right link.");
  localStorage.setItem("prefect-password", key);
  location.replace(on);
})();
"""
_PAGE = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>msgxc: console</title>
<p id="say">Opening the console &hellip;</p>
<script>{_SCRIPT}</script>
"""
_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"default-src 'none'; script-src 'sha256-{_HASH}'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
#: What every answer says to a browser, unless it says something itself. Prefect's UIs need inline styles and
#: `eval` (forms are compiled); what they would load from other hosts, or tell them, they do without.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def link(url: str, login: str, path: str = "") -> str:
    """The address that opens a page of the console for whoever has it; without a login: the page itself."""
    return f"{url}{LINK}{path}#{quote(login, safe=':')}" if login else f"{url}{path}"


def refusal(kind: str, method: str, headers: Headers) -> tuple[int, str] | None:
    """Why this request is not taken, as status and sentence; None: it is.

    `kind` is ASGI's: http or websocket. The Host has been looked at: the Origin has to be the same.
    """
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
        return 403, "a page of somebody else asks"
    looks = kind == "http" and method in ("GET", "HEAD")
    follows = looks and headers.get("sec-fetch-mode") == "navigate"
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not follows:
        return 403, "a page of somebody else asks"
    if "authorization" in headers and not _is_plain(headers["authorization"]):
        return 401, "Unauthorized"
    if kind == "http" and not looks and _has_body(headers):
        said = headers.getlist("content-type")
        if len(said) != 1 or said[0].partition(";")[0].strip().lower() != "application/json":
            return 415, "a body is application/json"
    return None


def _is_plain(authorization: str) -> bool:
    """Whether it is a login of ASCII: Prefect fails at any other one, with a page of log each time."""
    try:
        base64.b64decode(authorization.partition(" ")[2], validate=True).decode("ascii")
    except ValueError:
        return False
    return True


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip() != "0"


#: Prefect describes its API here for anybody, and works it out anew each time; /api/docs asks for the login.
_OPEN_DESCRIPTION = ("/openapi.json", "/docs", "/redoc")


class Guard:
    """An ASGI app before another one: what `refusal` refuses does not get through.

    `hosts`: names under which it may be reached, besides LOCAL; ports do not matter.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = ()) -> None:
        self._app = app
        self._outside = TrustedHostMiddleware(self._inside, [*LOCAL, *hosts], www_redirect=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            send = _with_headers(send)
        await self._outside(scope, receive, send)

    async def _inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        method, path = scope.get("method", ""), scope["path"]
        if refused := refusal(scope["type"], method, Headers(scope=scope)):
            status, sentence = refused
            return await JSONResponse({"detail": sentence}, status)(scope, receive, send)
        if path in _OPEN_DESCRIPTION:
            return await JSONResponse({"detail": "see /api/docs"}, 404)(scope, receive, send)
        if method == "GET" and (path == LINK or path.startswith(f"{LINK}/")):
            return await HTMLResponse(_PAGE, headers=_PAGE_HEADERS)(scope, receive, send)
        return await self._app(scope, receive, send)


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sent
