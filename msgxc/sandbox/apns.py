"""Apple's push service as it looks on the wire: one notification a request, HTTP/2 only. Pure.

Sources: Apple, "Sending notification requests to APNs" (header fields), "Handling notification responses from
APNs" (reasons), "Establishing a token-based connection to APNs" (the provider token).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from msgxc.sandbox.steering import Tries, Word, steer
from msgxc.sandbox.tokens import Verify, seconds, verifier
from msgxc.sandbox.wire import Accepted, Answer, Refused, Request, Response, as_json, read_object

#: Push types, and what each adds to the app's topic.
PUSH_TYPES = {
    "alert": "",
    "background": "",
    "location": ".location-query",
    "voip": ".voip",
    "complication": ".complication",
    "fileprovider": ".pushkit.fileprovider",
    "mdm": "",
    "liveactivity": ".push-type.liveactivity",
    "pushtotalk": ".voip-ptt",
    "widgets": ".push-type.widgets",
}

MAX_PAYLOAD = 4096
MAX_PAYLOAD_VOIP = 5120
MAX_COLLAPSE = 64
TOKEN_SECONDS = 3600

#: `goneold` died on the first of January 2019, in milliseconds.
GONE_OLD = 1_546_300_800_000

_REFUSALS: dict[Word, tuple[int, str]] = {
    Word.BAD: (400, "BadDeviceToken"),
    Word.MISMATCH: (400, "DeviceTokenNotForTopic"),
    Word.REFUSES: (403, "InvalidProviderToken"),
    Word.EXPIRED: (403, "ExpiredProviderToken"),
    Word.GONE: (410, "Unregistered"),
    Word.GONEOLD: (410, "Unregistered"),
    Word.TOOLARGE: (413, "PayloadTooLarge"),
    Word.THROTTLED: (429, "TooManyRequests"),
    Word.DOWN: (503, "ServiceUnavailable"),
}


@dataclass(frozen=True, slots=True)
class Apns:
    """One app's side of APNs: its token key, key id, team and topic."""

    key: EllipticCurvePublicKey
    key_id: str
    team_id: str
    topic: str
    tries: Tries = field(default_factory=Tries)
    _verify: Verify = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_verify", verifier(self.key, "ES256"))

    def answer(self, request: Request, now: float) -> Answer:
        """The answer to POST /3/device/<token>; every answer carries the request's apns-id."""
        given = request.headers.get("apns-id", "")
        try:
            accepted = self._accept(request, now)
            wanted = self.tries.now(steer(accepted.address), accepted.address, accepted.delivery)
            if (refusal := _REFUSALS.get(wanted.word)) is not None:
                raise _refused(*refusal, _timestamp(wanted.word, now))
        except Refused as refused:
            return Answer(_with_id(refused.response, given))
        if wanted.word is Word.LOST:
            return Answer(None, (accepted,))
        return Answer(_with_id(Response(200), given), (accepted,), wanted.delay)

    def _accept(self, request: Request, now: float) -> Accepted:
        token = _device_token(request)
        self._check_provider_token(request.headers.get("authorization", ""), now)
        priority = self._check_headers(request.headers)
        title, text = _payload(request.body, request.headers["apns-push-type"])
        return Accepted(
            channel="apns",
            address=token,
            delivery=request.headers.get("apns-id", ""),
            collapse=request.headers.get("apns-collapse-id", ""),
            priority=priority,
            ttl=_ttl(request.headers.get("apns-expiration"), now),
            title=title,
            text=text,
        )

    def _check_provider_token(self, authorization: str, now: float) -> None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _refused(403, "MissingProviderToken")
        if (found := self._verify(token)) is None:
            raise _refused(403, "InvalidProviderToken")
        header, claims = found
        issued = seconds(claims, "iat")
        if header.get("kid") != self.key_id or claims.get("iss") != self.team_id or issued is None:
            raise _refused(403, "InvalidProviderToken")
        if issued < now - TOKEN_SECONDS:
            raise _refused(403, "ExpiredProviderToken")
        if issued > now + 60:
            raise _refused(403, "InvalidProviderToken")

    def _check_headers(self, headers: Mapping[str, str]) -> str:
        """The priority, when all the header fields are right."""
        kind = headers.get("apns-push-type", "")
        if kind not in PUSH_TYPES:
            raise _refused(400, "InvalidPushType")
        if not (topic := headers.get("apns-topic", "")):
            raise _refused(400, "MissingTopic")
        if topic != self.topic + PUSH_TYPES[kind]:
            raise _refused(400, "TopicDisallowed")
        priority = headers.get("apns-priority", "10")
        if priority not in ("1", "5", "10") or (kind == "background" and priority == "10"):
            raise _refused(400, "BadPriority")
        if len(headers.get("apns-collapse-id", "").encode("latin-1")) > MAX_COLLAPSE:
            raise _refused(400, "BadCollapseId")
        if not _is_uuid(headers.get("apns-id")):
            raise _refused(400, "BadMessageId")
        return priority


def _device_token(request: Request) -> str:
    if not request.path.startswith("/3/device/"):
        raise _refused(404, "BadPath")
    if request.method != "POST":
        raise _refused(405, "MethodNotAllowed")
    if not (token := unquote(request.path.removeprefix("/3/device/"))):
        raise _refused(400, "MissingDeviceToken")
    if not (token.isascii() and token.replace("-", "").replace("_", "").isalnum()):
        raise _refused(400, "BadDeviceToken")
    return token


def _payload(body: bytes, kind: str) -> tuple[str, str]:
    """Title and text of the payload's alert."""
    if len(body) > (MAX_PAYLOAD_VOIP if kind == "voip" else MAX_PAYLOAD):
        raise _refused(413, "PayloadTooLarge")
    payload = read_object(body)
    if payload is None or not isinstance(aps := payload.get("aps"), dict):
        raise _refused(400, "PayloadEmpty")
    alert = aps.get("alert", "")
    if isinstance(alert, dict):
        return str(alert.get("title", "")), str(alert.get("body", ""))
    return "", str(alert)


def _ttl(expiration: str | None, now: float) -> int | None:
    """Seconds to live: `apns-expiration` is a time in seconds since 1970, and 0 means one attempt."""
    if expiration is None:
        return None
    if not (expiration.isascii() and expiration.isdigit()):
        raise _refused(400, "BadExpirationDate")
    return max(0, round(int(expiration) - now))


def _timestamp(word: Word, now: float) -> int | None:
    """When the token died, in milliseconds since 1970."""
    if word is Word.GONEOLD:
        return GONE_OLD
    return int(now * 1000) if word is Word.GONE else None


def _refused(status: int, reason: str, timestamp: int | None = None) -> Refused:
    more = {} if timestamp is None else {"timestamp": timestamp}
    return Refused(as_json(status, {"reason": reason, **more}))


def _with_id(response: Response, apns_id: str) -> Response:
    return Response(response.status, (("apns-id", apns_id or str(uuid4())), *response.headers), response.body)


def _is_uuid(text: str | None) -> bool:
    """Whether `apns-id` is left out or a canonical UUID: 32 digits in groups of 8-4-4-4-12."""
    if text is None:
        return True
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
