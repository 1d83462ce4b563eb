"""A connection ends with its token, its token's revocation and its person, whatever its client sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import jwt
import pytest
from socket_world import Client, Gateway, clients, connected, process, serving, settings_of
from waiting import until
from websockets.exceptions import ConnectionClosed

from msgxc.gateway import deadlines
from msgxc.gateway.auth import LEEWAY, make_token
from msgxc.gateway.websocket import OF_ACCOUNT
from msgxc.messages.records import Role
from msgxc.revocation import LONGEST_LIFE, revoke
from msgxc.wiring import apply_schema, open_exchange

PATIENCE = 90.0  # only a failure waits for it


def now() -> datetime:
    return datetime.now(UTC)


def jti(token: str) -> str:
    return str(jwt.decode(token, options={"verify_signature": False})["jti"])


async def end(client: Client) -> tuple[str, int]:
    """The code of the last frame, and the one with which the server hangs up."""
    last = ""
    with suppress(ConnectionClosed):
        while True:
            frame = await client.next(seconds=PATIENCE)
            last = frame.get("code", "") if frame["slug"] == "/close" else ""
    return last, client.socket.close_code or 0


@asynccontextmanager
async def busy(client: Client) -> AsyncIterator[None]:
    """The client checks in all the time, as a page that is alive does, only oftener."""

    async def ping() -> None:
        with suppress(ConnectionClosed):
            while True:
                await client.say("/ping", active=True)
                await asyncio.sleep(0.1)

    pinging = asyncio.create_task(ping())
    try:
        yield
    finally:
        pinging.cancel()
        await asyncio.gather(pinging, return_exceptions=True)


@pytest.mark.parametrize("sends", [True, False])
async def test_a_connection_ends_with_its_token(gateway: Gateway, sends: bool) -> None:
    """At its end and the leeway, also when the client never stops to send."""
    uid, _ = await gateway.person()
    token = gateway.token(uid, seconds=5 - LEEWAY)
    async with connected(gateway.url, token) as client:
        if sends:
            async with busy(client):
                assert await end(client) == ("token_expired", 4401)
        assert await end(client) == ("" if sends else "token_expired", 4401)
    await until(lambda: len(gateway.hub.deadlines) == 0)


Name = Callable[[UUID, str], str]


@pytest.mark.parametrize("name", [lambda uid, _: f"uid:{uid}", lambda _, token: f"jti:{jti(token)}"])
async def test_a_connection_ends_with_its_revocation(gateway: Gateway, name: Name) -> None:
    """At once, in the middle of what the client sends; it hears nothing that is said afterwards. Others stay,
    and so does a token that was issued later."""
    tid = await gateway.thread()
    uid, token = await gateway.person(tid)
    _, other = await gateway.person(tid)
    async with clients(gateway.url, token, other) as (gone, stays):
        for client in (gone, stays):
            assert (await client.listen(tid))["ok"]
        async with busy(gone):
            await revoke(gateway.exchange, name(uid, token), now())
            assert await end(gone) == ("token_revoked", 4401)
        await gateway.publish(tid, "for the others")
        assert (await stays.next("/thread/"))["msg"] == "for the others"
        await asyncio.sleep(0.01)
        async with connected(gateway.url, gateway.token(uid)) as again:
            await revoke(gateway.exchange, f"uid:{uid}", datetime.fromtimestamp(1, UTC))
            assert (await again.ask("/ping"))["ok"]


async def test_a_service_is_revoked_as_a_whole(gateway: Gateway) -> None:
    """By its account: every token of it, and no other service's."""
    tokens = [gateway.token(None, Role.SERVICE) for _ in range(2)]
    _, person = await gateway.person()
    async with clients(gateway.url, *tokens, person) as (one, two, stays):
        (account,) = (name for name in gateway.hub.deadlines._of_account if name.startswith("svc:"))
        await revoke(gateway.exchange, account, now())
        for client in (one, two):
            assert await end(client) == ("token_revoked", 4401)
        assert (await stays.ask("/ping"))["ok"]


async def unheard(gateway: Gateway, name: str) -> None:
    """A revocation that the bus loses."""
    at = now().timestamp()
    await gateway.exchange.store.gateway.revoke(name, at, at + LONGEST_LIFE, at)


async def test_what_the_bus_lost_is_found_by_the_next_look(gateway: Gateway) -> None:
    """A revocation of which nobody told the gateway ends the connection all the same."""
    gateway.hub.deadlines.again_seconds = 0.5
    uid, token = await gateway.person()
    async with connected(gateway.url, token) as client, busy(client):
        await unheard(gateway, f"uid:{uid}")
        assert await end(client) == ("token_revoked", 4401)


