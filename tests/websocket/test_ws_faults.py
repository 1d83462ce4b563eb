"""Clients that are slow, dead or hostile, a bus that goes away, several gateways: who suffers how much."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid1

import httpx
import pytest
from nats_fixture import NatsServer
from socket_world import (
    URL,
    Client,
    Gateway,
    clients,
    connected,
    process,
    serving,
    settings_of,
)
from waiting import until
from websockets.exceptions import ConnectionClosed

from msgxc.gateway.line import UNREAD


@asynccontextmanager
async def raw(gateway: Gateway, token: str, tid: UUID | None = None) -> AsyncIterator[socket.socket]:
    """A client that has said hello, and reads nothing more."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        client.setblocking(False)
        host, port = gateway.url.split(":")
        await loop.sock_connect(client, (host, int(port)))
        await loop.sock_sendall(
            client,
            f"GET {URL.format(uuid1())} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode(),
        )
        says = [{"slug": "/api/v2/authenticate", "token": token}]
        says += [{"slug": "/api/v2/subscribe/thread", "tid": str(tid)}] if tid else []
        for said in says:
            payload = json.dumps(said).encode()
            await loop.sock_recv(client, 4_096)
            await loop.sock_sendall(
                client, b"\x81\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload
            )
        await loop.sock_recv(client, 4_096)
        yield client


@pytest.mark.parametrize("implementation", ["direct", "websockets-sansio"])
async def test_client_that_never_reads_is_hung_up_on(tmp_path: Path, implementation: str) -> None:
    """It costs a bounded piece of memory and its connection; the others get everything meanwhile, also under
    a server without our extension. When it comes back it is sent what it missed."""
    options = {} if implementation == "direct" else {"ws": implementation}
    async with serving(settings_of(tmp_path), **options) as gateway:
        tid = await gateway.thread()
        _, slow = await gateway.person(tid)
        _, quick = await gateway.person(tid)
        start = await gateway.publish(tid, "start")
        async with raw(gateway, slow, tid), connected(gateway.url, quick) as other:
            await other.listen(tid)
            count = 0
            while gateway.hub.connections == 2 and count < 2_000:
                await gateway.publish(tid, f"{count} " + "x" * 8_000)
                assert (await other.next("/thread/"))["msg"].startswith(f"{count} ")
                count += 1
            assert gateway.hub.connections == 1, f"still there after {count} messages"
            assert count * 8_000 < 40 * UNREAD  # what the kernel holds comes on top of ours
        async with connected(gateway.url, slow) as back:
            assert (await _replayed(back, tid, start.mid)) == count


async def _replayed(client, tid: UUID, after: UUID) -> int:
    """How many messages a resume brings, in portions if need be."""
    got, more = 0, True
    while more:
        await client.say("/api/v2/subscribe/thread", tid=str(tid), after=str(after), ref="r")
        while (frame := await client.next())["slug"].startswith("/thread/"):
            got += 1
            after = UUID(frame["opts"]["mid"])
        more = frame.get("more", False)
    return got


async def test_half_open_connection_is_closed(tmp_path: Path) -> None:
    """The socket looks open and nobody is there: no answer to a ping ends it."""
    async with serving(settings_of(tmp_path), ws_ping_interval=0.2, ws_ping_timeout=0.3) as gateway:
        _, token = await gateway.person()
        async with connected(gateway.url, token) as alive, raw(gateway, token):
            assert gateway.hub.connections == 2
            await until(lambda: gateway.hub.connections == 1)
            assert (await alive.ask("/ping"))["ok"]


async def test_flood_is_read_slowly_and_hurts_nobody(gateway: Gateway) -> None:
    """A client that sends 400 frames at once is answered at its pace; another one does not wait for it."""
    _, token = await gateway.person()
    async with clients(gateway.url, token, token) as (flood, calm):
        await asyncio.gather(*(flood.say("/ping", ref=str(number)) for number in range(400)))
        begun = time.monotonic()
        await _pongs(flood, 100)
        assert time.monotonic() - begun > 1
        left = asyncio.create_task(_pongs(flood, 300))
        assert (await calm.ask("/ping"))["ok"]
        assert not left.done()
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)


