"""Firebase Cloud Messaging, HTTP v1, through pyfcm: its message form and its OAuth credentials.

pyfcm sleeps in the calling thread for a Retry-After, sends a 502 or 503 again by itself, and opens a client
for each asynchronous message; so its form and its token go out over our own HTTP/2, or over kept connections
of HTTP/1.1, instead.
Rules: firebase.google.com, "REST Resource: projects.messages", "ErrorCode", "Best practices when sending".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from google.auth.exceptions import GoogleAuthError
from pyfcm import FCMNotification

from msgxc.errors import WrongSettings
from msgxc.http2 import Answer, Head, Patience, Request, Result, post_head
from msgxc.model import Channel, Options, Outcome, Outgoing, Push, Reason, Receipt, Urgency
from msgxc.providers import wire
from msgxc.providers.fcm_token import AccessToken, credentials
from msgxc.providers.http import Http
from msgxc.providers.keys import key_text
from msgxc.providers.late import Said, then
from msgxc.providers.lean import Lean
from msgxc.providers.waiting import retry_after

if TYPE_CHECKING:
    from msgxc.sandbox.endpoints import Endpoints
    from msgxc.settings import Settings

# -- settings -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FcmSettings:
    """`service_account` is the JSON text. `timeout` is in seconds; the provider advises 10 or more."""

    service_account: str = field(repr=False)
    url: str = "https://fcm.googleapis.com"
    ca: Path | None = None
    timeout: float = 10.0
    connections: int = 100
    transport: Literal["lean", "library"] = "lean"


def from_settings(settings: Settings) -> FcmSettings | None:
    """The settings of the real provider; None when no credentials are set. Raises WrongSettings."""
    value, name = settings.fcm_service_account.get_secret_value(), "MSGXC_FCM_SERVICE_ACCOUNT"
    if not value:
        return None
    account = key_text(name, value)
    try:
        if not credentials(account).project_id:
            raise WrongSettings(f"{name}: names no project_id")
    except (ValueError, TypeError, AttributeError, GoogleAuthError):
        raise WrongSettings(f"{name}: not a service account in JSON form, nor the path of one") from None
    return FcmSettings(
        account,
        timeout=settings.provider_timeout,
        connections=min(settings.in_flight, 100),
        transport=settings.transport,
    )


def from_sandbox(endpoints: Endpoints, timeout: float) -> FcmSettings:
    """The settings of a running sandbox."""
    account = endpoints.fcm.service_account_file.read_text(encoding="utf-8")
    return FcmSettings(account, endpoints.fcm.url, endpoints.ca, timeout)


# -- wire ---------------------------------------------------------------------------------------------------

PAYLOAD_LIMIT = 4096  # bytes of the keys and values of notification and data
LONGEST_TTL = 2_419_200  # seconds: 28 days
#: Urgency to android.priority of what is seen; what is not is NORMAL: docs/urgency.md has the reason.
PRIORITY = {Urgency.VERY_LOW: "NORMAL", Urgency.LOW: "NORMAL", Urgency.NORMAL: "HIGH", Urgency.HIGH: "HIGH"}

_BLOCKED = (Outcome.BLOCKED, Reason.CREDENTIALS)
_LATER = (Outcome.LATER, Reason.UNAVAILABLE)

#: The error codes of HTTP v1, and the canonical codes that stand in their place where there are none.
CODES: Mapping[str, tuple[Outcome, Reason]] = {
    "INVALID_ARGUMENT": (Outcome.REFUSED, Reason.MALFORMED),
    "UNREGISTERED": (Outcome.DEAD, Reason.UNREGISTERED),
    "SENDER_ID_MISMATCH": (Outcome.REFUSED, Reason.MISMATCH),
    "QUOTA_EXCEEDED": (Outcome.LATER, Reason.THROTTLED),
    "UNAVAILABLE": _LATER,
    "INTERNAL": _LATER,
    "THIRD_PARTY_AUTH_ERROR": (Outcome.REFUSED, Reason.MISMATCH),  # this token is an iPhone's or a browser's
    "UNAUTHENTICATED": _BLOCKED,
    "PERMISSION_DENIED": _BLOCKED,
    "RESOURCE_EXHAUSTED": (Outcome.LATER, Reason.THROTTLED),
}
#: For an answer without a code that we know. A bare 404 is a wrong project, not a dead token.
STATUSES: Mapping[int, tuple[Outcome, Reason]] = {
    400: (Outcome.REFUSED, Reason.MALFORMED),
    401: _BLOCKED,
    403: _BLOCKED,
    404: (Outcome.REFUSED, Reason.REJECTED),
    413: (Outcome.REFUSED, Reason.TOO_LARGE),
    429: (Outcome.LATER, Reason.THROTTLED),
    500: _LATER,
    503: _LATER,
}
#: What the text of an INVALID_ARGUMENT says, if anything.
WORDS = {
    "registration token": Reason.INVALID_ADDRESS,
    "message.token": Reason.INVALID_ADDRESS,
    "too big": Reason.TOO_LARGE,
}
#: Seconds to wait where the answer names none: a minute for the quota, ten seconds for an outage.
WAITS = {Reason.THROTTLED: 60.0, Reason.UNAVAILABLE: 10.0}


def parts(outgoing: Outgoing) -> dict[str, Any] | Receipt:
    """The arguments of pyfcm's parse_payload for one delivery; or the receipt that refuses it here."""
    content, token = outgoing.content, outgoing.target.address
    if not isinstance(content, Push):
        return wire.MALFORMED
    if not (0 < len(token) <= 4096 and token.isascii() and token.isprintable()):
        return wire.INVALID_ADDRESS
    title, body, image = wire.clean(content.title), wire.clean(content.body), wire.clean(content.image)
    data = _data(content, outgoing)
    pairs = [("title", title), ("body", body), ("image", image), *data.items()]
    ttl, shown = outgoing.ttl, dict[str, Any](tag=outgoing.collapse)
    if content.options is not None:
        ttl = ttl if content.options.ttl is None else content.options.ttl
        shown |= android(content.options)
        pairs += [(name, text) for name, text in shown.items() if isinstance(text, str)]
        pairs += [(name, text) for name, some in shown.items() if isinstance(some, list) for text in some]
    silent = not (title or body)
    if not wire.fits([text for pair in pairs if pair[1] for text in pair], PAYLOAD_LIMIT):
        return wire.TOO_LARGE
    return {
        "fcm_token": token,
        # Android shows the text itself where there is one, and looks for no key then.
        "notification_title": "" if "title_loc_key" in shown else title,
        "notification_body": "" if "body_loc_key" in shown else body,
        "notification_image": image,
        "data_payload": data,
        "android_config": {
            "priority": "NORMAL" if silent else PRIORITY[outgoing.urgency],
            "ttl": f"{min(max(ttl, 0), LONGEST_TTL)}s",
            **({} if silent else {"notification": shown}),
        },
    }


