"""What only a bus with a network can suffer: the server away, killed, silent."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable

import pytest
from nats_fixture import NatsServer

from msgxc.bus import nats as nats_module
from msgxc.bus.nats import DELAY_FIRST, DELAY_LONGEST, UNSENT, NatsBus, _delay
from msgxc.errors import WrongSettings

#: What ends a test that hangs, and a time that must never be waited for, in seconds.
PATIENCE, NEVER = 60.0, 600.0


async def published(bus: NatsBus, subject: str, payload: bytes) -> None:
    """Publish again and again until the bus takes it."""
    end = time.monotonic() + PATIENCE
    while not await bus.publish(subject, payload):
        assert time.monotonic() < end, "the bus does not come back"
        await asyncio.sleep(0.02)


async def test_killed_server_blocks_nobody_and_comes_back(nats_server: NatsServer) -> None:
    """While the server is away publish and request say so at once; afterwards old subscriptions go on."""
    bus = await NatsBus.connect(nats_server.url)
    async with bus.subscribe("a") as subscription:
        nats_server.kill()
        await until(lambda: not bus._here)
        async with asyncio.timeout(PATIENCE):
            for _ in range(200):
                assert await bus.publish("a", b"lost") is False
                assert await bus.request("a", b"lost", NEVER) is None
        nats_server.start()
        await published(bus, "a", b"found")
        async with asyncio.timeout(PATIENCE):
            async for message in subscription:
                assert message.payload == b"found"  # what was lost is not sent later
                break
    await bus.close()


async def test_5000_clients_come_back(nats_server: NatsServer) -> None:
    """The server dies under 5,000 connections (fewer where a process may not have so many) and comes back: so
    do they, and each hears again what it had asked for."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 12_000), most))
    count = min(5_000, min(most, 12_000) - 1_000)
    buses: list[NatsBus] = []
    while len(buses) < count:
        buses += await asyncio.gather(*(NatsBus.connect(nats_server.url) for _ in range(100)))
    listening = [asyncio.create_task(first_heard(bus, "all")) for bus in buses]
    await until(lambda: all(bus._listeners and bus._listeners[0].held for bus in buses))
    nats_server.kill()
    await until(lambda: not any(bus._here for bus in buses))
    assert await buses[0].publish("all", b"lost") is False
    nats_server.start()
    await until(lambda: all(bus._here for bus in buses))
    waiting = set(listening)
    async with asyncio.timeout(300):
        while waiting:  # The server may not have read yet what the last of them listens to.
            await published(buses[0], "all", b"found")
            waiting = (await asyncio.wait(waiting, timeout=1))[1]
    assert {one.result() for one in listening} == {b"found"}
    for first in range(0, count, 200):
        await asyncio.gather(*(bus.close() for bus in buses[first : first + 200]))


@pytest.mark.parametrize("tries", [1, 4, 9])
def test_many_do_not_come_back_in_one_moment(tries: int) -> None:
    """Those that lost their server together wait for times that are spread evenly: of 5,000 each tenth part
    of the time has about 500."""
    waits = [_delay(tries) for _ in range(5_000)]
    longest = min(DELAY_FIRST * 2.0**tries, DELAY_LONGEST)
    part = Counter(int((wait - longest / 2) / (longest / 2) * 10) for wait in waits)
    assert set(part) <= set(range(11))
    assert all(300 < part[number] < 700 for number in range(10))


async def first_heard(bus: NatsBus, subject: str) -> bytes:
    """The first message of a subscription."""
    async with bus.subscribe(subject) as subscription:
        async for message in subscription:
            return message.payload
    raise AssertionError("the subscription ended")


async def until(look: Callable[[], bool], seconds: float = 300) -> None:
    """Return as soon as it is so."""
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


async def test_starting_without_a_server_is_a_bus_that_is_away(
    nats_program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connect gives up waiting, not trying: a subscription made before works once the server is there."""
    monkeypatch.setattr(nats_module, "FIRST_SECONDS", 0.5)
    server = NatsServer(nats_program)
    async with asyncio.timeout(PATIENCE):
        bus = await NatsBus.connect(server.url)
    assert await bus.publish("a", b"x") is False
    async with bus.subscribe("a") as subscription:
        server.start()
        await until(lambda: bus._listeners[0].held is not None)
        await published(bus, "a", b"found")
        async with asyncio.timeout(PATIENCE):
            async for message in subscription:
                assert message.payload == b"found"
                break
    await bus.close()
    server.kill()


async def test_closing_waits_for_no_server_that_is_gone(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is drained into a connection that is lost."""
    monkeypatch.setattr(nats_module, "DRAIN_SECONDS", NEVER)
    bus = await NatsBus.connect(nats_server.url)
    nats_server.kill()
    await until(lambda: not bus._here)
    async with asyncio.timeout(PATIENCE):
        await bus.close()


async def test_silent_server_blocks_nobody_and_costs_bounded_memory(nats_server: NatsServer) -> None:
    """A stopped server (SIGSTOP) takes nothing: publish says so, never waits, and keeps at most 1 MB."""
    bus = await NatsBus.connect(nats_server.url)
    os.kill(nats_server.process.pid, signal.SIGSTOP)
    try:
        taken = True
        async with asyncio.timeout(PATIENCE):
            for _ in range(2_000):
                taken = await bus.publish("a", b"x" * 20_000)
                await asyncio.sleep(0)
        assert taken is False
        assert bus._client.pending_data_size < UNSENT + 30_000
    finally:
        os.kill(nats_server.process.pid, signal.SIGCONT)
    await bus.close()


async def test_two_processes_reach_one_another(nats_server: NatsServer) -> None:
    """A request crosses from one connection to another, and the answer comes back."""
    one, two = await NatsBus.connect(nats_server.url), await NatsBus.connect(f" {nats_server.url} ,")
    async with one.subscribe("person.*") as subscription:
        asking = asyncio.create_task(two.request("person.1", b"there?", PATIENCE))
        async for message in subscription:
            await message.answer(b"here")
            break
        assert await asking == b"here"
    await one.close()
    await two.close()


@pytest.mark.parametrize("url", ["", " , ", "nats://[::1", "nats://:x"])
async def test_wrong_url_is_one_clear_error(url: str) -> None:
    """A URL that cannot be read names the setting, not the URL (it may hold a password)."""
    with pytest.raises(WrongSettings, match="MSGXC_NATS_URL"):
        await NatsBus.connect(url)
