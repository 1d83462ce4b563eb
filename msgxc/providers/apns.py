"""Apple's push service: aioapns' types, token (ES256) and words, over our own HTTP/2 or over aioapns'.

Rules: developer.apple.com, "Sending notification requests to APNs" and "Handling notification responses".
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aioapns.common import NotificationRequest, NotificationResult, PushType

from msgxc.http2 import Patience, Unanswered
from msgxc.model import Channel, Options, Outcome, Outgoing, Push, Reason, Receipt, Urgency
from msgxc.providers import wire
from msgxc.providers.apns_connection import Library
from msgxc.providers.apns_lean import Lean
from msgxc.providers.apns_token import ApnsSettings, Token
from msgxc.providers.keys import all_or_none, check_p256_pem, key_text
from msgxc.providers.late import Said, then

if TYPE_CHECKING:
    from msgxc.sandbox.endpoints import Endpoints
    from msgxc.settings import Settings

# -- settings -----------------------------------------------------------------------------------------------


def from_settings(settings: Settings) -> ApnsSettings | None:
    """The settings of the real provider; None when no credentials are set. Raises WrongSettings."""
    key = settings.apns_key.get_secret_value()
    named = {
        "MSGXC_APNS_KEY": key,
        "MSGXC_APNS_KEY_ID": settings.apns_key_id,
        "MSGXC_APNS_TEAM_ID": settings.apns_team_id,
        "MSGXC_APNS_TOPIC": settings.apns_topic,
    }
    if not all_or_none(named):
        return None
    return ApnsSettings(
        key_pem=check_p256_pem("MSGXC_APNS_KEY", key_text("MSGXC_APNS_KEY", key)),
        key_id=settings.apns_key_id,
        team_id=settings.apns_team_id,
        topic=settings.apns_topic,
        host="api.development.push.apple.com" if settings.apns_development else "api.push.apple.com",
        timeout=settings.provider_timeout,
        transport=settings.transport,
    )


def from_sandbox(endpoints: Endpoints, timeout: float) -> ApnsSettings:
    """The settings of a running sandbox."""
    at = endpoints.apns
    key = at.key_file.read_text(encoding="ascii")
    return ApnsSettings(key, at.key_id, at.team_id, at.topic, at.host, at.port, endpoints.ca, timeout)


# -- wire ---------------------------------------------------------------------------------------------------

PAYLOAD_LIMIT = 4096  # bytes, encoded
#: "Do not assume a token length": only what cannot stand in a path is refused here.
TOKEN = re.compile(r"[A-Za-z0-9_-]{1,1000}")
#: Urgency to apns-priority; 10 only for what the person sees.
PRIORITY = {Urgency.VERY_LOW: 1, Urgency.LOW: 5, Urgency.NORMAL: 10, Urgency.HIGH: 10}

_OURS = (Outcome.REFUSED, Reason.MALFORMED)
_BLOCKED = (Outcome.BLOCKED, Reason.CREDENTIALS)
_LATER = (Outcome.LATER, Reason.UNAVAILABLE)
_THROTTLED = (Outcome.LATER, Reason.THROTTLED)

#: Apple's reason strings; TooManyRequests is about that one device token.
REASONS: Mapping[str, tuple[Outcome, Reason]] = {
    "BadDeviceToken": (Outcome.DEAD, Reason.INVALID_ADDRESS),
    "DeviceTokenNotForTopic": (Outcome.DEAD, Reason.MISMATCH),
    "ExpiredToken": (Outcome.DEAD, Reason.UNREGISTERED),
    "Unregistered": (Outcome.DEAD, Reason.UNREGISTERED),
    "PayloadTooLarge": (Outcome.REFUSED, Reason.TOO_LARGE),
    **dict.fromkeys(("TooManyProviderTokenUpdates", "TooManyRequests"), _THROTTLED),
    **dict.fromkeys(("IdleTimeout", "InternalServerError", "ServiceUnavailable", "Shutdown"), _LATER),
    **dict.fromkeys(("BadCollapseId", "BadExpirationDate", "BadMessageId", "BadPath", "BadPriority"), _OURS),
    **dict.fromkeys(("DuplicateHeaders", "InvalidPushType", "MethodNotAllowed"), _OURS),
    **dict.fromkeys(("MissingDeviceToken", "PayloadEmpty"), _OURS),
    **dict.fromkeys(("BadTopic", "MissingTopic"), _BLOCKED),  # MSGXC_APNS_TOPIC
    **dict.fromkeys(("BadCertificate", "BadCertificateEnvironment", "BadEnvironmentKeyIdInToken"), _BLOCKED),
    **dict.fromkeys(("ExpiredProviderToken", "Forbidden", "InvalidProviderToken"), _BLOCKED),
    **dict.fromkeys(("MissingProviderToken", "TopicDisallowed", "UnrelatedKeyIdInToken"), _BLOCKED),
}
#: For a reason that is not in the table.
STATUSES: Mapping[str, tuple[Outcome, Reason]] = {
    "400": _OURS,
    "403": _BLOCKED,
    "404": _OURS,
    "405": _OURS,
    "410": (Outcome.DEAD, Reason.UNREGISTERED),
    "413": (Outcome.REFUSED, Reason.TOO_LARGE),
    "429": _THROTTLED,
    "500": _LATER,
    "503": _LATER,
}
#: Seconds to wait; Apple's answers give none. A provider token may be renewed every 20 minutes.
WAITS = {"TooManyProviderTokenUpdates": 1200.0}


def request(outgoing: Outgoing) -> NotificationRequest | Receipt:
    """The request for one delivery, its payload encoded; or the receipt that refuses it here."""
    content, token = outgoing.content, outgoing.target.address
    if not isinstance(content, Push):
        return wire.MALFORMED
    if not TOKEN.fullmatch(token):
        return Receipt(Outcome.DEAD, Reason.INVALID_ADDRESS)
    body = wire.to_json(payload(content, outgoing.urgency) | wire.receipt_of(outgoing, "msgxc_receipt"))
    if len(body) > PAYLOAD_LIMIT:
        return wire.TOO_LARGE
    visible, priority = bool(content.title or content.body), PRIORITY[outgoing.urgency]
    chosen, ttl, collapse, badge = content.options, outgoing.ttl, outgoing.collapse, False
    if chosen is not None:
        ttl = ttl if chosen.ttl is None else chosen.ttl
        collapse, badge = chosen.tag or collapse, chosen.badge is not None
    return NotificationRequest(
        token,
        body,  # type: ignore[arg-type]  # our connection takes it encoded
        str(outgoing.delivery),
        ttl,
        priority if visible else min(priority, 5),
        collapse,
        PushType.ALERT if visible or badge else PushType.BACKGROUND,  # a badge is something to see
    )


def payload(content: Push, urgency: Urgency) -> dict[str, Any]:
    """What the app gets: `aps` for the system, the rest for itself. Without title and body: in silence."""
    aps: dict[str, Any] = {"content-available": 1}
    if content.title or content.body:
        aps = {"alert": {"title": content.title, "body": content.body}}
        if urgency >= Urgency.NORMAL:
            aps["sound"] = "default"
        if content.image:
            aps["mutable-content"] = 1
    if content.options is not None:
        _choose(aps, content.options)
    extra = {"url": content.url} if content.url else {}
    if content.image:
        extra["image"] = content.image
    return {**content.data, **extra, "aps": aps}


#: Fields of Options, and Apple's names for them.
APS = {
    "badge": "badge",
    "thread_id": "thread-id",
    "category": "category",
    "target_content_id": "target-content-id",
    "filter_criteria": "filter-criteria",
    "interruption_level": "interruption-level",
    "relevance_score": "relevance-score",
}
#: The texts of an alert, and how Apple's names for their keys begin.
LOCALIZED = {"title": "title-", "subtitle": "subtitle-", "body": ""}


def _choose(aps: dict[str, Any], chosen: Options) -> None:
    for field, name in APS.items():
        if (value := getattr(chosen, field)) is not None:
            aps[name] = value
    if chosen.subtitle:
        aps["alert"]["subtitle"] = chosen.subtitle
    for part, name in LOCALIZED.items():  # Apple: "instead of" the text itself
        if (key := getattr(chosen, f"{part}_loc_key")) and "alert" in aps:
            aps["alert"].pop(part, None)
            aps["alert"][f"{name}loc-key"] = key
            if args := getattr(chosen, f"{part}_loc_args"):
                aps["alert"][f"{name}loc-args"] = list(args)
    if chosen.mutable_content:
        aps["mutable-content"] = 1
    if chosen.content_available:
        aps["content-available"] = 1
    if chosen.critical or chosen.volume is not None:
        volume = {} if chosen.volume is None else {"volume": chosen.volume}
        aps["sound"] = {"critical": int(chosen.critical), "name": chosen.sound or "default", **volume}
    elif chosen.sound is not None:
        aps["sound"] = chosen.sound
        if not chosen.sound:
            del aps["sound"]


def receipt(result: NotificationResult) -> Receipt:
    """Apple's answer in our words."""
    if result.status == "200":
        return Receipt(Outcome.ACCEPTED, ref=result.notification_id)
    code = result.description if isinstance(result.description, str) else ""
    known = REASONS.get(code) or STATUSES.get(result.status)
    if known is None:
        return wire.unreadable(int(result.status) if result.status.isdecimal() else 0)
    outcome, reason = known
    dead_since = _time(result.timestamp) if outcome is Outcome.DEAD else None
    wait = WAITS.get(code) if outcome is Outcome.LATER else None
    return Receipt(
        outcome, reason, code if code in REASONS else result.status, retry_after=wait, dead_since=dead_since
    )


