"""Firebase Cloud Messaging, HTTP v1, as it looks on the wire, with the OAuth endpoint before it. Pure.

Sources: the REST reference of projects.messages (fields: fcm_schema.py), "FCM error codes", and RFC 7523 for
the grant. Payloads over 4 KB are answered 400 "Android message is too big", as the service does.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from msgxc.sandbox.fcm_schema import REQUEST, WrongField, check, snake
from msgxc.sandbox.steering import Tries, Word, steer
from msgxc.sandbox.tokens import Verify, seconds, verifier
from msgxc.sandbox.wire import Accepted, Answer, Refused, Request, Response, as_json, read_object

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPES = frozenset(
    {
        "https://www.googleapis.com/auth/firebase.messaging",
        "https://www.googleapis.com/auth/cloud-platform",
    }
)
#: Google's own libraries put this audience into the grant, whatever token_uri the account names.
GOOGLE_AUDIENCE = "https://oauth2.googleapis.com/token"
TOKEN_SECONDS = 3600
MAX_PAYLOAD = 4096

_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_RETRY = ("retry-after", "1")


def _error(status: int, word: str, message: str, code: str = "", *headers: tuple[str, str]) -> Response:
    details = {"details": [{"@type": _ERROR, "errorCode": code}]} if code else {}
    return as_json(
        status, {"error": {"code": status, "message": message, "status": word, **details}}, *headers
    )


_GONE = _error(404, "NOT_FOUND", "Requested entity was not found.", "UNREGISTERED")
_INVALID = "INVALID_ARGUMENT"
_REFUSALS: dict[Word, Response] = {
    Word.GONE: _GONE,
    Word.GONEOLD: _GONE,
    Word.BAD: _error(400, _INVALID, "The registration token is not a valid FCM registration token", _INVALID),
    Word.MISMATCH: _error(403, "PERMISSION_DENIED", "SenderId mismatch", "SENDER_ID_MISMATCH"),
    Word.REFUSES: _error(403, "PERMISSION_DENIED", "Permission 'cloudmessaging.messages.create' denied"),
    Word.EXPIRED: _error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
    Word.TOOLARGE: _error(413, _INVALID, "Android message is too big", _INVALID),
    Word.THROTTLED: _error(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", "QUOTA_EXCEEDED", _RETRY),
    Word.DOWN: _error(503, "UNAVAILABLE", "The service is currently unavailable.", "UNAVAILABLE"),
}


@dataclass(frozen=True, slots=True)
class Fcm:
    """One project's side of FCM. `secret` signs the access tokens, so that they outlive a restart."""

    project: str
    client_email: str
    key: RSAPublicKey
    secret: str = field(repr=False)
    token_uris: frozenset[str] = frozenset({GOOGLE_AUDIENCE})
    tries: Tries = field(default_factory=Tries)
    _verify: Verify = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_verify", verifier(self.key, "RS256"))

    def answer(self, request: Request, now: float) -> Answer:
        """The answer to POST /token and to POST /v1/projects/<project>/messages:send."""
        try:
            if request.path == "/token":
                return Answer(self._grant(request, now))
            return self._send(request, now)
        except Refused as refused:
            return Answer(refused.response)

    def _grant(self, request: Request, now: float) -> Response:
        """RFC 7523: a signed assertion for an access token. Errors are those of RFC 6749 section 5.2."""
        form = parse_qs(request.body.decode("utf-8", "replace"))
        if form.get("grant_type") != [GRANT]:
            return _no_grant("unsupported_grant_type", "Invalid grant type.")
        if (found := self._verify(form.get("assertion", [""])[0])) is None:
            return _no_grant("invalid_grant", "Invalid JWT Signature.")
        claims = found[1]
        issued, expires = seconds(claims, "iat"), seconds(claims, "exp")
        if claims.get("iss") != self.client_email or claims.get("aud") not in self.token_uris:
            return _no_grant("invalid_grant", "Invalid issuer or audience.")
        if issued is None or expires is None or not now < expires <= issued + TOKEN_SECONDS:
            return _no_grant("invalid_grant", "Invalid JWT: iat and exp must be within one hour.")
        if SCOPES.isdisjoint(str(claims.get("scope", "")).split()):
            return _no_grant("invalid_scope", "Invalid OAuth scope.")
        token = self._access_token(int(now) + TOKEN_SECONDS)
        return as_json(200, {"access_token": token, "expires_in": TOKEN_SECONDS, "token_type": "Bearer"})

    def _access_token(self, expires: int) -> str:
        signed = hmac.digest(self.secret.encode(), str(expires).encode(), "sha256")
        return f"ya29.{expires}.{signed.hex()}"

    def _check_token(self, request: Request, now: float) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        expires = token.split(".")[1] if token.count(".") == 2 else ""
        if not (expires.isascii() and expires.isdigit() and scheme.lower() == "bearer"):
            raise Refused(_REFUSALS[Word.EXPIRED])
        right = self._access_token(int(expires))
        if not hmac.compare_digest(right.encode(), token.encode("latin-1")) or int(expires) <= now:
            raise Refused(_REFUSALS[Word.EXPIRED])

    def _send(self, request: Request, now: float) -> Answer:
        if request.method != "POST" or request.path != f"/v1/projects/{self.project}/messages:send":
            raise Refused(_error(404, "NOT_FOUND", "Requested entity was not found."))
        self._check_token(request, now)
        accepted = _accept(request.body)
        wanted = self.tries.now(steer(accepted.address), accepted.address, accepted.delivery)
        if (refusal := _REFUSALS.get(wanted.word)) is not None:
            raise Refused(refusal)
        if wanted.word is Word.LOST:
            return Answer(None, (accepted,))
        name = f"projects/{self.project}/messages/0:{int(now * 1e6)}%{uuid4().hex[:16]}"
        return Answer(as_json(200, {"name": name}), (accepted,), wanted.delay)


