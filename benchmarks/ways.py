"""The ways in which a client library sends alone: each as its README has it, pointed at the sandbox.

A way is an async context manager that yields a function; that one sends messages and returns when the sandbox
has accepted all of them. `in_flight` calls are under way where the library can do that.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import requests

from msgxc import ids
from msgxc.model import Channel, Outgoing, Target, Urgency
from msgxc.providers import PROVIDERS, SOURCES
from msgxc.sandbox.endpoints import Endpoints
from msgxc.sandbox.subscriber import PUSH_ORIGIN, SUBSCRIBER_AUTH, SUBSCRIBER_P256DH

TTL = 14_400


@dataclass(frozen=True, slots=True)
class Message:
    """One message before any library has seen it; `content` is a Push, an Email or an Sms."""

    uid: UUID
    address: str
    content: Any
    target: Target


Send = Callable[[Sequence[Message]], Awaitable[None]]
Way = Callable[[Endpoints, int], Any]


# -- aioapns ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def aioapns(at: Endpoints, in_flight: int) -> AsyncIterator[Send]:
    """Its client as its README has it, with the sandbox's address and certificate."""
    from aioapns import APNs, NotificationRequest, PushType
    from aioapns.connection import APNsProductionClientProtocol

    logging.getLogger("aioapns").setLevel(logging.ERROR)
    tls = ssl.create_default_context(cafile=at.ca)
    tls.set_alpn_protocols(["h2"])
    key = at.apns.key_file.read_text()
    client = APNs(
        key=key, key_id=at.apns.key_id, team_id=at.apns.team_id, topic=at.apns.topic, ssl_context=tls
    )
    there = {"APNS_SERVER": at.apns.host, "APNS_PORT": at.apns.port}
    client.pool.protocol_class = type("ToSandbox", (APNsProductionClientProtocol,), there)

    async def one(message: Message) -> None:
        alert = {"title": message.content.title, "body": message.content.body}
        request = NotificationRequest(
            device_token=message.address,
            message={"aps": {"alert": alert, "sound": "default"}, "url": message.content.url},
            time_to_live=TTL,
            push_type=PushType.ALERT,
        )
        result = await client.send_notification(request)
        _must(result.is_successful)

    yield partial(at_once, one, in_flight)
    client.pool.close()


# -- pyfcm --------------------------------------------------------------------------------------------------


def _pyfcm(at: Endpoints) -> tuple[Any, Callable[[Message], dict[str, Any]]]:
    """The client of its README, and a message as its arguments."""
    from pyfcm import FCMNotification

    client = FCMNotification(service_account_file=str(at.fcm.service_account_file))
    client.FCM_END_POINT_BASE = f"{at.fcm.url}/v1/projects"

    def arguments(message: Message) -> dict[str, Any]:
        return {
            "fcm_token": message.address,
            "notification_title": message.content.title,
            "notification_body": message.content.body,
            "data_payload": {"url": message.content.url},
            "android_config": {"priority": "NORMAL", "ttl": f"{TTL}s"},
        }

    return client, arguments


@asynccontextmanager
async def pyfcm(at: Endpoints, _: int) -> AsyncIterator[Send]:
    """`notify`, one at a time."""
    client, arguments = _pyfcm(at)
    yield partial(_in_turn, lambda message: client.notify(**arguments(message)))


@asynccontextmanager
async def pyfcm_threads(at: Endpoints, in_flight: int) -> AsyncIterator[Send]:
    """`notify` in threads, each with a client of its own: the first token of a shared one is a race."""
    _, arguments = _pyfcm(at)
    own = threading.local()

    def notify(message: Message) -> object:
        if not hasattr(own, "client"):
            own.client, _ = _pyfcm(at)
        return own.client.notify(**arguments(message))

    with ThreadPoolExecutor(in_flight) as threads:
        yield partial(_in_threads, notify, threads)


