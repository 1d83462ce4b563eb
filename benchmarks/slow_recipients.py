"""What slow recipients cost everybody else: `python -m benchmarks.slow_recipients --channel email`.

The same campaign, in this process and on the embedded store, to people of whom nobody is slow, and to people
of whom one in a hundred takes 9 s to answer; in turns. From the provider's journal: seconds from the first
message that it took to the last one. Everybody else is answered after 50 ms. About a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from statistics import median
from uuid import UUID

from benchmarks import machine
from msgxc import campaigns
from msgxc.campaign import Audience, CampaignSpec, Cohort, Fallback, Sending
from msgxc.model import Channel, Device, Recipient
from msgxc.sandbox.journal import read
from msgxc.sandbox.launch import start as start_sandbox
from msgxc.settings import read_settings
from msgxc.store.records import batches
from msgxc.wiring import Exchange, apply_schema, open_exchange, sandbox_folder

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
SLOW_MS, EVERY = 9000, 100


def people(name: str, count: int, channel: Channel, slow: bool) -> Iterator[Recipient]:
    """One in EVERY of them is slow, if any is, at places that look like chance; the same ones every time."""
    for number in range(count):
        late = slow and number % EVERY == 0
        address = f"slow{SLOW_MS}-{name}-{number}" if late else f"plain-{name}-{number}"
        mail = channel is Channel.EMAIL
        yield Recipient(
            UUID(int=Random(f"{name}-{number}").getrandbits(128), version=4),
            email=f"{address}@example.com" if mail else "",
            devices=() if mail else (Device(channel, address, SINCE),),
            consents=frozenset({"marketing"}),
        )


async def measure(exchange: Exchange, name: str, count: int, channel: Channel, slow: bool) -> float:
    """Seconds of one campaign."""
    for some in batches(people(name, count, channel, slow), 500):
        await exchange.store.directory.put(some)
        await exchange.store.cohorts.add(name, [one.uid for one in some])
    spec = CampaignSpec(
        name=name,
        template="spring-sale",
        audience=Audience(to=Cohort(cohort=name)),
        values={"code": "X"},
        sending=Sending(channels=(channel,)),
        fallback=Fallback(enabled=False),
    )
    planned = await campaigns.plan(exchange, spec)
    await campaigns.seal(exchange, planned.id)
    await campaigns.send_rest(exchange, planned, stop=threading.Event())
    journal = sandbox_folder(exchange.settings) / "journal.jsonl"
    times = [entry.at for entry in read(journal) if f"-{name}-" in entry.address]
    if len(times) != count:
        raise SystemExit(f"{len(times)} messages to {count} people")
    return max(times) - min(times)


async def run(home: Path, count: int, channel: Channel, rounds: int) -> dict[bool, list[float]]:
    """Both kinds, in turns; the first round is not counted."""
    settings = read_settings(_env_file=None, home=home, sandbox=True)
    await apply_schema(settings)
    found: dict[bool, list[float]] = {False: [], True: []}
    async with open_exchange(settings) as exchange:
        await measure(exchange, "warm", 500, channel, slow=False)
        for number in range(rounds):
            for slow in (False, True):
                name = f"r{number}{'s' if slow else 'n'}"
                found[slow].append(await measure(exchange, name, count, channel, slow))
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slow_recipients", description=__doc__)
    parser.add_argument("--channel", choices=["apns", "fcm", "email"], default="email")
    parser.add_argument("--recipients", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sandbox = start_sandbox(Path(folder) / "sandbox", latency_ms=50)
        try:
            found = asyncio.run(run(Path(folder), given.recipients, Channel(given.channel), given.rounds))
        finally:
            sandbox.stop()
    without, having = median(found[False]), median(found[True])
    print(machine.load())
    for slow, seconds in found.items():
        print(f"{'1 % slow' if slow else 'none slow':10}", *(f"{one:.2f} s" for one in sorted(seconds)))
    print(f"{given.channel}: {without:.2f} s -> {having:.2f} s, {100 * (having / without - 1):+.0f} %")


if __name__ == "__main__":
    main()
