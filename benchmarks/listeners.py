"""Many websocket clients in one process, as cheap as Python has them: for measuring a gateway, not for use.

Also the gateway process that is measured: `python -m benchmarks.listeners IMPLEMENTATION`, settings from the
environment, one free port, told on the first line.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid1, uuid4

import uvicorn

from benchmarks import machine
from msgxc.gateway.app import create_app
from msgxc.gateway.auth import make_token
from msgxc.gateway.serving import config
from msgxc.messages.records import Role
from msgxc.settings import read_settings
from msgxc.wiring import Exchange, open_exchange

#: How uvicorn may speak websocket; `direct` is what `msgxc serve` uses.
IMPLEMENTATIONS = ("direct", "websockets-sansio", "wsproto")
#: Connections that are being made at once.
AT_ONCE = 50
MARK = b'"sent":"'


class Listener(asyncio.Protocol):
    """One client: shakes hands, says its frames, notes when each message came."""

    def __init__(self, came: list[float], says: Sequence[dict[str, object]]) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._came = came
        self._says = list(says)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /api/v2/connect/bench/{uuid1()} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Every answer of the gateway brings the next thing to say."""
        at = data.find(MARK)
        while at >= 0:
            sent = float(data[at + len(MARK) : data.index(b'"', at + len(MARK))])
            self._came.append(time.monotonic() - sent)
            at = data.find(MARK, at + 1)
        if not self.ready.done():
            if self._says:
                self._transport.write(masked(json.dumps(self._says.pop(0)).encode()))  # type: ignore[union-attr]
            elif b"/subscribe/thread" in data or b"/authenticate" in data:
                self.ready.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("the gateway hung up"))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def masked(payload: bytes) -> bytes:
    """A client's text frame; the mask of zeros is a mask (RFC 6455 section 5.3)."""
    size = len(payload)
    head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + size.to_bytes(2, "big")
    return head + bytes(4) + payload


async def connect(
    exchange: Exchange, port: int, count: int, tid: UUID | None, came: list[float]
) -> list[Listener]:
    """So many people, each with a connection, listening to the thread if there is one."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one() -> Listener:
        async with gate:
            says: list[dict[str, object]] = [{"slug": "/api/v2/authenticate", "token": token(exchange)}]
            if tid is not None:
                says.append({"slug": "/api/v2/subscribe/thread", "tid": str(tid)})
            loop = asyncio.get_running_loop()
            _, listener = await loop.create_connection(lambda: Listener(came, says), "127.0.0.1", port)
            await listener.ready
            return listener

    return list(await asyncio.gather(*(one() for _ in range(count))))


def token(exchange: Exchange) -> str:
    """Somebody new."""
    return make_token(exchange, uuid4(), frozenset({Role.USER}), 3600)


@contextmanager
def gateway(home: Path, implementation: str = "direct") -> Iterator[tuple[int, int]]:
    """(pid, port) of a gateway process on the first core."""
    env = {**os.environ, "MSGXC_HOME": str(home), "MSGXC_SANDBOX": "true"}
    command = [sys.executable, "-m", "benchmarks.listeners", implementation]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, cwd=machine.ROOT) as process:
        try:
            assert process.stdout
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()


async def serve(implementation: str) -> None:
    """The gateway, until it is killed."""
    machine.pin(machine.SENDER_CORE)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = read_settings(gateway_port=port, rate_per_minute=0)
    async with open_exchange(settings) as exchange:
        how = config(create_app(exchange), settings)
        if implementation != "direct":
            how.ws = implementation
        server = uvicorn.Server(how)
        running = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        print(port, flush=True)
        await running


def percentile(values: Sequence[float], share: float) -> float:
    """In milliseconds."""
    ordered = sorted(values)
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000, 2)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
