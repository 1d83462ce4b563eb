"""Who may call which route: one table, and what is not in it is refused.

A route that is added without a line here answers 403 to everybody; a test walks all routes of the app.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fastapi.requests import HTTPConnection
from starlette.routing import compile_path

from msgxc.errors import TooMuch
from msgxc.gateway.auth import principal_of
from msgxc.gateway.problems import Problem
from msgxc.messages.records import Role

ANYBODY = frozenset(Role)
ADMIN = frozenset({Role.ADMIN})
OPERATORS = frozenset({Role.ADMIN, Role.SERVICE})
#: Needs no login: it tells nothing, or carries a signature or a signed token of its own.
OPEN = frozenset[Role]()

_ANYBODY = (
    "enlist delist publish publish/bulk subscribe subscribe/bulk unsubscribe prefer join invite accept "
    "refuse read cancel recall choices"
)
_OPERATORS = "send send/bulk multicast broadcast"
_ADMIN = "execute/message threads revoke erase readmit"
_ADMIN_READS = "reports/messages_recent reports/messages_upcoming status/dbver status/xasver"

#: (method, path as it is declared) -> the roles of which one is needed.
ACCESS: Mapping[tuple[str, str], frozenset[Role]] = {
    **{("POST", f"/api/v2/{name}"): ANYBODY for name in _ANYBODY.split()},
    **{("POST", f"/api/v2/{name}"): OPERATORS for name in _OPERATORS.split()},
    **{("POST", f"/api/v2/{name}"): ADMIN for name in _ADMIN.split()},
    **{("GET", f"/api/v2/{name}"): ADMIN for name in _ADMIN_READS.split()},
    ("GET", "/api/v2/unread"): ANYBODY,
    ("GET", "/api/v2/threads/{tid}/messages"): ANYBODY,
    ("GET", "/api/v2/threads/{tid}/joins"): ANYBODY,
    ("GET", "/api/v2/presence/{uid}"): OPERATORS,
    ("GET", "/api/v2/ping"): OPEN,
    ("GET", "/api/v2/push/key"): OPEN,  # public by its nature
    **{("GET", path): OPEN for path in ("/client.js", "/sw.js", "/icon.svg")},
    **{("GET", path): OPEN for path in ("/demo", "/demo/demo.js", "/demo/demo.css")},
    ("POST", "/demo/guest"): OPEN,  # not there unless MSGXC_DEMO is set
    **{("GET", path): OPEN for path in ("/", "/docs")},
    ("POST", "/api/v2/receipts"): OPEN,  # a token for one delivery
    ("POST", "/hooks/sendgrid"): OPEN,  # signed
    ("POST", "/hooks/twilio"): OPEN,  # signed
    ("POST", "/hooks/twilio/reply"): OPEN,  # signed
    ("GET", "/u/{token}"): OPEN,  # signed links
    ("POST", "/u/{token}"): OPEN,
    ("GET", "/p/{token}"): OPEN,
    ("POST", "/p/{token}"): OPEN,
    ("GET", "/c/{token}"): OPEN,
    ("POST", "/c/{token}"): OPEN,
    ("GET", "/l/{token}"): OPEN,
    ("GET", "/o/{token}.gif"): OPEN,
    ("GET", "/a/{path:path}"): OPEN,  # the same page for everybody
    ("GET", "/.well-known/apple-app-site-association"): OPEN,
    ("GET", "/.well-known/assetlinks.json"): OPEN,
    ("WEBSOCKET", "/api/v2/connect/{vid}/{sid}"): OPEN,  # asks for the token itself
}


_TEMPLATES = [(method, compile_path(path)[0], needed) for (method, path), needed in ACCESS.items()]


def rule(method: str, path: str) -> frozenset[Role] | None:
    """The line of the table for a path as it was asked for; None: there is none."""
    found = ACCESS.get((method, path))
    if found is None:
        fits = (needed for one, pattern, needed in _TEMPLATES if one == method and pattern.fullmatch(path))
        found = next(fits, None)
    return found


def methods(path: str) -> frozenset[str]:
    """By which methods a path may be asked for."""
    return frozenset(method for method, pattern, _ in _TEMPLATES if pattern.fullmatch(path))


async def allowed(connection: HTTPConnection) -> None:
    """Refuse whoever may not use the route, and whoever asks too often. Raises Problem, Unauthorized."""
    path = getattr(connection.scope.get("route"), "path", "")
    method = connection.scope.get("method", "WEBSOCKET")
    needed = ACCESS.get(("GET" if method == "HEAD" else method, path))
    if needed is None:
        raise Problem(403, "no_access_rule", "Nobody may use this.")
    _is_json(connection, path, method)
    if not needed:
        return
    principal = await principal_of(connection)
    charge(connection, principal.account, 1)
    if needed.isdisjoint(principal.roles):
        raise Problem(403, "role_needed", f"This needs the role {' or '.join(sorted(needed))}.")


def _is_json(connection: HTTPConnection, path: str, method: str) -> None:
    """A body of the API is JSON and says so: `curl --json`, not `curl -d`."""
    is_body = method == "POST" and path.startswith("/api/")
    if is_body and not says_json(connection.headers.get("content-type", "")):
        raise Problem(415, "media_type", "The body has to be JSON: Content-Type: application/json.")


def says_json(content_type: str) -> bool:
    """Whether it names JSON, or what is written in it (RFC 6839 section 3.1)."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def charge(connection: HTTPConnection, account: str, units: int) -> None:
    """Count what a caller asks for (gateway/rates.py); the answer's headers tell what is left. Raises
    TooMuch."""
    quota = connection.app.state.rates.count(account, asyncio.get_running_loop().time(), units)
    connection.scope["state"]["quota"] = quota
    if quota and quota.over:
        raise TooMuch("the quota of this minute is used up", quota.seconds)
