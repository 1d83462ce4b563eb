"""A gateway over an embedded exchange of its own, spoken to in the same process; and one on a real port."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from gateway_world import KEY, World, gateway_settings

from msgxc.gateway import issuers
from msgxc.gateway.app import create_app
from msgxc.gateway.serving import config
from msgxc.settings import Settings
from msgxc.wiring import apply_schema, open_exchange


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow answer of a test's own key server is waited for."""
    monkeypatch.setattr(issuers, "FETCH_SECONDS", 60.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An embedded exchange with webhook keys."""
    return gateway_settings(tmp_path)


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    """The gateway, its exchange, and a client for it."""
    await apply_schema(settings)
    async with open_exchange(settings) as exchange:
        app = create_app(exchange)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="https://msg.example.org") as client:
                yield World(exchange, app, client)


@pytest.fixture
def uid() -> UUID:
    """Somebody."""
    return uuid4()


class _Serving(threading.Thread):
    """The gateway on a port, on an event loop of its own."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(daemon=True)
        self._settings = settings
        self.server: uvicorn.Server | None = None
        self.app: FastAPI | None = None

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        await apply_schema(self._settings)
        async with open_exchange(self._settings) as exchange:
            self.app = create_app(exchange)
            self.server = uvicorn.Server(config(self.app, self._settings))
            await self.server.serve()

    def port(self) -> int:
        """Once it listens."""
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if self.server is not None and self.server.started:
                return int(self.server.servers[0].sockets[0].getsockname()[1])
            time.sleep(0.02)
        raise TimeoutError

    def stop(self) -> None:
        if self.server is not None:
            self.server.should_exit = True
        self.join(60)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, int]]:
    """(settings, port) of a gateway that listens on 127.0.0.1."""
    yield from _serving(gateway_settings(tmp_path_factory.mktemp("served"), gateway_port=0))


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, int]]:
    """One that waits for heads and bodies for 1.5 s."""
    yield from _serving(
        gateway_settings(tmp_path_factory.mktemp("hurried"), gateway_port=0, body_seconds=1.5)
    )


def _serving(settings: Settings) -> Iterator[tuple[Settings, int]]:
    serving = _Serving(settings)
    serving.start()
    try:
        yield settings, serving.port()
    finally:
        serving.stop()


@pytest.fixture
def key() -> bytes:
    """The exchange's key."""
    return KEY