def _accept(body: bytes) -> Accepted:
    if (found := read_object(body)) is None:
        raise _invalid("Invalid JSON payload received.")
    try:
        check(found, REQUEST)
    except WrongField as error:
        raise _invalid(str(error)) from None
    message = _object(found, "message")
    if not isinstance(token := message.get("token"), str) or not token:
        raise _invalid("Recipient of the message is not set: the sandbox takes tokens only.")
    _check_size(message)
    return _accepted(message, token)


def _accepted(message: Mapping[str, object], token: str) -> Accepted:
    android, data = _object(message, "android"), _object(message, "data")
    shown = _object(message, "notification")
    special = _object(android, "notification")
    ttl = str(android.get("ttl", ""))
    return Accepted(
        channel="fcm",
        address=token,
        delivery=str(data.get("msgxc_delivery", "")),
        collapse=str(special.get("tag") or android.get("collapse_key") or ""),
        priority=str(android.get("priority", "")).upper(),
        ttl=int(float(ttl.rstrip("s"))) if ttl else None,
        title=str(special.get("title") or shown.get("title") or data.get("title") or ""),
        text=str(special.get("body") or shown.get("body") or data.get("body") or ""),
    )


def _check_size(message: Mapping[str, object]) -> None:
    """What the device gets is limited: notification and data, for all platforms and for Android."""
    android = _object(message, "android")
    parts = [found for part in (message, android) for found in (part.get("notification"), part.get("data"))]
    size = sum(len(json.dumps(part, ensure_ascii=False).encode("utf-8", "replace")) for part in parts if part)
    if size > MAX_PAYLOAD:
        raise _invalid("Android message is too big")


def _object(of: Mapping[str, object], name: str) -> dict[str, object]:
    """A field that is an object, its own names in snake case (the service takes both spellings)."""
    found = of.get(name)
    if not isinstance(found, dict):
        return {}
    return found if name == "data" else {snake(key): value for key, value in found.items()}


def _invalid(message: str) -> Refused:
    return Refused(_error(400, _INVALID, message, _INVALID))


def _no_grant(error: str, description: str) -> Response:
    return as_json(400, {"error": error, "error_description": description})
