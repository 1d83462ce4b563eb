"""The web's push service, by its wire: VAPID, encryption, fields, and what is refused."""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from msgxc.sandbox.decrypt import Undecryptable, decrypt
from msgxc.sandbox.subscriber import push_endpoint


def other_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def test_accepts_and_journals(wire):
    """An accepted message is decrypted; its journal line names the endpoint of the example people."""
    got = wire.webpush("alice", delivery="d1", topic="t-1", urgency="high", ttl="120")
    assert (got.status_code, got.headers["ttl"]) == (201, "120")
    assert got.headers["location"]
    (line,) = wire.accepted(push_endpoint("alice"))
    assert (line.channel, line.delivery, line.collapse, line.urgency, line.ttl, line.title, line.text) == (
        "webpush",
        "d1",
        "t-1",
        "high",
        120,
        "Hello",
        "World",
    )


def test_http1(wire, sandbox):
    """The same over HTTP/1.1, which the user's client library speaks."""
    first = type(wire)(sandbox.endpoints, http2=False)
    assert first.webpush("first").status_code == 201
    first.client.close()


def test_own_origin_is_an_audience_too(wire):
    """VAPID may name the sandbox's own URL as well as the origin of the example people."""
    assert wire.webpush("own", authorization=wire.vapid(aud=wire.at.webpush.url)).status_code == 201


def test_without_payload(wire):
    """A push without a body is allowed (RFC 8030 section 5)."""
    assert wire.webpush("empty", body=b"", content_encoding=None).status_code == 201


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("gone", 410),
        ("goneold", 410),
        ("bad", 400),
        ("mismatch", 403),
        ("refuses", 403),
        ("toolarge", 413),
        ("down", 503),
    ],
)
def test_words_that_refuse(wire, word, status):
    """Each steering word brings its status, every time, and nothing is journalled."""
    for _ in range(2):
        assert wire.webpush(f"{word}-1").status_code == status
    assert wire.accepted(push_endpoint(f"{word}-1")) == []


@pytest.mark.parametrize(
    ("word", "times", "status"), [("throttled", 1, 429), ("down2", 2, 503), ("expired", 1, 401)]
)
def test_words_that_pass_after_a_while(wire, word, times, status):
    """A counted word refuses a delivery so many times and accepts it then."""
    answers = [wire.webpush(f"{word}-x", delivery="d") for _ in range(times + 1)]
    assert [one.status_code for one in answers] == [status] * times + [201]
    assert answers[0].headers.get("retry-after") == (None if word == "expired" else "1")


def test_slow(wire):
    """slowN is accepted, and answered after N milliseconds."""
    begun = time.perf_counter()
    assert wire.webpush("slow200-a").status_code == 201
    assert time.perf_counter() - begun >= 0.2


def test_lost(wire):
    """lost is accepted, then the connection is reset; the second time it is answered."""
    with pytest.raises(httpx.TransportError):
        wire.webpush("lost-a")
    assert wire.webpush("lost-a").status_code == 201
    assert len(wire.accepted(push_endpoint("lost-a"))) == 2


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"ttl": None}, 400),
        ({"ttl": "-1"}, 400),
        ({"ttl": "soon"}, 400),
        ({"urgency": "urgent"}, 400),
        ({"topic": "x" * 33}, 400),
        ({"topic": "a.b"}, 400),
        ({"topic": ""}, 400),
        ({"content_encoding": "aesgcm"}, 400),
        ({"content_encoding": None}, 400),
        ({"body": b"plain text"}, 400),
        ({"body": b"\0" * 200}, 400),
        ({"body": b"x" * 4097}, 413),
        ({"authorization": None}, 401),
        ({"authorization": "bearer x"}, 401),
        ({"authorization": "vapid t=a.b.c,k=AA"}, 403),
    ],
)
def test_checks(wire, changes, status):
    """What the RFCs ask for is looked at, and refused when it is wrong."""
    assert wire.webpush("checked", **changes).status_code == status
    assert wire.accepted(push_endpoint("checked")) == []


def test_vapid(wire):
    """Audience, expiry, contact, signature and key of the VAPID token are all looked at."""
    now = int(time.time())
    foreign = other_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    wrong = [
        wire.vapid(aud="https://example.com"),
        wire.vapid(exp=now - 1),
        wire.vapid(exp=now + 25 * 3600),
        wire.vapid(sub="me"),
        wire.vapid(key=foreign),
    ]
    for authorization in wrong:
        assert wire.webpush("vapid", authorization=authorization).status_code == 403
    assert wire.webpush("vapid", authorization=wire.vapid(exp=now + 24 * 3600)).status_code == 201


def test_message_for_somebody_else(wire):
    """What is encrypted for another subscriber, or with another secret, does not decrypt: 400."""
    point = other_key().public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    other = urlsafe_b64encode(point).rstrip(b"=").decode()
    assert wire.webpush("other", body=wire.encrypted(b"{}", to=other)).status_code == 400
    assert wire.webpush("other", body=wire.encrypted(b"{}", auth="A" * 22)).status_code == 400


@pytest.mark.parametrize("size", [1, 100, 3993])
def test_decrypts_what_the_library_encrypts(wire, size):
    """Every length up to the largest that RFC 8291 allows comes back as it was."""
    text = b"\2" * size
    assert decrypt(wire.encrypted(text)) == text


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_garbage_never_breaks_it(body):
    """Any bytes are refused with the one error that the server answers."""
    with pytest.raises(Undecryptable):
        decrypt(body)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/push/x", 405), ("POST", "/push/", 404), ("POST", "/", 404)]
)
def test_other_requests(wire, method, path, status):
    """Only POST to a subscription is served."""
    assert wire.client.request(method, f"{wire.at.webpush.url}{path}").status_code == status
