"""One sandbox for all tests of this folder, and a raw client for each provider's wire."""

from __future__ import annotations

import json
import ssl
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from http_ece import encrypt

from msgxc.sandbox.fcm import GOOGLE_AUDIENCE, GRANT
from msgxc.sandbox.journal import Accepted, read
from msgxc.sandbox.launch import Endpoints, Sandbox, start
from msgxc.sandbox.subscriber import PUSH_ORIGIN, SUBSCRIBER_AUTH, SUBSCRIBER_P256DH


def unbase64(text: str) -> bytes:
    return urlsafe_b64decode(text + "==")


@dataclass
class Wire:
    """Requests as each provider's own documentation shows them; a keyword replaces or (None) drops a part."""

    at: Endpoints
    http2: bool = True

    @cached_property
    def client(self) -> httpx.Client:
        context = ssl.create_default_context(cafile=self.at.ca)
        return httpx.Client(http2=self.http2, verify=context, timeout=60)

    def accepted(self, address: str) -> list[Accepted]:
        return [one for one in read(self.at.journal) if one.address == address]

    # -- apns

    def apns_token(self, **claims: Any) -> str:
        apns = self.at.apns
        kid = claims.pop("kid", apns.key_id)
        key = claims.pop("key", apns.key_file.read_text())
        return jwt.encode(
            {"iss": apns.team_id, "iat": int(time.time()), **claims}, key, "ES256", {"kid": kid}
        )

    def apns(self, token: str, *, body: Any = None, path: str = "/3/device/", **headers: str | None):
        fields = {
            "authorization": f"bearer {self.apns_token()}",
            "apns-id": str(uuid4()),
            "apns-topic": self.at.apns.topic,
            "apns-push-type": "alert",
            "apns-priority": "10",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        if body is None:
            body = json.dumps({"aps": {"alert": {"title": "Hello", "body": "World"}}})
        sent = {name: value for name, value in fields.items() if value is not None}
        url = f"https://localhost:{self.at.apns.port}{path}{token}"
        return self.client.post(url, content=body, headers=sent)

    # -- fcm

    @cached_property
    def account(self) -> dict[str, str]:
        return json.loads(self.at.fcm.service_account_file.read_text())

    def grant(self, **claims: Any) -> httpx.Response:
        now = int(time.time())
        usual = {
            "iss": self.account["client_email"],
            "aud": GOOGLE_AUDIENCE,
            "iat": now,
            "exp": now + 3600,
            "scope": "https://www.googleapis.com/auth/firebase.messaging",
        }
        key = claims.pop("key", self.account["private_key"])
        form = {"grant_type": GRANT, "assertion": jwt.encode(usual | claims, key, "RS256")}
        return self.client.post(self.account["token_uri"], data=form)

    @cached_property
    def access_token(self) -> str:
        return self.grant().json()["access_token"]

    def fcm(self, token: str, *, access: str | None = None, **message: Any) -> httpx.Response:
        body = {"message": {"token": token, "notification": {"title": "Hello", "body": "World"}, **message}}
        return self.fcm_raw(body, access)

    def fcm_raw(self, body: Any, access: str | None = None) -> httpx.Response:
        url = f"{self.at.fcm.url}/v1/projects/msgxc-sandbox/messages:send"
        headers = {"authorization": f"Bearer {access or self.access_token}"}
        return self.client.post(url, json=body, headers=headers)

    # -- webpush

    def vapid(self, **claims: Any) -> str:
        pem = self.at.webpush.vapid_private_key_file.read_bytes()
        key = load_pem_private_key(claims.pop("key", pem), None)
        point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        usual = {"aud": PUSH_ORIGIN, "exp": int(time.time()) + 3600, "sub": self.at.webpush.vapid_contact}
        token = jwt.encode(usual | claims, key, "ES256")
        return f"vapid t={token},k={urlsafe_b64encode(point).rstrip(b'=').decode()}"

    def encrypted(self, payload: bytes, *, to: str = SUBSCRIBER_P256DH, auth: str = SUBSCRIBER_AUTH) -> bytes:
        key = ec.generate_private_key(ec.SECP256R1())
        return encrypt(payload, private_key=key, dh=unbase64(to), auth_secret=unbase64(auth))

    def webpush(self, name: str, *, body: bytes | None = None, delivery: str = "", **headers: str | None):
        payload = json.dumps({"title": "Hello", "body": "World", "delivery": delivery}).encode()
        fields = {
            "authorization": self.vapid(),
            "ttl": "60",
            "urgency": "normal",
            "content-encoding": "aes128gcm",
            **{field.replace("_", "-"): value for field, value in headers.items()},
        }
        sent = {field: value for field, value in fields.items() if value is not None}
        content = self.encrypted(payload) if body is None else body
        return self.client.post(f"{self.at.webpush.url}/push/{name}", content=content, headers=sent)

    # -- sms

    def sms(self, to: str, *, delivery: str = "", auth: tuple[str, str] | None = None, **form: str | None):
        sms = self.at.sms
        fields: dict[str, str | None] = {"To": to, "From": sms.sender, "Body": "Hello World"}
        if delivery:
            fields["StatusCallback"] = f"https://example.com/status?delivery={delivery}"
        fields |= form
        sent = {name: value for name, value in fields.items() if value is not None}
        url = f"{sms.url}/2010-04-01/Accounts/{sms.account_sid}/Messages.json"
        return self.client.post(url, data=sent, auth=auth or (sms.account_sid, sms.auth_token))

    # -- email

    def email(self, *to: str, key: str | None = None, **mail: Any) -> httpx.Response:
        people = [{"to": [{"email": one}], "custom_args": {"delivery": f"d-{one}"}} for one in to]
        usual = {
            "personalizations": people,
            "from": {"email": self.at.email.sender},
            "subject": "Hello",
            "content": [{"type": "text/plain", "value": "World"}],
        }
        body = {name: value for name, value in (usual | mail).items() if value is not None}
        headers = {"authorization": f"Bearer {key or self.at.email.api_key}"}
        return self.client.post(f"{self.at.email.url}/v3/mail/send", json=body, headers=headers)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    running = start(tmp_path_factory.mktemp("sandbox"))
    yield running
    running.stop()


@pytest.fixture
def wire(sandbox: Sandbox) -> Iterator[Wire]:
    made = Wire(sandbox.endpoints)
    yield made
    made.client.close()


@pytest.fixture
def own_sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A sandbox of one test's own, to be killed and started again."""
    running = start(tmp_path)
    yield running
    running.stop()
