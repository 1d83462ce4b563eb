"""The way to Twilio through its own client, over kept connections (its own seam: a custom HTTP client)."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode

from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from twilio.rest import Client as Twilio

from msgxc.http2 import Answer, Patience, Result, Unanswered
from msgxc.providers.http import Http
from msgxc.providers.late import nearly
from msgxc.providers.wire import Lost, NotSent


class Library:
    """Twilio's client forms and signs each request. It is given the way out, so it is built once for here."""

    def __init__(
        self, twilio: Twilio, uri: str, *, ca: Path | None, connections: int, timeout: float
    ) -> None:
        self._twilio, self._uri = twilio, uri
        self._http = Http(ca=ca, connections=connections, timeout=timeout)
        twilio.http_client = _Door(self._http)

    async def send(
        self, forms: Sequence[Mapping[str, str]], until: float, patience: Patience | None = None
    ) -> list[Result | asyncio.Future[Result]]:
        """How each request ended, in order, at a time of the event loop at the latest; with `patience`, those
        that are later than the others are futures."""
        return await nearly([self._one(form, until) for form in forms], patience)

    async def close(self) -> None:
        """Close the connections; a later send opens new ones."""
        await self._http.close()

    async def _one(self, form: Mapping[str, str], until: float) -> Result:
        left = until - asyncio.get_running_loop().time()
        try:
            said = await self._twilio.request_async("POST", self._uri, data=dict(form), timeout=left)
        except NotSent:
            return Unanswered.NOT_PROCESSED
        except Lost:
            return Unanswered.IN_DOUBT
        return Answer(said.status_code, said.headers or {}, said.text.encode())


class _Door(AsyncHttpClient):  # type: ignore[misc]  # twilio has no types
    """The way out that Twilio's client is given: kept connections, and no log of what is sent."""

    def __init__(self, http: Http) -> None:
        super().__init__(logging.getLogger("twilio"), is_async=True)
        self._http = http

    async def request(
        self,
        method: str,  # noqa: ARG002  # always POST
        uri: str,
        *,
        data: Mapping[str, str],
        headers: Mapping[str, str],
        auth: tuple[str, str],
        timeout: float,  # noqa: ASYNC109  # Twilio's client says it so
        **_nothing: object,
    ) -> Response:
        """Send a form. Raises NotSent or Lost."""
        login = b64encode(":".join(auth).encode()).decode()
        headers = {**headers, "Authorization": f"Basic {login}"}
        answer = await self._http.post(uri, body=urlencode(data).encode(), headers=headers, seconds=timeout)
        return Response(answer.status, answer.body.decode("utf-8", "replace"), answer.headers)
