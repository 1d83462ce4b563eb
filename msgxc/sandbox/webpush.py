"""A push service of the web as it looks on the wire: RFC 8030, with VAPID (8292), decrypted (8291). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from msgxc.sandbox.decrypt import Undecryptable, decrypt, unbase64
from msgxc.sandbox.steering import Tries, Word, steer
from msgxc.sandbox.subscriber import PUSH_ORIGIN
from msgxc.sandbox.tokens import Verify, seconds, verifier
from msgxc.sandbox.wire import Accepted, Answer, Refused, Request, Response, as_json, read_object

URGENCIES = frozenset({"very-low", "low", "normal", "high"})
MAX_BODY = 4096  # RFC 8030 section 7.2: a push service takes at least this much.
MAX_TOKEN_SECONDS = 24 * 3600  # RFC 8292 section 2.
MAX_TTL = 2_419_200  # Four weeks: what push services keep at most; more is cut to it.

_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")  # RFC 8030 section 5.4.
_VAPID = re.compile(r"vapid\s+(.+)", re.IGNORECASE)

_RETRY = ("retry-after", "1")

_REFUSALS: dict[Word, Response] = {
    Word.GONE: as_json(410, {"code": 410, "error": "Gone", "message": "Request did not validate."}),
    Word.GONEOLD: as_json(410, {"code": 410, "error": "Gone", "message": "Request did not validate."}),
    Word.BAD: as_json(400, {"code": 400, "error": "Bad Request", "message": "Invalid endpoint."}),
    Word.MISMATCH: as_json(403, {"code": 403, "error": "Forbidden", "message": "VapidPkHashMismatch"}),
    Word.REFUSES: as_json(403, {"code": 403, "error": "Forbidden", "message": "Invalid credentials."}),
    Word.EXPIRED: as_json(401, {"code": 401, "error": "Unauthorized", "message": "Token has expired."}),
    Word.TOOLARGE: as_json(413, {"code": 413, "error": "Payload Too Large", "message": "Too large."}),
    Word.THROTTLED: as_json(429, {"code": 429, "error": "Too Many Requests", "message": "Wait."}, _RETRY),
    Word.DOWN: as_json(503, {"code": 503, "error": "Service Unavailable", "message": "Try again."}, _RETRY),
}


@dataclass(frozen=True, slots=True)
class WebPush:
    """The push service of one application server: its VAPID key, and the origins that it may name."""

    key: EllipticCurvePublicKey
    origins: frozenset[str]
    tries: Tries = field(default_factory=Tries)
    _verify: Verify = field(init=False, repr=False)
    _point: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_verify", verifier(self.key, "ES256"))
        point = self.key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        object.__setattr__(self, "_point", point)

    def answer(self, request: Request, now: float) -> Answer:
        """The answer to POST /push/<anything>: 201 once it is kept for the browser."""
        try:
            accepted = self._accept(request, now)
            name = accepted.address.rpartition("/")[2]
            wanted = self.tries.now(steer(name), accepted.address, accepted.delivery)
            if (refusal := _REFUSALS.get(wanted.word)) is not None:
                raise Refused(refusal)
        except Refused as refused:
            return Answer(refused.response)
        if wanted.word is Word.LOST:
            return Answer(None, (accepted,))
        # RFC 8030 sections 5 and 5.2: the message has a URL, and the answer says how long it is kept.
        headers = (("location", f"/message/{accepted.delivery or name}"), ("ttl", str(accepted.ttl)))
        return Answer(Response(201, headers), (accepted,), wanted.delay)

    def _accept(self, request: Request, now: float) -> Accepted:
        path = _path(request)
        self._check_vapid(request.headers.get("authorization", ""), now)
        ttl, urgency, topic = _fields(request)
        payload = _payload(request)
        return Accepted(
            channel="webpush",
            address=f"{PUSH_ORIGIN}{path}",
            delivery=_text(payload, "delivery"),
            collapse=topic,
            urgency=urgency,
            ttl=ttl,
            title=_text(payload, "title"),
            text=_text(payload, "body"),
        )

    def _check_vapid(self, authorization: str, now: float) -> None:
        """RFC 8292 section 3: `vapid t=<token>, k=<key>`; section 4.2: 403 when it is not the right one."""
        if (found := _VAPID.fullmatch(authorization.strip())) is None:
            raise _refused(401, "Unauthorized", "A VAPID token is required.")
        given = dict(part.strip().partition("=")[::2] for part in found[1].split(","))
        if (
            unbase64(given.get("k", "")) != self._point
            or (tokens := self._verify(given.get("t", ""))) is None
        ):
            raise _refused(403, "Forbidden", "The token is not signed with the subscription's key.")
        claims = tokens[1]
        if claims.get("aud") not in self.origins:
            raise _refused(403, "Forbidden", "The token's audience is another origin.")
        expires = seconds(claims, "exp")
        if expires is None or not now < expires <= now + MAX_TOKEN_SECONDS + 60:
            raise _refused(403, "Forbidden", "The token has expired, or lives for more than 24 hours.")
        if not str(claims.get("sub", "mailto:")).startswith(("mailto:", "https:")):
            raise _refused(403, "Forbidden", "The token's subject is no contact.")


def _path(request: Request) -> str:
    path = unquote(request.path)
    if not path.startswith("/push/") or path == "/push/":
        raise _refused(404, "Not Found", "No such subscription.")
    if request.method != "POST":
        raise _refused(405, "Method Not Allowed", "Only POST.")
    return path


def _fields(request: Request) -> tuple[int, str, str]:
    """TTL in seconds, urgency and topic (RFC 8030 sections 5.2 to 5.4)."""
    ttl = request.headers.get("ttl", "")
    if not (ttl.isascii() and ttl.isdigit()):
        raise _refused(400, "Bad Request", "TTL is required: a number of seconds.")
    urgency = request.headers.get("urgency", "normal")
    if urgency not in URGENCIES:
        raise _refused(400, "Bad Request", "No such urgency.")
    topic = request.headers.get("topic", "")
    if "topic" in request.headers and not _TOPIC.fullmatch(topic):
        raise _refused(400, "Bad Request", "A topic has 1 to 32 characters of base64url.")
    return min(int(ttl), MAX_TTL), urgency, topic


def _payload(request: Request) -> dict[str, object]:
    """The decrypted payload; {} when it is empty or no JSON object."""
    if len(request.body) > MAX_BODY:
        raise _refused(413, "Payload Too Large", "At most 4,096 bytes.")
    if not request.body:
        return {}
    if request.headers.get("content-encoding", "") != "aes128gcm":
        raise _refused(400, "Bad Request", "The content encoding is aes128gcm.")
    try:
        return read_object(decrypt(request.body)) or {}
    except Undecryptable as error:
        raise _refused(400, "Bad Request", str(error)) from None


def _text(payload: dict[str, object], name: str) -> str:
    return str(payload.get(name, ""))


def _refused(status: int, error: str, message: str) -> Refused:
    return Refused(as_json(status, {"code": status, "error": error, "message": message}))
