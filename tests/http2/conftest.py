"""Certificates, and servers that are not ours: Go's, nghttpd, hypercorn, uvicorn. None may be missing."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from listening import Clock

from msgxc.ports import free_port

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Certificate:
    """Self-signed files, for one name and 127.0.0.1."""

    cert: Path
    key: Path

    def server(self, *protocols: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context

    def client(self, *protocols: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.cert)
        context.set_alpn_protocols(list(protocols or ("h2",)))
        return context


def _certificate(folder: Path, name: str, *more: x509.GeneralName) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name), *more]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    certificate.cert.write_bytes(made.public_bytes(Encoding.PEM))
    certificate.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """For localhost."""
    local = x509.IPAddress(IPv4Address("127.0.0.1"))
    return _certificate(tmp_path_factory.mktemp("tls"), "localhost", local)


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """For another host."""
    return _certificate(tmp_path_factory.mktemp("tls"), "other.invalid")


def _await_port(process: subprocess.Popen[bytes], port: int) -> int:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return port
        time.sleep(0.02)
    raise AssertionError(f"{process.args} does not answer")


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a program, which ends with the session."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*command: object, **more: object) -> subprocess.Popen[bytes]:
        quiet = {"stdin": subprocess.PIPE, "stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        running.append(subprocess.Popen([str(part) for part in command], **{**quiet, **more}))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def go_peer(serve, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> int:
    """The port of tests/http2/peer/main.go, built with this machine's Go."""
    assert shutil.which("go"), "Go is needed: it builds one of the servers that the HTTP/2 tests talk to"
    program = tmp_path_factory.mktemp("peer") / "peer"
    built = subprocess.run(
        ["go", "build", "-o", program, "main.go"],
        cwd=HERE / "peer",
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    process = serve(program, certificate.cert, certificate.key, stdout=subprocess.PIPE)
    return int(process.stdout.readline())


@pytest.fixture(scope="session")
def nghttpd(serve, certificate: Certificate) -> Callable[..., int]:
    """Starts nghttpd with these options, and answers its port."""
    found = subprocess.run(
        [ROOT / "servers" / "nghttpd.sh", "path"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr

    def start(*options: str) -> int:
        port = free_port(0)
        command = (found.stdout.strip(), "--echo-upload", *options, "-a", "127.0.0.1", port)
        return _await_port(serve(*command, certificate.key, certificate.cert), port)

    return start


@pytest.fixture(scope="session")
def hypercorn_peer(serve, certificate: Certificate) -> int:
    """The port of hypercorn with peer/echo.py."""
    port = free_port(0)
    files = ("--certfile", certificate.cert, "--keyfile", certificate.key)
    alone = ("--workers", "0")  # in the process that is ended, not in one below it
    command = (sys.executable, "-m", "hypercorn", *alone, "--bind", f"127.0.0.1:{port}", *files, "echo:app")
    return _await_port(serve(*command, cwd=HERE / "peer"), port)


@pytest.fixture(scope="session")
def uvicorn_peer(serve, certificate: Certificate) -> Callable[[str], int]:
    """Starts uvicorn with peer/echo.py over HTTP/1.1, read by this parser, and answers its port."""

    def start(parser: str) -> int:
        port = free_port(0)
        files = ("--ssl-certfile", certificate.cert, "--ssl-keyfile", certificate.key)
        command = (sys.executable, "-m", "uvicorn", "echo:app", "--port", port, "--http", parser, *files)
        return _await_port(serve(*command, cwd=HERE / "peer"), port)

    return start


@pytest.fixture
async def clock() -> Clock:
    """The event loop's, to be put forward."""
    return Clock(asyncio.get_running_loop())


@pytest.fixture
async def listen(certificate):
    """Starts a server that the test steers; none of them may have found fault with what it read."""
    made = []

    async def start(server, *protocols: str, port: int = 0, of=certificate):
        await server.listen(of.server(*(protocols or server.protocols)), port)
        made.append(server)
        return server

    yield start
    for server in made:
        server.close()
    await asyncio.sleep(0.05)
    assert [server.faults for server in made] == [[]] * len(made)
