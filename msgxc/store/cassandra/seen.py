"""How far a folder has seen its keyspace come: a number in a file, and the same number in the keyspace.

Each home has a number of its own there, which it counts on while it is at work and then notes in its file: so
nobody else's writes can hide that the tables are older copies. A home whose number is behind says so in the
keyspace too, for those that are new. Restores are accepted for all homes by one mark that only grows. Each of
these is written with itself as its write time, so the greater one stays, whichever comes later.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from struct import Struct
from uuid import uuid4

from msgxc.errors import MsgxcError, WrongStore
from msgxc.store.cassandra import statements as cql
from msgxc.store.cassandra.session import Session

_ACCEPTED, _OLDER, _HOME = "accepted", "older", "home:"
_NUMBER = Struct(">q")
_SO = "what was sent since would be sent again; bring the newest back, or say `msgxc restore`"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a home knows of its keyspace: which restore was accepted last (0: none), and its own number."""

    home: str
    accepted: int = 0
    count: int = 0


class Seen:
    """The mark of one home. A folder that cannot be written to remembers nothing new, and harms nobody."""

    def __init__(self, home: Path, keyspace: str, session: Session) -> None:
        self._path, self._session = home / f"cassandra-{keyspace}.seen", session
        self._mark = Mark("")

    async def check(self) -> None:
        """Raises WrongStore when the keyspace is not what was here last, or somebody else found so; else the
        number is counted on from now on, with whatever is asked, once in a while."""
        mine = self._read()
        there, older = await self._there(mine)
        if (there.accepted, there.count) < (mine.accepted, mine.count):
            await self._write(_OLDER, there.accepted + 1)
            raise WrongStore(f"the keyspace is older than what was here last: {_SO}")
        if older > there.accepted:
            raise WrongStore(f"the keyspace is older than what another machine has seen: {_SO}")
        self._mark = there
        self._note()
        self._session.stamp(self._count_on)

    async def accept(self) -> None:
        """The keyspace is right as it is, for every home."""
        mine = self._read()
        there, older = await self._there(mine)
        accepted = max(int(time.time() * 1000), there.accepted + 1, mine.accepted + 1, older)
        await self._write(_ACCEPTED, accepted)
        self._mark = replace(there, accepted=accepted)
        self._note()
        self._session.stamp(self._count_on)

    async def _count_on(self) -> None:
        """In the keyspace first: the file is never ahead of it."""
        number = self._mark.count + 1
        with suppress(MsgxcError):
            await self._write(_HOME + self._mark.home, number)
            self._mark = replace(self._mark, count=number)
            self._note()

    async def _there(self, mine: Mark) -> tuple[Mark, int]:
        """What the keyspace has of this home, and which acceptance is known to be out of date."""
        home = _HOME + mine.home
        rows = await self._session.rows(cql.GET_FACTS, [_ACCEPTED, _OLDER, home])
        facts = {name: _NUMBER.unpack(value)[0] for name, value in rows}
        return Mark(mine.home, facts.get(_ACCEPTED, 0), facts.get(home, 0)), facts.get(_OLDER, 0)

    async def _write(self, name: str, number: int) -> None:
        await self._session.rows(cql.NOTE_GREATER, name, _NUMBER.pack(number), number)

    # -- the file

    def _read(self) -> Mark:
        """To be read before the keyspace, which is never behind it; made when it is not there. Raises
        WrongStore when it cannot be read."""
        try:
            home, accepted, count = self._path.read_text("ascii").split()
            return Mark(home, int(accepted), int(count))
        except FileNotFoundError:
            return self._made()
        except ValueError:
            raise WrongStore(
                f"{self._path} cannot be read, and the keyspace may be an older one: {_SO}"
            ) from None

    def _made(self) -> Mark:
        """A new one; or the one that another process has made meanwhile."""
        mark, fresh = Mark(uuid4().hex), self._path.with_suffix(f".{os.getpid()}")
        try:
            fresh.write_text(_spelled(mark), "ascii")
            with suppress(FileExistsError):
                os.link(fresh, self._path)
        except OSError:
            return mark
        finally:
            fresh.unlink(missing_ok=True)
        return self._read()

    def _note(self) -> None:
        """In place: a few bytes, which are there or not."""
        with suppress(OSError):
            file = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.pwrite(file, _spelled(self._mark).encode("ascii"), 0)
            finally:
                os.close(file)


def _spelled(mark: Mark) -> str:
    return f"{mark.home} {mark.accepted:020} {mark.count:020}\n"
