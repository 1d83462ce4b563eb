"""What a container of ours is, without docker: the image's files, a read-only root, a user who owns nothing.

Linux alone: a mount namespace in which all is read-only but the volume and a folder in /tmp's place.
Started by root, a command runs as the image's user, who may read everything and write what is his; else all
is as read-only, under the user who runs the tests.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgxc.settings import ROOT

#: Of the Dockerfile.
USER = 10001
#: $0: the volume, $1: /tmp's stand-in, then the command.
_FENCE = """
mount --make-rprivate /
mount --bind "$0" "$0"
mount --bind "$1" "$1"
while read -r _ _ _ _ at _; do
    case $at in "$0"|"$1"|/proc|/proc/*|/sys|/sys/*|/dev|/dev/*) ;; *) mount -o remount,bind,ro "$at";; esac
done </proc/self/mountinfo
shift
exec "$@"
"""
_AS_USER = [
    *("setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", "--no-new-privs"),
    *("--bounding-set=-all,+dac_read_search", "--inh-caps=-all,+dac_read_search"),
    "--ambient-caps=-all,+dac_read_search",
]


@dataclass(frozen=True, slots=True)
class Container:
    """An image's files, and a volume and a /tmp beside it.

    Of a service's environment `changed` has the addresses and secrets of here ("-": not set); `added` is new.
    """

    image: Path
    volume: Path
    tmp: Path
    changed: Mapping[str, str]
    added: Mapping[str, str]

    def environment(self, service: Mapping[str, Any]) -> dict[str, str]:
        """The service's own, on the image's; nothing of the tests'."""
        said = service.get("environment", {}).items()
        own = {
            name: self.here(re.sub(r"^/tmp(?=/)", str(self.tmp), str(value)))
            for name, value in said
            if value is not None
        }
        other = {name: self.changed.get(name, value) for name, value in own.items()}
        assert "${" not in str(other), other
        return {
            **{name: self.here(value) for name, value in image_environment().items()},
            "MSGXC_HOME": str(self.volume),  # where none is set: it is mounted in the image
            **{name: value for name, value in other.items() if value != "-"},
            **self.added,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.image),
            "TMPDIR": str(self.tmp),
            "HOME": "/home/msgxc",
        }

    def here(self, text: str) -> str:
        """The same with the folders of this machine."""
        return text.replace("/opt/msgxc/var", str(self.volume)).replace("/opt/msgxc", str(self.image))

    def command(self, words: Sequence[str]) -> list[str]:
        """What starts these words there."""
        root = os.geteuid() == 0
        fence = ["unshare", "--mount", *([] if root else ["--map-root-user"]), "sh", "-euc", _FENCE]
        folders = [str(self.volume), str(self.tmp)]
        return [*fence, *folders, *(_AS_USER if root else []), *(self.here(word) for word in words)]

    def run(self, service: Mapping[str, Any], words: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """What the service's command, or another one in its container, says when it has ended."""
        return subprocess.run(
            self.command(words or service["command"]),
            cwd=self.image,
            env=self.environment(service),
            capture_output=True,
            text=True,
            check=False,
        )

    @contextmanager
    def running(self, service: Mapping[str, Any], name: str) -> Iterator[subprocess.Popen[bytes]]:
        """The service, until the block ends; what it says is in NAME.log beside the image."""
        with (self.image.parent / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                self.command(service["command"]),
                cwd=self.image,
                env=self.environment(service),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            finally:
                process.kill()
                process.wait()


def image_environment() -> dict[str, str]:
    """What the Dockerfile sets."""
    lines = re.findall(r"^ENV (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return dict(word.split("=", 1) for line in lines for word in shlex.split(line))


def build(folder: Path, changed: Mapping[str, str], added: Mapping[str, str]) -> Container:
    """What the Dockerfile makes of this checkout, but for the packages, which are those of the tests."""
    built = Container(folder / "image", folder / "var", folder / "tmp", changed, added)
    for each in (built.image, built.volume, built.tmp):
        each.mkdir()
    for name in taken():
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, built.image / name)
    (unpack,) = re.findall(
        r"(python -m msgxc\.console_server.*?) \\$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    env = {name: built.here(value) for name, value in image_environment().items()}
    words = [sys.executable, *unpack.split()[1:]]
    own = {"PYTHONPATH": str(built.image), "PREFECT_HOME": str(built.tmp / "build")}
    subprocess.run(words, cwd=built.image, env={**os.environ, **env, **own}, check=True)
    shutil.rmtree(built.tmp / "build", ignore_errors=True)
    built.tmp.chmod(0o1777)
    built.volume.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(built.volume, USER, USER)
    return built


def taken() -> list[str]:
    """The names that .dockerignore lets into the image."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    return [line.removeprefix("!") for line in lines if line.startswith("!")]
