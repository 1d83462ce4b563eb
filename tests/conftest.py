"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from msgxc.sandbox.launch import Sandbox, start

pytest_plugins = ["cassandra_fixture"]


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The sandbox's servers, started once, in a folder of their own."""
    running = start(tmp_path_factory.mktemp("sandbox"))
    yield running
    running.stop()
