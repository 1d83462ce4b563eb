"""Bodies: too large, too slow, of any type; quotas; what a body of another kind is answered."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import select
import socket
from collections.abc import Iterator
from contextlib import suppress
from uuid import uuid4

import httpx
import pytest
from gateway_world import World

from msgxc.gateway.access import ACCESS
from msgxc.gateway.auth import make_token
from msgxc.gateway.limits import RESERVE, SHARES, SMALL, TOGETHER, BodyLimit
from msgxc.gateway.rates import Rates
from msgxc.messages.records import Role
from msgxc.receipts import sendgrid, twilio
from msgxc.settings import Settings
from msgxc.wiring import open_exchange

PATHS = ["/api/v2/publish", "/hooks/sendgrid", "/u/x", "/api/v2/nothing"]
TYPES = [
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain",
    "",
]
HOST = "Host: 127.0.0.1\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
SIGNATURE = sendgrid.SIGNATURE
PATIENCE = 60.0  # only a failure waits for it, in seconds


@pytest.fixture(scope="module")
def bearer(served: tuple[Settings, int]) -> str:
    """A token of somebody, for the served gateway."""

    async def made() -> str:
        async with open_exchange(served[0]) as exchange:
            return make_token(exchange, uuid4(), frozenset({Role.USER}), 600)

    return asyncio.run(made())


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
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        head = f"POST {path} HTTP/1.1\r\n{HOST}Content-Length: 100000000\r\nContent-Type: {kind}\r\n\r\n"
        connection.sendall(head.encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 413
        assert answer.getheader("content-type") == "application/problem+json"
        assert answer.getheader("connection") == "close"


@pytest.mark.parametrize("kind", TYPES[:3])
@pytest.mark.parametrize(
    ("path", "known", "status"),
    [
        ("/api/v2/publish", True, 413),
        ("/api/v2/publish", False, 401),  # who has no login need not say more than 64 KiB to hear so
        ("/hooks/sendgrid", True, 413),
        ("/hooks/sendgrid", False, 403),  # not signed
        ("/u/x", False, 413),
        ("/api/v2/nothing", False, 404),
    ],
)
def test_a_body_in_chunks_is_refused_where_the_limit_is(
    served: tuple[Settings, int], bearer: str, path: str, known: bool, status: int, kind: str
) -> None:
    """Nobody says how long it is: it is refused when it has become too long, not at its end."""
    settings, port = served
    limit = settings.body_limit * (8 if path.startswith("/hooks") else 1)
    more = f"Authorization: Bearer {bearer}\r\n{SIGNATURE}: x\r\n" if known else ""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        head = f"POST {path} HTTP/1.1\r\n{HOST}{CHUNKED}{more}Content-Type: {kind}\r\n\r\n"
        connection.sendall(head.encode())
        try:
            for piece in pieces(100_000_000):
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
                sent += len(piece)
        except OSError:
            pass
        assert sent < limit + 20_000_000  # what the buffers of two sockets hold
        with_answer = b""
        with suppress(ConnectionResetError):
            with_answer = connection.recv(4096)
    if kind != TYPES[0] and path == "/api/v2/publish":
        status = 415
    assert with_answer == b"" or b" %d " % status in with_answer


def test_a_body_that_comes_too_slowly_is_refused(hurried: tuple[Settings, int]) -> None:
    """One byte at a time: 408 when the time is over (here 1.5 s), and others are served meanwhile."""
    _, port = hurried
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(
            b"POST /api/v2/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n"
        )
        for _ in range(5):
            while_silent(connection, b"x")
        other = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        other.request("GET", "/api/v2/ping")
        assert other.getresponse().read() == b"true"
        other.close()
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 408


def while_silent(connection: socket.socket, piece: bytes) -> None:
    """Send that after a tenth of a second, unless the other side has said something, or hung up, by then."""
    if not select.select([connection], [], [], 0.1)[0]:
        with suppress(ConnectionError):
            connection.sendall(piece)


def ended(connection: socket.socket) -> bool:
    """Whether the other side has hung up."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("first", [b"", b"GET /api/v2/ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"])
