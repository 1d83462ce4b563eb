"""Who is calling: a JSON Web Token (RFC 7519) becomes a Principal.

Each issuer has one algorithm, fixed by the settings: the token's own `alg` decides nothing. `exp` is always
needed. The rules follow RFC 8725 (sections 3.1, 3.8, 3.9).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any
from uuid import UUID, uuid4

import jwt
from fastapi.requests import HTTPConnection

from msgxc import ids
from msgxc.errors import Unauthorized
from msgxc.gateway.issuers import Issuer, trusted
from msgxc.messages.records import Principal, Role
from msgxc.wiring import Exchange

LEEWAY = 10  # seconds that clocks may differ
LONGEST = 8192  # characters of a token
#: What a role is called in a token; the old system's names among them.
ROLES: Mapping[str, Role] = {
    "user": Role.USER,
    "service": Role.SERVICE,
    "svc": Role.SERVICE,
    "admin": Role.ADMIN,
    "msgxc_admin": Role.ADMIN,
}


def app_secret(exchange: Exchange) -> bytes:
    """The key of HS256 tokens: the setting, else one made from the exchange's own key."""
    given = exchange.settings.jwt_secret.get_secret_value().encode()
    return given or blake2b(key=exchange.key, person=b"jwt", digest_size=32).digest()


async def authenticate(exchange: Exchange, token: str) -> Principal:
    """The caller that a token stands for.

    Raises Unauthorized with the code token_invalid, token_expired or token_revoked.
    """
    if not token or len(token) > LONGEST:
        raise Unauthorized("the token is missing or too long", "token_invalid")
    claims = await _verified(exchange, token)
    principal = to_principal(exchange.key, claims)
    await _not_revoked(exchange, principal, claims)
    return principal


async def principal_of(connection: HTTPConnection) -> Principal:
    """The caller of this request, from its Authorization header; read once. Raises Unauthorized."""
    known = getattr(connection.state, "principal", None)
    if isinstance(known, Principal):
        return known
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("a bearer token is needed", "token_missing")
    principal = await authenticate(connection.app.state.exchange, token.strip())
    connection.state.principal = principal
    return principal


async def _verified(exchange: Exchange, token: str) -> dict[str, Any]:
    try:
        said = jwt.decode(token, options={"verify_signature": False})
        issuer, key = await _key(exchange, token, said.get("iss"))
        return jwt.decode(
            token,
            key,
            algorithms=[issuer.algorithm],
            issuer=issuer.name or None,
            audience=exchange.settings.jwt_audience or None,
            leeway=LEEWAY,
            options={"require": ["exp"], "verify_aud": bool(exchange.settings.jwt_audience)},
        )
    except jwt.ExpiredSignatureError:
        raise Unauthorized("the token has expired", "token_expired") from None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise Unauthorized("the token is not valid", "token_invalid") from None


async def _key(exchange: Exchange, token: str, issuer: object) -> tuple[Issuer, Any]:
    """Whose token it claims to be, and the key that must have signed it then."""
    for known in trusted(exchange.settings.jwt_issuers):
        if issuer == known.name:
            return known, await exchange.key_sets.key(known, jwt.get_unverified_header(token).get("kid"))
    return Issuer(exchange.settings.jwt_issuer, "HS256"), app_secret(exchange)


def to_principal(key: bytes, claims: Mapping[str, Any]) -> Principal:
    """The caller that verified claims name. The old forms: `uid` or `sub`; `roles` as a list, as text or in
    an object `claims`; `method: svc` for a service. Raises Unauthorized when nobody is named."""
    inner = claims.get("claims")
    said = {**inner, **claims} if isinstance(inner, dict) else dict(claims)
    roles = _roles(said)
    uid = _uid(key, said.get("uid") or said.get("sub"))
    if uid is None and roles.isdisjoint({Role.SERVICE, Role.ADMIN}):
        raise Unauthorized("the token names nobody", "token_invalid")
    if uid is not None:
        roles |= {Role.USER}
    return Principal(uid, roles, str(said.get("jti") or ""), float(said["exp"]))


def _roles(said: Mapping[str, Any]) -> frozenset[Role]:
    named = said.get("roles")
    words = named.replace(",", " ").split() if isinstance(named, str) else named
    found = {ROLES[word] for word in words if word in ROLES} if isinstance(words, list) else set()
    if said.get("method") == "svc":
        found.add(Role.SERVICE)
    return frozenset(found)


def _uid(key: bytes, named: object) -> UUID | None:
    if not isinstance(named, str) or not named.strip() or len(named) > 500:
        return None
    return ids.uid_of(key, named)


async def _not_revoked(exchange: Exchange, principal: Principal, claims: Mapping[str, Any]) -> None:
    names = [f"jti:{principal.token_id}"] if principal.token_id else []
    names += [f"uid:{principal.uid}"] if principal.uid else []
    before = await exchange.store.gateway.revoked(names)
    issued = claims.get("iat")
    since = float(issued) if isinstance(issued, int | float) else 0.0
    if any(since < moment for moment in before.values()):
        raise Unauthorized("the token has been revoked", "token_revoked")


def make_token(exchange: Exchange, uid: UUID | None, roles: frozenset[Role], seconds: int) -> str:
    """A token of the exchange's own issuer, for development and tests."""
    now, settings = time.time(), exchange.settings
    claims = {
        **({"iss": settings.jwt_issuer} if settings.jwt_issuer else {}),
        **({"aud": settings.jwt_audience} if settings.jwt_audience else {}),
        **({"uid": str(uid)} if uid else {}),
        "roles": sorted(roles),
        "jti": str(uuid4()),
        "iat": now,
        "exp": int(now) + seconds,
    }
    return jwt.encode(claims, app_secret(exchange), algorithm="HS256")
