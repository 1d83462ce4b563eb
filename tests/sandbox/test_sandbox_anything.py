"""Whatever arrives, a provider answers: it never breaks, and accepts nothing that is not right."""

from __future__ import annotations

import json
from base64 import b64encode
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from msgxc.sandbox import email, fcm_schema
from msgxc.sandbox.apns import Apns
from msgxc.sandbox.email import Email
from msgxc.sandbox.fcm import Fcm
from msgxc.sandbox.sms import Sms
from msgxc.sandbox.webpush import WebPush
from msgxc.sandbox.wire import Accepted, Answer, Request

NOW = 1_700_000_000.0
P256 = ec.generate_private_key(ec.SECP256R1()).public_key()

APNS = Apns(P256, "kid", "team", "topic")
FCM = Fcm("p", "me@example.com", rsa.generate_private_key(65537, 2048).public_key(), "secret")
PUSH = WebPush(P256, frozenset({"https://example.com"}))
SMS = Sms("AC1", "token")
EMAIL = Email("key")

NAMES = sorted(
    email._FIELDS
    | email._PERSONAL
    | fcm_schema._MESSAGE.keys()
    | set(fcm_schema._ANDROID_NOTIFICATION)
    | {
        "message",
        "email",
        "name",
        "value",
        "type",
        "ttl",
        "priority",
        "collapse_key",
        "collapseKey",
        "aps",
        "alert",
    }
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["a@x.com", "60s"]),
)
JSON = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)
MAIL = st.fixed_dictionaries(
    {
        "personalizations": st.lists(
            st.fixed_dictionaries(
                {"to": st.just([{"email": "a@x.com"}]) | JSON},
                optional=dict.fromkeys(("cc", "bcc", "headers", "custom_args", "send_at", "subject"), JSON),
            ),
            max_size=2,
        )
        | JSON,
        "from": st.just({"email": "me@x.com"}) | JSON,
        "subject": st.just("s") | JSON,
        "content": st.just([{"type": "text/plain", "value": "x"}]) | JSON,
    },
    optional={"custom_args": JSON, "headers": JSON, "template_id": JSON, "send_at": JSON},
)


def check(answer: Answer) -> None:
    """An answer is whole: refusals accept nothing, and acceptance is 2xx."""
    assert answer.response is not None
    if answer.response.body:
        json.loads(answer.response.body)
    assert bool(answer.accepted) == (200 <= answer.response.status < 300)
    assert all(isinstance(one, Accepted) for one in answer.accepted)


@settings(max_examples=300)
@given(JSON | MAIL)
def test_email(mail):
    """Any JSON as a mail."""
    headers = {"authorization": "Bearer key", "content-type": "application/json"}
    check(EMAIL.answer(Request("POST", "/v3/mail/send", "", headers, json.dumps(mail).encode()), NOW))


@settings(max_examples=300)
@given(JSON | st.fixed_dictionaries({"message": st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5)}))
def test_fcm(message):
    """Any JSON as a message."""
    headers = {"authorization": f"Bearer {FCM._access_token(int(NOW) + 60)}"}
    path = "/v1/projects/p/messages:send"
    check(FCM.answer(Request("POST", path, "", headers, json.dumps(message).encode()), NOW))


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(["To", "From", "Body", "StatusCallback", "ValidityPeriod"]), st.text(max_size=12)
    )
)
def test_sms(form):
    """Any form as a text message."""
    headers = {"authorization": "Basic " + b64encode(b"AC1:token").decode()}
    body = urlencode({name: value.encode("utf-8", "replace") for name, value in form.items()}).encode()
    check(SMS.answer(Request("POST", "/2010-04-01/Accounts/AC1/Messages.json", "", headers, body), NOW))


HEADER = st.sampled_from(
    [
        "authorization",
        "apns-id",
        "apns-topic",
        "apns-push-type",
        "apns-priority",
        "ttl",
        "topic",
        "content-type",
    ]
)


@settings(max_examples=300)
@given(
    st.sampled_from([APNS, FCM, PUSH, SMS, EMAIL]),
    st.sampled_from(["POST", "GET", ""]),
    st.sampled_from(
        ["/3/device/x", "/token", "/push/x", "/v3/mail/send", "/v1/projects/p/messages:send", "/", ""]
    ),
    st.dictionaries(HEADER, st.text(st.characters(max_codepoint=255), max_size=20)),
    st.binary(max_size=200),
)
def test_any_request(provider, method, path, headers, body):
    """Any method, path, headers and bytes, to every provider: a refusal."""
    answer = provider.answer(Request(method, path, "", headers, body), NOW)
    check(answer)
    assert answer.accepted == ()


@pytest.mark.parametrize("depth", [10, 100_000])
def test_deep_json(depth):
    """JSON as deep as can be is refused, not followed to the end of the stack."""
    headers = {"authorization": "Bearer key", "content-type": "application/json"}
    body = b'{"custom_args":' * depth + b"1" + b"}" * depth
    check(EMAIL.answer(Request("POST", "/v3/mail/send", "", headers, body), NOW))
