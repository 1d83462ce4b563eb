"""A gateway as the websocket tests use it: a real server, real clients, an embedded exchange."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid1, uuid4

import httpx
import uvicorn
from fastapi import FastAPI
from websockets.asyncio.client import ClientConnection, connect

from msgxc.gateway.app import create_app
from msgxc.gateway.auth import make_token
from msgxc.gateway.hub import Hub
from msgxc.gateway.serving import config
from msgxc.messages import publishing
from msgxc.messages.records import Draft, Message, Principal, Role
from msgxc.model import Recipient, Subscription, Thread
from msgxc.ports import free_port
from msgxc.settings import Settings, read_settings
from msgxc.wiring import Exchange, apply_schema, open_exchange

SERVICE = Principal(None, frozenset({Role.SERVICE}))
URL = "/api/v2/connect/tab-1/{}"


def settings_of(home: Path, **more: Any) -> Settings:
    """Those of an embedded exchange in a folder of its own."""
    return read_settings(
        **{"home": home, "sandbox": True, "gateway_port": free_port(0), "_env_file": None, **more}
    )


class Gateway:
    """A running gateway in this process, and its exchange."""

    def __init__(self, exchange: Exchange, app: FastAPI) -> None:
        self.exchange, self.app = exchange, app
        self.hub: Hub = app.state.hub
        self.url = f"127.0.0.1:{exchange.settings.gateway_port}"

    async def person(self, *threads: UUID) -> tuple[UUID, str]:
        """Somebody new, subscribed to these threads: (uid, token)."""
        uid = uuid4()
        await self.exchange.store.directory.put([Recipient(uid=uid)])
        await self.exchange.store.threads.subscribe([Subscription(tid, uid) for tid in threads])
        return uid, self.token(uid)

    def token(self, uid: UUID | None, *roles: Role, seconds: int = 600) -> str:
        return make_token(self.exchange, uid, frozenset(roles or {Role.USER}), seconds)

    async def thread(self, **more: Any) -> UUID:
        """A new thread, open unless it says otherwise."""
        tid = uuid4()
        await self.exchange.store.threads.put(Thread(tid, **{"open": True, "open_to_publish": True, **more}))
        return tid

    async def publish(self, tid: UUID, text: str, **more: Any) -> Message:
        return await publishing.publish(self.exchange, SERVICE, Draft(text, tid=tid, **more))


@asynccontextmanager
async def serving(settings: Settings, **options: Any) -> AsyncIterator[Gateway]:
    """A gateway over a fresh exchange; `options` change how uvicorn runs it."""
    await apply_schema(settings)
    async with open_exchange(settings) as exchange:
        app = create_app(exchange)
        how = config(app, settings)
        for name, value in options.items():
            setattr(how, name, value)
        server = uvicorn.Server(how)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        task = asyncio.create_task(server._serve())
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield Gateway(exchange, app)
        finally:
            server.should_exit = True
            await task


class Client:
    """One websocket of a client, frame by frame."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def say(self, slug: str, **more: Any) -> None:
        await self.socket.send(json.dumps({"slug": slug, **more}))

    async def next(self, slug: str = "", seconds: float = 60) -> dict[str, Any]:
        """The next frame; with a slug the next one of these, others are passed over."""
        async with asyncio.timeout(seconds):
            while True:
                frame: dict[str, Any] = json.loads(await self.socket.recv())
                if not slug or frame["slug"].startswith(slug):
                    return frame

    async def ask(self, slug: str, **more: Any) -> dict[str, Any]:
        """Say it, and wait for its answer."""
        ref = uuid4().hex
        await self.say(slug, ref=ref, **more)
        while (frame := await self.next()).get("ref") != ref:
            pass
        return frame

    async def listen(self, tid: UUID, **more: Any) -> dict[str, Any]:
        return await self.ask("/api/v2/subscribe/thread", tid=str(tid), **more)

    async def silent(self, seconds: float = 0.2) -> bool:
        """Whether nothing comes."""
        try:
            await self.next(seconds=seconds)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def connected(url: str, token: str = "", **options: Any) -> AsyncIterator[Client]:
    """A client that has said who it is."""
    more = {"compression": None, "ping_interval": None, "close_timeout": 1, **options}
    async with connect(f"ws://{url}{URL.format(uuid1())}", **more) as socket:
        client = Client(socket)
        if token:
            assert (await client.ask("/api/v2/authenticate", token=token))["ok"]
        yield client


@asynccontextmanager
async def clients(url: str, *tokens: str) -> AsyncIterator[list[Client]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connected(url, token)) for token in tokens]


@contextmanager
def process(settings: Settings, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A gateway process of its own, answering; killed at the end."""
    environment = {
        **os.environ,
        "MSGXC_HOME": str(settings.home),
        "MSGXC_SANDBOX": "true",
        "MSGXC_GATEWAY_PORT": str(settings.gateway_port),
        **env,
    }
    with subprocess.Popen([sys.executable, "-m", "msgxc.gateway"], env=environment) as running:
        try:
            _until(lambda: _answers(settings.gateway_port, running), 120)
            yield running
        finally:
            running.kill()


def _answers(port: int, running: subprocess.Popen[bytes]) -> bool:
    assert running.poll() is None, "the gateway has ended"
    try:
        return httpx.get(f"http://127.0.0.1:{port}/api/v2/ping").status_code == 200
    except httpx.TransportError:
        return False


def _until(look: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
