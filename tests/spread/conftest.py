"""The fixtures of the engine's tests: an exchange of its own for each test, the session's sandbox."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect_server import Prefect, prefect_server

sys.path.insert(0, str(Path(__file__).parent.parent / "engine"))

from conftest_engine import exchange, ground, home, settings
from nats_fixture import nats_program, nats_server

__all__ = ["exchange", "ground", "home", "nats_program", "nats_server", "settings"]


@pytest.fixture(scope="package")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """A real Prefect server, without a worker."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as server:
        yield server
