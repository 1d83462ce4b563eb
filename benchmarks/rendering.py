"""Rendering emails and nothing else, on core 0: `python -m benchmarks.rendering WAY FOLDER TEMPLATE SECONDS`.

WAY: `ours`, or `jinja2`: its own sandboxed environment with autoescape and strict undefined writes the same
subject, HTML (with its CSS inlined) and plain text. A different person each time, in their language. The last
line that is printed is what was measured, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from itertools import cycle
from pathlib import Path

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from benchmarks.machine import SENDER_CORE, Core, memory_mb, pin
from benchmarks.people import people
from benchmarks.senders import Done
from msgxc.model import Channel, Email, Recipient
from msgxc.render import Links, Template, load, render
from msgxc.render.parts import EmailPart
from msgxc.render.person import variables

LINKS = Links("https://localhost:8443/u/1", "https://localhost:8443/p/1")
VALUES = {"code": "SPRING26"}
Way = Callable[[Recipient], object]


def ours(template: Template) -> Way:
    """As the engine does it, and then put together, as a sender needs it that mails each by itself."""

    def made(person: Recipient) -> object:
        email = render(template, Channel.EMAIL, person, values=VALUES, links=LINKS, now=time.process_time)
        assert isinstance(email, Email)
        return email.shape.filled(email.values)

    return made


def stock(template: Template) -> Way:
    """As anybody would do it: each text compiled once, rendered for each person."""
    plain, html = (
        ImmutableSandboxedEnvironment(autoescape=escapes, undefined=jinja2.StrictUndefined)
        for escapes in (False, True)
    )

    @cache
    def texts(lang: str) -> tuple[jinja2.Template, ...]:
        part = template.part(Channel.EMAIL, lang)
        assert isinstance(part, EmailPart)
        assert part.styled
        assert part.read
        return (
            plain.from_string(part.subject.source),
            html.from_string(part.styled.source),
            plain.from_string(part.read.source),
        )

    return lambda person: [
        text.render(variables(person, VALUES, LINKS, "spring")) for text in texts(person.lang)
    ]


WAYS = {"ours": ours, "jinja2": stock}


def measure(way: Way, seconds: float) -> Done:
    """Render until the time is over."""
    persons, sent = list(people(2000, {Channel.EMAIL: 1})), 0
    core, wall, cpu = Core.now(SENDER_CORE), time.monotonic(), time.process_time()
    for person in cycle(persons):
        way(person)
        sent += 1
        if time.monotonic() - wall > seconds:
            break
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    return Done(sent, wall, cpu, memory_mb(), core.taken_by_others(cpu))


if __name__ == "__main__":
    pin(SENDER_CORE)
    way, folder, name, seconds = sys.argv[1:]
    chosen = load(Path(folder)).get(name).compiled()
    print(json.dumps(asdict(measure(WAYS[way](chosen), float(seconds)))))
