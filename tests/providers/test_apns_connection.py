"""aioapns' connection as we use it, driven frame by frame by an HTTP/2 peer over a transport in memory."""

from __future__ import annotations

import asyncio
import json

import pytest
from aioapns.common import NotificationRequest, PushType
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import PingReceived, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

from msgxc.providers.apns_connection import Connection
from msgxc.providers.apns_token import RENEW_SECONDS, Token
from msgxc.providers.wire import Lost, NotSent

KEY = ec.generate_private_key(ec.SECP256R1())
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class Peer(asyncio.Transport):
    """Apple's end: an HTTP/2 server reads what the connection writes, `say` sends its frames."""

    def __init__(self, **settings: int) -> None:
        super().__init__()
        self.h2 = H2Connection(H2Configuration(client_side=False))
        self.h2.initiate_connection()
        self.h2.update_settings({getattr(SettingCodes, name): value for name, value in settings.items()})
        self.seen: list[object] = []
        self.closed = False
        self.connection = Connection(
            "apns.invalid", "com.example", Token(PEM, "K", "T", lambda: 0.0), self.lost
        )
        self.connection.connection_made(self)
        self.say()

    def lost(self, connection: Connection) -> None:
        assert connection is self.connection

    def write(self, data: bytes) -> None:
        self.seen += self.h2.receive_data(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.connection.connection_lost, None)

    abort = close

    def say(self) -> None:
        self.connection.data_received(self.h2.data_to_send())

    def answer(self, stream: int, status: int, body: bytes = b"") -> None:
        self.h2.send_headers(stream, [(":status", str(status))], end_stream=not body)
        if body:
            self.h2.send_data(stream, body, end_stream=True)
        self.say()

    def streams(self) -> list[int]:
        return [event.stream_id for event in self.seen if isinstance(event, StreamEnded)]


@pytest.fixture
async def peer():
    made = Peer()
    yield made
    made.close()
    await asyncio.sleep(0)


def asked(size: int = 10) -> NotificationRequest:
    return NotificationRequest("token", b"x" * size, "id-1", 60, 5, "collapse", PushType.ALERT)


async def begin(peer: Peer, request: NotificationRequest) -> asyncio.Task:
    task = asyncio.create_task(peer.connection.send_notification(request))
    await asyncio.sleep(0)
    return task


async def test_an_accepted_push(peer):
    """A 200 without a body is the result, and the stream's place is free again."""
    task = await begin(peer, asked())
    peer.answer(1, 200)
    assert (await task).status == "200"
    headers = dict(next(e.headers for e in peer.seen if isinstance(e, RequestReceived)))
    assert headers[b":path"] == b"/3/device/token"
    assert headers[b"apns-collapse-id"] == b"collapse"
    assert int(headers[b"apns-expiration"]) > 1_700_000_000


async def test_a_ttl_of_zero_is_one_attempt(peer):
    """apns-expiration 0, not "now"."""
    request = asked()
    request.time_to_live = 0
    task = await begin(peer, request)
    peer.answer(1, 200)
    await task
    headers = dict(next(e.headers for e in peer.seen if isinstance(e, RequestReceived)))
    assert headers[b"apns-expiration"] == b"0"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"", b'{"reason"', b"\xff"])
async def test_an_answer_that_cannot_be_read_spoils_no_other(peer, body):
    """A 503 in HTML is a 503; the other streams of the connection go on."""
    first, second = await begin(peer, asked()), await begin(peer, asked())
    peer.answer(1, 503, body)
    peer.answer(3, 400, json.dumps({"reason": "BadDeviceToken"}).encode())
    assert (await first).status == "503"
    assert (await second).description == "BadDeviceToken"


async def test_a_refused_stream_was_not_sent(peer):
    """REFUSED_STREAM: never processed, may be sent again. Any other reset: in doubt."""
    first, second = await begin(peer, asked()), await begin(peer, asked())
    peer.h2.reset_stream(1, ErrorCodes.REFUSED_STREAM)
    peer.h2.reset_stream(3, ErrorCodes.INTERNAL_ERROR)
    peer.say()
    with pytest.raises(NotSent):
        await first
    with pytest.raises(Lost):
        await second


