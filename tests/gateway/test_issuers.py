"""What other issuers of tokens may say, and what their key sets may be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from gateway_world import World
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from msgxc import ids
from msgxc.errors import Unauthorized, WrongSettings
from msgxc.gateway import issuers
from msgxc.gateway.app import create_app
from msgxc.gateway.auth import authenticate
from msgxc.gateway.issuers import KEEP_SECONDS, LARGEST, Issuer, KeySets, is_safe, read_keys, trusted
from msgxc.messages.records import Principal, Role

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
Answer = Callable[[asyncio.StreamWriter], Any]


def public(key: Any, kid: str) -> dict[str, Any]:
    """The public half as a JWK."""
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig"}


@asynccontextmanager
async def key_server(answer: Answer) -> AsyncIterator[tuple[str, list[int]]]:
    """(URL, how many bytes each request was sent) of a server that answers so."""
    sent: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent.append(0)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys", sent
    finally:
        server.close()


def with_keys(*keys: Any) -> Answer:
    """Answers this key set."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        body = orjson.dumps({"keys": keys})
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()

    return answer


def token(issuer: str, **claims: Any) -> str:
    """What this issuer signs."""
    said = {"iss": issuer, "aud": "msgxc", "exp": time.time() + 60, "jti": uuid4().hex, **claims}
    return jwt.encode(said, RSA, algorithm="RS256", headers={"kid": "k"})


async def of(world: World, setting: str, issuer: str, **claims: Any) -> Principal:
    """Whom a token of this issuer stands for, under this setting ({url} is its key set)."""
    async with key_server(with_keys(public(RSA, "k"))) as (url, _):
        text = setting.replace("{url}", url)
        world.exchange.settings = world.exchange.settings.model_copy(update={"jwt_issuers": text})
        return await authenticate(world.exchange, token(issuer, **claims))


# -- what they may say


async def test_an_issuer_gives_no_role_that_it_may_not_give(world: World) -> None:
    """Roles are passed over but for those of the setting; its own people it may always name."""
    said = {"sub": "ann", "roles": ["admin", "service", "user"], "method": "svc"}
    plain = await of(world, "a RS256 {url}", "a", **said)
    assert plain.roles == {Role.USER}
    some = await of(world, "a RS256 {url} roles=service", "a", **said)
    assert some.roles == {Role.USER, Role.SERVICE}
    both = await of(world, "a RS256 {url} roles=service|admin", "a", **said)
    assert both.roles == {Role.USER, Role.SERVICE, Role.ADMIN}
    with pytest.raises(Unauthorized):  # a service that it may not have
        await of(world, "a RS256 {url}", "a", client_id="crm", roles=["service"])


async def test_ann_of_three_issuers_is_three_people(world: World) -> None:
    """And none of them is the ann of a file, unless the setting says so."""
    imported = ids.uid_of(world.exchange.key, "ann")
    found = {(await of(world, f"{name} RS256 {{url}}", name, sub="ann")).uid for name in ("a", "b", "c")}
    assert len(found | {imported}) == 4
    assert (await of(world, "a RS256 {url} prefix=", "a", sub="ann")).uid == imported
    crm = await of(world, "a RS256 {url} prefix=crm:", "a", sub="ann")
    assert crm.uid == ids.uid_of(world.exchange.key, "crm:ann")


async def test_a_uuid_is_that_person_only_where_the_setting_asks_for_it(world: World) -> None:
    """Every frame shows its sender's uid: to know it is not to be them."""
    uid = uuid4()
    for spelled in (str(uid), f"{{{uid}}}", uid.hex, f"urn:uuid:{uid}", str(uid).upper()):
        for setting in ("a RS256 {url}", "a RS256 {url} prefix="):
            assert (await of(world, setting, "a", sub=spelled)).uid != uid
            assert (await of(world, setting, "a", uid=spelled)).uid != uid
        assert (await of(world, "a RS256 {url} uuids=yes", "a", sub=spelled)).uid == uid


