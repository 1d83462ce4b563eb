"""VAPID (RFC 8292) through py_vapid: one signed token serves a push service's origin for hours."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02, VapidException

TOKEN_SECONDS = 12 * 3600  # life of a token (RFC 8292 section 2: at most 24 h)
REUSE_SECONDS = 6 * 3600
ORIGINS = 1000  # kept at once; a wildcard in the allow-list may name any number


class Vapid:
    """Signs for one contact. `key` is PEM, or base64url of DER or of 32 raw bytes. Raises ValueError."""

    def __init__(self, key: str, contact: str) -> None:
        try:
            pem = "-----BEGIN" in key
            self._key: Any = Vapid02.from_pem(key.encode()) if pem else Vapid02.from_string(key)
        except (ValueError, TypeError, VapidException):
            raise ValueError("not a P-256 private key, nor the path of one") from None
        if getattr(getattr(self._key.private_key, "curve", None), "name", "") != "secp256r1":
            raise ValueError("the key is not on the curve P-256")
        self._contact = contact
        self._signed: dict[str, tuple[float, dict[str, str]]] = {}

    @property
    def public_key(self) -> bytes:
        """What a browser subscribes with: 65 bytes, an uncompressed point (RFC 8292 section 3.2)."""
        point: bytes = self._key.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return point

    def headers(self, origin: str, now: datetime) -> dict[str, str]:
        """The Authorization header for an origin. Raises ValueError when the contact is none."""
        at = now.timestamp()
        until, headers = self._signed.get(origin, (0.0, {}))
        if at >= until:
            if len(self._signed) >= ORIGINS:
                self._signed.clear()
            headers = self._sign({"sub": self._contact, "aud": origin, "exp": int(at) + TOKEN_SECONDS})
            self._signed[origin] = (at + REUSE_SECONDS, headers)
        return headers

    def _sign(self, claims: dict[str, str | int]) -> dict[str, str]:
        try:
            headers: dict[str, str] = self._key.sign(claims)
        except VapidException:
            raise ValueError("the contact is not a mailto: or https: URL") from None
        return headers
