"""VAPID (RFC 8292) through py_vapid: one signed token serves a push service's origin for hours."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02, VapidException

from msgxc.providers.mailbox import mailbox

TOKEN_SECONDS = 12 * 3600  # life of a token (RFC 8292 section 2: at most 24 h)
REUSE_SECONDS = 6 * 3600
ORIGINS = 1000  # kept at once; a wildcard in the allow-list may name any number

_URI = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")  # RFC 3986 section 2: no blanks, no < and >
#: Nobody can be reached there (RFC 6761, RFC 6762).
_NOWHERE = re.compile(r"(.*\.)?(localhost|local|invalid|internal)|[0-9.]+|.*:.*")


def is_contact(text: str) -> bool:
    """Whether every push service takes it as `sub`: one mailto: address (RFC 6068) or an https URL (RFC 8292
    section 2.1), of a host that others can reach. Apple answers BadJwtToken to anything else."""
    if not _URI.fullmatch(text):
        return False
    if text.startswith("mailto:"):
        address = unquote(text.removeprefix("mailto:").partition("?")[0])
        return mailbox(address) == address != "" and not _NOWHERE.fullmatch(
            address.rpartition("@")[2].lower()
        )
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        return False
    return (
        parts.scheme == "https" and "." in host and "@" not in parts.netloc and not _NOWHERE.fullmatch(host)
    )


class Vapid:
    """Signs for one contact (see is_contact). `key` is PEM, or base64url of DER or of 32 raw bytes. Raises
    ValueError when it is none."""

    def __init__(self, key: str, contact: str) -> None:
        try:
            pem = "-----BEGIN" in key
            self._key: Any = Vapid02.from_pem(key.encode()) if pem else Vapid02.from_string(key)
        except (ValueError, TypeError, VapidException):
            raise ValueError("not a P-256 private key, nor the path of one") from None
        if getattr(getattr(self._key.private_key, "curve", None), "name", "") != "secp256r1":
            raise ValueError("the key is not on the curve P-256")
        self._key.conf["no-strict"] = True  # its own rule takes no https URL with a path; ours is is_contact
        self._contact = contact
        self._signed: dict[str, tuple[float, dict[str, str]]] = {}

    @property
    def public_key(self) -> bytes:
        """What a browser subscribes with: 65 bytes, an uncompressed point (RFC 8292 section 3.2)."""
        point: bytes = self._key.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return point

    def headers(self, origin: str, now: datetime) -> dict[str, str]:
        """The Authorization header for an origin."""
        at = now.timestamp()
        until, headers = self._signed.get(origin, (0.0, {}))
        if at >= until:
            if len(self._signed) >= ORIGINS:
                self._signed.clear()
            headers = self._sign({"sub": self._contact, "aud": origin, "exp": int(at) + TOKEN_SECONDS})
            self._signed[origin] = (at + REUSE_SECONDS, headers)
        return headers

    def _sign(self, claims: dict[str, str | int]) -> dict[str, str]:
        headers: dict[str, str] = self._key.sign(claims)
        return headers
