"""The way to Apple over our own HTTP/2: everything that is sent together leaves together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from aioapns.common import NotificationRequest, NotificationResult, PushType

from msgxc.http2 import Client, Head, Limits, Patience, Request, Result, Unanswered, post_head
from msgxc.providers.apns_token import ApnsSettings, Token, read_result
from msgxc.providers.http import trusted
from msgxc.providers.late import then

End = NotificationResult | Unanswered
_OWN = ("apns-expiration", "apns-id", "apns-collapse-id")


class Lean:
    """aioapns' requests and results over a Client. `request.message` holds the encoded payload."""

    def __init__(self, settings: ApnsSettings, token: Token) -> None:
        self._settings, self._token = settings, token
        self._heads: dict[tuple[str, PushType, int], Head] = {}
        self.client: Client | None = None

    async def send(
        self, wanted: Sequence[NotificationRequest], until: float, patience: Patience | None = None
    ) -> list[End | asyncio.Future[End]]:
        """How each request ended, in order, at a time of the event loop at the latest; with `patience`, those
        that are later than the others are futures."""
        authorization, now = self._token.get_header(), int(time.time())
        requests = [self._request(one, authorization, now) for one in wanted]
        ends = await self._open().send_some(requests, until, patience)
        return [_result(one.notification_id, end) for one, end in zip(wanted, ends, strict=True)]

    async def close(self) -> None:
        """Close the connections; a later send opens new ones."""
        if self.client is not None:
            await self.client.close()

    def _request(self, wanted: NotificationRequest, authorization: str, now: int) -> Request:
        ttl = wanted.time_to_live
        own = (
            b"%d" % (now + ttl if ttl else 0),
            wanted.notification_id.encode(),
            (wanted.collapse_key or "").encode(),
        )
        head = self._head(authorization, wanted.push_type or PushType.ALERT, wanted.priority or 10)
        body: Any = wanted.message
        return Request(head, b"/3/device/" + wanted.device_token.encode(), own, body)

    def _head(self, authorization: str, kind: PushType, priority: int) -> Head:
        """What these requests have in common: the same object each time."""
        key = (authorization, kind, priority)
        if key not in self._heads:
            self._heads = {known: head for known, head in self._heads.items() if known[0] == authorization}
            fields = {
                "authorization": authorization,
                "apns-topic": self._settings.topic,
                "apns-push-type": kind.value,
                "apns-priority": str(priority),
            }
            self._heads[key] = post_head(self._settings.host, fields, _OWN)
        return self._heads[key]

    def _open(self) -> Client:
        if self.client is None:
            at, tls = self._settings, trusted(self._settings.ca)
            tls.set_alpn_protocols(["h2"])
            self.client = Client(
                at.host, at.port, tls, Limits(connections=at.connections, connect=at.timeout)
            )
        return self.client


def _result(notification_id: str, end: Result | asyncio.Future[Result]) -> Any:
    """An end, or a future of one."""
    if isinstance(end, Unanswered):
        return end
    if isinstance(end, asyncio.Future):
        return then(end, lambda said: _result(notification_id, said))
    if end.status == 200:
        return NotificationResult(notification_id, "200")
    return read_result(notification_id, str(end.status), end.body)
