"""Foreign issuers of tokens and their public keys (JWKS, RFC 7517), which they change when they like."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import ip_address
from itertools import permutations
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt
import orjson

from msgxc.errors import WrongSettings
from msgxc.messages.records import Role

KEEP_SECONDS = 600.0  # a key that was taken back is believed for as long
AGAIN_SECONDS = 10.0  # a token may name a key that nobody has: this is how often that makes us ask
LONGEST_SECONDS = 300.0  # between two questions to an issuer that does not answer: doubled up to here
FETCH_SECONDS = 5.0  # for a whole key set
LARGEST = 262_144  # bytes of a key set
KEYS = 100  # of one issuer
RSA_BITS = 2048  # at least (RFC 7518 section 3.3)
ALGORITHMS = {"RS256": "RSA", "ES256": "EC"}  # and the kind of key of each
_URL = re.compile(r"https?://[A-Za-z0-9._~:/?\[\]!$&'()*+;=%-]+")


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens are believed, by which one algorithm, and for what.

    `url` of its key set, "" for our own. `roles`: that it may give; others are passed over. `prefix` stands
    before each name that it gives to a person, so that nobody else's names are meant; names that begin with
    one of `others` are those of another issuer. `uuids`: a name that is a UUID is that very person.
    """

    name: str
    algorithm: str
    url: str = ""
    roles: frozenset[Role] = frozenset({Role.USER})
    prefix: str = ""
    uuids: bool = False
    others: tuple[str, ...] = ()


@lru_cache(maxsize=16)
def trusted(text: str) -> tuple[Issuer, ...]:
    """The issuers of the setting, separated by commas: `issuer algorithm url`, then as needed
    `roles=user|service|admin`, `prefix=TEXT` and `uuids=yes`. Raises WrongSettings."""
    found = [_issuer(part.split()) for part in text.split(",") if part.strip()]
    if len({one.name for one in found}) < len(found):
        raise WrongSettings("MSGXC_JWT_ISSUERS: an issuer stands there twice")
    for one, other in permutations(found, 2):
        if one.prefix and one.prefix != other.prefix and other.prefix.startswith(one.prefix):
            raise WrongSettings("MSGXC_JWT_ISSUERS: a prefix begins with another one: their names would mix")
    prefixes = tuple(one.prefix for one in found if one.prefix)
    return tuple(one if one.prefix else replace(one, others=prefixes) for one in found)


def _issuer(words: Sequence[str]) -> Issuer:
    options = dict(word.partition("=")[::2] for word in words[3:])
    roles = options.get("roles", Role.USER).split("|")
    if (
        len(words) < 3
        or words[1] not in ALGORITHMS
        or not is_safe(words[2])
        or len(options) < len(words) - 3
        or not set(options) <= {"roles", "prefix", "uuids"}
        or not set(roles) <= set(Role)
        or options.get("uuids", "no") not in ("yes", "no")
    ):
        raise WrongSettings(
            "MSGXC_JWT_ISSUERS: each is `issuer RS256|ES256 https://… roles=user|service prefix=… "
            "uuids=yes`, of which the last three may be left out"
        )
    name, algorithm, url = words[:3]
    prefix = options.get("prefix", f"{name}|")
    return Issuer(
        name, algorithm, url, frozenset(map(Role, roles)), prefix, options.get("uuids", "no") == "yes"
    )


