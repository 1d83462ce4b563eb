"""Web push to browsers: RFC 8030 (delivery), 8291 (encryption), 8292 (VAPID, through py_vapid).

The endpoint is a URL that somebody gave us: it is checked against an allow-list, and no redirect is followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from msgxc import http2
from msgxc.endpoint import is_allowed, origin
from msgxc.errors import WrongSettings
from msgxc.model import Channel, Options, Outcome, Outgoing, Push, Reason, Receipt, Urgency
from msgxc.providers import wire
from msgxc.providers.encryption import (
    PLAINTEXT_LIMIT,
    Subscriber,
    encrypt,
    encrypt_by_pywebpush,
    subscriber,
)
from msgxc.providers.http import Http
from msgxc.providers.keys import all_or_none, key_text
from msgxc.providers.late import Said, then
from msgxc.providers.lean import Lean
from msgxc.providers.vapid import Vapid, is_contact
from msgxc.providers.waiting import retry_after

if TYPE_CHECKING:
    from msgxc.sandbox.endpoints import Endpoints
    from msgxc.settings import Settings

# -- settings -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WebPushSettings:
    """`vapid_key` is PEM, or base64url of DER or of 32 raw bytes; `contact` a mailto: or https: URL.

    `hosts` are the push services that an endpoint may name; `*.x.org` stands for every name below x.org.
    `origins` sends what is meant for one origin to another one: for the sandbox alone.
    """

    vapid_key: str = field(repr=False)
    contact: str
    hosts: tuple[str, ...]
    origins: Mapping[str, str] = field(default_factory=dict)
    ca: Path | None = None
    timeout: float = 10.0
    connections: int = 100
    transport: Literal["lean", "library"] = "lean"


def from_settings(settings: Settings) -> WebPushSettings | None:
    """The settings of the real provider; None when no credentials are set. Raises WrongSettings."""
    key, contact = settings.vapid_private_key.get_secret_value(), settings.vapid_contact
    if not all_or_none({"MSGXC_VAPID_PRIVATE_KEY": key, "MSGXC_VAPID_CONTACT": contact}):
        return None
    text = key_text("MSGXC_VAPID_PRIVATE_KEY", key)
    if not is_contact(contact):
        raise WrongSettings(
            "MSGXC_VAPID_CONTACT: mailto: and one address that others can reach, as mailto:ops@example.org, "
            "or an https URL; no blanks, names or < >"
        )
    try:
        Vapid(text, contact)
    except ValueError as failure:
        raise WrongSettings(f"MSGXC_VAPID_PRIVATE_KEY: {failure}") from None
    hosts = tuple(host.strip().lower() for host in settings.webpush_hosts.split(",") if host.strip())
    return WebPushSettings(
        text,
        contact,
        hosts,
        timeout=settings.provider_timeout,
        connections=min(settings.in_flight, 100),
        transport=settings.transport,
    )


def from_sandbox(endpoints: Endpoints, timeout: float) -> WebPushSettings:
    """The settings of a running sandbox: its example subscriptions are sent to where it listens."""
    from msgxc.sandbox.subscriber import PUSH_ORIGIN

    at = endpoints.webpush
    return WebPushSettings(
        vapid_key=at.vapid_private_key_file.read_text(encoding="ascii"),
        contact=at.vapid_contact,
        hosts=(urlsplit(PUSH_ORIGIN).hostname or "",),
        origins={PUSH_ORIGIN: at.url},
        ca=endpoints.ca,
        timeout=timeout,
    )


# -- wire ---------------------------------------------------------------------------------------------------

HEADS = 1000  # kept: origins, times four urgencies
OWN = ("ttl", "topic", "content-length")  # the headers that differ
URGENCY = {
    Urgency.VERY_LOW: "very-low",
    Urgency.LOW: "low",
    Urgency.NORMAL: "normal",
    Urgency.HIGH: "high",
}
#: RFC 8030 sections 5 and 7.3, RFC 8292 section 4.2. 5xx that are not here may have been accepted.
STATUSES: Mapping[int, tuple[Outcome, Reason]] = {
    400: (Outcome.REFUSED, Reason.MALFORMED),
    401: (Outcome.BLOCKED, Reason.CREDENTIALS),
    403: (Outcome.BLOCKED, Reason.CREDENTIALS),
    404: (Outcome.DEAD, Reason.UNREGISTERED),
    406: (Outcome.LATER, Reason.THROTTLED),  # Microsoft's: too many to this channel
    408: (Outcome.LATER, Reason.UNAVAILABLE),
    410: (Outcome.DEAD, Reason.UNREGISTERED),
    413: (Outcome.REFUSED, Reason.TOO_LARGE),
    429: (Outcome.LATER, Reason.THROTTLED),
    500: (Outcome.LATER, Reason.UNAVAILABLE),
    503: (Outcome.LATER, Reason.UNAVAILABLE),
}
#: In a refusal: this one subscription was made with another VAPID key. Apple's word, Google's two sentences,
#: and Mozilla's (autopush-rs, autoendpoint/src/error.rs: errno 109).
OTHER_KEY = (
    b"VapidPkHashMismatch",
    b"do not correspond to the credentials",
    b"does not correspond to the sender ID",
    b"VAPID public key mismatch",
)


@dataclass(frozen=True, slots=True)
class Request:
    """One push, not yet encrypted. `endpoint` is as the browser gave it."""

    endpoint: str = field(repr=False)
    keys: Subscriber
    plaintext: bytes = field(repr=False)
    ttl: int
    headers: Mapping[str, str] = field(repr=False)


def request(outgoing: Outgoing, hosts: Iterable[str]) -> Request | Receipt:
    """The push for one delivery; or the receipt that refuses it here."""
    content, device = outgoing.content, outgoing.target.device
    if not isinstance(content, Push) or content.is_silent:  # a browser has to show something for each push
        return wire.MALFORMED
    if device is None or not is_allowed(device.token, hosts):
        return wire.INVALID_ADDRESS
    keys = subscriber(device.p256dh, device.auth)
    if keys is None:
        return wire.INVALID_ADDRESS
    plaintext = wire.to_json(payload(content, outgoing))
    if len(plaintext) > PLAINTEXT_LIMIT:
        return wire.TOO_LARGE
    headers = {"Urgency": URGENCY[outgoing.urgency], "Topic": outgoing.collapse}
    ttl = outgoing.ttl
    if content.options is not None and content.options.ttl is not None:
        ttl = content.options.ttl
    return Request(device.token, keys, plaintext, max(ttl, 0), headers)


def payload(content: Push, outgoing: Outgoing) -> dict[str, Any]:
    """What the service worker gets; `tag` replaces on screen what `Topic` could not replace on the way."""
    return {
        "title": content.title,
        "body": content.body,
        **{name: value for name, value in (("url", content.url), ("image", content.image)) if value},
        **({"data": dict(content.data)} if content.data else {}),
        "tag": outgoing.collapse,
        **({} if content.options is None else shown(content.options)),
        **{"delivery": str(outgoing.delivery), **wire.receipt_of(outgoing)},
    }


#: Fields of Options, and what the options of showNotification are called; appBadge is for setAppBadge.
SHOWN = {
    "tag": "tag",
    "web_icon": "icon",
    "web_badge": "badge",
    "badge": "appBadge",
    "actions": "actions",
    "require_interaction": "requireInteraction",
    "renotify": "renotify",
    "silent": "silent",
    "vibrate": "vibrate",
}


def shown(chosen: Options) -> dict[str, Any]:
    """What the browser shows besides the words."""
    return {name: value for field, name in SHOWN.items() if (value := getattr(chosen, field)) is not None}


def receipt(answer: wire.Answer, now: datetime) -> Receipt:
    """The push service's answer in our words. Its Location is a capability, and is not kept."""
    if answer.status in (200, 201, 202):
        return Receipt(Outcome.ACCEPTED, code=str(answer.status))
    code = str(answer.status)
    if answer.status in (400, 401, 403) and _names_other_key(answer.body):
        return Receipt(Outcome.REFUSED, Reason.MISMATCH, code)
    if 300 <= answer.status < 500 and answer.status not in STATUSES:  # RFC 9110 section 15.5: not done
        return Receipt(Outcome.REFUSED, Reason.REJECTED, code)
    if answer.status not in STATUSES:
        return wire.unreadable(answer.status)
    outcome, reason = STATUSES[answer.status]
    wait = retry_after(answer.headers, now) if outcome is Outcome.LATER else None
    return Receipt(outcome, reason, code, retry_after=wait)


