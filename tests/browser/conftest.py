"""The gateway, the sandbox and the browser of the browser tests."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "websocket"))

from browser_world import World, chromium
from socket_world import process, settings_of

from msgxc.sandbox.launch import start
from msgxc.settings import Settings
from msgxc.wiring import apply_schema, open_exchange


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A gateway process with the demo page, and its sandbox."""
    import asyncio

    settings = settings_of(tmp_path_factory.mktemp("browser"))
    asyncio.run(apply_schema(settings))
    with ExitStack() as stack:
        sandbox = start(settings.home / "sandbox")
        stack.callback(sandbox.stop)
        stack.enter_context(process(settings, MSGXC_DEMO="true"))
        yield settings


@pytest.fixture
async def world(site: Settings) -> AsyncIterator[World]:
    """A browser before the gateway."""
    async with open_exchange(site) as exchange, chromium() as browser:
        yield World(f"http://127.0.0.1:{site.gateway_port}", exchange, browser)
