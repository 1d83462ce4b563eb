"""Bodies: too large, too slow, of any type; quotas; what a body of another kind is answered."""

from __future__ import annotations

import asyncio
import http.client
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from gateway_world import World

from msgxc.gateway.limits import TOGETHER, BodyLimit
from msgxc.gateway.rates import Rates
from msgxc.settings import Settings

PATHS = ["/api/v2/publish", "/hooks/sendgrid", "/u/x", "/api/v2/nothing"]
TYPES = [
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain",
    "",
]


def pieces(size: int) -> Iterator[bytes]:
    """A body in chunks."""
    for _ in range(size // 65_536):
        yield b"x" * 65_536


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_is_announced_too_large_is_refused_unread(
    served: tuple[Settings, int], path: str, kind: str
) -> None:
    """100 MB by Content-Length, of any type: 413 before a byte of it is read, and the connection ends."""
    _, port = served
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\nContent-Type: {kind}\r\n\r\n"
        connection.sendall(head.encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 413
        assert answer.getheader("content-type") == "application/problem+json"
        assert answer.getheader("connection") == "close"


@pytest.mark.parametrize("kind", TYPES[:3])
@pytest.mark.parametrize("path", PATHS[:2])
def test_a_body_in_chunks_is_refused_where_the_limit_is(
    served: tuple[Settings, int], path: str, kind: str
) -> None:
    """Nobody says how long it is: it is refused when it has become too long, not at its end."""
    settings, port = served
    limit = settings.body_limit * (8 if path.startswith("/hooks") else 1)
    sent = 0
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: {kind}\r\n\r\n"
        )
        connection.sendall(head.encode())
        try:
            for piece in pieces(100_000_000):
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
                sent += len(piece)
        except OSError:
            pass
        assert sent < limit + 20_000_000  # what the buffers of two sockets hold
        with_answer = connection.recv(4096) if sent < 100_000_000 else b""
    assert with_answer == b"" or b" 413 " in with_answer


def test_a_body_that_comes_too_slowly_is_refused(served: tuple[Settings, int]) -> None:
    """One byte at a time: 408 when the time is over (here 1.5 s), and others are served meanwhile."""
    _, port = served
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"POST /api/v2/publish HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(5):
            connection.sendall(b"x")
            time.sleep(0.1)
        other = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        other.request("GET", "/api/v2/ping")
        assert other.getresponse().read() == b"true"
        other.close()
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 408
    assert time.monotonic() - begun < 4


def ended(connection: socket.socket) -> bool:
    """Whether the other side has hung up."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("first", [b"", b"GET /api/v2/ping HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_head_that_does_not_come_ends_the_connection(served: tuple[Settings, int], first: bytes) -> None:
    """A line now and then, and never the last one, on a new connection and on one that was used: hung up on
    after 1.5 s."""
    _, port = served
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        if first:
            connection.sendall(first)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert answer.read() == b"true"
        begun = time.monotonic()
        connection.sendall(b"GET /api/v2/ping HTTP/1.1\r\n")
        for _ in range(3):
            time.sleep(0.2)
            connection.sendall(b"X: y\r\n")
        assert ended(connection)
        assert time.monotonic() - begun < 5


def test_a_head_that_never_ends_is_cut_off(served: tuple[Settings, int]) -> None:
    """A header of a gigabyte: hung up on after some 64 KiB."""
    _, port = served
    sent = 0
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"GET /api/v2/ping HTTP/1.1\r\nX: ")
        try:
            for piece in pieces(100_000_000):
                connection.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
    assert sent < 20_000_000


async def test_all_bodies_together_are_bounded(world: World) -> None:
    """Each within its limit, and too many of them: 503, before the memory is full; afterwards all is well."""
    limited = BodyLimit(world.app, world.exchange.settings)
    limited._held = TOGETHER - 10
    transport = httpx.ASGITransport(limited)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        answers = [await client.post("/api/v2/receipts", content=b"x" * size) for size in (11, 10)]
        assert [answer.status_code for answer in answers] == [503, 415]
        assert answers[0].headers["retry-after"] == "1"
    assert limited._held == TOGETHER - 10


async def test_a_body_that_is_no_json_is_refused(world: World) -> None:
    """415 for other types, 422 for broken JSON; a problem each time."""
    login = world.admin
    for kind in TYPES[1:]:
        headers = {**login, "Content-Type": kind} if kind else login
        answer = await world.client.post("/api/v2/broadcast", content=b'{"msg":"x"}', headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "media_type")
    for body in (
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"x"',
        b"\xff",
        b'{"msg":',
        b"[" * 100_000,
        b'{"msg":"\\ud800"}',
    ):
        headers = {**login, "Content-Type": "application/json"}
        answer = await world.client.post("/api/v2/broadcast", content=body, headers=headers)
        assert answer.status_code in (400, 422), body[:20]
        assert answer.headers["content-type"] == "application/problem+json"


async def test_problems_repeat_nothing_of_the_request(world: World) -> None:
    """A token or an address that was sent does not come back in an error."""
    body = {"os": "ios", "token": "secret-token secret", "email": "a@example.com"}
    answer = await world.post("enlist", body, world.admin)
    assert answer.status_code == 422
    assert "secret" not in answer.text
    assert "example.com" not in answer.text


async def test_every_answer_to_a_caller_tells_the_quota(world: World) -> None:
    """RateLimit-Policy and RateLimit on answers and on problems; 429 with Retry-After beyond it."""
    world.app.state.rates = Rates(3)
    login = world.login((await world.person()).uid)
    seen = [await world.get("unread", login) for _ in range(4)]
    assert [answer.status_code for answer in seen] == [200, 200, 200, 429]
    assert [answer.headers["ratelimit-policy"] for answer in seen] == ['"caller";q=3;w=60'] * 4
    assert [answer.headers["ratelimit"].split(";")[1] for answer in seen] == ["r=2", "r=1", "r=0", "r=0"]
    assert 1 <= int(seen[-1].headers["retry-after"]) <= 60
    assert (await world.get("unread", world.login((await world.person()).uid))).status_code == 200
    assert "ratelimit" not in (await world.client.get("/api/v2/ping")).headers


def test_a_quota_begins_anew_after_its_minute() -> None:
    """Counted by a steady clock; no limit is none."""
    rates = Rates(1)
    first, second, third = (rates.count("a", now) for now in (0.0, 59.9, 60.0))
    assert first
    assert second
    assert third
    assert (first.over, second.over, third.over) == (False, True, False)
    assert Rates(0).count("a", 0.0) is None


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(served: tuple[Settings, int]) -> None:
    """A thousand half requests, closed: the gateway answers the next one."""
    _, port = served
    for _ in range(200):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /api/v2/publish HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
        await writer.drain()
        writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /api/v2/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).endswith(b"true")
    writer.close()