async def test_an_issuer_without_a_name_space_has_nobody_of_anothers(world: World) -> None:
    """`prefix=` is all names but those that begin as another issuer's do."""
    setting = "a RS256 {url} prefix=, b RS256 {url} prefix=crm:"
    assert (await of(world, setting, "a", sub="ann")).uid
    with pytest.raises(Unauthorized):
        await of(world, setting, "a", sub="crm:ann")


async def test_services_are_told_apart(world: World) -> None:
    """By their issuer and their name: a fresh token is the same account, another issuer's another one."""

    async def account(issuer: str, name: str) -> str:
        found = await of(world, f"{issuer} RS256 {{url}} roles=service", issuer, client_id=name, roles="svc")
        assert found.uid is None
        return found.account

    accounts = [await account(*who) for who in (("a", "crm"), ("a", "crm"), ("a", "shop"), ("b", "crm"))]
    assert accounts[0] == accounts[1]
    assert len(set(accounts)) == 3


@pytest.mark.parametrize(
    "text",
    [
        "a RS256 https://x.example/ roles=root",
        "a RS256 https://x.example/ roles=",
        "a RS256 https://x.example/ role=user",
        "a RS256 https://x.example/ uuids=maybe",
        "a RS256 https://x.example/ roles=user roles=admin",
        "a RS256 https://x.example/ b",
        "a RS256 https://x.example/, a ES256 https://y.example/",
        "a RS256 https://x.example/, a|b RS256 https://y.example/ prefix=a|b",
        "a RS256 http://127.0.0.1.evil.example/keys",
        "a RS256 http://127.evil.example/keys",
    ],
)
def test_settings_that_would_mix_people_up_stop_the_start(text: str) -> None:
    """Unknown roles and options, an issuer twice, a name space in another one, keys over plain HTTP."""
    with pytest.raises(WrongSettings, match="MSGXC_JWT_ISSUERS"):
        trusted(text)


async def test_nobody_else_is_called_as_we_are(world: World) -> None:
    """Their keys would verify our tokens."""
    world.exchange.settings = world.exchange.settings.model_copy(
        update={"jwt_issuers": "msgxc RS256 https://x.example/"}
    )
    with pytest.raises(WrongSettings, match="MSGXC_JWT_ISSUERS"):
        create_app(world.exchange)


# -- where keys come from


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://id.example.org/keys", True),
        ("https://id.example.org:8443/keys?v=1", True),
        ("http://127.0.0.1:8000/keys", True),
        ("http://127.1.2.3/keys", True),
        ("http://[::1]:8000/keys", True),
        ("http://localhost:8000/keys", True),
        ("http://127.0.0.1.evil.example/keys", False),
        ("http://localhost.evil.example/keys", False),
        ("http://127.0.0.1@evil.example/keys", False),
        ("http://127.0.0.1\\@evil.example/keys", False),
        ("http://127.0.0.1#@evil.example/keys", False),
        ("http://evil.example/127.0.0.1", False),
        ("http://2130706433/keys", False),
        ("http://10.0.0.1/keys", False),
        ("https://user:word@id.example.org/keys", False),
        ("https:///keys", False),
        ("https://", False),
        ("https://id.example.org:x/keys", False),
        ("https://[::1/keys", False),
        ("ftp://127.0.0.1/keys", False),
        ("HTTP://127.0.0.1/keys", False),
        ("", False),
    ],
)
def test_keys_come_over_https_or_from_this_machine(url: str, safe: bool) -> None:
    """The host counts, not how the text begins."""
    assert is_safe(url) is safe