def is_safe(url: str) -> bool:
    """Whether keys may come from there: https, or http from this machine itself. Names no login."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not _URL.fullmatch(url) or not host:
        return False
    return parts.scheme == "https" or host == "localhost" or _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(slots=True)
class _Kept:
    keys: Mapping[str, Any] = field(default_factory=dict)
    read: float = float("-inf")
    asked: float = float("-inf")
    failures: int = 0  # since it was read
    fetching: asyncio.Task[None] | None = None

    def may_ask(self, now: float) -> bool:
        """Not too often, and less often the longer nobody answers."""
        wait = min(AGAIN_SECONDS * 2.0 ** min(self.failures, 10), LONGEST_SECONDS)
        return now - self.asked >= wait


class KeySets:
    """The key sets of all issuers, kept. One that cannot be read leaves the last one in force."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[Issuer, _Kept] = {}

    async def key(self, issuer: Issuer, kid: str | None, *, ask: bool = True) -> Any:
        """The key that a token names. Raises jwt.InvalidKeyError when the issuer has no such key.

        A key that is known is waited for only when it is old and its issuer answered last time; `ask`:
        whether a key that is not known is worth a question.
        """
        kept = self._kept.setdefault(issuer, _Kept())
        found, now = _pick(kept.keys, kid), self._clock()
        old = now - kept.read > KEEP_SECONDS
        if (found is None and ask) or (found is not None and old):
            fetching = self._fetching(issuer, kept, now)
            if fetching is not None and not (found is not None and kept.failures):
                await asyncio.shield(fetching)
                found = _pick(kept.keys, kid)
        if found is None:
            raise jwt.InvalidKeyError("no such key")
        return found

    async def close(self) -> None:
        """Ask nobody any more."""
        tasks = [kept.fetching for kept in self._kept.values() if kept.fetching is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fetching(self, issuer: Issuer, kept: _Kept, now: float) -> asyncio.Task[None] | None:
        """The question that is under way: one for everybody who waits."""
        if kept.fetching is None and kept.may_ask(now):
            kept.asked = now
            kept.fetching = asyncio.create_task(self._read(issuer, kept), name="key set")
        return kept.fetching

    async def _read(self, issuer: Issuer, kept: _Kept) -> None:
        try:
            kept.keys = await _fetch(issuer)
            kept.read, kept.failures = kept.asked, 0
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, TypeError, LookupError):
            kept.failures += 1
        finally:
            kept.fetching = None


def _pick(keys: Mapping[str, Any], kid: str | None) -> Any | None:
    """The named key; the only one, when the token names none."""
    if kid is None and len(keys) == 1:
        return next(iter(keys.values()))
    return keys.get(kid) if isinstance(kid, str) else None


async def _fetch(issuer: Issuer) -> Mapping[str, Any]:
    """kid -> key, of the keys that fit the issuer's algorithm. Reads no more than LARGEST bytes, for no
    longer than FETCH_SECONDS. Raises httpx.HTTPError, TimeoutError, ValueError, TypeError, LookupError."""
    body = bytearray()
    plain = {"Accept-Encoding": "identity"}  # what is packed could be anything when it is unpacked
    async with (
        asyncio.timeout(FETCH_SECONDS),
        httpx.AsyncClient(timeout=FETCH_SECONDS, follow_redirects=False, headers=plain) as http,
        http.stream("GET", issuer.url) as answer,
    ):
        answer.raise_for_status()
        async for piece in answer.aiter_raw():
            body += piece
            if len(body) > LARGEST:
                raise ValueError("too large")
    said = orjson.loads(body)
    if not isinstance(said["keys"], list):
        raise TypeError("no list of keys")
    return read_keys(said["keys"], issuer.algorithm)


def read_keys(entries: Sequence[Any], algorithm: str) -> Mapping[str, Any]:
    """kid -> key, of those entries that this algorithm can be verified by. What cannot be used, or is not
    understood, is passed over (RFC 7517 section 5); of two with one kid the first usable one counts."""
    found: dict[str, Any] = {}
    for entry in entries[:KEYS]:
        try:
            if is_for(entry, algorithm):
                key = jwt.PyJWK(entry, algorithm=algorithm)
                if algorithm != "RS256" or key.key.key_size >= RSA_BITS:
                    found.setdefault(str(entry.get("kid", "")), key)
        except Exception:  # noqa: S112  # Whatever is wrong with it is wrong with it alone.
            continue
    return found


def is_for(entry: Mapping[str, Any], algorithm: str) -> bool:
    """Whether a JSON Web Key says that it verifies signatures of this algorithm (RFC 7517 section 4)."""
    operations = entry.get("key_ops")
    return (
        entry.get("kty") == ALGORITHMS[algorithm]
        and entry.get("use") in (None, "sig")
        and entry.get("alg") in (None, algorithm)
        and entry.get("crv") in (None, "P-256")
        and (operations is None or "verify" in operations)
    )
