"""A real nats-server for tests, built once by servers/nats.sh. Without it the tests fail."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from msgxc.ports import free_port

SCRIPT = Path(__file__).resolve().parent.parent / "servers" / "nats.sh"


class NatsServer:
    """One server on a free port of 127.0.0.1, which can be killed and started again."""

    def __init__(self, program: str, *options: str, env: Mapping[str, str] | None = None) -> None:
        self._program = program
        self._options = options
        self._env = {**os.environ, **(env or {})}
        self.port = free_port(0)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._program, "--addr", "127.0.0.1", "--port", str(self.port), *self._options],
            stderr=subprocess.DEVNULL,
            env=self._env,
        )
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("nats-server does not answer")

    def kill(self) -> None:
        """SIGKILL: no goodbye to anybody."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process


@pytest.fixture(scope="session")
def nats_program() -> str:
    """The path of nats-server; builds it the first time (about a minute)."""
    built = subprocess.run([SCRIPT, "path"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return built.stdout.strip()


@pytest.fixture
def nats_server(nats_program: str) -> Iterator[NatsServer]:
    """A running server of the test's own."""
    server = NatsServer(nats_program)
    server.start()
    yield server
    server.kill()