def _names_other_key(body: bytes) -> bool:
    """Whether a refusal is about the key that this one subscription was made with."""
    return any(words in body for words in OTHER_KEY) or wire.from_json(body).get("errno") == 109


# -- sending ------------------------------------------------------------------------------------------------


class WebPush:
    """Sends to browsers, whatever push service they chose."""

    channel = Channel.WEBPUSH
    batch = 1

    def __init__(self, settings: WebPushSettings, clock: Callable[[], datetime] = wire.utc_now) -> None:
        self._settings, self._clock = settings, clock
        self._vapid = Vapid(settings.vapid_key, settings.contact)
        library = settings.transport == "library"
        self._encrypt = encrypt_by_pywebpush if library else encrypt
        way = Http if library else Lean
        self._over = way(ca=settings.ca, connections=settings.connections, timeout=settings.timeout)
        self._heads: dict[tuple[str, str, str], http2.Head] = {}

    async def send(self, batch: Sequence[Outgoing], patience: http2.Patience | None = None) -> list[Said]:
        """One receipt for each delivery, in order; with `patience`, a future for those that are late."""
        until = asyncio.get_running_loop().time() + self._settings.timeout
        wanted = [request(outgoing, self._settings.hosts) for outgoing in batch]
        to_send = [one for one in wanted if not isinstance(one, Receipt)]
        said = iter(await self._sent(to_send, until, patience))
        return [one if isinstance(one, Receipt) else next(said) for one in wanted]

    async def close(self) -> None:
        """Close the connections; a later send opens new ones."""
        await self._over.close()

    async def _sent(self, wanted: list[Request], until: float, patience: http2.Patience | None) -> list[Said]:
        """To each origin what is its own, all at once."""
        at_origin: dict[str, list[int]] = {}
        for at, one in enumerate(wanted):
            at_origin.setdefault(origin(one.endpoint), []).append(at)
        ends = dict[int, http2.Result | asyncio.Future[http2.Result]]()
        for answered in await asyncio.gather(
            *(
                self._post(to, [(at, wanted[at]) for at in those], until, patience)
                for to, those in at_origin.items()
            )
        ):
            ends.update(answered)
        now = self._clock()
        return [self._said(ends[at], now) for at in range(len(wanted))]

    def _said(self, end: http2.Result | asyncio.Future[http2.Result], now: datetime) -> Said:
        if isinstance(end, asyncio.Future):
            return then(end, lambda said: wire.ended(said, receipt, self._clock()))
        return wire.ended(end, receipt, now)

    async def _post(
        self, to: str, wanted: Sequence[tuple[int, Request]], until: float, patience: http2.Patience | None
    ) -> dict[int, http2.Result | asyncio.Future[http2.Result]]:
        """Send to one push service; how each ended, by its number."""
        url = self._settings.origins.get(to, to)
        authorization = self._vapid.headers(to, self._clock())["Authorization"]
        requests = [self._encrypted(one, url, authorization) for _, one in wanted]
        ends = await self._over.post_each(url, requests, until, patience)
        return {at: end for (at, _), end in zip(wanted, ends, strict=True)}

    def _encrypted(self, wanted: Request, url: str, authorization: str) -> http2.Request:
        body = self._encrypt(wanted.plaintext, wanted.keys)
        own = (b"%d" % wanted.ttl, wanted.headers["Topic"].encode(), b"%d" % len(body))
        path = "/" + wanted.endpoint.split("/", 3)[3]
        return http2.Request(
            self._head(url, wanted.headers["Urgency"], authorization), path.encode(), own, body
        )

    def _head(self, url: str, urgency: str, authorization: str) -> http2.Head:
        """What these requests have in common: the same object each time."""
        key = (url, urgency, authorization)
        if key not in self._heads:
            if len(self._heads) >= HEADS:
                self._heads.clear()
            fields = {
                "authorization": authorization,
                "content-encoding": "aes128gcm",
                "content-type": "application/octet-stream",
                "urgency": urgency,
            }
            self._heads[key] = http2.post_head(url.split("/", 3)[2], fields, OWN)
        return self._heads[key]
