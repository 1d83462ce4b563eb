"""The sandbox as a process: start, restart, kill -9, many streams, and peers that misbehave."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier
from typing import Any

import httpx
import pytest

from msgxc.errors import NotFound, WrongInput
from msgxc.sandbox.endpoints import read_endpoints
from msgxc.sandbox.journal import read
from msgxc.sandbox.launch import Endpoints, SandboxFailed, start
from msgxc.sandbox.server import PREFACE


def tls(at: Endpoints, port: int, *protocols: str) -> ssl.SSLSocket:
    """A raw connection; no protocols: none is offered, as some client libraries do."""
    context = ssl.create_default_context(cafile=at.ca)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    raw = socket.create_connection(("127.0.0.1", port), timeout=60)
    return context.wrap_socket(raw, server_hostname="localhost")


def port(url: str) -> int:
    return int(url.rpartition(":")[2])


def test_kill_right_after_the_answer(own_sandbox, wire):
    """kill -9 the moment an answer is there: its line is in the journal, for every answer ever given."""
    answered: list[str] = []

    def send_until_it_dies(mine: Any, worker: int) -> None:
        """A client of its own for each thread: httpx shares an HTTP/2 connection between threads poorly."""
        with mine.client, suppress(httpx.HTTPError):
            for number in range(100):
                address = f"token:{worker}:{number}"
                if mine.fcm(address).status_code == 200:
                    answered.append(address)

    with ThreadPoolExecutor(8) as pool:
        for worker in range(8):
            pool.submit(send_until_it_dies, type(wire)(own_sandbox.endpoints), worker)
        while len(answered) < 40:
            time.sleep(0.001)
        own_sandbox.process.send_signal(signal.SIGKILL)
        own_sandbox.process.wait()
    assert 40 <= len(answered) < 800
    assert {*answered} <= {one.address for one in read(own_sandbox.endpoints.journal)}


def test_restart_is_the_same_sandbox(own_sandbox, wire):
    """A restart keeps CA, keys, access tokens and the journal, also after kill -9."""
    first = type(wire)(own_sandbox.endpoints)
    assert first.fcm("before:1").status_code == 200
    ca, token = own_sandbox.endpoints.ca.read_bytes(), first.access_token
    own_sandbox.process.kill()
    own_sandbox.process.wait()
    again = start(own_sandbox.directory)
    try:
        second = type(wire)(again.endpoints)
        assert second.fcm("after:1", access=token).status_code == 200
        assert second.apns("a1" * 32).status_code == 200
        assert again.endpoints.ca.read_bytes() == ca
        assert [one.address for one in read(again.endpoints.journal)] == ["before:1", "after:1", "a1" * 32]
        second.client.close()
    finally:
        again.stop()
    first.client.close()


def test_stops_in_good_order(own_sandbox):
    """SIGTERM ends it with status 0, and sandbox.json is gone; stopping twice is allowed."""
    own_sandbox.stop()
    own_sandbox.stop()
    assert own_sandbox.process.returncode == 0
    with pytest.raises(NotFound):
        read_endpoints(own_sandbox.directory)


def test_second_sandbox_in_the_directory(own_sandbox):
    """Two sandboxes never share a directory: the second says so in one line, the first goes on."""
    with pytest.raises(SandboxFailed, match="another sandbox runs in"):
        start(own_sandbox.directory)
    assert read_endpoints(own_sandbox.directory).pid == own_sandbox.process.pid


def test_directory_that_cannot_be_used(tmp_path):
    """A key file that is none stops the start with one line that names it."""
    (tmp_path / "apns.p8").write_text("nonsense")
    with pytest.raises(SandboxFailed, match=r"apns\.p8 holds no key"):
        start(tmp_path)


def test_disk_full(tmp_path, wire):
    """When the journal cannot be written, nothing is answered, and the sandbox ends with one line."""
    command = [sys.executable, "-m", "msgxc.sandbox", "--dir", str(tmp_path), "--journal", "/dev/full"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while not (tmp_path / "sandbox.json").exists():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        mine = type(wire)(read_endpoints(tmp_path))
        with pytest.raises(httpx.TransportError):
            mine.apns("a1" * 32)
        mine.client.close()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.splitlines()[-1] == "sandbox: cannot write the journal: [Errno 28] No space left on device"


def test_ends_with_the_process_that_started_it(tmp_path):
    """When its parent is killed -9, the sandbox ends by itself."""
    code = "from pathlib import Path; from msgxc.sandbox.launch import start; import time\n"
    code += f"print(start(Path({str(tmp_path)!r})).process.pid, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    until = time.monotonic() + 60
    while time.monotonic() < until and (tmp_path / "sandbox.json").exists():
        time.sleep(0.02)
    assert not (tmp_path / "sandbox.json").exists()
    while time.monotonic() < until and _runs(pid):
        time.sleep(0.02)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    """Whether the process is there and not just waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:  # gone, also between two steps of this look
        return False


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": 1}'])
def test_file_that_is_no_sandbox(tmp_path, text):
    """A sandbox.json that is not whole is one clear error."""
    (tmp_path / "sandbox.json").write_text(text)
    with pytest.raises(WrongInput, match="is not a sandbox's file"):
        read_endpoints(tmp_path)


def test_secrets_stay_out_of_sight(sandbox):
    """Neither the records' text nor other users' eyes show a secret."""
    at = sandbox.endpoints
    assert at.sms.auth_token not in repr(at)
    assert at.email.api_key not in repr(at)
    for name in ("sandbox.json", "apns.p8", "fcm.json", "ca.key", "server.pem"):
        assert os.stat(sandbox.directory / name).st_mode & 0o077 == 0


