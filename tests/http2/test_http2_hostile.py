"""Hostile servers over real TLS: rubbish at any moment, floods that want answers, limits that come and go."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from h2.settings import SettingCodes
from http2_server import Door, Server
from listening import NEVER, PATIENCE

from msgxc.http2 import Answer, Client, Limits, Pace, Request, Unanswered, frames, post_head
from msgxc.http2 import line as line_module
from msgxc.http2.frames import Kind, Setting, frame

HEAD = post_head("localhost", {"authorization": "bearer x"}, ())


def requests(count: int, body: bytes = b"{}") -> list[Request]:
    return [Request(HEAD, b"/%d" % n, (), body) for n in range(count)]


def soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


@pytest.fixture
async def listen(certificate):
    """Starts a Server, which may find whatever it likes."""
    made: list[Server] = []

    async def start(server: Server) -> Server:
        await server.listen(certificate.server("h2"))
        made.append(server)
        return server

    yield start
    for server in made:
        server.close()


@pytest.fixture
async def connect(certificate):
    """Makes a client of a port, and closes it afterwards: nothing is left open."""
    made: list[Client] = []

    def make(port: int, **limits: object) -> Client:
        made.append(Client("localhost", port, certificate.client("h2"), Limits(**limits)))
        return made[-1]

    yield make
    for client in made:
        await client.close()
        assert client.lines == []
        assert not client.busy


def rubbish(chance: Random) -> bytes:
    """A frame that may stand somewhere, a frame that may not, or no frame at all."""
    payload = chance.randbytes(chance.choice((0, 4, 6, 8, 20, 200)))
    stream = chance.choice((0, 1, 3, 5, 7, 9, 1 << 30))
    kinds = [
        frame(chance.choice(list(Kind)), chance.randrange(256), stream, payload),
        frame(Kind.HEADERS, 5, stream, chance.choice((b"\x88", b"\x8c", b"\x08\x03103", payload))),
        frame(Kind.DATA, chance.randrange(2), stream, payload),
        frames.goaway(stream, 0),
        frames.rst_stream(stream, chance.randrange(14)),
        frames.settings({chance.choice(list(Setting)): chance.choice((0, 1, 5, 16_384, 1 << 20))}),
        frames.window_update(stream, chance.choice((0, 1, 65_535, (1 << 31) - 1))),
        payload,
    ]
    return chance.choice(kinds)


@pytest.mark.parametrize("seed", range(24))
async def test_rubbish_at_any_moment_ends_every_request(listen, connect, seed):
    """Frames of any kind between the answers, then perhaps a break: each of 30 requests ends, in time."""
    chance = Random(seed)

    def answer(door: Door, stream: int) -> None:
        if chance.random() < 0.3:
            door.flush()
            door.transport.write(b"".join(rubbish(chance) for _ in range(chance.randrange(1, 4))))
        if chance.random() < 0.05:
            door.transport.abort()
        elif chance.random() < 0.8 and not door.gone:
            door.ok(stream)

    server = await listen(Server(answer))
    client = connect(server.port, connections=2, first=0.01)
    calls = [client.send(requests(10, b"x" * chance.randrange(2000)), soon(0.5)) for _ in range(3)]
    async with asyncio.timeout(PATIENCE):
        ends = [end for some in await asyncio.gather(*calls) for end in some]
    assert len(ends) == 30
    assert all(isinstance(end, Answer | Unanswered) for end in ends)


async def test_a_flood_that_wants_answers_is_bounded(listen, connect, monkeypatch):
    """A peer that asks without end and reads nothing is hung up on; what it made us write stays bounded."""
    monkeypatch.setattr(line_module, "BUFFER_BYTES", 2_000_000)
    most, flood = 0, frames.ping(b"12345678")

    def answer(door: Door, _stream: int) -> None:
        door.transport.pause_reading()
        door.transport.write(flood * (16_000_000 // len(flood)))

    server = await listen(Server(answer))
    client = connect(server.port, connections=1, pace=Pace(quiet=NEVER))
    asked = asyncio.create_task(client.send(requests(1), soon(NEVER)))
    async with asyncio.timeout(PATIENCE):
        while not asked.done():
            await asyncio.sleep(0)
            for line in client.lines:
                if line.transport:
                    most = max(most, line.transport.get_write_buffer_size())
    assert asked.result() == [Unanswered.IN_DOUBT]
    assert 1_000_000 < most <= 3_000_000


def say(door: Door, name: SettingCodes, value: int) -> None:
    """New settings, which h2 enforces once they are acknowledged."""
    if not door.gone:
        door.h2.update_settings({name: value})
        door.flush()


async def test_streams_that_go_down_to_none_and_come_back(listen, connect):
    """MAX_CONCURRENT_STREAMS 0 while requests wait, and 100 later: all are answered over one connection."""

    def answer(door: Door, stream: int) -> None:
        if stream == 9:
            say(door, SettingCodes.MAX_CONCURRENT_STREAMS, 0)
            later = asyncio.get_running_loop().call_later
            later(0.1, say, door, SettingCodes.MAX_CONCURRENT_STREAMS, 100)
        door.ok(stream)

    server = await listen(Server(answer, MAX_CONCURRENT_STREAMS=1))
    client = connect(server.port, connections=1)
    ends = await client.send(requests(50), soon(PATIENCE))
    assert ends == [Answer(200, {}, b"")] * 50
    assert (len(server.doors), server.faults) == (1, [])


async def test_windows_that_shrink_under_way(listen, connect):
    """The initial window goes from 30,000 bytes to 100 and back after answers: every body arrives whole."""

    def answer(door: Door, stream: int) -> None:
        say(door, SettingCodes.INITIAL_WINDOW_SIZE, 100 if stream % 4 == 1 else 30_000)
        door.ok(stream)

    server = await listen(Server(answer, INITIAL_WINDOW_SIZE=30_000))
    client = connect(server.port, connections=1)
    for _ in range(5):
        ends = await client.send(requests(4, b"y" * 20_000), soon(PATIENCE))
        assert ends == [Answer(200, {}, b"")] * 4
    assert (len(server.doors), server.faults) == (1, [])
