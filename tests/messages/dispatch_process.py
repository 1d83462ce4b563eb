"""A dispatch process: `dispatch_process.py`. It drains triage as the flow does, until SIGTERM or SIGKILL."""

from __future__ import annotations

import asyncio
import signal
import threading

from msgxc.messages.succession import serve
from msgxc.wiring import open_exchange


async def main() -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    async with open_exchange() as exchange:
        print(await serve(exchange, stop, lambda _: print("ready", flush=True)), flush=True)


asyncio.run(main())
