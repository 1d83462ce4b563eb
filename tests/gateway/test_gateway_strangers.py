"""Whoever has no login: guesses that are counted, hosts that are not ours, methods that a path takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import uuid4

import httpx
import pytest
from gateway_world import PUBLIC, World, gateway_settings

from msgxc import ids, links
from msgxc.gateway.access import ACCESS
from msgxc.gateway.methods import hosts_of, is_ours, methods_of
from msgxc.gateway.misses import Misses

FORGED = {"Authorization": "Bearer eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjk5OTk5OTk5OTl9.AAAA"}
UNSIGNED = {"X-Twilio-Signature": "x"}
Guess = Callable[[World], Awaitable[httpx.Response]]
GUESSES: dict[str, tuple[int, Guess]] = {
    "token": (401, lambda world: world.get("unread", FORGED)),
    "token with a body": (401, lambda world: world.post("publish", {"tid": "t", "msg": "x"}, FORGED)),
    "unsubscribe": (404, lambda world: world.client.get(f"/u/{uuid4().hex}")),
    "unsubscribe at once": (404, lambda world: world.client.post(f"/u/{uuid4().hex}")),
    "preferences": (404, lambda world: world.client.get(f"/p/{uuid4().hex}")),
    "tracked": (404, lambda world: world.client.get(f"/l/{uuid4().hex}?to=https://example.org")),
    "opened": (404, lambda world: world.client.get(f"/o/{uuid4().hex}.gif")),
    "app": (404, lambda world: world.client.get("/a/x%20y")),
    "receipt": (422, lambda world: world.post("receipts", {"receipt": uuid4().hex})),
    "webhook": (403, lambda world: world.client.post("/hooks/twilio", data={"a": "b"}, headers=UNSIGNED)),
}


def limited(world: World, limit: int = 5) -> None:
    """So few misses of one address."""
    world.app.state.misses = Misses(limit)


@pytest.mark.parametrize("name", GUESSES)
async def test_guesses_are_counted_and_those_who_guess_nothing_are_let_be(world: World, name: str) -> None:
    """The sixth is answered 429 with Retry-After, and its connection ends; what counts is answered as ever,
    from the very same address; and so are other addresses' guesses."""
    limited(world)
    status, guess = GUESSES[name]
    answers = [await guess(world) for _ in range(8)]
    assert [answer.status_code for answer in answers] == [status] * 5 + [429] * 3
    assert answers[-1].headers["connection"] == "close"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    person = await world.person()
    assert (await world.get("unread", world.login(person.uid))).status_code == 200
    token = links.token(world.exchange.key, ids.campaign_id(world.exchange.key, "c"), person.uid)
    assert (await world.client.get(f"/p/{token}")).status_code == 200
    transport = httpx.ASGITransport(world.app, client=("203.0.113.9", 1))
    async with httpx.AsyncClient(transport=transport, base_url=PUBLIC) as elsewhere:
        other = World(world.exchange, world.app, elsewhere)
        assert (await guess(other)).status_code == status


async def test_an_old_token_is_no_guess(world: World) -> None:
    """People behind one address whose tokens have ended hear that they have, however many they are."""
    from test_gateway_auth import signed

    limited(world)
    for _ in range(20):
        old = {"Authorization": f"Bearer {signed(world, exp=1)}"}
        answer = await world.get("unread", old)
        assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")


async def test_an_address_that_guesses_makes_us_ask_no_issuer(world: World) -> None:
    """Past the limit a key that is not known is not asked for."""
    limited(world, 1)
    assert not world.app.state.misses.over("127.0.0.1")
    await world.get("unread", FORGED)
    assert world.app.state.misses.over("127.0.0.1")
    assert not world.app.state.misses.over("203.0.113.9")
    assert not Misses(0).over("127.0.0.1")
    assert Misses(0).count("127.0.0.1") is None


# -- hosts


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("msg.example.org", True),
        ("MSG.example.org:443", True),
        ("msg.example.org.", True),
        ("127.0.0.1", True),
        ("127.0.0.1:8080", True),
        ("localhost:8080", True),
        ("[::1]:8080", True),
        ("api.example.net", True),
        ("a.in.example.net", True),
        ("in.example.net", False),
        ("a.b.in.example.net", False),
        ("evil.example", False),
        ("msg.example.org.evil.example", False),
        ("evil.example#msg.example.org", False),
        ("evil.example/@msg.example.org", False),
        ("127.0.0.1.evil.example", False),
        ("0.0.0.0", False),
        ("", False),
        ("[::1", False),
        (":8080", False),
    ],
)
def test_a_host_is_ours_by_its_whole_name(tmp_path, host: str, ours: bool) -> None:  # type: ignore[no-untyped-def]
    """PUBLIC_URL's, this machine's, and those of the setting; nothing that only looks like one."""
    settings = gateway_settings(tmp_path, hosts="api.example.net, *.in.example.net", gateway_host="0.0.0.0")
    assert is_ours(host, hosts_of(settings)) is ours


async def test_what_is_meant_for_another_host_is_refused(world: World) -> None:
    """Whose name leads here is not yet us: 421 on every path, but for the ping of a load balancer."""
    for path in ("/docs", "/demo", "/client.js", "/api/v2/push/key", "/u/x", "/openapi.json", "/nothing"):
        answer = await world.client.get(path, headers={"Host": "evil.example"})
        assert (answer.status_code, answer.json()["code"]) == (421, "wrong_host"), path
        assert "evil" not in answer.text
    answer = await world.client.get("/api/v2/ping", headers={"Host": "10.0.0.7"})
    assert answer.json() is True


async def test_the_docs_name_the_public_address(world: World) -> None:
    """Their curl lines are to be copied: whoever asked by another name does not stand in them."""
    page = await world.client.get("/docs", headers={"Host": "localhost"})
    assert f"curl -sS {PUBLIC}/api/v2/ping" in page.text
    assert "localhost" not in page.text


# -- methods


@pytest.mark.parametrize("path", ["/api/v2/ping", "/docs", "/client.js", "/openapi.json", "/api/v2/unread"])
async def test_head_is_get_without_the_body(world: World, path: str) -> None:
    """The same status and headers, the length of what would have come."""
    login = world.login((await world.person()).uid)
    got = await world.client.get(path, headers=login)
    head = await world.client.head(path, headers=login)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    if path != "/docs":  # its nonce is another one
        assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.content))


async def test_head_is_refused_as_get_is(world: World) -> None:
    """No login, no such path, a path that has no GET."""
    for path, status in (("/api/v2/unread", 401), ("/nothing", 404), ("/api/v2/publish", 405)):
        assert (await world.client.head(path)).status_code == status


async def test_options_and_405_tell_what_a_path_takes(world: World) -> None:
    """Of every path; and no page of another site is let in."""
    for method, path in ACCESS:
        if method == "WEBSOCKET" or "{" in path:
            continue
        told = await world.client.options(path, headers={"Origin": "https://evil.example"})
        assert told.status_code == 204
        assert method in told.headers["allow"].split(", ")
        assert not [name for name in told.headers if name.startswith("access-control")]
        wrong = await world.client.delete(path)
        assert wrong.status_code == 405
        assert wrong.headers["allow"] == told.headers["allow"]
    assert methods_of("/u/x") == ["GET", "HEAD", "OPTIONS", "POST"]
    assert (await world.client.options("/nothing")).status_code == 404
