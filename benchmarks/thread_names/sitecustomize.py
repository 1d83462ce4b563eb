"""Lets the system see Python's names of threads, so that a flow run's CPU can be told apart by thread.

Only for benchmarks/prefect_share.py, which puts this folder on PYTHONPATH. Linux only. Another sitecustomize
further down the path runs too.
"""

import contextlib
import sys
import threading
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

_HERE = Path(__file__).parent
_told = threading.Thread._set_native_id  # type: ignore[attr-defined]


def _tell(thread: threading.Thread) -> None:
    _told(thread)
    with contextlib.suppress(OSError), open(f"/proc/self/task/{thread.native_id}/comm", "w") as name:
        name.write(thread.name[:15])


threading.Thread._set_native_id = _tell  # type: ignore[attr-defined]

_next = PathFinder.find_spec(__name__, [path for path in sys.path if Path(path or ".").resolve() != _HERE])
if _next and _next.loader:
    _next.loader.exec_module(module_from_spec(_next))