def test_a_head_that_does_not_come_ends_the_connection(hurried: tuple[Settings, int], first: bytes) -> None:
    """A line now and then, and never the last one, on a new connection and on one that was used: hung up on
    after 1.5 s."""
    _, port = hurried
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        if first:
            connection.sendall(first)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert answer.read() == b"true"
        connection.sendall(b"GET /api/v2/ping HTTP/1.1\r\n")
        for _ in range(6):
            while_silent(connection, b"X: y\r\n")
        assert ended(connection)


def test_a_head_that_never_ends_is_cut_off(served: tuple[Settings, int]) -> None:
    """A header of a gigabyte: hung up on after some 64 KiB."""
    _, port = served
    sent = 0
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(b"GET /api/v2/ping HTTP/1.1\r\nX: ")
        try:
            for piece in pieces(100_000_000):
                connection.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
    assert sent < 20_000_000


def limits_of(world: World) -> BodyLimit:
    """The part of the app that bounds bodies, in the app."""
    found = world.app.middleware_stack
    while found is not None and not isinstance(found, BodyLimit):
        found = getattr(found, "app", None) or getattr(found, "_app", None)
    assert found is not None
    return found


async def test_all_bodies_together_are_bounded(world: World) -> None:
    """Each within its limit, and too many of them: 503, before the memory is full; what is small has a
    reserve, and those with a login have half of it whatever strangers send. Afterwards all is well."""
    assert (await world.get("ping")).status_code == 200
    limited, login = limits_of(world), world.login(uuid4())

    async def answered(size: int, login: dict[str, str], path: str = "/api/v2/enlist") -> int:
        body = b'{"os": "ios", "token": "' + b"x" * (size - 26) + b'"}'
        headers = {"Content-Type": "application/json", "Host": "127.0.0.1", **login}
        answer = await world.client.post(path, content=body, headers=headers)
        if answer.status_code == 503:
            assert answer.headers["retry-after"] == "1"
        return int(answer.status_code)

    forged = {sendgrid.SIGNATURE: "x", sendgrid.TIMESTAMP: "1"}
    limited._held, limited._strangers = TOGETHER - 100_000, 0
    assert await answered(100_001, login) == 503
    assert await answered(100_000, login) == 422
    limited._held = TOGETHER
    assert await answered(SMALL, login) == 422
    limited._held = TOGETHER + RESERVE
    assert await answered(SMALL, login) == 503
    limited._held = limited._strangers = TOGETHER // 2
    assert await answered(100_000, forged, "/hooks/sendgrid") == 503
    assert await answered(100_000, login) == 422
    limited._held = limited._strangers = 0
    assert await answered(100_000, forged, "/hooks/sendgrid") == 403
    assert (limited._held, limited._strangers, dict(limited._of)) == (0, 0, {})


async def test_a_body_is_read_wherever_the_table_has_a_post(world: World) -> None:
    """Also where its path has a part that differs: forms of pages come through."""
    assert (await world.get("ping")).status_code == 200
    posts = [path for method, path in ACCESS if method == "POST"]
    assert len(posts) > 20
    for path in posts:
        asked = re.sub(r"{\w+}", "x", path)
        scope = {"type": "http", "method": "POST", "path": asked, "app": world.app, "state": {}}
        headers = {"content-type": "application/json", sendgrid.SIGNATURE: "x", twilio.SIGNATURE: "x"}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        assert (await limits_of(world)._allowance({**scope, "headers": raw, "client": None})).limit > 0


async def test_nobody_fills_the_memory_alone(world: World) -> None:
    """An account has its share, over all its tokens; an address without a login has one."""
    assert (await world.get("ping")).status_code == 200
    limited, (one, other) = limits_of(world), (uuid4(), uuid4())
    for uid, status in ((one, 503), (one, 503), (other, 422)):
        limited._of[f"uid:{one}"] = (TOGETHER + RESERVE) // SHARES
        assert (await world.post("enlist", {"x": "y"}, world.login(uid))).status_code == status
    limited._of["127.0.0.1"] = (TOGETHER + RESERVE) // SHARES
    assert (await world.post("receipts", {"x": "y"})).status_code == 503
    assert (await world.post("enlist", {"x": "y"}, world.login(other))).status_code == 422


