"""How it grows: with sender processes, and with the audience. `python -m benchmarks.growth [--parts …]`

processes  1, 2 and 4 processes send one campaign (SQLite, ledger on) to a provider that answers after 20 ms:
           with the settings as they are delivered, and tuned; and the APNs adapter alone, without the engine
audience   sealing and reading an audience of 10 thousand to 10 million people: seconds, memory, and the
           exponent of seconds over people (1: they grow as the people do)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import islice, pairwise
from math import log
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from benchmarks.engine import Job, apart, settings, spec
from benchmarks.fake import Fake, build_fake, fake_provider
from benchmarks.http2 import keep
from benchmarks.machine import ROOT, SENDER_CORE, memory_mb, pin
from benchmarks.peers.__main__ import TUNED
from benchmarks.senders import Job as Sender
from msgxc import campaigns
from msgxc.campaign import Audience, CampaignSpec, Cohort
from msgxc.model import Channel
from msgxc.sending import shards_of_slice
from msgxc.wiring import Exchange, make_store, open_exchange

PROCESSES = (1, 2, 4)
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
LATENCY_MS = 20
COHORT = "everybody"
#: As delivered; and tuned for a provider at a distance.
WAYS: dict[str, dict[str, Any]] = {"engine, as delivered": {}, "engine, tuned": TUNED}


# -- children: each job is a process ------------------------------------------------------------------------


def _child(job: dict[str, Any]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.growth", "--child", json.dumps(job)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)


def _answer(child: subprocess.Popen[str], said: str = "") -> dict[str, Any]:
    out, _ = child.communicate(said)
    if child.returncode:
        raise SystemExit(f"a sender ended with {child.returncode}")
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


async def _prepare(job: Job) -> dict[str, Any]:
    """People, plan and seal, for processes that send."""
    async with open_exchange(settings(job)) as exchange:
        planned = await campaigns.plan(exchange, spec(job))
        await campaigns.seal(exchange, planned.id)
        return {"id": str(planned.id), "shards": planned.shards}


async def _send(job: Job, campaign: UUID, first: int, last: int) -> dict[str, Any]:
    """One process's shards, in slices as a flow run has them; begins when it is told to."""
    async with open_exchange(settings(job)) as exchange:
        await asyncio.to_thread(sys.stdin.readline)
        begun, cpu, step = time.monotonic(), time.process_time(), shards_of_slice(exchange)
        for at in range(first, last, step):
            till = min(at + step, last)
            await campaigns.send_slice(exchange, campaign, at, till, stop=threading.Event())
        return {"begun": begun, "ended": time.monotonic(), "cpu": time.process_time() - cpu}


async def _audience(home: str, size: int) -> dict[str, Any]:
    """Fill a cohort, which is not measured; then seal it, and read it shard by shard as a sender does."""
    job = Job(home=home, name="growth", recipients=size, channels={str(Channel.APNS): 1})
    store = make_store(settings(job))
    await store.apply_schema()
    random = Random(size)
    uids = (UUID(int=random.getrandbits(128), version=4) for _ in range(size))
    while some := list(islice(uids, 10_000)):
        await store.cohorts.add(COHORT, some)
    await store.close()
    base = memory_mb("VmRSS")
    async with open_exchange(settings(job)) as exchange:
        asked = spec(job).model_copy(update={"audience": Audience(to=Cohort(cohort=COHORT))})
        sealed = await _timed(lambda: _seal(exchange, asked))
        read = await _timed(lambda: _read(exchange, asked))
    if read["people"] != size:
        raise SystemExit(f"{read['people']} of {size} were read")
    return {"size": size, "seal": sealed, "read": read, "base_mb": base, "peak_mb": memory_mb()}


async def _timed(call: Callable[[], Any]) -> dict[str, Any]:
    wall, cpu = time.monotonic(), time.process_time()
    people = await call()
    return {"people": people, "wall": time.monotonic() - wall, "cpu": time.process_time() - cpu}


async def _seal(exchange: Exchange, asked: CampaignSpec) -> int:
    planned = await campaigns.plan(exchange, asked)
    return (await campaigns.seal(exchange, planned.id)).count


async def _read(exchange: Exchange, asked: CampaignSpec) -> int:
    """Claim, load and finish every shard, slice by slice."""
    planned, ledger, people = await campaigns.plan(exchange, asked), exchange.store.ledger, 0
    for first, last in planned.slices:
        for shard in await ledger.unfinished(planned.id, first, last):
            now = exchange.clock()
            lease = await ledger.claim(planned.id, shard, "reader", now, now + 30)
            assert lease
            people += len((await ledger.load(lease)).recipients)
            await ledger.finish(lease)
    return people


def child(document: dict[str, Any]) -> dict[str, Any]:
    """Do a job."""
    what = document.pop("what")
    if what == "audience":
        pin(SENDER_CORE)
        return asyncio.run(_audience(**document))
    job = Job(**document.pop("job"))
    if what == "prepare":
        return asyncio.run(_prepare(job))
    return asyncio.run(_send(job, UUID(document["id"]), document["first"], document["last"]))


