"""How fast pushes leave: the libraries alone (Python, Go, node), our adapters, our transport, the wire.

    python -m benchmarks.http2 [--channels apns,fcm,webpush,sms] [--latency 0,20,50] [--seconds 1.5]
                               [--rounds 3]

All send personal texts to one fake provider (benchmarks/fake) on core 1, each in a process on core 0.
The rounds alternate between all of them; figures are medians, a ratio is the median of the rounds' ratios.
Several runs on one day are kept in one file, newer ones in place of older ones.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.fake import BUILT, NODE, Fake, build_fake, build_peers, fake_provider
from benchmarks.machine import ROOT, SENDER_CORE, Core, described, load, pin, versions
from benchmarks.senders import WAYS, Done, Job, messages
from msgxc.model import Channel
from msgxc.sandbox.subscriber import PUSH_ORIGIN

RESULTS = ROOT / "benchmarks" / "results"
WIRE, NODE_APN = "h2load: the wire", "node-apn"
#: By channel: the library in Go, and what all others are compared with.
GO = {Channel.APNS: "Go apns2", Channel.FCM: "Go go-fcm", Channel.WEBPUSH: "Go webpush-go"}
MEASURE = {
    **GO,
    Channel.WEBPUSH: "encryption alone",
    Channel.SMS: "twilio async",
    Channel.EMAIL: "our adapter",
}

How = Callable[[Fake, Job], Done]


# -- one sender ---------------------------------------------------------------------------------------------


def ours(_fake: Fake, job: Job) -> Done:
    """A sender in Python: benchmarks/senders.py."""
    return child([sys.executable, "-m", "benchmarks.senders", json.dumps(asdict(job))], job)


def go(_fake: Fake, job: Job) -> Done:
    """peers/go: one processor, as all others have."""
    return child([str(BUILT / "peers"), job.channel, *_foreign(job)], job)


def node(_fake: Fake, job: Job) -> Done:
    """peers/node."""
    return child(["node", str(ROOT / "benchmarks/peers/node/apn.js"), *_foreign(job)], job)


def _foreign(job: Job) -> list[str]:
    """A client that encrypts is slow: fewer requests under way keep it within its own time limits."""
    in_flight = min(job.in_flight, 300) if job.channel == Channel.WEBPUSH else job.in_flight
    return [job.folder, str(Path(job.folder) / "messages"), str(in_flight), str(job.seconds)]


def child(command: list[str], job: Job) -> Done:
    """Run a sender on its core; the last line it prints is what was measured."""
    ca = str(Path(job.folder) / "ca.pem")
    env = os.environ | {
        "REQUESTS_CA_BUNDLE": ca,
        "SSL_CERT_FILE": ca,
        "GOMAXPROCS": "1",
        "NODE_PATH": str(NODE),
    }
    core = Core.now(SENDER_CORE)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run(
        command,
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=partial(pin, SENDER_CORE),
    )
    if said.returncode:
        raise SystemExit(f"{job.channel}, {job.way}:\n{said.stdout[-500:]}{said.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Done(**{**json.loads(said.stdout.splitlines()[-1]), "taken": core.taken_by_others(spent)})


def wire(fake: Fake, job: Job) -> Done:
    """A sender in C that makes up nothing."""
    body = Path(job.folder) / "body"
    body.write_bytes(b"x" * 250)
    url = f"https://localhost:{fake.at.apns.port}/3/device/x"
    seconds, warm = max(1, round(job.seconds)), 0.3
    command = ["h2load", "-D", str(seconds), "--warm-up-time", f"{1000 * warm:.0f}ms", "-c", "4", "-t", "1"]
    before, core = resource.getrusage(resource.RUSAGE_CHILDREN), Core.now(SENDER_CORE)
    said = subprocess.run(
        ["taskset", "-c", str(SENDER_CORE), *command, "-m", "250", "-d", str(body), url],
        capture_output=True,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * seconds / (seconds + warm)
    rate = float(said.stdout.partition("finished in ")[2].partition(", ")[2].partition(" req/s")[0])
    return Done(round(rate * seconds), seconds, cpu, 0.0, core.taken_by_others(cpu))


def senders(channel: Channel) -> dict[str, How]:
    """All ways of a channel."""
    found: dict[str, How] = dict.fromkeys(WAYS[channel], ours)
    if channel in GO:
        found[GO[channel]] = go
    if channel is Channel.APNS:
        if NODE.exists():
            found[NODE_APN] = node
        if shutil.which("h2load"):
            found[WIRE] = wire
    return found


# -- rounds -------------------------------------------------------------------------------------------------


def rounds(fake: Fake, channel: Channel, latency: int, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """All ways in turn, several times; a row for each way."""
    write_messages(fake, channel)
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(asked.rounds):
        for way, how in senders(channel).items():
            if asked.ways and not any(word in way for word in asked.ways.split(",")):
                continue
            job = Job(str(fake.folder), str(channel), way, asked.in_flight, asked.seconds)
            cpu = fake.cpu()
            done = how(fake, job)
            spent = (fake.cpu() - cpu) / done.wall
            found.setdefault(way, []).append(
                {
                    "rate": done.sent / done.wall,
                    "cpu": 1e6 * done.cpu / max(1, done.sent),
                    "peak_mb": done.peak_mb,
                    "others": done.taken,
                    "provider": spent,
                }
            )
    return [_row(channel, latency, way, found) for way in found]


def write_messages(fake: Fake, channel: Channel) -> None:
    """For the foreign senders: one JSON document a line."""
    if channel not in GO:
        return
    with (fake.folder / "messages").open("w", encoding="utf-8") as file:
        for message in messages(channel):
            said = {
                "token": message.address.replace(PUSH_ORIGIN, fake.at.webpush.url),
                "title": message.content.title,
                "body": message.content.body,
                "url": message.content.url,
            }
            file.write(json.dumps(said, ensure_ascii=False) + "\n")


def _row(
    channel: Channel, latency: int, way: str, found: dict[str, list[dict[str, float]]]
) -> dict[str, Any]:
    row: dict[str, Any] = {"channel": str(channel), "latency": latency, "way": way}
    row |= {name: median(one[name] for one in found[way]) for name in found[way][0]}
    row["rates"] = [round(one["rate"]) for one in found[way]]
    if base := found.get(MEASURE[channel]):
        row["ratio"] = median(
            one["rate"] / other["rate"] for one, other in zip(found[way], base, strict=True)
        )
    return row


def show(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The rows as tables."""
    last: tuple[str, int] | None = None
    for row in rows:
        if (row["channel"], row["latency"]) != last:
            last = row["channel"], row["latency"]
            measure = MEASURE[Channel(row["channel"])]
            yield f"\n**{row['channel']}, {row['latency']} ms**\n"
            yield f"| sender | n/s | CPU ms/1,000 | n/s ÷ {measure} | provider's core | others | peak MB |"
            yield "|---|---|---|---|---|---|---|"
        ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
        yield (
            f"| {row['way']} | {row['rate']:,.0f} | {row['cpu']:,.1f} | {ratio} | {row['provider']:.0%} "
            f"| {row['others']:.0%} | {row['peak_mb']:.0f} |"
        )


