"""Too few file descriptors: those who fit are served, the others are told, and nobody is logged for it."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid1, uuid4

import httpx
import pytest
from socket_world import URL, _answers, _until, settings_of
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake

from msgxc.errors import WrongSettings
from msgxc.gateway.auth import make_token
from msgxc.gateway.descriptors import IDLE, OWN, WAITING, listen, needed, places
from msgxc.messages.records import Role
from msgxc.settings import Settings, read_settings
from msgxc.wiring import apply_schema, open_exchange

FEW = 256


@contextmanager
def starved(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """A gateway with FEW descriptors; what it says goes to HOME/log."""
    environment = {
        **os.environ,
        "MSGXC_HOME": str(settings.home),
        "MSGXC_SANDBOX": "true",
        "MSGXC_GATEWAY_PORT": str(settings.gateway_port),
    }
    few = f"ulimit -n {FEW}; exec {sys.executable} -m msgxc.gateway"
    with (settings.home / "log").open("wb") as log:
        running = subprocess.Popen(["sh", "-c", few], env=environment, stderr=log)
        try:
            _until(lambda: _answers(settings.gateway_port, running), 60)
            yield running
        finally:
            running.terminate()
            running.wait(60)


def cpu(process: subprocess.Popen[bytes]) -> float:
    """Seconds of a core that it has used so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ping(port: int) -> bool:
    return bool(httpx.get(f"http://127.0.0.1:{port}/api/v2/ping", timeout=60).json())


async def test_more_websockets_than_descriptors(tmp_path: Path) -> None:
    """400 want in where there is room for 96: so many get in, the others are told to come later, a request is
    answered all the while, a few lines are logged; when they have left, others get in."""
    settings = settings_of(tmp_path)
    await apply_schema(settings)
    async with open_exchange(settings) as exchange:
        tokens = [make_token(exchange, uuid4(), frozenset({Role.USER}), 600) for _ in range(400)]
    room = places(FEW, settings.websocket_connections).websockets
    with starved(settings):

        async def enter(stack: AsyncExitStack, token: str) -> bool:
            header = {"Authorization": f"Bearer {token}"}
            url = f"ws://127.0.0.1:{settings.gateway_port}{URL.format(uuid1())}"
            opened = connect(url, additional_headers=header, close_timeout=1, open_timeout=60)
            with suppress(InvalidHandshake, OSError, EOFError):
                await stack.enter_async_context(opened)
                return True
            return False

        for _ in range(2):
            async with AsyncExitStack() as stack:
                entered = [await enter(stack, token) for token in tokens]
                assert sum(entered) == room
                assert entered[:room] == [True] * room
                assert await asyncio.to_thread(ping, settings.gateway_port)
    assert len((tmp_path / "log").read_text().splitlines()) < 20


async def test_silent_connections_keep_nobody_out(tmp_path: Path) -> None:
    """600 connections that say nothing, to a gateway with 256 descriptors, twice: each request is answered
    meanwhile, the log stays short, and nothing spins."""
    settings = settings_of(tmp_path)
    await apply_schema(settings)
    with starved(settings) as running:
        for _ in range(2):
            writers = []
            for number in range(600):
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", settings.gateway_port)
                    writers.append(writer)
                if number % 100 == 99:
                    assert await asyncio.to_thread(ping, settings.gateway_port)
            used = cpu(running)
            await asyncio.sleep(2)
            assert cpu(running) - used < 1
            for writer in writers:
                writer.transport.abort()
    assert len((tmp_path / "log").read_text().splitlines()) < 20


def test_descriptors_are_divided() -> None:
    """With enough of them there is room for all that the settings let in; with few, for a part of each."""
    settings = read_settings(_env_file=None)
    for wanted in (settings.websocket_connections, 1, 100, 500_000):
        whole = places(needed(settings.model_copy(update={"websocket_connections": wanted})), wanted)
        assert (whole.websockets, whole.waiting, whole.idle) == (wanted, WAITING, IDLE)
    for descriptors in (0, 64, 256, 1_024, 20_000):
        some = places(descriptors, 20_000)
        assert min(some.websockets, some.waiting, some.idle) > 0
        assert some.websockets + some.waiting + some.idle + OWN <= max(descriptors, OWN + 8)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 0


def test_a_port_that_is_taken_stops_the_start() -> None:
    """One line that names the setting; so does an address that there is not."""
    first = listen("127.0.0.1", 0)
    first[0].listen()
    try:
        with pytest.raises(WrongSettings, match="MSGXC_GATEWAY_PORT"):
            listen("127.0.0.1", first[0].getsockname()[1])
        with pytest.raises(WrongSettings, match="MSGXC_GATEWAY_HOST"):
            listen("no such host.invalid", 0)
    finally:
        for one in first:
            one.close()