@asynccontextmanager
async def pyfcm_batches(at: Endpoints, in_flight: int) -> AsyncIterator[Send]:
    """`async_notify_multiple_devices`: it opens a connection for each message."""
    client, arguments = _pyfcm(at)

    async def send(messages: Sequence[Message]) -> None:
        for some in batched(messages, in_flight):
            said = await asyncio.to_thread(
                client.async_notify_multiple_devices, [arguments(message) for message in some]
            )
            _must(all("name" in one for one in said))

    yield send


# -- pywebpush ----------------------------------------------------------------------------------------------


def _webpush(at: Endpoints) -> Callable[[Message], dict[str, Any]]:
    """A message as the arguments of webpush and webpush_async; the key is read once."""
    from py_vapid import Vapid

    key = Vapid.from_file(str(at.webpush.vapid_private_key_file))
    keys = {"p256dh": SUBSCRIBER_P256DH, "auth": SUBSCRIBER_AUTH}

    def arguments(message: Message) -> dict[str, Any]:
        content = message.content
        shown = {"title": content.title, "body": content.body, "url": content.url}
        return {
            "subscription_info": {
                "endpoint": message.address.replace(PUSH_ORIGIN, at.webpush.url),
                "keys": keys,
            },
            "data": json.dumps(shown, ensure_ascii=False),
            "vapid_private_key": key,
            "vapid_claims": {"sub": at.webpush.vapid_contact},
            "ttl": TTL,
        }

    return arguments


@asynccontextmanager
async def pywebpush(at: Endpoints, _: int) -> AsyncIterator[Send]:
    """`webpush` with a kept session, one at a time."""
    from pywebpush import webpush

    arguments, session = _webpush(at), requests.Session()
    yield partial(_in_turn, lambda message: webpush(requests_session=session, **arguments(message)))


@asynccontextmanager
async def pywebpush_async(at: Endpoints, in_flight: int) -> AsyncIterator[Send]:
    """`webpush_async` with a kept session."""
    from pywebpush import webpush_async

    arguments = _webpush(at)
    async with aiohttp.ClientSession() as session:

        async def one(message: Message) -> None:
            timeout = aiohttp.ClientTimeout(total=30)
            await webpush_async(aiohttp_session=session, timeout=timeout, **arguments(message))

        yield partial(at_once, one, in_flight)


# -- sendgrid -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def sendgrid(at: Endpoints, _: int) -> AsyncIterator[Send]:
    """Its README's way: a `Mail` for each recipient, one request each, one at a time."""
    from sendgrid import SendGridAPIClient
    from sendgrid.helpers.mail import Mail

    client = SendGridAPIClient(at.email.api_key, host=at.email.url)

    def one(message: Message) -> None:
        content = message.content
        client.send(Mail(at.email.sender, message.address, content.subject, content.text, content.html))

    yield partial(_in_turn, one)


@asynccontextmanager
async def sendgrid_batches(at: Endpoints, in_flight: int) -> AsyncIterator[Send]:
    """Its `Mail` with `in_flight` personalizations a request, one request at a time.

    One text for all of them: what differs would have to be substitutions, found by the caller.
    """
    from sendgrid import SendGridAPIClient
    from sendgrid.helpers.mail import Mail, Personalization, Substitution, To

    client = SendGridAPIClient(at.email.api_key, host=at.email.url)

    def batch(some: Sequence[Message]) -> None:
        first = some[0].content
        mail = Mail(at.email.sender, None, first.subject, first.text, first.html)
        for message in some:
            person = Personalization()
            person.add_to(To(message.address))
            person.add_substitution(Substitution("-name-", message.content.subject))
            mail.add_personalization(person)
        client.send(mail)

    async def send(messages: Sequence[Message]) -> None:
        for some in batched(messages, in_flight):
            await asyncio.to_thread(batch, some)

    yield send


# -- twilio -------------------------------------------------------------------------------------------------


def _twilio(at: Endpoints, http: Any = None) -> tuple[Any, Callable[[Message], dict[str, str]]]:
    from twilio.rest import Client

    client = Client(at.sms.account_sid, at.sms.auth_token, http_client=http)
    client.api.base_url = at.sms.url
    return client, lambda m: {"to": m.address, "from_": at.sms.sender, "body": m.content.text}


