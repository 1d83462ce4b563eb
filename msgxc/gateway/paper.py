"""The pages that people see in a browser: rendered without scripts, and never kept or framed by anybody."""

from __future__ import annotations

import secrets
from functools import cache
from pathlib import Path

from fastapi import Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from msgxc.gateway.misses import missed

_POLICY = (
    "default-src 'none'; style-src 'nonce-{nonce}'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)


class Gone(Exception):
    """A link that is not ours, or whose person is no longer here."""


@cache
def _template(name: str) -> Template:
    folder = FileSystemLoader(Path(__file__).parent / "pages")
    return Environment(loader=folder, autoescape=True, undefined=StrictUndefined).get_template(name)


def page(name: str, status: int = 200, **values: object) -> Response:
    """A page. Its address holds a key, so no other site learns it (Referrer-Policy)."""
    nonce = secrets.token_urlsafe(12)
    headers = {
        "Content-Security-Policy": _POLICY.format(nonce=nonce),
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    text = _template(name).render(nonce=nonce, **values)
    return Response(text, status, headers, media_type="text/html")


async def gone(request: Request, _error: Exception) -> Response:
    """What somebody sees whose link leads nowhere, and sooner or later whoever guesses links."""
    problem = missed(request)
    answer = page("gone.html", problem.status_code if problem else 404)
    answer.headers.update(problem.headers or {} if problem else {})
    return answer
