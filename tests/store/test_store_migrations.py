"""The numbered schema files, and what is decided about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from msgxc.errors import SchemaMismatch
from msgxc.store import migrations
from msgxc.store.migrations import Step

STEPS = tuple(Step(number, what, ()) for number, what in enumerate(("one", "two", "three"), start=1))


def test_the_shipped_files_are_read_in_order() -> None:
    """Each file is a step; comments are no statements."""
    steps = migrations.read_steps(migrations.schema_folder(), ".cql")
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    for step in steps:
        assert step.statements
        assert all(statement.startswith(("CREATE ", "ALTER ")) for statement in step.statements)


def test_every_shipped_statement_may_run_twice() -> None:
    """An interrupted step is run again from its start: so each statement says IF NOT EXISTS."""
    steps = migrations.read_steps(migrations.schema_folder(), ".cql")
    assert all("IF NOT EXISTS" in statement for step in steps for statement in step.statements)


@pytest.mark.parametrize("names", [["001_a", "003_c"], ["001_a", "001_b"], ["002_b"], []])
def test_a_gap_in_the_numbers_is_refused(tmp_path: Path, names: list[str]) -> None:
    """A missing file, or a number that stands twice, is found before anything is applied."""
    for name in names:
        (tmp_path / f"{name}.cql").write_text("CREATE TABLE t (k int PRIMARY KEY);", "utf-8")
    with pytest.raises(SchemaMismatch, match="without a gap"):
        migrations.read_steps(tmp_path, ".cql")


def test_a_script_is_split_into_its_statements() -> None:
    """Comments go, in a line of their own and behind a column; empty statements too."""
    script = (
        "-- first; not a statement\nCREATE TABLE a (\n k int -- key; really\n);\n\nCREATE TABLE b (k int);;\n"
    )
    assert migrations.split(script) == ("CREATE TABLE a (\n k int \n)", "CREATE TABLE b (k int)")


def test_what_is_left_to_do() -> None:
    """Everything at first, then what is missing, then what was interrupted, then nothing."""
    assert migrations.pending(STEPS, {}) == STEPS
    assert migrations.pending(STEPS, {1: True}) == STEPS[1:]
    assert migrations.pending(STEPS, {1: True, 2: False}) == STEPS[1:]
    assert migrations.pending(STEPS, {1: True, 2: True, 3: True}) == ()


@pytest.mark.parametrize(
    ("recorded", "says"),
    [
        ({}, "schema 0, 3 is needed: run `msgxc schema apply`"),
        ({1: True}, "schema 1, 3 is needed: run `msgxc schema apply`"),
        ({1: True, 2: False}, "002_two was begun and not finished: run `msgxc schema apply` again"),
        ({1: True, 2: True, 3: True, 4: True}, "schema 4, this msgxc knows 3: install a newer msgxc"),
        ({1: True, 2: True, 3: True, 4: False}, "schema 4, this msgxc knows 3: install a newer msgxc"),
    ],
)
def test_another_schema_is_refused_in_one_line(recorded: dict[int, bool], says: str) -> None:
    """Older, half applied and newer: each says what to do."""
    with pytest.raises(SchemaMismatch, match=says) as caught:
        migrations.check(STEPS, recorded)
    assert "\n" not in str(caught.value)
    migrations.check(STEPS, {1: True, 2: True, 3: True})
