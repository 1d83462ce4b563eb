"""Running the gateway: one process, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import uvicorn

from msgxc.gateway.app import create_app
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
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    async with open_exchange(settings) as exchange:
        await uvicorn.Server(config(create_app(exchange), settings)).serve()


def config(app: object, settings: Settings) -> uvicorn.Config:
    """How uvicorn runs the app."""
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
        http=partial(Punctual, head_seconds=settings.body_seconds),  # type: ignore[arg-type]  # it is called
        ws=Direct,
        ws_max_size=FRAME,
        ws_per_message_deflate=False,  # memory for each connection, and no frame shared
        backlog=4096,
    )


def main(settings: Settings) -> None:
    """`msgxc serve`."""
    asyncio.run(serve(settings))