#: Fields of Options that AndroidNotification calls the same; and others, with what is made of them.
ANDROID = ("sound", "tag", "channel_id", "color", "icon", "click_action", "ticker", "sticky", "local_only")


def android(chosen: Options) -> dict[str, Any]:
    """What Android shows besides the words: fields of AndroidNotification."""
    found = {name: value for name in ANDROID if (value := getattr(chosen, name)) not in (None, "")}
    count = chosen.badge if chosen.notification_count is None else chosen.notification_count
    if count is not None:
        found["notification_count"] = count
    if chosen.visibility:
        found["visibility"] = chosen.visibility.upper()
    if chosen.notification_priority:
        found["notification_priority"] = f"PRIORITY_{chosen.notification_priority.upper()}"
    for part in ("title", "body"):
        if key := getattr(chosen, f"{part}_loc_key"):
            found[f"{part}_loc_key"] = key
            if args := getattr(chosen, f"{part}_loc_args"):
                found[f"{part}_loc_args"] = [wire.clean(one) for one in args]
    if chosen.vibrate:
        found["vibrate_timings"] = [f"{one // 1000}.{one % 1000:03d}s" for one in chosen.vibrate]
    return {name: wire.clean(value) if isinstance(value, str) else value for name, value in found.items()}


def _data(content: Push, outgoing: Outgoing) -> dict[str, str]:
    """What the app gets for itself."""
    named = {"msgxc_delivery": str(outgoing.delivery), **wire.receipt_of(outgoing, "msgxc_receipt")}
    data = {**content.data, "url": content.url, **named} if content.url else {**content.data, **named}
    if "".join([*data, *data.values()]).isascii():
        return data
    return {wire.clean(name): wire.clean(value) for name, value in data.items()}


def receipt(answer: wire.Answer, now: datetime) -> Receipt:
    """The provider's answer in our words."""
    said = wire.from_json(answer.body)
    if answer.status == 200:
        name = said.get("name")
        return Receipt(Outcome.ACCEPTED, ref=name) if isinstance(name, str) else wire.unreadable(200)
    code, at_fault = _code(said)
    known = CODES.get(code) or STATUSES.get(answer.status)
    if known is None:
        return wire.unreadable(answer.status)
    outcome, reason = known
    wait = None
    if outcome is Outcome.LATER:
        wait = retry_after(answer.headers, now) or WAITS[reason]
    return Receipt(
        outcome, at_fault or reason, code if code in CODES else str(answer.status), retry_after=wait
    )


