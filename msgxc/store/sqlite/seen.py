"""How far this folder has seen its store come: a number in a file beside it, which its copies do not have.

While it is written to, the store counts its *generation* on, about once a second. A store that is behind the
number beside it is an older copy that was put in its place, or has lost its log; one without a number beside
it came from elsewhere.
"""

from __future__ import annotations

import os
from pathlib import Path

from msgxc.errors import WrongStore

_DIGITS = 20
#: What follows from it, and what to do.
_SO = (
    "what was sent since would be sent again. Put the newest back (with its -wal), or let it go on as "
    "restored: `msgxc restore`"
)


class Seen:
    """The number beside one store."""

    def __init__(self, store: Path) -> None:
        self._path = store.with_suffix(".seen")

    def read(self) -> int | None:
        """The number; None: there is none. To be read before the store's own, which is never behind it.
        Raises WrongStore when it cannot be read."""
        try:
            return int(self._path.read_bytes() or b"0")  # made, and not yet written
        except FileNotFoundError:
            return None
        except ValueError:
            raise WrongStore(
                f"{self._path} cannot be read, and the store may be an older one: {_SO}"
            ) from None

    def check(self, seen: int | None, generation: int) -> None:
        """Raises WrongStore when the store is not what was here last. The number is there before the store
        counts for the first time: without one, a store that has counted is not from here."""
        if seen is None and generation == 0:
            self.note(0)
        elif seen is None and self.read() is None:  # else somebody else opened it, too, in this moment
            raise WrongStore(f"the store was brought here from elsewhere, or {self._path} is gone: {_SO}")
        if seen and generation < seen:
            raise WrongStore(
                f"the store is older (generation {generation:,}) than what was here last ({seen:,}): {_SO}"
            )

    def forbid(self) -> None:
        """Whatever is here counts as older from now on, until it is noted how far it is."""
        self.note(10**_DIGITS - 1)

    def note(self, generation: int) -> None:
        """It has come so far, on the disk. In place: a few bytes, which are there or not."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(file, f"{generation:0{_DIGITS}}".encode(), 0)
        finally:
            os.close(file)
