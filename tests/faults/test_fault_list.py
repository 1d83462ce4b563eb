"""Each fault can be traced to its tests: docs/faults.md names them, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FAULTS = range(1, 40)
ROWS = re.findall(r"^\| (\d+) \| (.+) \|$", (ROOT / "docs" / "faults.md").read_text(), re.MULTILINE)
TESTS = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "faults.md").read_text())


def test_every_fault_stands_in_the_list() -> None:
    """None of those that we promise to withstand is left out, and each names a test."""
    rows = dict(ROWS)
    assert {str(fault) for fault in FAULTS} <= set(rows)
    assert all("::test_" in rows[str(fault)] for fault in FAULTS)


@pytest.mark.parametrize(("file", "name"), sorted(set(TESTS)))
def test_the_list_names_tests_that_exist(file: str, name: str) -> None:
    """A test that is renamed or removed is missed."""
    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)
