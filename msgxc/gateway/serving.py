"""Running the gateway: one process, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from functools import partial

import uvicorn

from msgxc.errors import WrongSettings
from msgxc.gateway import descriptors
from msgxc.gateway.app import create_app
from msgxc.gateway.doorstep import Doorstep
from msgxc.gateway.frames import FRAME
from msgxc.gateway.punctual import Punctual
from msgxc.gateway.server import Direct
from msgxc.settings import Settings
from msgxc.wiring import open_exchange

GRACE_SECONDS = 10  # requests under way may end; websockets are told to go


async def serve(settings: Settings) -> None:
    """Open the exchange and answer until told to stop. Raises what open_exchange raises.

    There is no access log: the paths of some links are keys.
    """
    logger = logging.getLogger("uvicorn.error")
    logger.setLevel(logging.WARNING)
    logger.addFilter(Seldom())
    sockets = listening(settings)
    try:
        async with open_exchange(settings) as exchange:
            await uvicorn.Server(config(create_app(exchange), settings)).serve(sockets)
    finally:
        for one in sockets:
            one.close()


def listening(settings: Settings) -> list[socket.socket]:
    """Sockets on the gateway's port, and on its earlier ones that are not somebody else's by now. Raises
    WrongSettings."""
    sockets = descriptors.listen(settings.gateway_host, settings.gateway_port)
    for port in filter(None, settings.gateway_earlier_ports.split(",")):
        with suppress(WrongSettings):
            sockets += descriptors.listen(settings.gateway_host, int(port))
    return sockets


class Seldom(logging.Filter):
    """Some lines a minute and no more: most of them anybody can cause, by what they send."""

    def __init__(self, lines: int = 60) -> None:
        super().__init__()
        self._lines, self._left, self._until = lines, lines, 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging. That a task was cancelled when the gateway stopped is no news."""
        if record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError):
            return False
        if record.created >= self._until:
            self._left, self._until = self._lines, record.created + 60
        self._left -= 1
        return self._left >= 0


def config(app: object, settings: Settings) -> uvicorn.Config:
    """How uvicorn runs the app."""
    idle = descriptors.places(descriptors.limit(), settings.websocket_connections).idle
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=settings.gateway_host,
        port=settings.gateway_port,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_SECONDS,
        http=partial(Punctual, head_seconds=settings.body_seconds, idle=Doorstep(idle, idle // 2)),  # type: ignore[arg-type]  # it is called
        ws=Direct,
        ws_max_size=FRAME,
        ws_per_message_deflate=False,  # memory for each connection, and no frame shared
        backlog=4096,
    )


def main(settings: Settings) -> None:
    """`msgxc serve`."""
    asyncio.run(serve(settings))
