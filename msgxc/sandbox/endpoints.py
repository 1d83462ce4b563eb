"""Where a running sandbox listens, and with what credentials: DIR/sandbox.json, as records."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgxc.errors import NotFound, WrongInput

FILE = "sandbox.json"
#: Its servers: in this order they take `--port-base` and the ports after it.
NAMES = ("apns", "fcm", "webpush", "sms", "email")


@dataclass(frozen=True, slots=True)
class ApnsEndpoint:
    """HTTP/2 over TLS at host:port; `key_file` is the token key (.p8)."""

    host: str
    port: int
    key_file: Path
    key_id: str
    team_id: str
    topic: str


@dataclass(frozen=True, slots=True)
class FcmEndpoint:
    """`url` stands for https://fcm.googleapis.com; the service account's token_uri is the sandbox's own."""

    url: str
    service_account_file: Path


@dataclass(frozen=True, slots=True)
class WebPushEndpoint:
    """`url` stands for subscriber.PUSH_ORIGIN: an endpoint is url + "/push/<anything>"."""

    url: str
    vapid_private_key_file: Path
    vapid_contact: str
    subscriber_key_file: Path


@dataclass(frozen=True, slots=True)
class SmsEndpoint:
    """`url` stands for https://api.twilio.com; `sender` is the number in `From` ("from" in the file)."""

    url: str
    account_sid: str
    auth_token: str = field(repr=False)
    sender: str


@dataclass(frozen=True, slots=True)
class EmailEndpoint:
    """`url` stands for https://api.sendgrid.com; `sender` is the address of `from` ("from" in the file)."""

    url: str
    api_key: str = field(repr=False)
    sender: str


@dataclass(frozen=True, slots=True)
class Endpoints:
    """All of a running sandbox. `ca` is the certificate to trust, `journal` the file of what was accepted."""

    pid: int
    ca: Path
    journal: Path
    apns: ApnsEndpoint
    fcm: FcmEndpoint
    webpush: WebPushEndpoint
    sms: SmsEndpoint
    email: EmailEndpoint


def read_endpoints(directory: Path) -> Endpoints:
    """The sandbox that runs with `--dir directory`.

    Raises NotFound when none has said that it listens, WrongInput when the file is not a sandbox's.
    """
    path = directory / FILE
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise NotFound(f"no sandbox runs in {directory}") from None
    except ValueError:
        raise WrongInput(f"{path} is not a sandbox's file") from None
    try:
        return _endpoints(found)
    except (KeyError, TypeError, ValueError) as error:
        raise WrongInput(f"{path} is not a sandbox's file: {error}") from None


def write_endpoints(directory: Path, endpoints: Endpoints) -> None:
    """Tell everybody at once: the file is either absent or whole. Only its owner may read it."""
    path, fresh = directory / FILE, directory / f"{FILE}.{os.getpid()}"
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(_document(endpoints), file, indent=1)
    fresh.replace(path)


def _endpoints(found: Mapping[str, Any]) -> Endpoints:
    apns, push, sms, email = found["apns"], found["webpush"], found["sms"], found["email"]
    return Endpoints(
        pid=int(found["pid"]),
        ca=Path(found["ca"]),
        journal=Path(found["journal"]),
        apns=ApnsEndpoint(**{**apns, "key_file": Path(apns["key_file"])}),
        fcm=FcmEndpoint(found["fcm"]["url"], Path(found["fcm"]["service_account_file"])),
        webpush=WebPushEndpoint(
            url=push["url"],
            vapid_private_key_file=Path(push["vapid_private_key_file"]),
            vapid_contact=push["vapid_contact"],
            subscriber_key_file=Path(push["subscriber_key_file"]),
        ),
        sms=SmsEndpoint(sms["url"], sms["account_sid"], sms["auth_token"], sms["from"]),
        email=EmailEndpoint(email["url"], email["api_key"], email["from"]),
    )


def _document(of: Endpoints) -> dict[str, object]:
    apns, push = of.apns, of.webpush
    return {
        "pid": of.pid,
        "ca": str(of.ca),
        "journal": str(of.journal),
        "apns": {
            "host": apns.host,
            "port": apns.port,
            "key_file": str(apns.key_file),
            "key_id": apns.key_id,
            "team_id": apns.team_id,
            "topic": apns.topic,
        },
        "fcm": {"url": of.fcm.url, "service_account_file": str(of.fcm.service_account_file)},
        "webpush": {
            "url": push.url,
            "vapid_private_key_file": str(push.vapid_private_key_file),
            "vapid_contact": push.vapid_contact,
            "subscriber_key_file": str(push.subscriber_key_file),
        },
        "sms": {
            "url": of.sms.url,
            "account_sid": of.sms.account_sid,
            "auth_token": of.sms.auth_token,
            "from": of.sms.sender,
        },
        "email": {"url": of.email.url, "api_key": of.email.api_key, "from": of.email.sender},
    }
