"""Send one campaign in a process of its own: `send_process.py SPEC-AS-JSON`. SIGTERM ends it politely."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading

from msgxc import campaigns
from msgxc.campaign import CampaignSpec
from msgxc.wiring import open_exchange


async def main() -> None:
    stop = threading.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with open_exchange() as exchange:
        planned = await campaigns.plan(exchange, CampaignSpec.model_validate_json(sys.argv[1]))
        await campaigns.seal(exchange, planned.id)
        await campaigns.send_slice(exchange, planned.id, 0, planned.shards, stop=stop)
        if not stop.is_set():
            await campaigns.finish(exchange, planned.id)


asyncio.run(main())
