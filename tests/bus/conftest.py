"""The bus tests' own server."""

import pytest
from nats_fixture import nats_program, nats_server

from msgxc.bus import nats

__all__ = ["nats_program", "nats_server"]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is slow is waited for."""
    monkeypatch.setattr(nats, "FIRST_SECONDS", 60.0)
