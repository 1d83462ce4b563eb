"""Rendering and nothing else, on core 0: `python -m benchmarks.rendering FOLDER TEMPLATE CHANNEL SECONDS`.

The sandboxed environment with autoescape and strict undefined, a different person each time. The last line
that it prints is what was measured, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from itertools import cycle
from pathlib import Path

from benchmarks.machine import SENDER_CORE, Core, memory_mb, pin
from benchmarks.people import people
from benchmarks.senders import Done
from msgxc.model import Channel, Email
from msgxc.render import Links, load, render


def measure(folder: Path, name: str, channel: Channel, seconds: float) -> Done:
    """Render until the time is over."""
    template = load(folder).get(name).compiled()
    links = Links("https://localhost:8443/u/1", "https://localhost:8443/p/1")
    persons, values, sent = list(people(2000, {channel: 1})), {"code": "SPRING26"}, 0
    core, wall, cpu = Core.now(SENDER_CORE), time.monotonic(), time.process_time()
    for person in cycle(persons):
        made = render(template, channel, person, values=values, links=links, now=time.process_time)
        if isinstance(made, Email):
            made.shape.filled(made.values)  # put together, as a sender needs it that mails each by itself
        sent += 1
        if time.monotonic() - wall > seconds:
            break
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    return Done(sent, wall, cpu, memory_mb(), core.taken_by_others(cpu))


if __name__ == "__main__":
    pin(SENDER_CORE)
    made = measure(Path(sys.argv[1]), sys.argv[2], Channel(sys.argv[3]), float(sys.argv[4]))
    print(json.dumps(asdict(made)))