@pytest.mark.parametrize(
    "broken",
    [
        {"kty": "RSA", "kid": "b", "e": "AQAB"},
        {"kty": "RSA", "kid": "b", "n": "!", "e": "AQAB"},
        {"kty": "RSA", "kid": "b", "n": 7, "e": ["AQAB"]},
        {"kty": ["RSA"], "kid": "b"},
        {"kty": {"RSA": 1}},
        {},
        None,
        7,
        "key",
        ["RSA"],
        public(rsa.generate_private_key(65537, 1024), "k"),
        {**public(RSA, "k"), "use": "enc"},
        {**public(EC, "k"), "crv": "P-521"},
        {**public(RSA, "k"), "alg": "RS512"},
        {**public(RSA, "k"), "key_ops": 7},
        {**public(RSA, "k"), "key_ops": ["encrypt"]},
    ],
)
async def test_one_entry_that_cannot_be_used_does_not_spoil_the_rest(world: World, broken: Any) -> None:
    """It is passed over (RFC 7517 section 5), wherever it stands, also under the same kid."""
    for entries in ((broken, public(RSA, "k")), (public(RSA, "k"), broken)):
        async with key_server(with_keys(*entries)) as (url, _):
            text = f"a{uuid4().hex} RS256 {url}"
            world.exchange.settings = world.exchange.settings.model_copy(update={"jwt_issuers": text})
            assert (await authenticate(world.exchange, token(text.split(maxsplit=1)[0], sub="ann"))).uid


def test_a_key_set_has_so_many_keys() -> None:
    """What a hostile one lists beyond that is not looked at."""
    assert len(read_keys([public(EC, str(number)) for number in range(500)], "ES256")) == 100


async def test_a_key_set_without_end_is_not_read_to_its_end() -> None:
    """Hung up on soon after 256 KiB, packed or not, and whatever Content-Length says."""
    written: list[int] = []

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n")
        written.append(0)
        while written[-1] < 100_000_000:
            writer.write(b'{"keys": [' * 1_000)
            await writer.drain()
            written[-1] += 10_000

    async with key_server(endless) as (url, _):
        with pytest.raises(jwt.InvalidKeyError):
            await KeySets().key(Issuer("a", "RS256", url), "k")
    assert LARGEST <= written[0] < 20_000_000


async def test_an_issuer_that_answers_slowly_keeps_nobody_waiting_whose_key_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is asked once for everybody; whoever names an old key is told after the first failure at once."""
    monkeypatch.setattr(issuers, "FETCH_SECONDS", 5.0)
    slow = asyncio.Event()
    keys = with_keys(public(RSA, "k"))

    async def answer(writer: asyncio.StreamWriter) -> None:
        if slow.is_set():
            await asyncio.sleep(3600)
        await keys(writer)

    now = [0.0]
    sets = KeySets(lambda: now[0])
    async with key_server(answer) as (url, asked):
        issuer = Issuer("a", "RS256", url)
        await sets.key(issuer, "k")
        slow.set()
        now[0] += KEEP_SECONDS + 1
        await asyncio.gather(*(sets.key(issuer, "k") for _ in range(50)))  # all wait for one question
        assert len(asked) == 2
        async with asyncio.timeout(60):
            for _ in range(20):  # one question each, and up to FETCH_SECONDS, if they waited for it
                now[0] += 300.0
                await sets.key(issuer, "k")
        await sets.close()


async def test_an_issuer_that_is_away_is_asked_ever_less_often() -> None:
    """Tokens that name a key which nobody has make one question in ten seconds, then in twenty, at last in
    five minutes."""
    now = [0.0]
    sets = KeySets(lambda: now[0])

    async def away(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with key_server(away) as (url, asked):
        for _ in range(3_600):
            now[0] += 1
            with pytest.raises(jwt.InvalidKeyError):
                await sets.key(Issuer("a", "RS256", url), uuid4().hex)
        assert 12 <= len(asked) <= 18
        with pytest.raises(jwt.InvalidKeyError):
            await sets.key(Issuer("b", "RS256", url), "k", ask=False)
        assert 12 <= len(asked) <= 18
