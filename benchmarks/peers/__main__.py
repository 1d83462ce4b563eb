"""The engine, from sealed audience to recorded results, beside what others send without recording anything.

    python -m benchmarks.peers [--cases apns,fcm,webpush,sms,mail,mail-plain] [--latency 0,20,50] [--rounds 3]
                               [--recipients 20000] [--seconds 1.5] [--set windows_at_once=20] ...

The engine: SQLite, ledger on, personal texts, one process on core 0, fresh in each round. The peer, on the
same core in turn with it, against the same fake provider on core 1: the Go library inside gorush (apns2,
go-fcm), web push encryption alone, Twilio's asynchronous client, Jinja2 rendering alone. Figures are medians.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.engine import Job, apart
from benchmarks.fake import BUILT, Fake, build_fake, build_peers, fake_provider
from benchmarks.http2 import child, go, keep, ours, write_messages
from benchmarks.machine import ROOT
from benchmarks.senders import Done
from benchmarks.senders import Job as Sender
from msgxc.model import Channel

#: What suits a sender that has its core to itself, whatever the provider's latency.
TUNED: dict[str, Any] = {
    "windows_at_once": 60,
    "in_flight": 2000,
    "slice_size": 100_000,
    "flush": 50,
    "fcm_per_minute": 0,
}
OWN = ROOT / "benchmarks" / "templates"


@dataclass(frozen=True, slots=True)
class Case:
    """A channel, what is sent on it, beside what, and how many times as fast we want to be."""

    channel: Channel
    template: str
    beside: str
    target: float
    templates: Path = ROOT / "templates"


#: gorush as a whole has had 0.58 (APNs) and 0.46 (FCM) of what the library inside it has; we want 2 and 4
#: times gorush.
CASES = {
    "apns": Case(Channel.APNS, "spring-sale", "Go apns2", 2 * 0.58),
    "fcm": Case(Channel.FCM, "spring-sale", "Go go-fcm", 4 * 0.46),
    "webpush": Case(Channel.WEBPUSH, "spring-sale", "encryption alone", 0.7),
    "sms": Case(Channel.SMS, "welcome", "twilio async", 5.0),
    "mail": Case(Channel.EMAIL, "spring-sale", "Jinja2 alone", 0.7),
    "mail-plain": Case(Channel.EMAIL, "plain-mail", "Jinja2 alone", 0.7, OWN),
}


class Ground:
    """A case against a provider that runs: people enlisted once, a copy of them for each round. `checkout`:
    whose engine it is; `tuned`: its settings, where none is asked for."""

    def __init__(
        self,
        fake: Fake,
        folder: Path,
        name: str,
        asked: argparse.Namespace,
        checkout: Path = ROOT,
        tuned: Mapping[str, Any] = TUNED,
    ) -> None:
        self.fake, self.folder, self.name, self.asked, self.checkout = fake, folder, name, asked, checkout
        self.case = CASES[name]
        self.tuned = {**tuned, **asked.set, "templates": str(self.case.templates)}
        self._people = _people(self.case.channel, asked.recipients, checkout)
        if not self._people.exists():
            with tempfile.TemporaryDirectory(dir=folder) as home:
                self._engine(Path(home), enlist=True)
                shutil.copytree(home, self._people)

    def engine(self) -> dict[str, float]:
        """One campaign; its sending alone, and with the sealing."""
        found, provider = self._campaign()
        return self._figures(found, provider)

    def stages(self) -> dict[str, float]:
        """Once more, told apart by stage, which costs a little: ms of CPU for 1,000."""
        found, _ = self._campaign(staged=True)
        return {name: 1e6 * seconds / self.asked.recipients for name, seconds in found["stages"].items()}

    def _campaign(self, *, staged: bool = False) -> tuple[dict[str, Any], float]:
        """What one campaign took, and the provider's CPU seconds meanwhile."""
        with tempfile.TemporaryDirectory(dir=self.folder) as home:
            for file in filter(Path.is_file, self._people.iterdir()):
                shutil.copy(file, home)
            (Path(home) / "sandbox").symlink_to(self.fake.folder)
            taken, cpu = self.fake.taken(), self.fake.cpu()
            found = self._engine(Path(home), staged=staged)
            taken, cpu = self.fake.taken() - taken, self.fake.cpu() - cpu
        if taken != self.asked.recipients:
            raise SystemExit(f"{self.name}: the provider took {taken} of {self.asked.recipients}")
        return found, cpu

    def _figures(self, found: dict[str, Any], provider: float) -> dict[str, float]:
        count, wall, cpu = self.asked.recipients, found["wall"], found["cpu"]
        return {
            "rate": count / wall["send"],
            "rate_with_seal": count / (wall["seal"] + wall["send"]),
            "cpu": 1e6 * cpu["send"] / count,
            "cpu_seal": 1e6 * cpu["seal"] / count,
            "provider": provider / wall["send"],
            "others": found["core_taken"],
            "peak_mb": found["peak_mb"],
        }

    def _engine(self, home: Path, *, enlist: bool = False, staged: bool = False) -> dict[str, Any]:
        job = Job(
            home=str(home),
            name=self.name,
            recipients=self.asked.recipients,
            channels={str(self.case.channel): 1},
            enlist=enlist,
            staged=staged,
            template=self.case.template,
            tuned=self.tuned,
        )
        return apart(job, self.checkout)

    def beside(self) -> dict[str, float]:
        """What the engine is compared with."""
        case, folder = self.case, str(self.fake.folder)
        job = Sender(folder, str(case.channel), case.beside, self.asked.in_flight, self.asked.seconds)
        cpu = self.fake.cpu()
        done = self._beside(job)
        return {
            "rate": done.sent / done.wall,
            "cpu": 1e6 * done.cpu / done.sent,
            "provider": (self.fake.cpu() - cpu) / done.wall,
            "others": done.taken,
            "peak_mb": done.peak_mb,
        }

    def _beside(self, job: Sender) -> Done:
        if self.case.beside == "Jinja2 alone":
            more = ["jinja2", str(self.case.templates), self.case.template, str(job.seconds)]
            return child([sys.executable, "-m", "benchmarks.rendering", *more], job)
        return (go if self.case.beside.startswith("Go ") else ours)(self.fake, job)


