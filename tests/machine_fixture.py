"""Owners of leases that are real processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_CODE = "import sys; from msgxc.this_machine import own_name; print(own_name(), flush=True); sys.stdin.read()"


@contextmanager
def process_with_a_name() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A process that does nothing, and its name as an owner; killed at the end, if it still lives."""
    with subprocess.Popen(
        [sys.executable, "-c", _CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


def name_of_the_dead() -> str:
    """The name of a process that has been killed."""
    with process_with_a_name() as (name, _):
        pass
    return name
