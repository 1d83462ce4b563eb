"""What the exchange writes is its owner's alone: the store holds people's addresses."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

OTHERS = 0o077


def keep_private(folder: Path) -> None:
    """Make the folder if it is not there, for its owner alone; what this process and its children write from
    now on, there and elsewhere, is their owner's alone too.

    A folder that others could read is put right, with all that is in it (a store of an earlier version); so
    are the files directly in it and its logs, each time. Left as they are: what is somebody else's, symbolic
    links, and a folder that cannot be ours alone: `/`, what stands directly below it, a person's home, and
    one that all may write to.
    """
    os.umask(os.umask(OTHERS) | OTHERS)
    folder.mkdir(parents=True, exist_ok=True)
    place = folder.resolve()
    mode = place.stat().st_mode
    if mode & stat.S_ISVTX or len(place.parts) < 3 or place == Path.home():
        return
    open_to_others = bool(mode & OTHERS)
    if open_to_others:
        _close(place)
    within = place.rglob("*") if open_to_others else chain(place.glob("*"), place.glob("log/*"))
    for path in _files(within):
        _close(path)


def _files(found: Iterator[Path]) -> Iterator[Path]:
    """What is found, as long as it stays: another process may tidy up meanwhile."""
    with suppress(OSError):
        yield from found


def _close(path: Path) -> None:
    with suppress(OSError):
        mode = path.lstat().st_mode
        if mode & OTHERS and not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) & ~OTHERS)
