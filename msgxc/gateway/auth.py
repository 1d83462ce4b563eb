"""Who is calling: a JSON Web Token (RFC 7519) becomes a Principal.

Each issuer has one algorithm, fixed by the settings: the token's own `alg` decides nothing. `exp` is always
needed. The rules follow RFC 8725 (sections 3.1, 3.8, 3.9).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from math import isfinite
from typing import Any
from uuid import UUID, uuid4

import jwt
from fastapi.requests import HTTPConnection

from msgxc import ids, revocation
from msgxc.errors import Unauthorized
from msgxc.gateway.issuers import Issuer, trusted
from msgxc.gateway.peers import peer_of
from msgxc.messages.records import Principal, Role
from msgxc.people.fields import visible
from msgxc.wiring import Exchange

LEEWAY = 10  # seconds that clocks may differ
LONGEST = 8192  # characters of a token
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,500}")
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


async def authenticate(exchange: Exchange, token: str, *, ask: bool = True) -> Principal:
    """The caller that a token stands for. `ask`: whether its issuer may be asked for a key that is not known.

    Raises Unauthorized with the code token_invalid, token_expired or token_revoked; StoreUnavailable.
    """
    if not token or len(token) > LONGEST:
        raise Unauthorized("the token is missing or too long", "token_invalid")
    claims, issuer = await _verified(exchange, token, ask)
    try:
        principal = to_principal(exchange.key, claims, issuer, exchange.clock())
    except Exception as error:  # Whatever its issuer has signed: it is the token that is wrong.
        if isinstance(error, Unauthorized):
            raise
        raise Unauthorized("the token is not valid", "token_invalid") from None
    await _not_revoked(exchange, principal, claims)
    return principal


async def principal_of(connection: HTTPConnection) -> Principal:
    """The caller of this request, from its Authorization header; read once. Raises Unauthorized."""
    known = getattr(connection.state, "principal", None)
    if isinstance(known, Principal):
        return known
    if isinstance(known, Unauthorized):
        raise known
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("a bearer token is needed", "token_missing")
    exchange: Exchange = connection.app.state.exchange
    ask = not connection.app.state.misses.over(peer_of(connection.scope, exchange.settings))
    try:
        connection.state.principal = await authenticate(exchange, token.strip(), ask=ask)
    except Unauthorized as error:
        connection.state.principal = error
        raise
    principal: Principal = connection.state.principal
    return principal


async def _verified(exchange: Exchange, token: str, ask: bool) -> tuple[dict[str, Any], Issuer]:
    """Its claims, and the issuer that has signed them. Raises Unauthorized."""
    settings = exchange.settings
    try:
        said = jwt.decode(token, options={"verify_signature": False})
        issuer, key = await _key(exchange, token, said.get("iss"), ask)
        claims = jwt.decode(
            token,
            key,
            algorithms=[issuer.algorithm],
            issuer=issuer.name or None,
            audience=settings.jwt_audience or None,
            leeway=LEEWAY,
            options={"require": ["exp"], "verify_aud": bool(settings.jwt_audience)},
        )
    except jwt.ExpiredSignatureError:
        raise Unauthorized("the token has expired", "token_expired") from None
    except Exception:  # Anybody may write anything into a token, and any of it is their mistake.
        raise Unauthorized("the token is not valid", "token_invalid") from None
    return claims, issuer


async def _key(exchange: Exchange, token: str, issuer: object, ask: bool) -> tuple[Issuer, Any]:
    """Whose token it claims to be, and the key that must have signed it then."""
    for known in trusted(exchange.settings.jwt_issuers):
        if issuer == known.name:
            kid = jwt.get_unverified_header(token).get("kid")
            return known, await exchange.key_sets.key(known, kid, ask=ask)
    return own_issuer(exchange.settings.jwt_issuer), app_secret(exchange)


def own_issuer(name: str) -> Issuer:
    """The app's own tokens: any role, any person, as they are called everywhere else."""
    return Issuer(name, "HS256", roles=frozenset(Role), uuids=True)