def keep(name: str, rows: list[dict[str, Any]], same: Sequence[str], **more: object) -> Path:
    """Put rows into benchmarks/results/DATE-name.json, with those of the newest file before it; rows with the
    same key are replaced. Each says when it was measured."""
    now = datetime.now(UTC)
    path = RESULTS / f"{now:%Y-%m-%d}-{name}.json"
    known = sorted(RESULTS.glob(f"????-??-??-{name}.json"))
    before = json.loads(known[-1].read_text())["rows"] if known else []
    stamp = {"at": now.isoformat(timespec="minutes"), "commit": versions()["commit"]}
    fresh = {tuple(row.get(word) for word in same): {**row, **stamp} for row in rows}
    merged = {tuple(row.get(word) for word in same): row for row in before} | fresh
    found = {"machine": described(), "versions": versions() | foreign(), "load": load(), **more}
    path.write_text(json.dumps({**found, "rows": list(merged.values())}, indent=1, ensure_ascii=False) + "\n")
    return path


def foreign() -> dict[str, str]:
    """Versions of what is not Python."""
    said = {"go": ["go", "env", "GOVERSION"], "node": ["node", "--version"]}
    found = {
        name: subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        for name, command in said.items()
        if shutil.which(command[0])
    }
    for line in (ROOT / "benchmarks/peers/go/go.mod").read_text().splitlines():
        words = line.split()
        if len(words) == 2 and words[0].startswith(("github", "firebase")):
            found[words[0]] = words[1]
    package = json.loads((ROOT / "benchmarks/peers/node/package.json").read_text())
    return {**found, **package["dependencies"]}


def main() -> None:
    """Read the command line."""
    wanted = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    wanted.add_argument("--channels", default="apns,fcm,webpush,sms")
    wanted.add_argument("--latency", default="0,20,50", help="of the provider, in ms")
    wanted.add_argument("--in-flight", type=int, default=1000)
    wanted.add_argument("--seconds", type=float, default=1.5, help="of one sender in one round")
    wanted.add_argument("--rounds", type=int, default=3)
    wanted.add_argument("--ways", default="", help="only those whose names hold one of these words")
    asked = wanted.parse_args()
    build_fake()
    build_peers()
    for channel in map(Channel, asked.channels.split(",")):
        for latency in map(int, asked.latency.split(",")):
            with (
                tempfile.TemporaryDirectory() as folder,
                fake_provider(Path(folder), channel, latency) as fake,
            ):
                rows = rounds(fake, channel, latency, asked)
            print("\n".join(show(rows)), flush=True)
            if not asked.ways:
                keep("http2", rows, ("channel", "latency", "way"), seconds=asked.seconds, rounds=asked.rounds)


if __name__ == "__main__":
    main()