def _people(channel: Channel, count: int, checkout: Path) -> Path:
    """Where a store with so many people is kept, as long as nothing is changed that it rests on."""
    digest = sha256()
    for folder in ("schema", "msgxc/store", "msgxc/store/sqlite"):
        for file in sorted((checkout / folder).glob("*.*")):
            digest.update(file.read_bytes())
    return BUILT / f"people-{channel}-{count}-{digest.hexdigest()[:8]}"


def rounds(ground: Ground, latency: int) -> dict[str, Any]:
    """Both sides in turn, several times; the medians."""
    write_messages(ground.fake, ground.case.channel)
    engine: list[dict[str, float]] = []
    beside: list[dict[str, float]] = []
    for number in range(ground.asked.rounds):
        for side, into in ((ground.engine, engine), (ground.beside, beside))[:: 1 if number % 2 else -1]:
            into.append(side())
    ratios = [one["rate"] / other["rate"] for one, other in zip(engine, beside, strict=True)]
    stages = {"stages": ground.stages()} if ground.asked.staged else {}
    return stages | {
        "case": ground.name,
        "latency": latency,
        "recipients": ground.asked.recipients,
        "beside": ground.case.beside,
        "target": ground.case.target,
        "ratio": median(ratios),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "engine": {name: median(one[name] for one in engine) for name in engine[0]},
        "peer": {name: median(one[name] for one in beside) for name in beside[0]},
        "settings": {name: value for name, value in ground.tuned.items() if name != "templates"},
    }


HEAD = """
| case | latency | engine n/s | with sealing | CPU ms/1,000: send, seal | beside | its n/s | ratio | target \
| others | provider's core | peak MB |
|---|---|---|---|---|---|---|---|---|---|---|---|"""


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    ours, peer = row["engine"], row["peer"]
    return (
        f"| {row['case']} | {row['latency']} ms | {ours['rate']:,.0f} | {ours['rate_with_seal']:,.0f} | "
        f"{ours['cpu']:.0f}, {ours['cpu_seal']:.0f} | {row['beside']} | {peer['rate']:,.0f} | "
        f"**{row['ratio']:.2f}** | {row['target']:.2f} | {ours['others']:.0%}, {peer['others']:.0%} | "
        f"{ours['provider']:.0%} | {ours['peak_mb']:.0f} |"
    )


def measured(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each case and latency."""
    for name in asked.cases.split(","):
        with tempfile.TemporaryDirectory() as temporary:
            for latency in map(int, asked.latency.split(",")):
                folder = Path(temporary)
                with fake_provider(folder / "fake", CASES[name].channel, latency) as fake:
                    yield rounds(Ground(fake, folder, name, asked), latency)


def setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    return name, json.loads(value) if value[:1].isdigit() else value


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = partial(parser.add_argument)
    add("--cases", default=",".join(CASES))
    add("--latency", default="0", help="of the provider, in ms")
    add("--recipients", type=int, default=20_000)
    add("--rounds", type=int, default=3)
    add("--seconds", type=float, default=1.5, help="of the peer in one round")
    add("--in-flight", type=int, default=1000, help="of the peer")
    add("--set", type=setting, action="append", default=[], help="a setting of the engine, as name=value")
    add("--staged", action="store_true", help="once more, with the CPU told apart by stage")
    asked = parser.parse_args(given)
    asked.set = dict(asked.set)
    return asked


def main() -> None:
    """Measure, print, keep."""
    asked = arguments()
    build_fake()
    build_peers()
    print(HEAD)
    for row in measured(asked):
        print(line(row), flush=True)
        keep("peers", [row], ("case", "latency"))


if __name__ == "__main__":
    main()