@asynccontextmanager
async def twilio(at: Endpoints, _: int) -> AsyncIterator[Send]:
    """`messages.create`, one at a time, over its kept session."""
    client, arguments = _twilio(at)
    yield partial(_in_turn, lambda message: client.messages.create(**arguments(message)))


@asynccontextmanager
async def twilio_async(at: Endpoints, in_flight: int) -> AsyncIterator[Send]:
    """`messages.create_async` over its kept session."""
    from twilio.http.async_http_client import AsyncTwilioHttpClient

    async with AsyncTwilioHttpClient() as http:
        client, arguments = _twilio(at, http)

        async def one(message: Message) -> None:
            await client.messages.create_async(**arguments(message))

        yield partial(at_once, one, in_flight)


# -- our own adapters, without the engine -------------------------------------------------------------------


@asynccontextmanager
async def _adapter(channel: Channel, at: Endpoints, in_flight: int) -> AsyncIterator[Send]:
    """Provider.send with what the engine would hand it, ten at a time as the engine does (email: all)."""
    provider = PROVIDERS[channel](SOURCES[channel].sandbox(at, 10.0))
    size = max(provider.batch, 10) if provider.batch > 1 else 10
    key, campaign = b"k" * 32, uuid4()

    def outgoing(message: Message) -> Outgoing:
        return Outgoing(
            delivery=ids.delivery_id(key, campaign, message.uid, channel, message.address),
            uid=message.uid,
            target=message.target,
            content=message.content,
            urgency=Urgency.NORMAL,
            ttl=TTL,
            collapse=ids.collapse_id(key, campaign, message.uid),
            campaign="bench",
        )

    async def some_of(messages: Sequence[Message]) -> None:
        receipts = await provider.send([outgoing(message) for message in messages])
        _must(all(receipt.outcome == "accepted" for receipt in receipts))

    async def send(messages: Sequence[Message]) -> None:
        batches = list(batched(messages, min(size, in_flight)))
        await at_once(some_of, max(1, in_flight // size), batches)

    yield send
    await provider.close()


#: Every way, by its channel and what it is called in the table. The first one is ours.
WAYS: dict[Channel, dict[str, Way]] = {
    Channel.APNS: {"aioapns": aioapns},
    Channel.FCM: {"pyfcm notify": pyfcm, "pyfcm threads": pyfcm_threads, "pyfcm batches": pyfcm_batches},
    Channel.WEBPUSH: {"pywebpush": pywebpush, "pywebpush async": pywebpush_async},
    Channel.EMAIL: {"sendgrid, 1 a request": sendgrid, "sendgrid, 50 a request": sendgrid_batches},
    Channel.SMS: {"twilio": twilio, "twilio async": twilio_async},
}
for _channel, _ways in WAYS.items():
    _ways["our adapter alone"] = partial(_adapter, _channel)


# -- how they are driven ------------------------------------------------------------------------------------


class _Out(Exception):
    """The provider did not accept it: then the figure would mean nothing."""


def _must(accepted: bool) -> None:
    if not accepted:
        raise _Out("the sandbox did not accept a message")


def batched(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[first : first + size] for first in range(0, len(items), size))


async def at_once(one: Callable[[Any], Awaitable[None]], in_flight: int, items: Iterable[Any]) -> None:
    """`in_flight` tasks that take from one queue."""
    left = iter(items)

    async def work() -> None:
        for item in left:
            await one(item)

    await asyncio.gather(*(work() for _ in range(in_flight)))


async def _in_turn(one: Callable[[Message], object], messages: Sequence[Message]) -> None:
    for message in messages:
        one(message)


async def _in_threads(
    one: Callable[[Message], object], threads: ThreadPoolExecutor, messages: Sequence[Message]
) -> None:
    for done in threads.map(one, messages):
        _must(bool(done))
