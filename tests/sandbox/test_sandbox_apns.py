"""APNs, by its wire: what it accepts, what it refuses and how."""

from __future__ import annotations

import json
import time
from uuid import uuid4

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

TOKEN = "a1" * 32


def test_accepts_and_journals(wire):
    """An accepted notification is answered 200 with its own id, and its journal line says all of it."""
    apns_id, expires = str(uuid4()), str(int(time.time()) + 60)
    got = wire.apns(TOKEN, apns_id=apns_id, apns_collapse_id="c1", apns_expiration=expires, apns_priority="5")
    assert (got.status_code, got.headers["apns-id"], got.content) == (200, apns_id, b"")
    line = next(one for one in wire.accepted(TOKEN) if one.delivery == apns_id)
    assert (line.channel, line.collapse, line.priority, line.title, line.text) == (
        "apns",
        "c1",
        "5",
        "Hello",
        "World",
    )
    assert line.ttl in (59, 60)
    assert abs(line.at - time.time()) < 10


@pytest.mark.parametrize(
    ("word", "status", "reason"),
    [
        ("bad", 400, "BadDeviceToken"),
        ("mismatch", 400, "DeviceTokenNotForTopic"),
        ("refuses", 403, "InvalidProviderToken"),
        ("gone", 410, "Unregistered"),
        ("goneold", 410, "Unregistered"),
        ("toolarge", 413, "PayloadTooLarge"),
        ("down", 503, "ServiceUnavailable"),
    ],
)
def test_words_that_refuse(wire, word, status, reason):
    """Each steering word brings its status and reason, every time, and nothing is journalled."""
    for _ in range(2):
        got = wire.apns(f"{word}-1")
        assert (got.status_code, got.json()["reason"]) == (status, reason)
        assert got.headers["apns-id"]
    assert wire.accepted(f"{word}-1") == []


def test_gone_says_since_when(wire):
    """410 carries the time of death in milliseconds: now, or 2019 for goneold."""
    assert abs(wire.apns("gone-2").json()["timestamp"] / 1000 - time.time()) < 10
    assert wire.apns("goneold-2").json()["timestamp"] == 1_546_300_800_000


@pytest.mark.parametrize(
    ("word", "times", "status", "reason"),
    [
        ("throttled", 1, 429, "TooManyRequests"),
        ("throttled3", 3, 429, "TooManyRequests"),
        ("down2", 2, 503, "ServiceUnavailable"),
        ("expired", 1, 403, "ExpiredProviderToken"),
    ],
)
def test_words_that_pass_after_a_while(wire, word, times, status, reason):
    """A counted word refuses each delivery so many times and accepts it then."""
    for delivery in (str(uuid4()), str(uuid4())):
        answers = [wire.apns(f"{word}-x", apns_id=delivery) for _ in range(times + 1)]
        assert [one.status_code for one in answers] == [status] * times + [200]
        assert answers[0].json() == {"reason": reason}
        assert len([one for one in wire.accepted(f"{word}-x") if one.delivery == delivery]) == 1


def test_slow(wire):
    """slowN is accepted, and answered after N milliseconds."""
    begun = time.perf_counter()
    assert wire.apns("slow200-a").status_code == 200
    assert time.perf_counter() - begun >= 0.2


def test_lost(wire):
    """lost is accepted, but the connection is reset before the answer; the second time it is answered."""
    delivery = str(uuid4())
    with pytest.raises(httpx.TransportError):
        wire.apns("lost-a", apns_id=delivery)
    assert len(wire.accepted("lost-a")) == 1
    assert wire.apns("lost-a", apns_id=delivery).status_code == 200
    assert len(wire.accepted("lost-a")) == 2


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"apns_topic": None}, 400, "MissingTopic"),
        ({"apns_topic": "com.other"}, 400, "TopicDisallowed"),
        ({"apns_push_type": None}, 400, "InvalidPushType"),
        ({"apns_push_type": "loud"}, 400, "InvalidPushType"),
        ({"apns_priority": "7"}, 400, "BadPriority"),
        ({"apns_push_type": "background", "apns_priority": "10"}, 400, "BadPriority"),
        ({"apns_push_type": "background", "apns_priority": None}, 400, "BadPriority"),
        ({"apns_collapse_id": "c" * 65}, 400, "BadCollapseId"),
        ({"apns_expiration": "soon"}, 400, "BadExpirationDate"),
        ({"apns_id": "1"}, 400, "BadMessageId"),
        ({"body": b""}, 400, "PayloadEmpty"),
        ({"body": b"[]"}, 400, "PayloadEmpty"),
        ({"body": b"{}"}, 400, "PayloadEmpty"),
        ({"body": json.dumps({"aps": {"alert": "x" * 4100}}).encode()}, 413, "PayloadTooLarge"),
        ({"path": "/4/device/"}, 404, "BadPath"),
        ({"authorization": None}, 403, "MissingProviderToken"),
        ({"authorization": "bearer a.b.c"}, 403, "InvalidProviderToken"),
    ],
)
def test_checks(wire, changes, status, reason):
    """What Apple documents as wrong is refused with its documented reason."""
    got = wire.apns("c2" * 32, **changes)
    assert (got.status_code, got.json()) == (status, {"reason": reason})
    assert wire.accepted("c2" * 32) == []


@pytest.mark.parametrize("token", ["..%2f", "%00", "caf%C3%A9", "a%20b"])
def test_malformed_tokens(wire, token):
    """A token with anything but letters, digits, - and _ is bad."""
    assert wire.apns(token).json() == {"reason": "BadDeviceToken"}


def test_no_token(wire):
    """A path without a token says so."""
    assert wire.apns("").json() == {"reason": "MissingDeviceToken"}


def test_provider_token(wire):
    """Key id, team, age and signature of the provider token are all looked at."""
    now = int(time.time())
    cases = {
        wire.apns_token(kid="OTHER"): "InvalidProviderToken",
        wire.apns_token(iss="OTHER"): "InvalidProviderToken",
        wire.apns_token(iat=now - 3700): "ExpiredProviderToken",
        wire.apns_token(iat=now + 3600): "InvalidProviderToken",
        wire.apns_token(key=ec.generate_private_key(ec.SECP256R1())): "InvalidProviderToken",
    }
    for token, reason in cases.items():
        got = wire.apns(TOKEN, authorization=f"bearer {token}")
        assert (got.status_code, got.json()) == (403, {"reason": reason})


def test_http2_only(wire, sandbox):
    """Like Apple's, the port does not speak HTTP/1.1."""
    first = type(wire)(sandbox.endpoints, http2=False)
    with pytest.raises(httpx.TransportError):
        first.apns(TOKEN)
    first.client.close()
