"""FCM, by its wire: the grant, what a message may hold, what is refused and how."""

from __future__ import annotations

import time

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from msgxc.sandbox.fcm import Fcm
from msgxc.sandbox.fcm_schema import snake
from msgxc.sandbox.wire import Request


def error(answer: httpx.Response) -> tuple[int, str, str]:
    """HTTP status, the error's status, and FCM's own code ("" when there is none)."""
    found = answer.json()["error"]
    assert found["code"] == answer.status_code
    details = found.get("details", [{}])
    return answer.status_code, found["status"], details[0].get("errorCode", "")


def test_grant(wire):
    """A signed assertion buys an access token for an hour."""
    got = wire.grant().json()
    assert (got["expires_in"], got["token_type"]) == (3600, "Bearer")
    assert wire.grant(aud=wire.account["token_uri"]).status_code == 200


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "other@example.com"},
        {"aud": "https://example.com"},
        {"iat": int(time.time()) - 7200, "exp": int(time.time()) - 3600},
        {"exp": int(time.time()) + 7200},
        {"scope": "https://www.googleapis.com/auth/drive"},
        {"key": rsa.generate_private_key(65537, 2048)},
    ],
    ids=["issuer", "audience", "expired", "too long", "scope", "signature"],
)
def test_grant_refused(wire, claims):
    """A wrong assertion is answered 400 with an OAuth error."""
    got = wire.grant(**claims)
    assert got.status_code == 400
    assert got.json()["error"] in ("invalid_grant", "invalid_scope")


def test_accepts_and_journals(wire):
    """An accepted message is answered with its name, and its journal line says all of it."""
    got = wire.fcm(
        "fcm-token:APA91b_x",
        data={"msgxc_delivery": "d1"},
        android={"priority": "HIGH", "ttl": "3600s", "notification": {"tag": "t1"}},
    )
    assert got.status_code == 200
    assert got.json()["name"].startswith("projects/msgxc-sandbox/messages/")
    (line,) = wire.accepted("fcm-token:APA91b_x")
    assert (line.channel, line.delivery, line.collapse, line.priority, line.ttl, line.title, line.text) == (
        "fcm",
        "d1",
        "t1",
        "HIGH",
        3600,
        "Hello",
        "World",
    )


def test_http1(wire, sandbox):
    """The same over HTTP/1.1, which the user's client library speaks."""
    first = type(wire)(sandbox.endpoints, http2=False)
    assert first.fcm("first:1").status_code == 200
    assert first.fcm("gone-first").status_code == 404
    first.client.close()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("gone", (404, "NOT_FOUND", "UNREGISTERED")),
        ("goneold", (404, "NOT_FOUND", "UNREGISTERED")),
        ("bad", (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT")),
        ("mismatch", (403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH")),
        ("refuses", (403, "PERMISSION_DENIED", "")),
        ("toolarge", (413, "INVALID_ARGUMENT", "INVALID_ARGUMENT")),
        ("down", (503, "UNAVAILABLE", "UNAVAILABLE")),
    ],
)
def test_words_that_refuse(wire, word, expected):
    """Each steering word brings its error, every time, and nothing is journalled."""
    for _ in range(2):
        assert error(wire.fcm(f"{word}-1")) == expected
    assert wire.accepted(f"{word}-1") == []


@pytest.mark.parametrize(
    ("word", "times", "expected"),
    [
        ("throttled2", 2, (429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")),
        ("down1", 1, (503, "UNAVAILABLE", "UNAVAILABLE")),
        ("expired", 1, (401, "UNAUTHENTICATED", "")),
    ],
)
def test_words_that_pass_after_a_while(wire, word, times, expected):
    """A counted word refuses a delivery so many times and accepts it then."""
    answers = [wire.fcm(f"{word}-x", data={"msgxc_delivery": "d"}) for _ in range(times + 1)]
    assert [error(one) for one in answers[:-1]] == [expected] * times
    assert answers[-1].status_code == 200
    assert answers[0].headers.get("retry-after") == ("1" if word.startswith("throttled") else None)


def test_slow(wire):
    """slowN is accepted, and answered after N milliseconds."""
    begun = time.perf_counter()
    assert wire.fcm("slow200-a").status_code == 200
    assert time.perf_counter() - begun >= 0.2


def test_lost(wire):
    """lost is accepted, then the connection is reset; the second time it is answered."""
    with pytest.raises(httpx.TransportError):
        wire.fcm("lost-fcm")
    assert wire.fcm("lost-fcm").status_code == 200
    assert len(wire.accepted("lost-fcm")) == 2


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"colour": "red"}, "Unknown name \"colour\" at 'message'"),
        ({"android": {"urgency": 4}}, "Unknown name \"urgency\" at 'message.android'"),
        ({"notification": "text"}, "Invalid value at 'message.notification'"),
        ({"data": {"number": 1}}, "Invalid value at 'message.data'"),
        ({"data": {"from": "me"}}, "Invalid value at 'message.data'"),
        ({"android": {"ttl": "60"}}, "Invalid value at 'message.android.ttl'"),
        ({"android": {"ttl": "2419201s"}}, "Invalid value at 'message.android.ttl'"),
        ({"android": {"priority": "5"}}, "Invalid value at 'message.android.priority'"),
        ({"data": {"text": "x" * 4100}}, "Android message is too big"),
        ({"topic": "news", "token": None}, "Invalid value at 'message.token'"),
    ],
)
def test_checks(wire, message, says):
    """What the schema does not allow is refused as INVALID_ARGUMENT, with the place."""
    got = wire.fcm_raw({"message": {"token": "checked:1", **message}})
    assert error(got) == (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT")
    assert says in got.json()["error"]["message"]
    assert wire.accepted("checked:1") == []


def test_camel_case_is_the_same(wire):
    """Names in camel case are the same fields."""
    got = wire.fcm("camel:1", android={"collapseKey": "k1"}, fcmOptions={"analyticsLabel": "spring"})
    assert got.status_code == 200
    assert wire.accepted("camel:1")[0].collapse == "k1"
    assert snake("collapseKey") == snake("collapse_key") == "collapse_key"


def test_no_token(wire):
    """A message to a topic, or to nobody, is refused: the sandbox takes tokens only."""
    for message in ({"topic": "news"}, {"token": ""}, {}):
        assert error(wire.fcm_raw({"message": message})) == (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT")


def test_body_that_is_no_object(wire):
    """A list, or text, is no request."""
    assert error(wire.fcm_raw([1])) == (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT")


@pytest.mark.parametrize("access", ["ya29.1.00", "ya29.99999999999.00", "nonsense", "ya29.x.00"])
def test_access_token_refused(wire, access):
    """An access token that is old or not the sandbox's own is UNAUTHENTICATED."""
    assert error(wire.fcm("token:1", access=access)) == (401, "UNAUTHENTICATED", "")


def test_access_token_ends_after_an_hour():
    """The access token that the grant gives is refused 3,600 s later."""
    key = rsa.generate_private_key(65537, 2048).public_key()
    fcm = Fcm("p", "me@example.com", key, "secret")
    body = b'{"message":{"token":"t"}}'
    headers = {"authorization": f"Bearer {fcm._access_token(1000 + 3600)}"}
    request = Request("POST", "/v1/projects/p/messages:send", "", headers, body)
    assert [fcm.answer(request, at).response.status for at in (1000, 4599, 4600)] == [200, 200, 401]


def test_other_project(wire):
    """Another project's path is not found."""
    url = f"{wire.at.fcm.url}/v1/projects/other/messages:send"
    assert wire.client.post(url, json={}).status_code == 404
