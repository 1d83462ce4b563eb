"""The way to Twilio over our own HTTP/1.1: the requests that its client would make, written here."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from twilio.rest import Client as Twilio

from msgxc import http1
from msgxc.http2 import Client, Request, Result, post_head
from msgxc.providers.http import trusted
from msgxc.providers.wire import form_value

#: Their values are the same in many messages, and belong to nobody.
_SHARED = {"From", "MessagingServiceSid", "ValidityPeriod"}
_shared_value = lru_cache(maxsize=256)(form_value)


def encoded(form: Mapping[str, str]) -> bytes:
    """The body of a request: what urllib's urlencode makes of the form, in a third of its time."""
    return "&".join([f"{name}={_value(name, value)}" for name, value in form.items()]).encode()


def _value(name: str, value: str) -> str:
    if name in _SHARED:
        return _shared_value(value)
    if name == "StatusCallback":
        url, mark, query = value.partition("?")
        return _shared_value(url + mark) + form_value(query)
    return form_value(value)


class Lean:
    """What Twilio's client says of itself and its login stand once in the head of every request."""

    def __init__(
        self, twilio: Twilio, uri: str, *, ca: Path | None, connections: int, timeout: float
    ) -> None:
        at = urlsplit(twilio.get_hostname(uri))
        login = b64encode(":".join(twilio.auth).encode()).decode()
        fields = {**twilio.get_headers("POST", None), "Authorization": f"Basic {login}"}
        fields["Accept-Encoding"] = "identity"
        self._head = post_head(at.netloc, {name.lower(): value for name, value in fields.items()}, ())
        self._host, self._port, self._path = at.hostname or "", at.port or 443, at.path.encode()
        self._ca, self._connections, self._timeout = ca, connections, timeout
        self.client: Client | None = None

    async def send(self, forms: Sequence[Mapping[str, str]], until: float) -> list[Result]:
        """How each request ended, in order, at a time of the event loop at the latest."""
        return await self._open().send([self.request(form) for form in forms], until)

    def request(self, form: Mapping[str, str]) -> Request:
        """What leaves for one form."""
        return Request(self._head, self._path, (), encoded(form))

    async def close(self) -> None:
        """Close the connections; a later send opens new ones."""
        if self.client is not None:
            await self.client.close()

    def _open(self) -> Client:
        if self.client is None:
            self.client = http1.client(
                self._host,
                self._port,
                trusted(self._ca),
                connections=self._connections,
                connect=self._timeout,
            )
        return self.client
