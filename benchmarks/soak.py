"""Random faults for as long as SOAK_MINUTES says (30): `make soak`

Round after round a campaign is sent by this process, which lives on, and by two that are killed, frozen,
asked to end, cut off from the store or the provider, started with a wrong clock. At the end of each round
the provider's journal is compared with the ledger. What a fault may repeat is known, and added up: the bound.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import psutil
from rich.console import Console

from benchmarks.crash_run import ROOT, cassandra, write

sys.path[:0] = [str(ROOT / "tests" / "faults"), str(ROOT / "tests" / "engine")]

from conftest_engine import NEVER, crowd  # noqa: E402
from fault_front import send_to  # noqa: E402
from fault_process import Fleet, Process, signal_to  # noqa: E402
from fault_proxy import Proxy, proxy  # noqa: E402
from fault_world import Ground, World  # noqa: E402

from msgxc import campaigns  # noqa: E402
from msgxc.campaign import CampaignSpec  # noqa: E402
from msgxc.model import Channel, Recipient  # noqa: E402
from msgxc.reports.funnel import End  # noqa: E402
from msgxc.sandbox.launch import Sandbox  # noqa: E402
from msgxc.sandbox.launch import start as start_sandbox  # noqa: E402
from msgxc.settings import Settings, read_settings  # noqa: E402
from msgxc.wiring import apply_schema, open_exchange  # noqa: E402

PEOPLE, PER_SECOND = 300, 360
CHANNELS = (Channel.APNS, Channel.FCM, Channel.WEBPUSH)


@dataclass
class Round:
    """One campaign under way. `allowed`: what the faults so far may have repeated."""

    world: World
    settings: Settings  # of the processes: their way leads through the proxies
    spec: CampaignSpec
    people: list[Recipient]
    chance: Random
    store: Proxy | None
    provider: Proxy
    processes: list[Process] = field(default_factory=list)
    allowed: int = 0

    def start(self, **more: Any) -> Process:
        """One more process."""
        process = self.world.fleet.start(self.settings, self.spec, **more)
        self.processes.append(process)
        return process

    def some(self) -> Process | None:
        """A process that runs."""
        running = [process for process in self.processes if process.exitcode is None]
        return self.chance.choice(running) if running else None


Fault = Callable[[Round], Awaitable[None]]


async def kill(this: Round) -> None:
    """SIGKILL, and a successor."""
    if process := this.some():
        process.kill()
        this.allowed += this.world.bound
        this.start()


async def freeze(this: Round) -> None:
    """SIGSTOP for longer than the lease, then SIGCONT."""
    if process := this.some():
        signal_to(process, signal.SIGSTOP)
        this.allowed += this.world.bound
        await asyncio.sleep(this.settings.lease_seconds + this.chance.uniform(0.2, 2))
        signal_to(process, signal.SIGCONT)


async def ask_to_end(this: Round) -> None:
    """SIGTERM, twice, and a successor: this repeats nobody."""
    if process := this.some():
        for _ in range(2):
            signal_to(process, signal.SIGTERM)
        this.start()


async def start_again(this: Round) -> None:
    """The same campaign once more: this repeats nobody."""
    this.start()


async def wrong_clock(this: Round) -> None:
    """A process whose clock is an hour off: it may take each shard from its owner, a window each."""
    this.start(clock=this.chance.choice((3600.0, -3600.0)))
    campaign = await campaigns.campaign_named(this.world.exchange, this.spec.name)
    this.allowed += campaign.shards * this.settings.window


async def store_away(this: Round) -> None:
    """The store is blackholed for the processes, for up to two leases: another may take over from each."""
    if this.store:
        this.store.blackhole()
        this.allowed += len(this.processes) * this.world.bound
        await asyncio.sleep(this.chance.uniform(0.5, 2 * this.settings.lease_seconds))
        this.store.heal()


async def store_slow(this: Round) -> None:
    """Every answer of the store comes up to a second later, for a while."""
    if this.store:
        this.store.delay(this.chance.uniform(0.1, 1))
        this.allowed += len(this.processes) * this.world.bound
        await asyncio.sleep(4)
        this.store.heal()


async def store_reset(this: Round) -> None:
    """All connections to the store break."""
    if this.store:
        this.store.reset()
        this.allowed += len(this.processes) * this.world.bound


async def provider_reset(this: Round) -> None:
    """All connections to a provider break: whatever was under way is in doubt."""
    this.provider.reset()
    this.allowed += (len(this.processes) + 1) * this.settings.in_flight


async def provider_silent(this: Round) -> None:
    """A provider is silent for longer than a call may take, then its connections break."""
    this.provider.blackhole()
    await asyncio.sleep(this.settings.provider_timeout + this.chance.uniform(0.2, 2))
    this.provider.reset()
    this.provider.heal()
    this.allowed += 2 * (len(this.processes) + 1) * this.settings.in_flight


async def provider_slow(this: Round) -> None:
    """A provider answers up to half a second later, for a while."""
    this.provider.delay(this.chance.uniform(0.05, 0.5))
    await asyncio.sleep(2)
    this.provider.heal()


FAULTS: tuple[Fault, ...] = (
    kill,
    kill,
    freeze,
    ask_to_end,
    start_again,
    wrong_clock,
    store_away,
    store_slow,
    store_reset,
    provider_reset,
    provider_silent,
    provider_slow,
)


@dataclass(frozen=True, slots=True)
class Sample:
    """This process at one moment (seconds): its memory and its open files."""

    at: float
    mb: float
    files: int


@dataclass
class Tally:
    """What all rounds came to."""

    rounds: int = 0
    people: int = 0
    lost: int = 0
    unknown: int = 0
    repeated: int = 0
    allowed: int = 0
    broken: list[str] = field(default_factory=list)
    injected: Counter[str] = field(default_factory=Counter)
    memory: dict[str, list[Sample]] = field(default_factory=dict)  # by store

    def look(self, kind: str) -> None:
        """How this process stands."""
        me = psutil.Process()
        now = Sample(time.monotonic(), me.memory_info().rss / 1e6, me.num_fds())
        self.memory.setdefault(kind, []).append(now)


def slope(samples: Sequence[Sample]) -> float:
    """MB an hour, by least squares over the second half of the samples: in the first half it warms up."""
    points = samples[len(samples) // 2 :]
    middle_at = sum(one.at for one in points) / len(points)
    middle_mb = sum(one.mb for one in points) / len(points)
    spread = sum((one.at - middle_at) ** 2 for one in points)
    common = sum((one.at - middle_at) * (one.mb - middle_mb) for one in points)
    return 3600 * common / spread if spread else 0.0


async def one_round(this: Round, tally: Tally) -> None:
    """Send a campaign through two to four faults, and compare."""
    planned = await this.world.prepare(this.spec)
    for _ in range(2):
        this.start()
    own = asyncio.create_task(
        campaigns.send_slice(this.world.exchange, planned.id, 0, planned.shards, stop=NEVER)
    )
    for _ in range(this.chance.randint(2, 4)):
        await asyncio.sleep(this.chance.uniform(0.1, 1))
        fault = this.chance.choice(FAULTS)
        if not own.done():
            tally.injected[fault.__name__] += 1
            await fault(this)
    await asyncio.wait_for(own, 120)
    for process in this.processes:
        await this.world.fleet.wait(process, 120)
    this.world.fleet.end()
    await campaigns.finish(this.world.exchange, planned.id)
    await judge(this, tally)


async def judge(this: Round, tally: Tally) -> None:
    """The journal beside the ledger."""
    reached = len(this.world.ground.by_person(this.people))
    repeated = this.world.ground.repeats(this.people)
    report = await campaigns.report(this.world.exchange, this.spec.name)
    lost = len(this.people) - reached
    tally.rounds += 1
    tally.people += len(this.people)
    tally.lost += lost
    tally.unknown += report.ends[End.UNKNOWN]
    tally.repeated += repeated
    tally.allowed += this.allowed
    said = report.ends[End.REACHED] + report.ends[End.UNKNOWN]
    if lost or repeated > this.allowed or said != len(this.people):
        tally.broken.append(
            f"{this.spec.name}: lost {lost}, repeated {repeated} of {this.allowed}, {dict(report.ends)}"
        )
    this.world.ground.forget()


@asynccontextmanager
async def place(
    folder: Path, kind: str, sandbox: Sandbox
) -> AsyncIterator[tuple[World, Settings, Any, Proxy]]:
    """An exchange on one store; the settings, store and provider proxies of its processes."""
    home = folder / kind
    home.mkdir()
    (home / "sandbox").symlink_to(sandbox.directory, target_is_directory=True)
    more: dict[str, Any] = {}
    node = cassandra(folder / "cassandra") if kind == "cassandra" else None
    if node:
        more = {"store": "cassandra", "cassandra_port": node.port, "secret_key": uuid4().hex}
    settings = read_settings(
        _env_file=None,
        home=home,
        templates=ROOT / "templates",
        shard_size=50,
        window=20,
        in_flight=10,
        flush=5,
        lease_seconds=4,
        provider_timeout=2,
        attempts=12,
        **more,
    )
    await apply_schema(settings)
    try:
        async with open_exchange(settings) as exchange, proxy(sandbox.endpoints.apns.port) as provider:
            journal = sandbox.endpoints.journal
            ground = Ground({journal: journal.stat().st_size})
            world = World(settings, exchange, ground, Fleet(), sandbox)
            send_to(world, Channel.APNS, provider.port)
            if node is None:
                yield world, settings, None, provider
                return
            async with proxy(node.port) as store:
                yield world, settings.model_copy(update={"cassandra_port": store.port}), store, provider
    finally:
        if node:
            node.kill()


async def soak(given: argparse.Namespace, folder: Path, console: Console) -> Tally:
    """Round after round, on one store after the other."""
    tally, chance = Tally(), Random(given.seed)
    sandbox = start_sandbox(folder / "sandbox")
    try:
        for kind in given.stores:
            async with place(folder, kind, sandbox) as (world, settings, store, provider):
                end = time.monotonic() + 60 * given.minutes / len(given.stores)
                while time.monotonic() < end:
                    name = f"soak-{kind}-{tally.rounds}"
                    people = [one for channel in CHANNELS for one in crowd(PEOPLE // 3, channel)]
                    spec = await world.campaign(name, people, per_second=PER_SECOND)
                    spec = spec.model_copy(update={"template": "spring-sale", "values": {"code": "SOAK"}})
                    await one_round(Round(world, settings, spec, people, chance, store, provider), tally)
                    tally.look(kind)
                    console.print(_line(tally, kind), highlight=False)
                await world.close()
    finally:
        sandbox.stop()
    return tally


def _line(tally: Tally, kind: str) -> str:
    now = tally.memory[kind][-1]
    return (
        f"{tally.rounds} rounds, {sum(tally.injected.values())} faults: lost {tally.lost}, "
        f"repeated {tally.repeated} of {tally.allowed}, {now.mb:.0f} MB, {now.files} files"
    )


def show(tally: Tally, console: Console) -> None:
    """The whole of it."""
    console.print("\ninjected:", highlight=False)
    for name, count in sorted(tally.injected.items()):
        console.print(f"  {name.replace('_', ' '):18} {count}", highlight=False)
    console.print(f"people {tally.people:,}, lost {tally.lost}, unknown {tally.unknown}", highlight=False)
    console.print(f"repeated {tally.repeated} of {tally.allowed} allowed", highlight=False)
    for kind, samples in tally.memory.items():
        first, last = samples[0], samples[-1]
        console.print(
            f"{kind}: memory {first.mb:.0f} → {last.mb:.0f} MB, slope {slope(samples):+.1f} MB/h; "
            f"open files {first.files} → {last.files}",
            highlight=False,
        )
    for line in tally.broken:
        console.print(f"BROKEN {line}", style="red", highlight=False)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("SOAK_MINUTES", "30")))
    parser.add_argument("--stores", nargs="+", default=["sqlite", "cassandra"])
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", action="store_true", help="write the result under benchmarks/results")
    given = parser.parse_args()
    console, folder = Console(), Path(tempfile.mkdtemp(prefix="msgxc-soak-"))
    console.print(f"seed {given.seed}", highlight=False)
    try:
        tally = asyncio.run(soak(given, folder, console))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(tally, console)
    if given.keep:
        found = {name: getattr(tally, name) for name in ("rounds", "people", "lost", "unknown", "repeated")}
        found |= {"allowed": tally.allowed, "injected": dict(tally.injected), "broken": tally.broken}
        slopes = {kind: round(slope(samples), 1) for kind, samples in tally.memory.items()}
        found |= {"memory_slope_mb_per_hour": slopes}
        console.print(f"written to {write('soak', {**found, 'minutes': given.minutes})}", highlight=False)
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
