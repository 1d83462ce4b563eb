"""The lean way out to origins: servers without HTTP/2, and more origins than are kept."""

from __future__ import annotations

import asyncio

import pytest
from provider_samples import outgoing

from msgxc.http2 import Answer, Request, Unanswered, post_head
from msgxc.model import Channel, Outcome
from msgxc.providers import lean as lean_module
from msgxc.providers.lean import Lean
from msgxc.providers.webpush import WebPush
from msgxc.sandbox.credentials import server_tls

HEAD = post_head("localhost", {"urgency": "high"}, ("ttl",))


def request(path: str) -> Request:
    return Request(HEAD, path.encode(), (b"60",), b"body")


def soon(seconds: float = 60.0) -> float:
    return asyncio.get_running_loop().time() + seconds


class OldServer:
    """Speaks HTTP/1.1 over TLS, keeps what it read, and closes where the path says so."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.seen.append(head + await reader.readexactly(4))
                if b"/lost" in head:
                    break
                writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, OSError):
            pass
        writer.transport.abort()


@pytest.fixture
async def old(sandbox):
    """Its port and what it has seen."""
    server = OldServer()
    tls = server_tls(sandbox.endpoints.ca.parent, "http/1.1")
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    yield listening.sockets[0].getsockname()[1], server.seen
    listening.close()


@pytest.fixture
async def lean(sandbox):
    made = Lean(ca=sandbox.endpoints.ca, connections=2, timeout=60.0)
    yield made
    await made.close()


async def test_a_server_without_http2_gets_the_same_over_http1(old, lean):
    """Same path, headers and body; each request once; and again for the next call."""
    port, seen = old
    for _ in range(2):
        ends = await lean.post_each(f"https://localhost:{port}", [request("/a?b"), request("/c")], soon())
        assert [(end.status, end.body) for end in ends if isinstance(end, Answer)] == [(201, b"ok")] * 2
    assert len(seen) == 4
    assert all(b"urgency: high" in one and b"ttl: 60" in one and one.endswith(b"body") for one in seen)
    assert sorted(one.split(b" ", 2)[1] for one in seen) == [b"/a?b", b"/a?b", b"/c", b"/c"]


async def test_over_http1_a_lost_answer_is_in_doubt_too(old, lean):
    """What left and was not answered is not sent again."""
    port, seen = old
    [end] = await lean.post_each(f"https://localhost:{port}", [request("/lost")], soon())
    assert end is Unanswered.IN_DOUBT
    assert len(seen) == 1


async def test_web_push_reaches_a_push_service_without_http2(old, settings_for):
    """The whole adapter, over the old protocol."""
    port, seen = old
    settings = settings_for(Channel.WEBPUSH)
    settings.origins.update(dict.fromkeys(settings.origins, f"https://localhost:{port}"))
    provider = WebPush(settings)
    [receipt] = await provider.send([outgoing(Channel.WEBPUSH)])
    await provider.close()
    assert receipt.outcome in (Outcome.ACCEPTED, Outcome.DOUBT)  # the body is longer than four bytes
    assert b"content-encoding: aes128gcm" in seen[0]


async def test_origins_come_and_go(sandbox, lean, monkeypatch):
    """Only so many are kept; the one that was not used for longest goes, and can come back."""
    monkeypatch.setattr(lean_module, "ORIGINS", 2)
    url = sandbox.endpoints.webpush.url
    port = url.rpartition(":")[2]
    origins = [url, f"https://127.0.0.1:{port}", f"https://LOCALHOST:{port}"]
    for origin in [*origins, origins[0]]:
        [end] = await lean.post_each(origin, [request("/push/x")], soon())
        assert isinstance(end, Answer)
        assert len(lean.clients) <= 2
