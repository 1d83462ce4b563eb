"""Adapters that talk to the real sandbox over TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from msgxc.model import Channel
from msgxc.providers import PROVIDERS, SOURCES
from msgxc.sandbox.journal import Accepted, read
from msgxc.sandbox.launch import Sandbox

Connect = Callable[[Channel], Any]


@pytest.fixture
def transport() -> str:
    """How pushes leave; tests that hold for every way name them all (provider_samples.EVERY)."""
    return "lean"


@pytest.fixture
def settings_for(sandbox: Sandbox, transport: str) -> Callable[..., Any]:
    """The sandbox's settings of a channel, over this transport where there is a choice."""

    def make(channel: Channel, timeout: float = 60.0) -> Any:
        found = SOURCES[channel].sandbox(sandbox.endpoints, timeout)
        return replace(found, transport=transport) if hasattr(found, "transport") else found

    return make


@pytest.fixture
async def connect(settings_for: Callable[..., Any]) -> AsyncIterator[Connect]:
    """Makes the adapter of a channel, with a timeout of 60 s, and closes it afterwards."""
    made: list[Any] = []

    def make(channel: Channel, timeout: float = 60.0) -> Any:
        made.append(PROVIDERS[channel](settings_for(channel, timeout)))
        return made[-1]

    yield make
    for provider in made:
        await provider.close()
    await _hung_up()


async def _hung_up() -> None:
    """Wait until no socket is left. aiohttp gives up a request whose time is over, and leaves it to the loop
    to end TLS: on a busy machine the test's loop could end first, and whichever test is at it when Python
    finds the open socket would fail."""
    sockets = asyncio.get_running_loop()._selector.get_map()  # type: ignore[attr-defined]
    for _ in range(200):
        if len(sockets) <= 1:  # the loop's own
            return
        await asyncio.sleep(0.01)


@pytest.fixture
def accepted(sandbox: Sandbox) -> Callable[[str], list[Accepted]]:
    """What the sandbox's journal holds for an address."""
    return lambda address: [one for one in read(sandbox.endpoints.journal) if one.address == address]