def _time(milliseconds: object) -> datetime | None:
    """Since when the token is dead; None when Apple does not say, or says nothing that is a time."""
    if not isinstance(milliseconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None


# -- sending ------------------------------------------------------------------------------------------------


class Apns:
    """Sends to Apple's devices."""

    channel = Channel.APNS
    batch = 1

    def __init__(self, settings: ApnsSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._token = Token(settings.key_pem, settings.key_id, settings.team_id, clock)
        self._over = (Library if settings.transport == "library" else Lean)(settings, self._token)

    async def send(self, batch: Sequence[Outgoing], patience: Patience | None = None) -> list[Said]:
        """One receipt for each delivery, in order; with `patience`, a future for those that are late."""
        until = asyncio.get_running_loop().time() + self._settings.timeout
        wanted = [request(outgoing) for outgoing in batch]
        to_send = [one for one in wanted if not isinstance(one, Receipt)]
        said = iter(await self._sent(to_send, until, patience))
        return [one if isinstance(one, Receipt) else next(said) for one in wanted]

    async def close(self) -> None:
        """Close the connections; a later send opens new ones."""
        await self._over.close()

    async def _sent(
        self, wanted: list[NotificationRequest], until: float, patience: Patience | None
    ) -> list[Said]:
        """Send; once more what met an expired token, which accepts nothing, so it repeats nothing."""
        used = self._token.get_header()
        ends = await self._over.send(wanted, until, patience)
        if expired := [at for at, end in enumerate(ends) if _met_expired_token(end)]:
            self._token.renew(used)
            again = await self._over.send([wanted[at] for at in expired], until, patience)
            for at, end in zip(expired, again, strict=True):
                ends[at] = end
        return [then(end, _said) if isinstance(end, asyncio.Future) else _said(end) for end in ends]


def _said(end: NotificationResult | Unanswered) -> Receipt:
    return wire.unanswered(end) if isinstance(end, Unanswered) else receipt(end)


def _met_expired_token(end: object) -> bool:
    return isinstance(end, NotificationResult) and end.description == "ExpiredProviderToken"