# -- processes ----------------------------------------------------------------------------------------------


def _campaign(fake: Fake, number: int, tuned: dict[str, Any], recipients: int) -> dict[str, Any]:
    """One campaign by so many processes, on all cores."""
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "sandbox").symlink_to(fake.folder)
        wanted = Job(home=home, name="growth", recipients=recipients, channels={"apns": 1}, tuned=tuned)
        apart(replace(wanted, enlist=True))
        job = asdict(wanted)
        plan = _answer(_child({"what": "prepare", "job": job}))
        bounds = [plan["shards"] * n // number for n in range(number + 1)]
        taken = fake.taken()
        senders = [
            _child({"what": "send", "job": job, "id": plan["id"], "first": first, "last": last})
            for first, last in pairwise(bounds)
        ]
        time.sleep(2.5)  # all have started
        return _together(senders, recipients) | {"repeated": fake.taken() - taken - recipients}


def _together(senders: list[subprocess.Popen[str]], recipients: int) -> dict[str, Any]:
    for sender in senders:
        assert sender.stdin
        sender.stdin.write("\n")
        sender.stdin.flush()
    found = [_answer(sender) for sender in senders]
    seconds = max(one["ended"] for one in found) - min(one["begun"] for one in found)
    return {"rate": recipients / seconds, "cpu": 1e6 * sum(one["cpu"] for one in found) / recipients}


def _adapters(fake: Fake, number: int, seconds: float) -> dict[str, Any]:
    """So many processes with our APNs adapter and nothing else, on all cores."""
    job = asdict(Sender(str(fake.folder), "apns", "our adapter", 1000, seconds, pinned=False))
    command = [sys.executable, "-m", "benchmarks.senders", json.dumps(job)]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(number)]
    found = [json.loads(one.communicate()[0].splitlines()[-1]) for one in running]
    sent = sum(one["sent"] for one in found)
    rate = sum(one["sent"] / one["wall"] for one in found)
    return {"rate": rate, "cpu": 1e6 * sum(one["cpu"] for one in found) / sent, "repeated": 0}


def processes(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each way and number of processes."""
    build_fake()
    with (
        tempfile.TemporaryDirectory() as folder,
        fake_provider(Path(folder), Channel.APNS, LATENCY_MS) as fake,
    ):
        for way, tuned in WAYS.items():
            for number in PROCESSES:
                count = asked.recipients if tuned else asked.recipients // 2
                found = _campaign(fake, number, tuned, count)
                yield {"part": "processes", "way": way, "x": number, "recipients": count, **found}
        for number in PROCESSES:
            found = _adapters(fake, number, 2.0)
            yield {"part": "processes", "way": "APNs adapter alone", "x": number, **found}


# -- audience -----------------------------------------------------------------------------------------------


def audience(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each size."""
    build_fake()
    for size in map(int, asked.sizes.split(",")):
        with tempfile.TemporaryDirectory() as home, fake_provider(Path(home) / "sandbox", Channel.APNS, 0):
            found = _answer(_child({"what": "audience", "home": home, "size": size}))
        yield {"part": "audience", "way": "sqlite", "x": size, **found}


def exponent(points: list[tuple[float, float]]) -> float:
    """The slope of a straight line through the logarithms, by least squares."""
    xs, ys = [log(x) for x, _ in points], [log(y) for _, y in points]
    x0, y0 = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - x0) * (y - y0) for x, y in zip(xs, ys, strict=True)) / sum((x - x0) ** 2 for x in xs)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--parts", default="processes,audience")
    parser.add_argument("--recipients", type=int, default=40_000, help="of a campaign by several processes")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="of the audiences")
    return parser.parse_args()


def show(row: dict[str, Any]) -> str:
    """One row as a line."""
    if row["part"] == "processes":
        return f"| {row['way']} | {row['x']} | {row['rate']:,.0f} | {row['cpu']:.0f} | {row['repeated']} |"
    sealed, read = row["seal"]["wall"], row["read"]["wall"]
    return f"| {row['x']:,} | {sealed:.2f} | {read:.2f} | {row['base_mb']:.0f} | {row['peak_mb']:.0f} |"


def main() -> None:
    """Measure, print, keep."""
    asked = arguments()
    if asked.child:
        print(json.dumps(child(json.loads(asked.child))))
        return
    for part in asked.parts.split(","):
        rows = []
        for row in {"processes": processes, "audience": audience}[part](asked):
            rows.append(row)
            print(show(row), flush=True)
            keep("growth", [row], ("part", "way", "x"))
        if part == "audience" and len(rows) > 1:
            for what in ("seal", "read"):
                slope = exponent([(row["x"], row[what]["wall"]) for row in rows])
                print(f"{what}: seconds grow as people^{slope:.2f}")


if __name__ == "__main__":
    main()
