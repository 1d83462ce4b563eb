"""JSON web tokens, verified once: the same string is the same answer. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

#: Times and audiences are the callers' to check: they change while the signature does not.
_SIGNATURE_ONLY: Any = {
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "verify_aud": False,
    "verify_iss": False,
}

#: A token's header and claims, or None when its signature is not the key's.
Verify = Callable[[str], tuple[dict[str, Any], dict[str, Any]] | None]


def verifier(key: EllipticCurvePublicKey | RSAPublicKey, algorithm: str) -> Verify:
    """A function that verifies tokens of one key, and remembers the last 1,024 of them."""

    @lru_cache(maxsize=1024)
    def verify(token: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        try:
            found = jwt.decode_complete(token, key, algorithms=[algorithm], options=_SIGNATURE_ONLY)
        except jwt.InvalidTokenError:
            return None
        return found["header"], found["payload"]

    return verify


def seconds(claims: dict[str, Any], name: str) -> float | None:
    """A claim that is a time, in seconds since 1970; None when it is missing or no number."""
    value = claims.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
