"""The fake provider (fake/main.go) and the foreign senders (peers/), built and run; all in var/bench.

Go and npm fetch what they need the first time.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.machine import PROVIDER_CORE, ROOT, process_cpu
from msgxc.model import Channel
from msgxc.sandbox import credentials, endpoints

BUILT = ROOT / "var" / "bench"
HERE = Path(__file__).parent
NODE = BUILT / "node_modules"


@dataclass(frozen=True, slots=True)
class Fake:
    """A fake provider that runs; `folder` is what a sender takes for the sandbox's."""

    process: subprocess.Popen[str]
    folder: Path
    at: endpoints.Endpoints

    def taken(self) -> int:
        """How many messages it has accepted so far."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def cpu(self) -> float:
        """Its CPU seconds so far."""
        return process_cpu(self.process.pid)


def build_fake() -> None:
    """Compile the fake provider with this machine's Go."""
    _go("fake")


def build_peers() -> None:
    """Compile the Go libraries' sender, and install node-apn where it is missing."""
    _go("peers/go")
    if not NODE.exists() and shutil.which("npm"):
        shutil.copy(HERE / "peers/node/package.json", BUILT)
        command = ["npm", "install", "--silent", "--no-package-lock", "--ignore-scripts", "--no-audit"]
        subprocess.run(command, cwd=BUILT, check=True)


def _go(folder: str) -> None:
    BUILT.mkdir(parents=True, exist_ok=True)
    to = BUILT / Path(folder).parts[0]
    subprocess.run(["go", "build", "-o", str(to), "."], cwd=HERE / folder, check=True)


@contextmanager
def fake_provider(folder: Path, channel: Channel, latency: int) -> Iterator[Fake]:
    """Run it on the provider's core, answering after so many ms. The folder is made when it is missing."""
    known = credentials.credentials_in(folder)
    credentials.renew_certificate(folder, datetime.now(UTC))
    certificate = str(folder / "server.pem")
    command = [str(BUILT / "fake"), certificate, certificate, str(channel), str(latency)]
    if shutil.which("taskset"):
        command = ["taskset", "-c", str(PROVIDER_CORE), *command]
    tuned = {"GOMAXPROCS": "1", "GOGC": "400"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=tuned, text=True)
    assert process.stdout
    try:
        yield Fake(process, folder, _announce(known, folder, int(process.stdout.readline())))
    finally:
        process.communicate()


def _announce(of: credentials.Credentials, folder: Path, port: int) -> endpoints.Endpoints:
    """Write down where it listens, as a sandbox would: one port for every channel."""
    url = f"https://localhost:{port}"
    credentials.write_service_account(of, url)
    at = endpoints.Endpoints(
        pid=0,
        ca=of.ca_file,
        journal=folder / "none",
        apns=endpoints.ApnsEndpoint("localhost", port, of.apns_file, of.key_id, of.team_id, of.topic),
        fcm=endpoints.FcmEndpoint(url, of.fcm_file),
        webpush=endpoints.WebPushEndpoint(url, of.vapid_file, of.vapid_contact, of.subscriber_file),
        sms=endpoints.SmsEndpoint(url, of.account_sid, of.sms_token, of.cell),
        email=endpoints.EmailEndpoint(url, of.email_key, of.email),
    )
    endpoints.write_endpoints(folder, at)
    return at
