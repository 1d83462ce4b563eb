"""One campaign in a process of its own, on the sender's core: `python -m benchmarks.engine JOB-AS-JSON`.

The last line that it prints is what it measured, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import people
from benchmarks.machine import ROOT, SENDER_CORE, Core, memory_mb, pin
from benchmarks.stages import STAGE, Loop, Meter, meter_exchange, meter_turns
from msgxc import campaigns
from msgxc.campaign import Audience, CampaignSpec, Everyone, Fallback, Sending
from msgxc.delivery import Counts
from msgxc.garbage import collect_rarely
from msgxc.ledger import Mark
from msgxc.model import Channel
from msgxc.settings import Settings, read_settings
from msgxc.wiring import Exchange, open_exchange

T = TypeVar("T")
TEMPLATES = {Channel.SMS: "welcome", Channel.EMAIL: "welcome"}


@dataclass(frozen=True, slots=True)
class Job:
    """`channels`: shares of each in the audience. `staged`: tell the CPU apart by stage."""

    home: str
    name: str
    recipients: int
    channels: dict[str, int]
    staged: bool = False
    enlist: bool = False  # only put the people there
    windows_at_once: int = 1
    template: str = ""  # default: the one for its channel
    tuned: dict[str, Any] = field(default_factory=dict)  # more settings


@dataclass
class Found:
    """CPU and wall seconds of the phases, and what came of it."""

    recipients: int
    wall: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    others: int = 0
    base_mb: float = 0.0
    peak_mb: float = 0.0
    memory: list[tuple[int, float]] = field(default_factory=list)  # recipients so far, MB
    core_taken: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)

    async def phase(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        """Measure one phase."""
        wall, cpu = time.monotonic(), time.process_time()
        answer = await call()
        self.wall[name], self.cpu[name] = time.monotonic() - wall, time.process_time() - cpu
        return answer


def settings(job: Job) -> Settings:
    """The embedded default, in a folder of the benchmark."""
    tuned = {"windows_at_once": job.windows_at_once, **job.tuned}
    return read_settings(_env_file=None, home=Path(job.home), sandbox=True, sms_per_day=10**9, **tuned)


def spec(job: Job) -> CampaignSpec:
    """A personalised campaign to everyone, on the channels of the job."""
    channels = tuple(Channel(name) for name in job.channels)
    return CampaignSpec(
        name=job.name,
        template=job.template or TEMPLATES.get(channels[0], "spring-sale"),
        audience=Audience(to=Everyone()),
        sending=Sending(channels=channels),
        fallback=Fallback(enabled=False),
        values={"code": "SPRING26"},
    )


async def campaign(job: Job, meter: Meter | None) -> Found:
    """Plan, seal and send it, as the flow does, and then its report."""
    found, stop = Found(job.recipients), threading.Event()
    async with open_exchange(settings(job)) as exchange:
        collect_rarely()
        found.base_mb, core, begun = memory_mb("VmRSS"), Core.now(SENDER_CORE), time.process_time()
        planned = await found.phase("plan", lambda: campaigns.plan(exchange, spec(job)))
        await found.phase("seal", lambda: campaigns.seal(exchange, planned.id))
        if meter:
            meter_exchange(meter, exchange)
            meter.begin()
        counts = await found.phase("send", lambda: _send(exchange, planned, stop, found))
        if meter:
            found.stages = meter.end()
        found.core_taken = core.taken_by_others(time.process_time() - begun)
        await found.phase("report", lambda: _reported(exchange, planned, job))
    found.peak_mb = memory_mb()
    _note(found, counts)
    return found


async def _send(
    exchange: Exchange, planned: campaigns.Planned, stop: threading.Event, found: Found
) -> Counts:
    """All slices in turn, like the flow's tasks."""
    total, step = Counts(), max(1, found.recipients // 10)

    def progress(counts: Counts) -> None:
        seen = total.recipients + counts.recipients
        if not found.memory or seen >= found.memory[-1][0] + step:
            found.memory.append((seen, round(memory_mb("VmRSS"), 1)))

    for first, last in planned.slices:
        counts = await campaigns.send_slice(
            exchange, planned.id, first, last, stop=stop, on_progress=progress
        )
        total = Counts(total.recipients + counts.recipients, total.marks + counts.marks)
    await campaigns.finish(exchange, planned.id)
    return total


async def _reported(exchange: Exchange, planned: campaigns.Planned, job: Job) -> None:
    found = await campaigns.report(exchange, planned.name)
    if not found.adds_up or found.audience != job.recipients:
        raise SystemExit(f"the report of {planned.name} does not add up to {job.recipients}")


def _note(found: Found, counts: Counts) -> None:
    for (channel, mark), n in counts.marks.items():
        if mark is Mark.ACCEPTED:
            found.accepted[channel] = found.accepted.get(channel, 0) + n
        else:
            found.others += n


def run(job: Job) -> dict[str, Any]:
    """Do the job."""
    if job.enlist:
        mix = {Channel(name): share for name, share in job.channels.items()}
        asyncio.run(people.enlist(settings(job), job.recipients, mix))
        return {}
    meter = Meter() if job.staged else None
    if meter:
        meter_turns(meter)
        STAGE.set("engine")
    factory = (lambda: Loop(meter)) if meter else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return asdict(runner.run(campaign(job, meter)))


def apart(job: Job, checkout: Path = ROOT) -> dict[str, Any]:
    """Do the job in a process of its own, whatever this one's settings are; what it found. `checkout`: whose
    code does it, with the interpreter of its own .venv."""
    python = sys.executable if checkout == ROOT else str(checkout / ".venv/bin/python")
    command = [python, "-m", "benchmarks.engine", json.dumps(asdict(job))]
    env = {name: value for name, value in os.environ.items() if not name.startswith("MSGXC_")}
    said = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, check=False)
    if said.returncode:
        raise SystemExit(f"the engine of {checkout}, {job.name}:\n{said.stdout[-500:]}{said.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    pin(SENDER_CORE)
    print(json.dumps(run(Job(**json.loads(sys.argv[1])))))
