"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from msgxc.sandbox.launch import Sandbox, start

pytest_plugins = ["cassandra_fixture"]
#: Properties are tried on the same inputs at each run, however long that takes: a machine that stands still
#: for a moment is no fault, and new inputs are for whoever looks for them (HYPOTHESIS_SEARCH=1).
settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=not os.environ.get("HYPOTHESIS_SEARCH"),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")
HERE = Path(__file__).parent
#: Folders that take minutes, mostly waiting: they come first, so that nobody waits for them at the end.
LONG = ("real", "flows", "handover", "faults", "engine", "spread", "providers", "messages", "store")


def _folder(path: str) -> str:
    """`real` for tests/real/test_ring.py::test_it."""
    return path.partition("tests/")[2].partition("/")[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long folders first; the order within a folder stays."""
    place = {folder: number for number, folder in enumerate(LONG)}
    items.sort(key=lambda item: place.get(_folder(item.nodeid), len(LONG)))


class Folder(pytest.Package):
    """A folder of tests, without an __init__.py: a fixture of scope "package" lives while its tests run."""

    def setup(self) -> None:
        """There is no module to import."""


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> Folder | None:
    """What takes long to start, and is busy even when idle, ends with the tests of its folder."""
    return Folder.from_parent(parent, path=path) if path.parent == HERE else None


class ByFolder(LoadScopeScheduling):
    """A folder of tests is run by one process, in its order: it shares servers that take long to start."""

    def _split_scope(self, nodeid: str) -> str:
        return _folder(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFolder:
    """Used with `pytest -n 3 --dist loadscope`, as `make test` does."""
    return ByFolder(config, log)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The sandbox's servers, started once, in a folder of their own."""
    running = start(tmp_path_factory.mktemp("sandbox"))
    yield running
    running.stop()
