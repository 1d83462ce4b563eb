"""Tokens: whose count, what their claims mean, which are refused."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from gateway_world import World
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from msgxc import ids
from msgxc.errors import Unauthorized, WrongSettings
from msgxc.gateway.auth import app_secret, authenticate
from msgxc.gateway.issuers import AGAIN_SECONDS, Issuer, KeySets, trusted
from msgxc.messages.records import Role
from msgxc.settings import read_settings

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())


class Keys(BaseHTTPRequestHandler):
    """Serves the server's `keys`."""

    def do_GET(self) -> None:
        self.server.asked += 1  # type: ignore[attr-defined]
        body = json.dumps(self.server.keys).encode()  # type: ignore[attr-defined]
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def issuer() -> Iterator[Any]:
    """An issuer's key set on a port of its own."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    server.asked, server.status = 0, 200
    server.keys = {"keys": [public(RSA, "r1"), public(EC, "e1")]}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def public(key: Any, kid: str) -> dict[str, Any]:
    """The public half as a JWK."""
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig"}


def claims(**more: Any) -> dict[str, Any]:
    """Claims that our own issuer would make."""
    return {"iss": "msgxc", "aud": "msgxc", "uid": str(uuid4()), "exp": time.time() + 60, **more}


def signed(world: World, **more: Any) -> str:
    """A token of our own issuer, without the claims that are None."""
    told = {name: value for name, value in claims(**more).items() if value is not None}
    return jwt.encode(told, app_secret(world.exchange), algorithm="HS256")


async def refused(world: World, token: str) -> str:
    """With which code a token is refused."""
    with pytest.raises(Unauthorized) as caught:
        await authenticate(world.exchange, token)
    return caught.value.code


async def test_a_good_token_names_its_person_and_roles(world: World) -> None:
    """uid, roles, when it ends and which it is."""
    uid = uuid4()
    found = await authenticate(world.exchange, signed(world, uid=str(uid), roles=["admin"], jti="j"))
    assert (found.uid, found.roles, found.token_id) == (uid, {Role.USER, Role.ADMIN}, "j")
    assert found.expires > time.time()


@pytest.mark.parametrize(
    ("more", "roles"),
    [
        ({"roles": ["msgxc_admin"]}, {Role.USER, Role.ADMIN}),
        ({"roles": "admin, user"}, {Role.USER, Role.ADMIN}),
        ({"claims": {"roles": ["admin"]}}, {Role.USER, Role.ADMIN}),
        ({"method": "svc", "uid": None, "client_id": "crm", "jti": "j"}, {Role.SERVICE}),
        ({"method": "svc", "uid": None, "azp": "crm", "jti": "j"}, {Role.SERVICE}),
        ({"roles": ["root", 7, None]}, {Role.USER}),
        ({"roles": {"admin": True}}, {Role.USER}),
        ({"uid": None, "sub": "customer-7"}, {Role.USER}),
    ],
)
async def test_the_old_forms_of_claims_count(world: World, more: dict, roles: set[Role]) -> None:
    """Roles by their old names, as a list, as text, in an object; a service by its method; `sub`."""
    found = await authenticate(world.exchange, signed(world, **more))
    assert found.roles == roles
    if more.get("sub"):
        assert found.uid == ids.uid_of(world.exchange.key, "customer-7")


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"exp": 1}, "token_expired"),
        ({"exp": None}, "token_invalid"),
        ({"aud": "other"}, "token_invalid"),
        ({"aud": None}, "token_invalid"),
        ({"iss": "other"}, "token_invalid"),
        ({"iss": None}, "token_invalid"),
        ({"uid": None}, "token_invalid"),
        ({"uid": ["x"]}, "token_invalid"),
        ({"uid": None, "roles": ["service"], "jti": "j"}, "token_invalid"),
        ({"uid": None, "roles": ["service"], "client_id": "crm"}, "token_invalid"),
        ({"exp": time.time() + 401 * 86_400}, "token_invalid"),
        ({"exp": time.time() + 86_400, "iat": time.time() - 400 * 86_400}, "token_invalid"),
        ({"nbf": time.time() + 3600}, "token_invalid"),
    ],
)
async def test_wrong_claims_are_refused(world: World, more: dict, code: str) -> None:
    """exp, aud, iss are needed and have to fit; somebody has to be named, a service's token as well; none
    counts for longer than a revocation is kept."""
    assert await refused(world, signed(world, **more)) == code


async def test_wrong_signatures_are_refused(world: World) -> None:
    """Another secret, no algorithm, another algorithm with our secret as its key, and no token at all."""
    secret = app_secret(world.exchange)
    body = claims()
    for token in (
        jwt.encode(body, b"x" * 32, algorithm="HS256"),
        jwt.encode(body, None, algorithm="none"),
        jwt.encode(body, secret, algorithm="HS384") if len(secret) >= 48 else "a.b.c",
        jwt.encode(body, RSA, algorithm="RS256"),
        signed(world)[:-3],
        "",
        "x",
        "a.b.c",
        "é.é.é",
        "\ud800",
        "a" * 100_000,
    ):
        assert await refused(world, token) == "token_invalid"


async def test_revoked_tokens_are_refused(world: World) -> None:
    """One by its jti; all of a person that were issued before; a later one counts again."""
    uid, login = uuid4(), world.admin
    one, old = signed(world, jti="j7"), signed(world, uid=str(uid), iat=time.time() - 5)
    assert (await world.post("revoke", {"jti": "j7"}, login)).json() is True
    assert (await world.post("revoke", {"uid": str(uid)}, login)).json() is True
    assert await refused(world, one) == "token_revoked"
    assert await refused(world, old) == "token_revoked"
    assert await refused(world, signed(world, uid=str(uid))) == "token_revoked"  # it does not say since when
    found = await authenticate(world.exchange, signed(world, uid=str(uid), iat=time.time() + 1))
    assert found.uid == uid


async def test_a_services_tokens_are_revoked_by_its_name(world: World) -> None:
    """All of them, and no other service's, nor a service of another issuer that is called so."""
    service: dict[str, Any] = {"uid": None, "roles": ["service"], "iat": time.time() - 5}
    crm, again = (signed(world, **service, client_id="crm", jti=jti) for jti in "ab")
    shop = signed(world, **service, client_id="shop", jti="c")
    for body in ({"service": "crm", "issuer": "https://id.example.org"}, {"service": "crm"}):
        assert await authenticate(world.exchange, crm)
        assert (await world.post("revoke", body, world.admin)).json() is True
    assert await refused(world, crm) == await refused(world, again) == "token_revoked"
    assert await authenticate(world.exchange, shop)
    assert (await world.post("revoke", {"service": "crm", "jti": "x"}, world.admin)).status_code == 422