async def test_what_the_bus_lost_is_in_the_list(gateway: Gateway) -> None:
    """One reading of what is new in the store finds all that nobody told: those connections end, the others
    stay."""
    people = [await gateway.person() for _ in range(3)]
    service = gateway.token(None, Role.SERVICE)
    ours, (one, two, _) = gateway.hub.deadlines, people
    async with clients(gateway.url, *(token for _, token in people), service) as (*ended, stays, last):
        await unheard(gateway, f"uid:{one[0]}")
        await unheard(gateway, f"jti:{jti(two[1])}")
        await ours.catch_up()
        for client in ended:
            assert await end(client) == ("token_revoked", 4401)
        assert len(ours) == 2
        await ours.catch_up()
        for client in (stays, last):
            assert (await client.ask("/ping"))["ok"]


async def test_the_list_is_read_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, for as long as the gateway runs."""
    monkeypatch.setattr(deadlines, "PATROL_SECONDS", 0.05)
    async with serving(settings_of(tmp_path)) as gateway:
        for _ in range(2):
            uid, token = await gateway.person()
            async with connected(gateway.url, token) as client:
                await unheard(gateway, f"uid:{uid}")
                assert await end(client) == ("token_revoked", 4401)


async def test_when_the_bus_tells_a_gap_everybody_is_looked_at(gateway: Gateway) -> None:
    """Those whose token counts stay."""
    uid, token = await gateway.person()
    _, other = await gateway.person()
    async with clients(gateway.url, token, other) as (gone, stays):
        await unheard(gateway, f"uid:{uid}")
        gateway.hub.deadlines.missed()
        assert await end(gone) == ("token_revoked", 4401)
        assert (await stays.ask("/ping"))["ok"]


async def test_a_client_that_reads_nothing_ends_as_well(gateway: Gateway) -> None:
    """Its closing frame is not waited for for ever: nothing of it is left, nothing piles up."""
    tid = await gateway.thread()
    uid, token = await gateway.person(tid)
    async with connected(gateway.url, token, max_queue=1) as client:
        await client.listen(tid)
        for _ in range(40):  # More than the sockets hold; too little to be hung up on.
            await gateway.publish(tid, "x" * 15_000)
        await revoke(gateway.exchange, f"uid:{uid}", now())
        await until(lambda: gateway.hub.connections == 0)
        assert len(gateway.hub.deadlines) == 0
        assert f"thread.{tid}" not in gateway.hub._feeds


@pytest.mark.parametrize("bus", ["local", "nats"])
async def test_every_gateway_hears_of_a_revocation(
    tmp_path: Path, bus: str, request: pytest.FixtureRequest
) -> None:
    """One that is written by another process ends connections of this one at once, over both buses."""
    url = request.getfixturevalue("nats_server").url if bus == "nats" else "nats://127.0.0.1:1"
    settings = settings_of(tmp_path, bus=bus, nats_url=url)
    await apply_schema(settings)
    running = process(settings, MSGXC_BUS=bus, MSGXC_NATS_URL=url)
    await asyncio.to_thread(running.__enter__)
    try:
        async with open_exchange(settings) as exchange:
            one, two = uuid4(), uuid4()
            tokens = [make_token(exchange, uid, frozenset({Role.USER}), 60) for uid in (one, two)]
            place = f"127.0.0.1:{settings.gateway_port}"
            async with clients(place, *tokens) as (gone, stays):
                async with busy(gone):
                    await revoke(exchange, f"uid:{one}", now())
                    assert await end(gone) == ("token_revoked", 4401)
                assert (await stays.ask("/ping"))["ok"]
    finally:
        running.__exit__(None, None, None)


async def test_accounts_have_so_many_connections_persons_and_services_alike(gateway: Gateway) -> None:
    """The 51st is refused with 4429, whichever of its tokens it brings; another account's comes in."""

    def fresh() -> str:
        return gateway.token(None, Role.SERVICE)

    async with clients(gateway.url, *(fresh() for _ in range(OF_ACCOUNT))):
        async with connected(gateway.url) as client:
            await client.say("/api/v2/authenticate", token=fresh())
            assert await end(client) == ("too_many_connections", 4429)
        _, token = await gateway.person()
        async with connected(gateway.url, token):
            pass
    await until(lambda: gateway.hub.connections == 0)


async def test_deadlines_cost_nothing_that_is_left_behind(tmp_path: Path) -> None:
    """Connections that come and go leave no timer, no task and no count."""
    async with serving(settings_of(tmp_path)) as gateway:
        _, token = await gateway.person()
        before = len(asyncio.all_tasks())
        for _ in range(5):
            async with clients(gateway.url, *[token] * 5):
                assert len(gateway.hub.deadlines) == 5
            await until(lambda: gateway.hub.connections == 0)
        assert len(gateway.hub.deadlines) == 0
        assert gateway.hub.deadlines._of_account == {}
        await until(lambda: len(asyncio.all_tasks()) <= before)