async def _pongs(client: Client, count: int) -> None:
    for _ in range(count):
        await client.next("/pong")


async def test_too_large_a_frame_ends_the_connection(gateway: Gateway) -> None:
    """More than 64 kB is not even kept: 1009."""
    _, token = await gateway.person()
    async with connected(gateway.url, token) as client:
        await client.socket.send("x" * 65_537)
        with pytest.raises(ConnectionClosed) as gone:
            await client.next()
        assert gone.value.sent is not None or gone.value.rcvd is not None
        assert "1009" in str(gone.value)


async def test_connections_are_counted(tmp_path: Path) -> None:
    """One more than MSGXC_WEBSOCKET_CONNECTIONS is told to come later; a place that is free is given away."""
    async with serving(settings_of(tmp_path, websocket_connections=2)) as gateway:
        _, token = await gateway.person()
        async with clients(gateway.url, token, token):
            with pytest.raises(Exception, match="503"):
                async with connected(gateway.url, token):
                    pass
        await until(lambda: gateway.hub.connections == 0)
        assert gateway.hub._feeds == {}
        async with connected(gateway.url, token):
            pass


async def test_published_while_nats_is_away_is_shown_once_it_is_read_again(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    """NATS killed: what is published meanwhile comes from the store, what is published afterwards at once."""
    settings = settings_of(tmp_path, bus="nats", nats_url=nats_server.url)
    async with serving(settings) as gateway:
        gateway.hub.patrol_seconds = 0.3
        tid = await gateway.thread()
        _, token = await gateway.person(tid)
        async with connected(gateway.url, token) as client:
            await client.listen(tid)
            await gateway.publish(tid, "1")
            assert (await client.next("/thread/"))["msg"] == "1"
            nats_server.kill()
            for text in ("2", "3"):
                await gateway.publish(tid, text)
                assert (await client.next("/thread/"))["msg"] == text
            nats_server.start()
            while not await gateway.exchange.bus.publish("x", b""):
                await asyncio.sleep(0.05)
            await gateway.publish(tid, "4")
            assert (await client.next("/thread/"))["msg"] == "4"
            assert await client.silent(0.5)


@pytest.mark.parametrize("bus", ["local", "nats"])
async def test_two_gateway_processes_serve_one_thread(
    tmp_path: Path, bus: str, request: pytest.FixtureRequest
) -> None:
    """What is posted to one process is heard at the other, and one that is killed hurts the other not."""
    url = request.getfixturevalue("nats_server").url if bus == "nats" else "nats://127.0.0.1:1"
    own = settings_of(tmp_path, bus=bus, nats_url=url)
    env = {"MSGXC_BUS": bus, "MSGXC_NATS_URL": url}
    async with serving(own) as gateway, AsyncExitStack() as stack:
        tid = await gateway.thread()
        _, token = await gateway.person(tid)
        others = [settings_of(tmp_path) for _ in range(2)]
        started = [await asyncio.to_thread(_entered, settings, env) for settings in others]
        for one in started:
            stack.enter_context(one)
        ports = [settings.gateway_port for settings in others]
        async with clients(f"127.0.0.1:{ports[0]}", token, token) as listeners:
            for client in listeners:
                await client.listen(tid)
            await _post(ports[1], token, tid, "over there")
            for client in listeners:
                assert (await client.next("/thread/"))["msg"] == "over there"
            started[1].process.kill()
            await gateway.publish(tid, "still here")
            assert (await listeners[0].next("/thread/"))["msg"] == "still here"


class _entered:
    """A gateway process that was started in a thread, so that this loop goes on meanwhile."""

    def __init__(self, settings, env) -> None:
        self._context = process(settings, **env)
        self.process = self._context.__enter__()

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self._context.__exit__(None, None, None)


async def _post(port: int, token: str, tid: UUID, text: str) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.post(
            f"http://127.0.0.1:{port}/api/v2/publish",
            json={"tid": str(tid), "msg": text},
            headers={"Authorization": f"Bearer {token}"},
        )
        assert answer.json() is True
