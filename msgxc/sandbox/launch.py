"""Start and stop a sandbox from a test, the demo or a load run: one subprocess, `python -m msgxc.sandbox`."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from msgxc.errors import MsgxcError, NotFound
from msgxc.sandbox.endpoints import Endpoints, read_endpoints

__all__ = ["Endpoints", "Sandbox", "SandboxFailed", "read_endpoints", "start"]

START_SECONDS = 120.0


class SandboxFailed(MsgxcError):
    """The sandbox did not start; the text is the last line that it wrote."""

    code = "sandbox_failed"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox that this process started. It ends when this process ends, however that comes about."""

    process: subprocess.Popen[bytes]
    directory: Path
    endpoints: Endpoints

    def stop(self) -> None:
        """End it in good order (SIGTERM), by force after 10 s. May be called twice."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()


def start(directory: Path, *, latency_ms: int = 0) -> Sandbox:
    """Start a sandbox that keeps all its files in `directory`, and wait until all its servers listen.

    `latency_ms` is added to every answer. Its messages go to directory/sandbox.log. Raises SandboxFailed when
    it dies, or does not listen within two minutes.
    """
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "sandbox.log"
    command = [sys.executable, "-m", "msgxc.sandbox", "--dir", str(directory), "--until-eof"]
    command += ["--latency", str(latency_ms)]
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603  # our own module, no shell
            command, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True
        )
    try:
        return Sandbox(process, directory, _wait(process, directory, log))
    except BaseException:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
        raise


def _wait(process: subprocess.Popen[bytes], directory: Path, log: Path) -> Endpoints:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SandboxFailed(_last_line(log) or f"the sandbox ended with status {process.returncode}")
        try:
            endpoints = read_endpoints(directory)
        except NotFound:
            endpoints = None
        if endpoints is not None and endpoints.pid == process.pid:
            return endpoints
        time.sleep(0.02)
    raise SandboxFailed(_last_line(log) or f"the sandbox did not listen within {START_SECONDS:.0f} s")


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
