"""The browser's side of web push encryption: RFC 8291 over RFC 8188 (`aes128gcm`), one record. Pure.

Written from the RFCs, on purpose apart from the library that encrypts, so that a mistake there shows.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode
from binascii import Error as NotBase64

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    SECP256R1,
    EllipticCurvePublicKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from msgxc.sandbox.subscriber import SUBSCRIBER_AUTH, SUBSCRIBER_P256DH, SUBSCRIBER_PRIVATE


class Undecryptable(ValueError):
    """A body is not a message for the sandbox's subscriber; the text says what is wrong."""


def unbase64(text: str) -> bytes:
    """Base64url with or without padding; b"" when it is none."""
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (NotBase64, ValueError):
        return b""


_KEY = derive_private_key(int.from_bytes(unbase64(SUBSCRIBER_PRIVATE), "big"), SECP256R1())
_POINT = unbase64(SUBSCRIBER_P256DH)
_AUTH = unbase64(SUBSCRIBER_AUTH)


def decrypt(body: bytes) -> bytes:
    """The plaintext of one encrypted message. Raises Undecryptable.

    The header is salt (16), record size (4), length of the key (1), the sender's public key (65).
    """
    if len(body) < 86 + 17 or body[20] != 65:
        raise Undecryptable("The header of aes128gcm is not right.")
    salt, size, sender, record = body[:16], int.from_bytes(body[16:20], "big"), body[21:86], body[86:]
    if size < 18 or len(record) > size:
        raise Undecryptable("A push message is exactly one record.")
    key, nonce = _keys(salt, sender)
    try:
        padded = AESGCM(key).decrypt(nonce, record, None).rstrip(b"\0")
    except InvalidTag:
        raise Undecryptable("The message is not for this subscription.") from None
    if not padded.endswith(b"\2"):  # RFC 8188 section 2: the delimiter of the last record.
        raise Undecryptable("The padding is not right.")
    return padded[:-1]


def _keys(salt: bytes, sender: bytes) -> tuple[bytes, bytes]:
    """Content encryption key and nonce (RFC 8291 section 3.4)."""
    try:
        point = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), sender)
    except ValueError:
        raise Undecryptable("The sender's key is no point of P-256.") from None
    shared = _mac(_AUTH, _KEY.exchange(ECDH(), point))
    secret = _mac(salt, _mac(shared, b"WebPush: info\0" + _POINT + sender + b"\1"))
    key = _mac(secret, b"Content-Encoding: aes128gcm\0\1")[:16]
    return key, _mac(secret, b"Content-Encoding: nonce\0\1")[:12]


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")
