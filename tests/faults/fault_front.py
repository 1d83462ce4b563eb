"""A provider of our own making: the sandbox's, with something in between that may spoil its answers.

It runs in the test's event loop, with the sandbox's certificate and credentials, and a journal of its own. An
exchange whose home names it sends to it and knows no difference.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fault_world import World

from msgxc.model import Channel
from msgxc.sandbox.apns import Apns
from msgxc.sandbox.credentials import CLIENT_EMAIL, PROJECT, credentials_in, server_tls
from msgxc.sandbox.email import Email
from msgxc.sandbox.endpoints import read_endpoints, write_endpoints
from msgxc.sandbox.fcm import Fcm
from msgxc.sandbox.journal import Journal
from msgxc.sandbox.run import RELEASE
from msgxc.sandbox.server import Desk, bind, listen
from msgxc.sandbox.sms import Sms
from msgxc.sandbox.subscriber import PUSH_ORIGIN
from msgxc.sandbox.webpush import WebPush
from msgxc.sandbox.wire import Answer, Handler, Request

#: Answers a request in the provider's place; `real` is what the provider would do.
Spoil = Callable[[Request, float, Handler], Answer]


def honest(request: Request, now: float, real: Handler) -> Answer:
    """What the provider would answer."""
    return real(request, now)


@dataclass
class Front:
    """One provider. `spoil` may be changed at any time."""

    spoil: Spoil
    real: Handler
    requests: list[Request] = field(default_factory=list)

    def handle(self, request: Request, now: float) -> Answer:
        """See sandbox.wire.Handler."""
        self.requests.append(request)
        return self.spoil(request, now, self.real)


@asynccontextmanager
async def front(world: World, channel: Channel, spoil: Spoil = honest) -> AsyncIterator[Front]:
    """The exchange's provider of a channel, from now on."""
    folder = world.sandbox.directory
    made = Front(spoil, _handler(folder, channel))
    journal = Journal(world.settings.home / f"{channel}.jsonl", _unwritable)
    world.ground.journals[world.settings.home / f"{channel}.jsonl"] = 0
    only = channel is Channel.APNS
    tls = server_tls(folder, *(("h2",) if only else ("http/1.1",)))
    socket = bind()
    send_to(world, channel, socket.getsockname()[1])
    desk = Desk(made.handle, journal, world.settings.home / RELEASE)
    server = await listen(socket, desk, tls, http2_only=only)
    try:
        yield made
    finally:
        server.close()
        await world.exchange.provider(channel).close()
        await asyncio.sleep(0.05)
        await journal.close()


def _unwritable(error: BaseException) -> None:
    raise AssertionError("the journal cannot be written") from error


def _handler(folder: Path, channel: Channel) -> Handler:
    of = credentials_in(folder)
    secret = of.fcm_secret
    made: dict[Channel, Callable[[], Handler]] = {
        Channel.APNS: lambda: Apns(of.apns_key.public_key(), of.key_id, of.team_id, of.topic).answer,
        Channel.FCM: lambda: Fcm(PROJECT, CLIENT_EMAIL, of.fcm_key.public_key(), secret).answer,
        Channel.WEBPUSH: lambda: WebPush(of.vapid_key.public_key(), frozenset({PUSH_ORIGIN})).answer,
        Channel.SMS: lambda: Sms(of.account_sid, of.sms_token).answer,
        Channel.EMAIL: lambda: Email(of.email_key).answer,
    }
    return made[channel]()


def send_to(world: World, channel: Channel, port: int, ca: Path | None = None) -> None:
    """Let the exchange, and every process of it that starts from now on, find this provider at a port."""
    folder = world.settings.home / "sandbox"
    found = read_endpoints(folder)
    if folder.is_symlink():
        folder.unlink()
        folder.mkdir()
    if channel is Channel.APNS:
        changed = replace(found, apns=replace(found.apns, port=port))
    else:
        part = replace(getattr(found, channel), url=f"https://localhost:{port}")
        changed = replace(found, **{str(channel): part})
    write_endpoints(folder, replace(changed, ca=ca or changed.ca))


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def raw(
    world: World, channel: Channel, serve: Serve, tls: ssl.SSLContext | None = None, ca: Path | None = None
) -> AsyncIterator[int]:
    """A provider that is only a TLS port: `serve` gets each connection. Answers the port."""
    protocol = "h2" if channel is Channel.APNS else "http/1.1"
    context = tls or server_tls(world.sandbox.directory, protocol)
    serving: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await serve(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    send_to(world, channel, port, ca)
    try:
        yield port
    finally:
        server.close()
        await world.exchange.provider(channel).close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