def test_a_short_secret_stops_the_start() -> None:
    """Who can guess it is whoever they like; the line does not show it."""
    with pytest.raises(WrongSettings, match="JWT_SECRET") as caught:
        read_settings(_env_file=None, jwt_secret="hunter2")
    assert "hunter2" not in str(caught.value)


# -- other issuers


@pytest.mark.parametrize(("algorithm", "key", "kid"), [("RS256", RSA, "r1"), ("ES256", EC, "e1")])
async def test_another_issuers_tokens_count(
    world: World, issuer: Any, algorithm: str, key: Any, kid: str
) -> None:
    """By its own algorithm and key set alone: HS256 with any secret does not count (RFC 8725 2.1)."""
    url = f"http://127.0.0.1:{issuer.server_port}/keys"
    trust(world, f"https://id.example.org {algorithm} {url}")
    body = claims(iss="https://id.example.org")
    found = await authenticate(
        world.exchange, jwt.encode(body, key, algorithm=algorithm, headers={"kid": kid})
    )
    assert found.uid == ids.uid_of(world.exchange.key, f"https://id.example.org|{body['uid']}")
    assert (
        await refused(world, jwt.encode(body, app_secret(world.exchange), algorithm="HS256"))
        == "token_invalid"
    )
    other = EC if algorithm == "RS256" else RSA
    wrong = "ES256" if algorithm == "RS256" else "RS256"
    for named in ("r1", "e1"):
        token = jwt.encode(body, other, algorithm=wrong, headers={"kid": named})
        assert await refused(world, token) == "token_invalid"


async def test_keys_are_changed_and_taken_back(issuer: Any) -> None:
    """A new key is fetched when a token names it, at most every AGAIN_SECONDS; an issuer that is away leaves
    the last keys in force."""
    now = [1000.0]
    sets = KeySets(lambda: now[0])
    known = Issuer("x", "RS256", f"http://127.0.0.1:{issuer.server_port}/")
    await sets.key(known, "r1")
    second = rsa.generate_private_key(65537, 2048)
    issuer.keys = {"keys": [public(second, "r2")]}
    for _ in range(5):
        with pytest.raises(jwt.InvalidKeyError):
            await sets.key(known, "r2")
    assert issuer.asked == 1
    now[0] += AGAIN_SECONDS
    await sets.key(known, "r2")
    with pytest.raises(jwt.InvalidKeyError):
        await sets.key(known, "r1")
    issuer.status = 500
    now[0] += 10_000
    await sets.key(known, "r2")
    assert issuer.asked == 3


@pytest.mark.parametrize(
    "text", ["x", "a HS256 https://x", "a RS256 ftp://x", "a RS256 http://example.org/x"]
)
def test_issuers_that_cannot_be_read_stop_the_start(text: str) -> None:
    """One line that names the setting; never plain HTTP, never a shared secret."""
    with pytest.raises(WrongSettings, match="MSGXC_JWT_ISSUERS"):
        trusted(text)


def trust(world: World, issuers: str) -> None:
    """Have the exchange believe these."""
    world.exchange.settings = world.exchange.settings.model_copy(update={"jwt_issuers": issuers})
