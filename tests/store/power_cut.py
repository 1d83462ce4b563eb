"""A power cut, played: what a process wrote and no fsync had brought to the disk is taken back.

The worst that a disk may do: none of it has arrived. power_cut.c records it. Linux, and a C compiler.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

HEAD = struct.Struct("=6Q")
WRITTEN, SYNCED = 1, 2


@dataclass(frozen=True, slots=True)
class Plug:
    """What powers the processes that use a folder: `env` for them, `pull` when they are killed."""

    folder: Path
    library: Path
    log: Path

    @property
    def env(self) -> dict[str, str]:
        """The environment of a process whose power may be cut."""
        own = {"LD_PRELOAD": self.library, "POWER_CUT_DIR": self.folder, "POWER_CUT_LOG": self.log}
        return os.environ | {name: str(value) for name, value in own.items()}

    def pull(self) -> int:
        """The folder as a power cut leaves it; answers how many writes are gone. Nobody may have it open."""
        written, upto = self._records()
        gone = [record for record in written if record[0] >= upto.get(record[1], 0)]
        for _, path, place, size, old in reversed(gone):
            with open(path, "r+b" if os.path.exists(path) else "w+b") as file:
                file.seek(place)
                file.write(old)
                file.truncate(size)
        for shared in self.folder.rglob("*-shm"):
            shared.unlink()
        self.log.unlink(missing_ok=True)
        return len(gone)

    def _records(self) -> tuple[list[tuple[int, str, int, int, bytes]], dict[str, int]]:
        """Every write (where it stands in the log, path, place, size of the file before, old bytes), and up
        to where in the log each file was synced."""
        raw = self.log.read_bytes() if self.log.exists() else b""
        written, upto, at = [], dict[str, int](), 0
        while at < len(raw):
            kind, place, size, name, old, until = HEAD.unpack_from(raw, at)
            path = raw[at + HEAD.size :][:name].decode()
            if kind == SYNCED:
                upto[path] = max(until, upto.get(path, 0))
            else:
                begins = at + HEAD.size + name
                written.append((at, path, place, size, raw[begins : begins + old]))
            at += HEAD.size + name + old
        return written, upto


def plug(folder: Path, built: Path) -> Plug:
    """Something to pull. `built`: where the compiled part goes."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "a power cut needs a C compiler"
    library = built / "power_cut.so"
    source = Path(__file__).with_suffix(".c")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return Plug(folder, library, built / "power_cut.log")
