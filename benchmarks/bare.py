"""One client library alone against the sandbox: `python -m benchmarks.bare JOB-AS-JSON`.

It sends the same texts to the same people as the engine, rendered before the clock starts, and keeps nothing:
no ledger, no consent, no second look. It ends after `messages`, or after LIMIT_SECONDS. The last line that it
prints is what was measured, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.engine import TEMPLATES
from benchmarks.machine import ROOT, SENDER_CORE, Core, memory_mb, pin
from benchmarks.people import people
from benchmarks.ways import WAYS, Message, Way, batched
from msgxc.model import Channel, Content, Recipient, Target
from msgxc.render import Links, load, render
from msgxc.sandbox.endpoints import read_endpoints

LIMIT_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Job:
    """One way (`channel:name`), so many messages, so many at once."""

    sandbox: str
    way: str
    messages: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Done:
    """What was measured. `core_taken`: the share of the sender's core that others had meanwhile."""

    messages: int
    wall: float
    cpu: float
    peak_mb: float
    core_taken: float


def _messages(channel: Channel, count: int) -> list[Message]:
    """The same people and texts that the engine's campaign has on this channel."""
    template = load(ROOT / "templates").get(TEMPLATES.get(channel, "spring-sale"))
    links = Links("https://localhost:8443/u/1", "https://localhost:8443/p/1")
    made = []
    for person in people(count, {channel: 1}):
        content = render(
            template, channel, person, values={"code": "SPRING26"}, links=links, now=time.monotonic
        )
        made.append(_message(channel, person, content))
    return made


def _message(channel: Channel, person: Recipient, content: Content) -> Message:
    device = person.devices[0] if person.devices else None
    address = device.token if device else person.email or person.cell
    return Message(person.uid, address, content, Target(channel, address, device))


async def measure(job: Job, channel: Channel, way: Way) -> Done:
    """Send until all are sent or the time is over; the first ones, which connect, are not counted."""
    messages = _messages(channel, job.messages)
    async with way(read_endpoints(Path(job.sandbox)), job.in_flight) as send:
        await send(messages[: job.in_flight])
        core, wall, cpu, sent = Core.now(SENDER_CORE), time.monotonic(), time.process_time(), 0
        for some in batched(messages, max(500, 10 * job.in_flight)):
            await send(some)
            sent += len(some)
            if time.monotonic() - wall > LIMIT_SECONDS:
                break
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        return Done(sent, wall, cpu, memory_mb(), core.taken_by_others(cpu))


def main() -> None:
    """Do the job that the command line names."""
    job = Job(**json.loads(sys.argv[1]))
    pin(SENDER_CORE)
    word, _, name = job.way.partition(":")
    channel = Channel(word)
    print(json.dumps(asdict(asyncio.run(measure(job, channel, WAYS[channel][name])))))


if __name__ == "__main__":
    threading.stack_size(512 * 1024)
    main()
