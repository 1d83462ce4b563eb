"""All five servers in one process, from the first key to the last answer."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from msgxc.errors import WrongInput
from msgxc.private_files import keep_private
from msgxc.sandbox.apns import Apns
from msgxc.sandbox.credentials import (
    CLIENT_EMAIL,
    PROJECT,
    Credentials,
    credentials_in,
    now_utc,
    renew_certificate,
    server_tls,
    write_service_account,
)
from msgxc.sandbox.email import Email
from msgxc.sandbox.endpoints import (
    FILE,
    NAMES,
    ApnsEndpoint,
    EmailEndpoint,
    Endpoints,
    FcmEndpoint,
    SmsEndpoint,
    WebPushEndpoint,
    write_endpoints,
)
from msgxc.sandbox.fcm import GOOGLE_AUDIENCE, Fcm
from msgxc.sandbox.journal import Journal
from msgxc.sandbox.server import LOCAL, Desk, bind, listen
from msgxc.sandbox.sms import Sms
from msgxc.sandbox.subscriber import PUSH_ORIGIN
from msgxc.sandbox.webpush import WebPush
from msgxc.sandbox.wire import Handler

#: The file beside the journal that lets held answers go.
RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command line asks for. `latency` is in seconds; `port_base` 0 takes free ports; `host` is the
    name under which it is reached, LOCAL by this machine alone."""

    directory: Path
    journal: Path
    latency: float = 0.0
    port_base: int = 0
    until_eof: bool = False
    host: str = LOCAL


async def run(plan: Plan) -> None:
    """Serve until SIGTERM, SIGINT, or (`until_eof`) the end of standard input.

    Raises WrongInput when another sandbox uses the directory, OSError when a file or a port cannot be had,
    and when the journal can no longer be written: then nothing that waits is answered any more.
    """
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    _end_on_signals(ended)
    with _alone_in(plan.directory):
        credentials = credentials_in(plan.directory)
        renew_certificate(plan.directory, now_utc(), plan.host)
        journal = Journal(
            plan.journal, lambda error: _end(ended, OSError(f"cannot write the journal: {error}"))
        )
        bound = {name: bind(plan.port_base and plan.port_base + n, plan.host) for n, name in enumerate(NAMES)}
        servers = await _listen(plan, credentials, journal, bound)
        try:
            await _announce(plan, credentials, bound)
            if plan.until_eof:
                await _end_on_eof(ended)
            await ended
        finally:
            (plan.directory / FILE).unlink(missing_ok=True)
        for server in servers:
            server.close()
        await journal.close()


async def _listen(
    plan: Plan, credentials: Credentials, journal: Journal, bound: Mapping[str, socket.socket]
) -> list[asyncio.Server]:
    """One server a provider. APNs speaks HTTP/2 only."""
    handlers = _handlers(credentials, bound, plan.host)
    servers = []
    for name, sock in bound.items():
        desk = Desk(handlers[name], journal, plan.journal.with_name(RELEASE), plan.latency)
        only = name == "apns"
        tls = server_tls(plan.directory, *(("h2",) if only else ("h2", "http/1.1")))
        servers.append(await listen(sock, desk, tls, http2_only=only))
    return servers


def _handlers(of: Credentials, bound: Mapping[str, socket.socket], host: str) -> dict[str, Handler]:
    """Every provider; web push and FCM check URLs that hold their own port."""
    token_uris = frozenset({GOOGLE_AUDIENCE, *(f"{url}/token" for url in _urls(bound["fcm"], host))})
    origins = frozenset({PUSH_ORIGIN, *_urls(bound["webpush"], host)})
    return {
        "apns": Apns(of.apns_key.public_key(), of.key_id, of.team_id, of.topic).answer,
        "fcm": Fcm(PROJECT, CLIENT_EMAIL, of.fcm_key.public_key(), of.fcm_secret, token_uris).answer,
        "webpush": WebPush(of.vapid_key.public_key(), origins).answer,
        "sms": Sms(of.account_sid, of.sms_token).answer,
        "email": Email(of.email_key).answer,
    }


async def _announce(plan: Plan, of: Credentials, bound: Mapping[str, socket.socket]) -> None:
    """Write down where the servers listen, now that they do."""
    url = {name: _urls(sock, plan.host)[0] for name, sock in bound.items()}
    write_service_account(of, url["fcm"])
    push = WebPushEndpoint(url["webpush"], of.vapid_file, of.vapid_contact, of.subscriber_file)
    endpoints = Endpoints(
        pid=os.getpid(),
        ca=of.ca_file,
        journal=plan.journal,
        apns=ApnsEndpoint(plan.host, _port(bound["apns"]), of.apns_file, of.key_id, of.team_id, of.topic),
        fcm=FcmEndpoint(url["fcm"], of.fcm_file),
        webpush=push,
        sms=SmsEndpoint(url["sms"], of.account_sid, of.sms_token, of.cell),
        email=EmailEndpoint(url["email"], of.email_key, of.email),
    )
    write_endpoints(plan.directory, endpoints)


def _urls(bound: socket.socket, host: str) -> list[str]:
    return [f"https://{name}:{_port(bound)}" for name in (host, LOCAL, "127.0.0.1")]


def _port(bound: socket.socket) -> int:
    return int(bound.getsockname()[1])


@contextlib.contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Hold the directory's lock; the system lets go of it when this process ends, in whatever way."""
    keep_private(directory)
    with (directory / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WrongInput(f"another sandbox runs in {directory}") from None
        yield


def _end(ended: asyncio.Future[None], error: BaseException | None = None) -> None:
    if ended.done():
        return
    if error is None:
        ended.set_result(None)
    else:
        ended.set_exception(error)


def _end_on_signals(ended: asyncio.Future[None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _end, ended)


async def _end_on_eof(ended: asyncio.Future[None]) -> None:
    """Standard input ends when the process at its other end does: then nobody needs this sandbox any more."""

    class Watch(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
            _end(ended)

    await asyncio.get_running_loop().connect_read_pipe(Watch, sys.stdin)