@pytest.mark.parametrize(
    "path", ["/hooks/nothing", "/hooks/sendgrid", "/hooks/twilio", "/hooks/twilio/reply"]
)
async def test_strangers_who_hold_their_bodies_back_lock_nobody_out(
    served: tuple[Settings, int], bearer: str, path: str
) -> None:
    """32 connections that send 8 MB less a byte, signed by nobody or by no header at all, and wait: 16 people
    publish meanwhile, and each is answered."""
    settings, port = served
    size = settings.body_limit * 8
    writers = []

    async def hold(header: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        writer.write(f"POST {path} HTTP/1.1\r\n{HOST}{header}Content-Length: {size}\r\n\r\n".encode())
        with suppress(ConnectionError):
            for _ in range(size // 65_536):
                writer.write(b"x" * 65_535)
                await writer.drain()
        del reader

    signatures = f"{sendgrid.SIGNATURE}: x\r\n{twilio.SIGNATURE}: x\r\n"
    holding = [asyncio.create_task(hold(signatures if n % 2 else "")) for n in range(32)]
    await asyncio.wait(holding, timeout=1)
    headers = {"Authorization": f"Bearer {bearer}", "Host": "127.0.0.1"}
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=PATIENCE
        ) as http:
            bodies = [{"tid": "tea", "msg": "x" * 15_000, "opts": {}} for _ in range(16)]
            answers = await asyncio.gather(*(http.post("/api/v2/publish", json=body) for body in bodies))
        assert {answer.json()["code"] for answer in answers} == {"not_found"}  # taken, read and looked at
    finally:
        for task in holding:
            task.cancel()
        await asyncio.gather(*holding, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()


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


@pytest.mark.parametrize(
    "name",
    [
        "ann@example.com",
        "+15005550010",
        "<script>",
        "x" * 10_000,
        "a\r\nb",
        "é",
        "\u202eabc",
        "a.b",
        "",
        "a b",
    ],
)
async def test_a_name_that_was_made_up_does_not_come_back(world: World, name: str) -> None:
    """It could be an address, or a page of script: where it does not look like a field's it is not shown."""
    for body in ({name: 1}, {"uid": "x", "msg": "x", "opts": {"data": {name: "x"}}, name: {name: 1}}):
        answer = await world.post("send", body, world.admin)
        assert answer.status_code == 422
        assert {one["field"] for one in answer.json()["errors"]} <= {"?", "uid", "msg", "opts.data"}
        assert len(answer.content) < 1_000
        assert not name or json.dumps(name)[1:-1] not in answer.text.replace('"msg"', "")
    many = await world.post("send", {f"n{number}": 1 for number in range(1_000)}, world.admin)
    assert len(many.json()["errors"]) == 50


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


@pytest.mark.parametrize(
    "head",
    [
        b"X: " + b"x" * 70_000 + b"\r\n",
        b"".join(b"X-%d: y\r\n" % number for number in range(10_000)),
        b"".join(b"X-%d: y\r\n" % number for number in range(250)),
    ],
)
@pytest.mark.parametrize("used", [False, True])
def test_a_head_that_comes_in_one_piece_is_bounded_too(
    served: tuple[Settings, int], head: bytes, used: bool
) -> None:
    """70 kB, 10,000 headers, and 250: 431, also behind another request, and the gateway goes on."""
    _, port = served
    ping = b"GET /api/v2/ping HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall((ping + b"\r\n" if used else b"") + ping + head + b"\r\n")
        got = b""
        with suppress(ConnectionResetError):
            while piece := connection.recv(65_536):
                got += piece
    assert b"HTTP/1.1 431 " in got
    assert got.count(b"HTTP/1.1 200") <= used
    assert httpx.get(f"http://127.0.0.1:{port}/api/v2/ping").json() is True


def test_an_ordinary_head_is_let_through(served: tuple[Settings, int]) -> None:
    """A hundred headers and a token of 8 kB are not too much; in one piece or in many."""
    _, port = served
    lines = [b"X-%d: y" % number for number in range(100)] + [b"Authorization: Bearer " + b"x" * 8_000]
    whole = b"\r\n".join([b"GET /api/v2/ping HTTP/1.1", HOST.encode().strip(), *lines, b"", b""])
    for pieces_of in (len(whole), 1_000):
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
            for start in range(0, len(whole), pieces_of):
                connection.sendall(whole[start : start + pieces_of])
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200")


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(served: tuple[Settings, int]) -> None:
    """A thousand half requests, closed: the gateway answers the next one."""
    _, port = served
    for _ in range(200):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /api/v2/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nhalf")
        await writer.drain()
        writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /api/v2/ping HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).endswith(b"true")
    writer.close()