async def test_streams_above_the_last_id_of_a_goaway_were_not_sent(peer):
    """GOAWAY names the last stream that was processed: above it NotSent, up to it Lost, and no new ones."""
    first, second = await begin(peer, asked()), await begin(peer, asked())
    peer.h2.close_connection(last_stream_id=1)
    peer.say()
    with pytest.raises(NotSent):
        await second
    with pytest.raises(Lost):
        await first
    assert peer.connection.is_busy
    with pytest.raises(NotSent):
        await peer.connection.send_notification(asked())


async def test_a_broken_connection_leaves_doubt(peer):
    """All that was under way is Lost."""
    task = await begin(peer, asked())
    peer.close()
    with pytest.raises(Lost):
        await task


async def test_a_peer_that_breaks_the_protocol_is_hung_up_on(peer):
    """Rubbish instead of frames: the connection closes, nothing raises in the event loop."""
    task = await begin(peer, asked())
    peer.connection.data_received(b"\0" * 64)
    with pytest.raises(Lost):
        await task


async def test_the_flow_control_window_is_waited_for(peer):
    """65,535 bytes may be under way: the next push waits until the peer takes more, and none is refused."""
    tasks = [await begin(peer, asked(4000)) for _ in range(20)]
    assert len(peer.streams()) == 16
    peer.h2.increment_flow_control_window(100_000)
    peer.say()
    await asyncio.sleep(0)
    assert len(peer.streams()) == 20
    for stream in peer.streams():
        peer.answer(stream, 200)
    assert {(await task).status for task in tasks} == {"200"}


async def test_inbound_flow_control_is_given_back(peer):
    """Thousands of refusals over one connection do not use up the window of their own answers."""
    body = json.dumps({"reason": "BadDeviceToken", "padding": "x" * 900}).encode()
    for n in range(200):
        task = await begin(peer, asked())
        peer.answer(1 + 2 * n, 400, body)
        assert (await task).description == "BadDeviceToken"


async def test_somebody_who_stops_waiting_frees_the_stream(peer):
    """A cancelled wait resets the stream and gives its place to the next; a late answer harms nobody."""
    task = await begin(peer, asked())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert any(isinstance(event, StreamReset) for event in peer.seen)
    task = await begin(peer, asked())
    peer.answer(3, 200)
    assert (await task).status == "200"


async def test_one_stream_at_a_time():
    """SETTINGS_MAX_CONCURRENT_STREAMS = 1: the connection is busy until the answer is there."""
    peer = Peer(MAX_CONCURRENT_STREAMS=1)
    task = await begin(peer, asked())
    assert peer.connection.is_busy
    with pytest.raises(NotSent):
        await peer.connection.send_notification(asked())
    peer.answer(1, 200)
    await task
    assert not peer.connection.is_busy
    peer.close()
    await asyncio.sleep(0)


async def test_an_idle_connection_is_pinged_and_left_when_it_is_silent(peer):
    """A ping that is answered keeps the connection; one that is not ends it."""
    peer.connection._ping()
    assert any(isinstance(event, PingReceived) for event in peer.seen)
    peer.say()  # h2 acknowledges
    peer.connection._ping()
    assert not peer.closed
    peer.connection._ping()
    assert peer.closed


def test_a_token_is_renewed_at_most_every_20_minutes():
    """Whoever meets an expired token first renews it for all; a second refusal soon after renews nothing."""
    now = [0.0]
    token = Token(PEM, "K", "T", lambda: now[0])
    first = token.get_header()
    assert token.get_header() == first
    token.renew(first)
    second = token.get_header()
    assert second != first  # ES256 signatures differ even for the same claims
    token.renew(first)  # somebody else's stale news
    assert token.get_header() == second
    token.renew(second)
    assert token.get_header() == second
    now[0] = RENEW_SECONDS
    token.renew(second)
    assert token.get_header() != second
