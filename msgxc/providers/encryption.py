"""Web push encryption (RFC 8291 over RFC 8188, `aes128gcm`, one record), straight on `cryptography`.

Pure, but for the fresh key and salt of each message. What costs is the curve: one key, one exchange.
pywebpush does the same in four times the time, and stays for comparison and for doubt.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from functools import lru_cache
from hmac import digest

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pywebpush import WebPusher

PLAINTEXT_LIMIT = 3993  # bytes: RFC 8291 section 4, one record of 4,096
POINT = 65  # bytes
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_CURVE, _EXCHANGE = SECP256R1(), ECDH()
#: What follows the salt: the record size, and the length of the sender's key (RFC 8188 section 2.1).
_SIZES = (4096).to_bytes(4, "big") + bytes((65,))


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A browser's keys: its public key, as bytes and parsed, and its authentication secret."""

    point: bytes
    key: EllipticCurvePublicKey = field(repr=False)
    auth: bytes = field(repr=False)


def is_point(key: bytes) -> bool:
    """Whether these POINT bytes are a point of P-256, uncompressed (SEC 1, section 2.3.4). No key is made of
    it, which takes fifty times as long."""
    x, y = int.from_bytes(key[1:33]), int.from_bytes(key[33:])
    on_curve = (y * y - (x * x * x - 3 * x + _B)) % _P == 0
    return len(key) == POINT and key[0] == 4 and x < _P and y < _P and on_curve


@lru_cache(maxsize=4096)
def subscriber(p256dh: str, auth: str) -> Subscriber | None:
    """The keys of a subscription, in base64url with or without padding; None when they are none."""
    point, secret = key_bytes(p256dh), key_bytes(auth)
    if len(point) != 65 or point[0] != 4 or len(secret) != 16:
        return None
    try:
        key = EllipticCurvePublicKey.from_encoded_point(_CURVE, point)
    except ValueError:  # off the curve
        return None
    return Subscriber(point, key, secret)


def key_bytes(text: str) -> bytes:
    """What stands in base64url, with or without padding; none when it is not."""
    text = text.rstrip("=")
    try:
        return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except ValueError:
        return b""


def encrypt(
    plaintext: bytes, to: Subscriber, key: EllipticCurvePrivateKey | None = None, salt: bytes = b""
) -> bytes:
    """The body of a push: header and one record. `key` and `salt` are fresh, unless a test gives them.

    Raises ValueError when the plaintext has more than PLAINTEXT_LIMIT bytes.
    """
    if len(plaintext) > PLAINTEXT_LIMIT:
        raise ValueError("more than one record")
    key, salt = key or generate_private_key(_CURVE), salt or os.urandom(16)
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    shared = digest(to.auth, key.exchange(_EXCHANGE, to.key), "sha256")
    secret = digest(salt, digest(shared, b"WebPush: info\0" + to.point + point + b"\1", "sha256"), "sha256")
    content_key = digest(secret, b"Content-Encoding: aes128gcm\0\1", "sha256")[:16]
    nonce = digest(secret, b"Content-Encoding: nonce\0\1", "sha256")[:12]
    record = AESGCM(content_key).encrypt(nonce, plaintext + b"\2", None)
    return salt + _SIZES + point + record


def encrypt_by_pywebpush(plaintext: bytes, to: Subscriber) -> bytes:
    """The same, as pywebpush does it."""
    keys = {"p256dh": urlsafe_b64encode(to.point), "auth": urlsafe_b64encode(to.auth)}
    body: bytes = WebPusher({"endpoint": "", "keys": keys}).encode(plaintext)["body"]
    return body