def test_latency(tmp_path, wire):
    """--latency delays every answer, and the answers of many requests at once together, not in a row: when
    the first is there, others have been accepted."""
    slow, all_here = start(tmp_path, latency_ms=300), Barrier(10)

    def one(number: int) -> int:
        mine = type(wire)(slow.endpoints)
        with mine.client:
            assert mine.apns("a0" * 8).status_code == 200  # the connection is there now
            all_here.wait(60)
            begun = time.perf_counter()
            assert mine.apns(f"{number}" * 8).status_code == 200
            assert time.perf_counter() - begun >= 0.3
            return sum(bool(mine.accepted(f"{n}" * 8)) for n in range(10))

    try:
        with ThreadPoolExecutor(10) as pool:
            assert min(pool.map(one, range(10))) > 1
    finally:
        slow.stop()


async def test_thousand_streams_at_once(sandbox, wire):
    """1,000 notifications in flight on one connection are all answered, each with its own id."""
    context = ssl.create_default_context(cafile=sandbox.endpoints.ca)
    url = f"https://localhost:{sandbox.endpoints.apns.port}/3/device/"
    headers = {
        "authorization": f"bearer {wire.apns_token()}",
        "apns-topic": sandbox.endpoints.apns.topic,
        "apns-push-type": "alert",
    }
    limits = httpx.Limits(max_connections=1)
    async with httpx.AsyncClient(http2=True, verify=context, limits=limits, timeout=30) as client:
        ids = [f"00000000-0000-0000-0000-{number:012d}" for number in range(1000)]
        await client.post(f"{url}ff", content='{"aps":{}}', headers=headers)
        calls = [
            client.post(f"{url}slow300-{one}", content='{"aps":{}}', headers={**headers, "apns-id": one})
            for one in ids
        ]
        answers = await asyncio.gather(*calls)
    assert [one.headers["apns-id"] for one in answers] == ids
    assert {one.status_code for one in answers} == {200}


def test_announces_thousand_streams(sandbox):
    """The first frame of the server is SETTINGS, with MAX_CONCURRENT_STREAMS 1000, like Apple's."""
    with tls(sandbox.endpoints, sandbox.endpoints.apns.port, "h2") as peer:
        assert peer.selected_alpn_protocol() == "h2"
        got = peer.recv(4096)
    size, settings = int.from_bytes(got[:3], "big"), {}
    for at in range(9, 9 + size, 6):
        settings[int.from_bytes(got[at : at + 2], "big")] = int.from_bytes(got[at + 2 : at + 6], "big")
    assert settings[3] == 1000


def test_http2_without_alpn(sandbox):
    """A client that offers no protocol and starts with the preface of HTTP/2 gets HTTP/2 (RFC 9113, 3.3)."""
    with tls(sandbox.endpoints, sandbox.endpoints.apns.port) as peer:
        peer.sendall(PREFACE[:5])
        time.sleep(0.05)
        peer.sendall(PREFACE[5:] + b"\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        assert peer.recv(4096)[3] == 4


def test_pipelined_http1(sandbox):
    """Requests that arrive together are answered in their order, also when the first one is slow."""
    sms = sandbox.endpoints.sms
    request = "GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with tls(sandbox.endpoints, port(sms.url), "http/1.1") as peer:
        peer.sendall("".join(request.format(n) for n in range(5)).encode())
        got = b""
        while got.count(b"HTTP/1.1 401") < 5:
            got += peer.recv(4096)
    assert got.count(b"content-length") == 5


def test_chunked_and_expect(sandbox):
    """A chunked body is put together, and a client that asks first is told to go on."""
    push = sandbox.endpoints.webpush
    head = b"POST /push/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n"
    with tls(sandbox.endpoints, port(push.url), "http/1.1") as peer:
        peer.sendall(head)
        assert peer.recv(4096).startswith(b"HTTP/1.1 100")
        peer.sendall(b"3\r\nabc\r\n0\r\n\r\n")
        assert peer.recv(4096).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01", b"hello\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"\0" * 100]
)
def test_garbage(sandbox, wire, garbage):
    """What is no HTTP ends that connection, and nobody else's."""
    with tls(sandbox.endpoints, port(sandbox.endpoints.email.url)) as peer:
        peer.sendall(garbage + b"\r\n\r\n")
        while peer.recv(4096):
            pass
    assert wire.apns("b2" * 32).status_code == 200


def test_client_that_leaves(sandbox, wire):
    """A client that disconnects before its answer does no harm."""
    mine = type(wire)(sandbox.endpoints)
    mine.client.timeout = 0.1
    with pytest.raises(httpx.TimeoutException):
        mine.apns("slow400-left")
    mine.client.close()
    time.sleep(0.5)
    assert wire.apns("b3" * 32).status_code == 200
    assert "Traceback" not in (sandbox.directory / "sandbox.log").read_text()


def test_large_body_over_http2(sandbox, wire):
    """A request of several megabytes goes through HTTP/2's flow control (it is refused for its content)."""
    people = [{"to": [{"email": f"p{n}@example.com"}], "custom_args": {"x": "y" * 5000}} for n in range(1000)]
    assert wire.email(personalizations=people).status_code == 202


def test_journal_line_is_json_with_the_contract_fields(sandbox, wire):
    """Others read the file directly: one JSON object a line."""
    wire.apns("d4" * 32)
    lines = [json.loads(line) for line in sandbox.endpoints.journal.read_text().splitlines()]
    line = next(one for one in lines if one["address"] == "d4" * 32)
    assert {"at", "channel", "address", "delivery", "collapse", "priority", "title"} <= line.keys()
