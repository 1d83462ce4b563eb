"""Claims that are signed and odd: 401 always, whatever an issuer has written."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from typing import Any
from uuid import uuid4

import pytest
from gateway_world import World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msgxc.errors import Unauthorized
from msgxc.gateway.auth import app_secret, authenticate
from msgxc.messages.records import Principal, Role
from msgxc.wiring import Exchange

CODES = {"token_invalid", "token_expired", "token_revoked"}
ROOT = [
    10**400,
    -(10**400),
    1e308,
    float("inf"),
    float("-inf"),
    float("nan"),
    True,
    "9" * 5_000,
    "\ud800",
    "\0",
]
LEAF = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(codec=None), max_size=20),
    st.sampled_from(ROOT),
    st.sampled_from(["admin", "svc", "user", "ann"]),
)
VALUE = st.recursive(
    LEAF,
    lambda some: st.one_of(
        st.lists(some, max_size=3), st.dictionaries(st.text(max_size=6), some, max_size=3)
    ),
    max_leaves=5,
)
NAMES = (
    "exp",
    "iat",
    "nbf",
    "iss",
    "aud",
    "sub",
    "uid",
    "jti",
    "roles",
    "claims",
    "method",
    "client_id",
    "azp",
)


def signed(exchange: Exchange, claims: Any) -> str:
    """A token of ours that says just that, as no library would write it."""

    def part(said: Any) -> bytes:
        return urlsafe_b64encode(json.dumps(said).encode()).rstrip(b"=")

    body = part({"alg": "HS256", "typ": "JWT"}) + b"." + part(claims)
    mac = hmac.new(app_secret(exchange), body, hashlib.sha256).digest()
    return (body + b"." + urlsafe_b64encode(mac).rstrip(b"=")).decode()


def good() -> dict[str, Any]:
    return {"iss": "msgxc", "aud": "msgxc", "uid": str(uuid4()), "exp": int(time.time()) + 60, "jti": "j"}


@pytest.mark.parametrize("name", NAMES)
async def test_an_odd_claim_is_no_error_of_ours(world: World, name: str) -> None:
    """Over HTTP: the token counts, or the answer is 401 with its code; a role comes from nothing odd."""
    for value in (*ROOT, [], {}, [{}], [["admin"]], {"admin": 1}, "x" * 501, -1, 0.5):
        token = signed(world.exchange, {**good(), name: value})
        answer = await world.get("unread", {"Authorization": f"Bearer {token}"})
        assert answer.status_code in (200, 401), (value, answer.text)
        if answer.status_code == 401:
            assert answer.json()["code"] in CODES
        else:
            assert (await authenticate(world.exchange, token)).roles == {Role.USER}


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(claims=st.one_of(st.dictionaries(st.sampled_from(NAMES), VALUE), VALUE), keep=st.booleans())
async def test_any_claims_are_a_caller_or_are_refused(world: World, claims: Any, keep: bool) -> None:
    """Whatever is signed stands for somebody whom a call could name, or raises Unauthorized."""
    if keep and isinstance(claims, dict):
        claims = {**good(), **claims}
    code = ""
    try:
        found = await authenticate(world.exchange, signed(world.exchange, claims))
    except Unauthorized as error:
        code = error.code
    if code:
        assert code in CODES
        return
    assert isinstance(found, Principal)
    assert found.uid or (found.service and found.token_id)
    assert 0 < found.expires < time.time() + 401 * 86_400
    found.account.encode()
    found.token_id.encode()
