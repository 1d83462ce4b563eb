"""Numbered schema files that only go forward: what they say and what of it is left to do. Reads files only.

A store records each step twice, as started and as finished, so that one that was interrupted is recognised.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgxc.errors import SchemaMismatch
from msgxc.settings import ROOT

_NAME = re.compile(r"([0-9]{3})_([a-z0-9_]+)")
_COMMENT = re.compile(r"--[^\n]*")


@dataclass(frozen=True, slots=True)
class Step:
    """One file, `NNN_<what>.<suffix>`; its statements in order, without comments."""

    number: int
    what: str
    statements: tuple[str, ...]

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return f"{self.number:03}_{self.what}"


def schema_folder() -> Path:
    """Where the schema files are: in the repository, or in the installed package."""
    packaged = Path(__file__).resolve().parent.parent / "_schema"
    return packaged if packaged.is_dir() else ROOT / "schema"


def read_steps(folder: Path, suffix: str) -> tuple[Step, ...]:
    """The steps in a folder. Raises SchemaMismatch when a number is missing, or stands twice."""
    steps = []
    for path in sorted(folder.glob(f"*{suffix}")):
        if found := _NAME.fullmatch(path.stem):
            steps.append(Step(int(found[1]), found[2], split(path.read_text("utf-8"))))
    if [step.number for step in steps] != list(range(1, len(steps) + 1)) or not steps:
        raise SchemaMismatch(f"the schema files in {folder} are not numbered 001, 002, … without a gap")
    return tuple(steps)


def split(script: str) -> tuple[str, ...]:
    """The statements of a script. Ours hold no `;` and no `--` within quotes."""
    bare = _COMMENT.sub("", script)
    return tuple(statement for part in bare.split(";") if (statement := part.strip()))


def pending(steps: Sequence[Step], recorded: Mapping[int, bool]) -> tuple[Step, ...]:
    """The steps still to be applied, the interrupted one among them: the schema files allow running twice.

    `recorded`: number -> whether it was finished. Raises SchemaMismatch when the store is newer.
    """
    newest = max(recorded, default=0)
    if newest > len(steps):
        raise SchemaMismatch(
            f"the store has schema {newest}, this msgxc knows {len(steps)}: install a newer msgxc"
        )
    return tuple(step for step in steps if not recorded.get(step.number, False))


def check(steps: Sequence[Step], recorded: Mapping[int, bool]) -> None:
    """Whether the store has just these steps. Raises SchemaMismatch with one line that says what to do."""
    left = pending(steps, recorded)
    if not left:
        return
    if left[0].number in recorded:
        raise SchemaMismatch(
            f"schema step {left[0].name} was begun and not finished: run `msgxc schema apply` again"
        )
    have = left[0].number - 1
    raise SchemaMismatch(f"the store has schema {have}, {len(steps)} is needed: run `msgxc schema apply`")
