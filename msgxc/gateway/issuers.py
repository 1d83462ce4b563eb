"""Foreign issuers of tokens and their public keys (JWKS, RFC 7517), which they change when they like."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import httpx
import jwt

from msgxc.errors import WrongSettings

KEEP_SECONDS = 600.0  # a key that was taken back is believed for as long
AGAIN_SECONDS = 10.0  # a token may name a key that nobody has: this is how often that makes us ask
LARGEST = 262_144  # bytes of a key set
ALGORITHMS = frozenset({"RS256", "ES256"})


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens are believed, by which one algorithm; `url` of its key set, "" for our own."""

    name: str
    algorithm: str
    url: str = ""


@lru_cache(maxsize=16)
def trusted(text: str) -> tuple[Issuer, ...]:
    """The issuers of the setting: `issuer algorithm url`, separated by commas. Raises WrongSettings."""
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        words = part.split()
        if (
            len(words) != 3
            or words[1] not in ALGORITHMS
            or not words[2].startswith(("https://", "http://127."))
        ):
            raise WrongSettings("MSGXC_JWT_ISSUERS: each is `issuer RS256|ES256 https://…`")
        found.append(Issuer(*words))
    return tuple(found)


@dataclass(slots=True)
class _Kept:
    keys: dict[str, Any] = field(default_factory=dict)
    read: float = float("-inf")
    asked: float = float("-inf")
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class KeySets:
    """The key sets of all issuers, kept. One that cannot be read leaves the last one in force."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[Issuer, _Kept] = {}

    async def key(self, issuer: Issuer, kid: str | None) -> Any:
        """The key that a token names. Raises jwt.InvalidKeyError when the issuer has no such key."""
        kept = self._kept.setdefault(issuer, _Kept())
        found = _pick(kept.keys, kid)
        if found is None or self._clock() - kept.read > KEEP_SECONDS:
            await self._read(issuer, kept)
            found = _pick(kept.keys, kid)
        if found is None:
            raise jwt.InvalidKeyError("no such key")
        return found

    async def _read(self, issuer: Issuer, kept: _Kept) -> None:
        async with kept.lock:
            if self._clock() - kept.asked < AGAIN_SECONDS:
                return
            kept.asked = self._clock()
            try:
                kept.keys = await _fetch(issuer)
                kept.read = kept.asked
            except (httpx.HTTPError, jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
                return


def _pick(keys: dict[str, Any], kid: str | None) -> Any | None:
    """The named key; the only one, when the token names none."""
    if kid is None and len(keys) == 1:
        return next(iter(keys.values()))
    return keys.get(kid) if isinstance(kid, str) else None


async def _fetch(issuer: Issuer) -> dict[str, Any]:
    """kid -> key, of the keys that fit the issuer's algorithm."""
    async with httpx.AsyncClient(timeout=5, follow_redirects=False) as http:
        said = (await http.get(issuer.url)).raise_for_status()
    if len(said.content) > LARGEST:
        raise ValueError("too large")
    usable = [
        key for key in said.json()["keys"] if key.get("use") in (None, "sig") and key.get("kty") in KINDS
    ]
    return {
        str(key.get("kid", "")): jwt.PyJWK(key, algorithm=issuer.algorithm)
        for key in usable
        if KINDS[key["kty"]] == issuer.algorithm
    }


KINDS = {"RSA": "RS256", "EC": "ES256"}
