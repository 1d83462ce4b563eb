"""SendGrid's client as what it is good at: building and encoding a request, up to the point of sending it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from email.message import Message
from io import BytesIO
from typing import Any
from urllib.request import Request
from urllib.response import addinfourl

from python_http_client import Client


def draft(client: Client, body: Mapping[str, Any]) -> Request:
    """The request that SendGrid's client makes of a document."""
    kept: list[Request] = []
    _Draft(client.host, client.request_headers, kept).mail.send.post(request_body=body)
    return kept[0]


class _Draft(Client):  # type: ignore[misc]  # python_http_client has no types
    """SendGrid's client, up to where it would open a connection: there it keeps the request."""

    def __init__(
        self, host: str, headers: Mapping[str, str], kept: list[Request], path: Sequence[str] = ()
    ) -> None:
        super().__init__(host, request_headers=dict(headers), version=3, url_path=list(path))
        self._kept = kept

    def _build_client(self, name: str | None = None) -> _Draft:
        path = [*self._url_path, *([name] if name else [])]
        return _Draft(self.host, self.request_headers, self._kept, path)

    def _make_request(self, opener: object, request: Request, timeout: object = None) -> addinfourl:
        del opener, timeout
        self._kept.append(request)
        return addinfourl(BytesIO(), Message(), request.full_url, 202)
