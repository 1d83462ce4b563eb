"""How many notifications a second the sandbox takes: python tests/sandbox/load_http2.py [N] [IN_FLIGHT].

The requests are encoded before the clock starts, and the client only counts frames, so that the figure is the
server's: N answered requests over the wall clock, and over the server's own CPU time.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import sys
import tempfile
import time
from pathlib import Path
from uuid import UUID

import jwt
import psutil
from hpack import Encoder

from msgxc.sandbox.launch import Endpoints, start

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def requests(at: Endpoints, count: int) -> list[bytes]:
    """HEADERS and DATA of one notification each, on streams 1, 3, 5, …"""
    apns, now = at.apns, int(time.time())
    token = jwt.encode(
        {"iss": apns.team_id, "iat": now}, apns.key_file.read_text(), "ES256", {"kid": apns.key_id}
    )
    encoder, made = Encoder(), []
    body = json.dumps({"aps": {"alert": {"title": "Hello", "body": "A message of usual length. " * 4}}})
    for number in range(count):
        headers = [
            (":method", "POST"),
            (":scheme", "https"),
            (":path", f"/3/device/{number:064x}"),
            ("host", apns.host),
            ("apns-id", str(UUID(int=number))),
            ("apns-topic", apns.topic),
            ("apns-expiration", str(now + 3600)),
            ("apns-priority", "10"),
            ("apns-collapse-id", f"collapse-{number}"),
            ("apns-push-type", "alert"),
            ("authorization", f"bearer {token}"),
        ]
        stream = 2 * number + 1
        made.append(frame(1, 4, stream, encoder.encode(headers)) + frame(0, 1, stream, body.encode()))
    return made


class Client:
    """Keeps `in_flight` requests under way, and counts the ends of streams."""

    def __init__(self, at: Endpoints) -> None:
        context = ssl.create_default_context(cafile=at.ca)
        context.set_alpn_protocols(["h2"])
        raw = socket.create_connection(("127.0.0.1", at.apns.port))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = context.wrap_socket(raw, server_hostname="localhost")
        settings = struct.pack(">HI", 4, 1 << 20)
        window = frame(8, 0, 0, struct.pack(">I", (1 << 30)))
        self.sock.sendall(PREFACE + frame(4, 0, 0, settings) + window)
        self.rest = b""

    def ended(self) -> int:
        """Read once; how many streams ended."""
        data, at, ends = self.rest + self.sock.recv(262_144), 0, 0
        while len(data) - at >= 9:
            size = int.from_bytes(data[at : at + 3], "big")
            if len(data) - at < 9 + size:
                break
            kind, flags = data[at + 3], data[at + 4]
            assert kind not in (3, 7), "the sandbox reset a stream or said GOAWAY"
            ends += kind in (0, 1) and flags & 1
            at += 9 + size
        self.rest = data[at:]
        return ends


def load(at: Endpoints, count: int, in_flight: int) -> None:
    made = requests(at, count)
    client, server = Client(at), psutil.Process(at.pid)
    begun, cpu = time.perf_counter(), sum(server.cpu_times()[:2])
    sent = done = 0
    while done < count:
        until = min(count, done + in_flight)
        if until > sent:
            client.sock.sendall(b"".join(made[sent:until]))
            sent = until
        done += client.ended()
    wall, used = time.perf_counter() - begun, sum(server.cpu_times()[:2]) - cpu
    print(f"{count} requests, {in_flight} in flight: {count / wall:.0f}/s, {count / used:.0f} per CPU second")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        sandbox = start(Path(directory))
        try:
            arguments = [int(one) for one in sys.argv[1:]]
            load(sandbox.endpoints, *(arguments or [20_000, 50]))
            lines = sum(1 for _ in sandbox.endpoints.journal.open("rb"))
            print(f"{lines} lines in the journal")
        finally:
            sandbox.stop()
