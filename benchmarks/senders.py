"""One sender without the engine, in a process on core 0: `python -m benchmarks.senders JOB-AS-JSON`.

Messages are made before the clock starts, and nothing is recorded. The last line that it prints is what was
measured, as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from benchmarks import ways
from benchmarks.machine import SENDER_CORE, Core, memory_mb, pin
from benchmarks.people import people
from msgxc import http1, ids
from msgxc.http2 import Client, Limits, Request, Unanswered, post_head
from msgxc.model import Channel, Email, Outgoing, Push, Sms, Target, Urgency
from msgxc.providers import PROVIDERS, SOURCES
from msgxc.providers.encryption import encrypt, subscriber
from msgxc.providers.http import trusted
from msgxc.sandbox.endpoints import Endpoints, read_endpoints
from msgxc.sandbox.subscriber import SUBSCRIBER_AUTH, SUBSCRIBER_P256DH

T = TypeVar("T")
MESSAGES = 4000  # different ones; sent again and again until the time is over
CHUNK = 50  # deliveries that the engine hands over at once
THREADS = 20
SLOW = ("pyfcm notify", "pywebpush", "twilio", "sendgrid, 1 a request")


@dataclass(frozen=True, slots=True)
class Job:
    """One way on one channel, against the provider whose endpoints stand in `folder`."""

    folder: str
    channel: str
    way: str
    in_flight: int
    seconds: float
    pinned: bool = True


@dataclass(frozen=True, slots=True)
class Done:
    """What was measured; `cpu` in seconds, `taken` is the share of the core that others had meanwhile."""

    sent: int
    wall: float
    cpu: float
    peak_mb: float
    taken: float


def chunks(items: Iterable[ways.Message], size: int) -> Iterator[list[ways.Message]]:
    """So many at a time, until there are no more."""
    left = iter(items)
    while some := list(islice(left, size)):
        yield some


def messages(channel: Channel, count: int = MESSAGES) -> list[ways.Message]:
    """Personal texts for people with an address on the channel."""
    made = []
    for person in people(count, {channel: 1}):
        text = f"Hello {person.name}, SPRING26 is yours until Sunday 🌱"
        url = f"https://shop.example.org/spring?u={person.uid}"
        device = person.devices[0] if person.devices else None
        address = device.token if device else person.email or person.cell
        content = {
            Channel.SMS: Sms(text),
            Channel.EMAIL: Email(text, f"<p>{text}</p>" * 20, text),
        }.get(channel, Push(f"{person.name}, up to 40 % off", text, url=url))
        made.append(ways.Message(person.uid, address, content, Target(channel, address, device)))
    return made


# -- our own ways: what the engine would hand over, made beforehand -----------------------------------------


def _made_before(
    messages: Iterable[ways.Message], made: dict[int, T], make: Callable[[ways.Message], T]
) -> Iterable[ways.Message]:
    """A list is made into what is sent; what comes one by one has been in a list before."""
    if isinstance(messages, list):
        made.update({id(message): make(message) for message in messages if id(message) not in made})
    return messages


def outgoing(message: ways.Message, channel: Channel) -> Outgoing:
    """A delivery of one message."""
    key, campaign = b"k" * 32, uuid4()
    return Outgoing(
        delivery=ids.delivery_id(key, campaign, message.uid, channel, message.address),
        uid=message.uid,
        target=message.target,
        content=message.content,
        urgency=Urgency.NORMAL,
        ttl=ways.TTL,
        collapse=ids.collapse_id(key, campaign, message.uid),
    )


@asynccontextmanager
async def adapter(
    channel: Channel, transport: str, at: Endpoints, in_flight: int
) -> AsyncIterator[ways.Send]:
    """Provider.send, a window of deliveries at a time, `in_flight` under way."""
    settings = SOURCES[channel].sandbox(at, 10.0)
    if transport:
        settings = replace(settings, transport=transport)
    provider = PROVIDERS[channel](settings)
    made: dict[int, Outgoing] = {}

    async def some(messages: Sequence[ways.Message]) -> None:
        left = list(messages)
        while left:
            receipts = await provider.send([made[id(message)] for message in left])
            if wrong := [receipt for receipt in receipts if receipt.outcome not in ("accepted", "later")]:
                raise SystemExit(f"{channel}: {wrong[0]}")
            pairs = zip(left, receipts, strict=True)
            left = [message for message, receipt in pairs if receipt.outcome == "later"]

    async def send(messages: Iterable[ways.Message]) -> None:
        messages = _made_before(messages, made, lambda message: outgoing(message, channel))
        await ways.at_once(some, max(1, in_flight // CHUNK), chunks(messages, CHUNK))

    yield send
    await provider.close()


@asynccontextmanager
async def bare(channel: Channel, at: Endpoints, in_flight: int) -> AsyncIterator[ways.Send]:
    """The transport alone: requests that are ready, a hundred at a time."""
    tls = trusted(at.ca)
    if channel is Channel.SMS:
        client = http1.client("localhost", at.apns.port, tls, connections=100, connect=10)
    else:
        tls.set_alpn_protocols(["h2"])
        client = Client("localhost", at.apns.port, tls, Limits(connections=10))
    fields = {"authorization": "bearer " + "x" * 180, "apns-topic": "com.example.app", "apns-priority": "10"}
    head = post_head("localhost", fields, ("apns-id", "apns-collapse-id"))
    body = b'{"aps":{"alert":{"title":"Hello","body":"' + b"x" * 150 + b'"},"sound":"default"}}'
    made: dict[int, Request] = {}

    def request(message: ways.Message) -> Request:
        path = b"/3/device/" + message.address.rpartition("/")[2].encode()
        return Request(head, path, (message.uid.hex.encode(), b"x" * 22), body)

    async def some(messages: Sequence[ways.Message]) -> None:
        asked = [made[id(message)] for message in messages]
        ends = await client.send(asked, asyncio.get_running_loop().time() + 10)
        if isinstance(ends[0], Unanswered):
            raise SystemExit(str(ends[0]))

    async def send(messages: Iterable[ways.Message]) -> None:
        messages = _made_before(messages, made, request)
        await ways.at_once(some, max(1, in_flight // 100), chunks(messages, 100))

    yield send
    await client.close()


@asynccontextmanager
async def encryption(_at: Endpoints, _in_flight: int) -> AsyncIterator[ways.Send]:
    """Web push encryption, and nothing else: the limit of what a core can send."""
    to = subscriber(SUBSCRIBER_P256DH, SUBSCRIBER_AUTH)
    assert to

    async def send(messages: Iterable[ways.Message]) -> None:
        for message in messages:
            encrypt(message.content.body.encode() * 3, to)

    yield send


A, F, W = Channel.APNS, Channel.FCM, Channel.WEBPUSH
#: By channel: the libraries alone, then ours.
WAYS: dict[Channel, dict[str, Callable[[Endpoints, int], Any]]] = {
    A: {"aioapns": ways.aioapns},
    F: {"pyfcm notify": ways.pyfcm, f"pyfcm, {THREADS} threads": ways.pyfcm_threads},
    W: {"pywebpush": ways.pywebpush, "pywebpush async": ways.pywebpush_async, "encryption alone": encryption},
    Channel.SMS: {"twilio": ways.twilio, "twilio async": ways.twilio_async},
    Channel.EMAIL: {"sendgrid, 1 a request": ways.sendgrid, "sendgrid, batches": ways.sendgrid_batches},
}
for _channel, _ways in WAYS.items():
    if _channel is Channel.EMAIL:
        _ways["our adapter"] = partial(adapter, _channel, "")
        continue
    _ways["our adapter, library transport"] = partial(adapter, _channel, "library")
    _ways["our adapter"] = partial(adapter, _channel, "lean")
    _ways["our transport alone"] = partial(bare, _channel)


# -- measuring ----------------------------------------------------------------------------------------------


class Supply:
    """The same messages again and again, until a time; `given` counts them."""

    def __init__(self, of: Sequence[ways.Message], seconds: float) -> None:
        self.given, self._of, self._end = 0, cycle(of), time.monotonic() + seconds

    def __iter__(self) -> Iterator[ways.Message]:
        while time.monotonic() < self._end:
            self.given += 1
            yield next(self._of)


async def measure(job: Job) -> Done:
    """Connect and warm up, then send until the time is over."""
    channel = Channel(job.channel)
    made = messages(channel)
    listed = "threads" in job.way or "sendgrid" in job.way  # these want lists
    in_flight = THREADS if "threads" in job.way else job.in_flight
    if "library" in job.way:
        in_flight = min(in_flight, 200)  # with more, aioapns lets some wait until their time is over
    async with WAYS[channel][job.way](read_endpoints(Path(job.folder)), in_flight) as send:
        await send(made[:1])  # before the first answer, APNs takes one at a time
        await send(made[:THREADS] if listed or job.way in SLOW else made)
        gc.collect()
        core, wall, cpu = Core.now(SENDER_CORE), time.monotonic(), time.process_time()
        supply = Supply(made, job.seconds)
        size = 1000 if "sendgrid" in job.way else 10 * THREADS
        for some in chunks(supply, size) if listed else [supply]:
            await send(some)
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        return Done(supply.given, wall, cpu, memory_mb(), core.taken_by_others(cpu))


if __name__ == "__main__":
    asked = Job(**json.loads(sys.argv[1]))
    if asked.pinned:
        pin(SENDER_CORE)
    logging.disable(logging.INFO)
    threading.stack_size(512 * 1024)
    print(json.dumps(asdict(asyncio.run(measure(asked)))))
