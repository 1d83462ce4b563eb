"""A process that sends a campaign as the flow does, and may be killed. `-m benchmarks.crash_worker JOB`

Started again, it goes on. Any number may run at once; `turn` says with which slice this one begins.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from typing import Any

from msgxc import campaigns
from msgxc.campaign import Audience, CampaignSpec, Everyone, Fallback, Sending
from msgxc.settings import Settings, read_settings
from msgxc.wiring import open_exchange


def settings_of(job: dict[str, Any]) -> Settings:
    """The exchange of the job."""
    return read_settings(_env_file=None, sandbox=True, **job["settings"])


def spec_of(job: dict[str, Any]) -> CampaignSpec:
    """The campaign of the job: to everyone, by push."""
    return CampaignSpec(
        name=job["name"],
        template="spring-sale",
        audience=Audience(to=Everyone()),
        sending=Sending(in_doubt=job.get("in_doubt", "default")),
        fallback=Fallback(enabled=False),
        values={"code": "SPRING26"},
    )


async def send(job: dict[str, Any]) -> None:
    """Plan, seal, send all slices, and what is left; each of these may have been done before."""
    stop = threading.Event()
    async with open_exchange(settings_of(job)) as exchange:
        planned = await campaigns.plan(exchange, spec_of(job))
        await campaigns.seal(exchange, planned.id)
        first = round(job["turn"] * len(planned.slices))
        for some in (*planned.slices[first:], *planned.slices[:first]):
            await campaigns.send_slice(exchange, planned.id, *some, stop=stop, patient=False)
        await campaigns.send_rest(exchange, planned, stop=stop)
        await campaigns.finish(exchange, planned.id)


if __name__ == "__main__":
    asyncio.run(send(json.loads(sys.argv[1])))