def _code(said: Mapping[str, Any]) -> tuple[str, Reason | None]:
    """The most exact error code; and what an INVALID_ARGUMENT is about, which only its message tells."""
    error = said.get("error")
    error = error if isinstance(error, dict) else {}
    details = error.get("details")
    details = [d for d in details if isinstance(d, dict)] if isinstance(details, list) else []
    code = next((d["errorCode"] for d in details if isinstance(d.get("errorCode"), str)), error.get("status"))
    if not isinstance(code, str) or code != "INVALID_ARGUMENT":
        return (code if isinstance(code, str) else ""), None
    words = f"{error.get('message')} {details}"
    return code, next((reason for word, reason in WORDS.items() if word in words), None)


# -- sending ------------------------------------------------------------------------------------------------


class _Documents(FCMNotification):  # type: ignore[misc]  # pyfcm has no types
    """pyfcm's own, but for the encoder: json.dumps makes a new one for each message."""

    def json_dumps(self, data: Mapping[str, Any]) -> bytes:
        """Its name and answer are pyfcm's."""
        return wire.to_json(data)


class Fcm:
    """Sends to Android devices, and to whatever else has a registration token."""

    channel = Channel.FCM
    batch = 1

    def __init__(self, settings: FcmSettings, clock: Callable[[], datetime] = wire.utc_now) -> None:
        self._settings, self._clock = settings, clock
        account = credentials(settings.service_account)
        self._fcm = _Documents(credentials=account)
        self._fcm.FCM_END_POINT_BASE = f"{settings.url}/v1/projects"
        self._token = AccessToken(account, settings.ca, settings.timeout)
        way = Http if settings.transport == "library" else Lean
        self._over = way(ca=settings.ca, connections=settings.connections, timeout=settings.timeout)
        self._head = ("", post_head("", {}, ()))  # a token, and what all requests with it have in common

    async def send(self, batch: Sequence[Outgoing], patience: Patience | None = None) -> list[Said]:
        """One receipt for each delivery, in order; with `patience`, a future for those that are late."""
        until = asyncio.get_running_loop().time() + self._settings.timeout
        wanted = [self._body(outgoing) for outgoing in batch]
        to_send = [one for one in wanted if not isinstance(one, Receipt)]
        said = iter(await self._sent(to_send, until, patience))
        return [one if isinstance(one, Receipt) else next(said) for one in wanted]

    async def close(self) -> None:
        """Close the connections; a later send opens new ones."""
        self._token.close()
        await self._over.close()

    def _body(self, outgoing: Outgoing) -> bytes | Receipt:
        wanted = parts(outgoing)
        body: bytes | Receipt = wanted if isinstance(wanted, Receipt) else self._fcm.parse_payload(**wanted)
        return body

    async def _sent(self, bodies: list[bytes], until: float, patience: Patience | None) -> list[Said]:
        """Send; once more with a new token what met a 401, which accepts nothing."""
        if not bodies:
            return []
        token = await self._token.get(until)
        ends = await self._post(bodies, token, until, patience)
        if expired := [at for at, end in enumerate(ends) if isinstance(end, Answer) and end.status == 401]:
            token = await self._token.get(until, stale=str(token))
            again = await self._post([bodies[at] for at in expired], token, until, patience)
            for at, end in zip(expired, again, strict=True):
                ends[at] = end
        now = self._clock()
        return [end if isinstance(end, Receipt) else self._said(end, now) for end in ends]

    def _said(self, end: Result | asyncio.Future[Result], now: datetime) -> Said:
        if isinstance(end, asyncio.Future):
            return then(end, lambda said: wire.ended(said, receipt, self._clock()))
        return wire.ended(end, receipt, now)

    async def _post(
        self, bodies: list[bytes], token: str | Receipt, until: float, patience: Patience | None
    ) -> list[Result | Receipt | asyncio.Future[Result]]:
        """How each request ended; where there is no token, its refusal."""
        if isinstance(token, Receipt):
            return [token] * len(bodies)
        at = urlsplit(self._fcm.fcm_end_point)
        head, path = self._head_with(token, at.netloc), at.path.encode()
        requests = [Request(head, path, (b"%d" % len(body),), body) for body in bodies]
        return [*await self._over.post_each(f"https://{at.netloc}", requests, until, patience)]

    def _head_with(self, token: str, authority: str) -> Head:
        if self._head[0] != token:
            fields = {"authorization": f"Bearer {token}", "content-type": "application/json"}
            self._head = (token, post_head(authority, fields, ("content-length",)))
        return self._head[1]