def to_principal(key: bytes, claims: Mapping[str, Any], issuer: Issuer, now: float) -> Principal:
    """The caller that verified claims name. The old forms: `uid` or `sub`; `roles` as a list, as text or in
    an object `claims`; `method: svc` for a service. Roles that the issuer may not give are passed over.

    Without a person it is a service: `client_id` (RFC 9068 section 2.2) or `azp` (OpenID Connect Core
    section 2) says which, and it has a `jti`, so that it can be revoked. Raises Unauthorized when nobody is
    named, and for a token that would outlive its revocation; anything else for odd claims.
    """
    expires, since = float(claims["exp"]), min(_issued(claims) or now, now)
    if not expires - since <= revocation.LONGEST_LIFE + LEEWAY:
        raise Unauthorized("the token counts for too long", "token_invalid")
    inner = claims.get("claims")
    said = {**inner, **claims} if isinstance(inner, dict) else dict(claims)
    roles = _roles(said) & issuer.roles
    person, token_id = _name(said.get("uid") or said.get("sub")), _name(said.get("jti"))
    if person:
        uid = uid_of(key, issuer, person)
        return Principal(uid, roles | {Role.USER}, token_id, expires)
    service = _name(said.get("client_id") or said.get("azp"))
    if roles.isdisjoint({Role.SERVICE, Role.ADMIN}) or not service or not token_id:
        raise Unauthorized("the token names nobody, or not itself (jti)", "token_invalid")
    return Principal(None, roles, token_id, expires, ids.service_id(key, issuer.name, service))


def uid_of(key: bytes, issuer: Issuer, name: str) -> UUID:
    """The person whom an issuer calls so: with its prefix before the name, never somebody of another's."""
    if issuer.uuids:
        with suppress(ValueError):
            return UUID(name)
    if issuer.others and name.startswith(issuer.others):
        raise Unauthorized("the token names somebody of another issuer", "token_invalid")
    return ids.pseudonym(key, issuer.prefix + name)


def _roles(said: Mapping[str, Any]) -> frozenset[Role]:
    named = said.get("roles")
    words = named.replace(",", " ").split() if isinstance(named, str) else named
    known = [word for word in words if isinstance(word, str)] if isinstance(words, list) else []
    found = {ROLES[word] for word in known if word in ROLES}
    if said.get("method") == "svc":
        found.add(Role.SERVICE)
    return frozenset(found)


def _name(named: object) -> str:
    """A name as the API takes it, "" for none. Raises Unauthorized for one that no call could repeat."""
    if named is None or named == "":
        return ""
    if not isinstance(named, str) or not _NAME.fullmatch(named.strip()):
        raise Unauthorized("the token names somebody as nobody is called", "token_invalid")
    named.encode()  # no half of a character
    try:
        return visible(named.strip())
    except ValueError as error:
        raise Unauthorized(f"the token names somebody with {error}", "token_invalid") from None


def _issued(claims: Mapping[str, Any]) -> float:
    """When it was issued; 0 when it does not say: then any revocation is younger."""
    issued = claims.get("iat")
    return float(issued) if isinstance(issued, int | float) and isfinite(issued) else 0.0


async def _not_revoked(exchange: Exchange, principal: Principal, claims: Mapping[str, Any]) -> None:
    names = [f"jti:{principal.token_id}"] if principal.token_id else []
    names.append(principal.account)
    before = await exchange.store.gateway.revoked(names)
    if any(_issued(claims) < moment for moment in before.values()):
        raise Unauthorized("the token has been revoked", "token_revoked")


def make_token(
    exchange: Exchange, uid: UUID | None, roles: frozenset[Role], seconds: int, service: str = "msgxc"
) -> str:
    """A token of the exchange's own issuer, for development and tests; without a uid it is this service's."""
    now, settings = time.time(), exchange.settings
    claims = {
        **({"iss": settings.jwt_issuer} if settings.jwt_issuer else {}),
        **({"aud": settings.jwt_audience} if settings.jwt_audience else {}),
        **({"uid": str(uid)} if uid else {"client_id": service}),
        "roles": sorted(roles),
        "jti": str(uuid4()),
        "iat": now,
        "exp": int(now) + seconds,
    }
    return jwt.encode(claims, app_secret(exchange), algorithm="HS256")
