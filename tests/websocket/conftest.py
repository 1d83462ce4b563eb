"""A gateway for each websocket test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats_fixture import nats_program, nats_server
from socket_world import Gateway, serving, settings_of

__all__ = ["nats_program", "nats_server"]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway with an exchange of its own."""
    async with serving(settings_of(tmp_path)) as running:
        yield running
