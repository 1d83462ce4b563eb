"""This code beside an earlier checkout of it, in one run: `python -m benchmarks.before CHECKOUT`

    git worktree add --detach ../before v0.1 && make -C ../before .venv/.installed
    python -m benchmarks.before ../before [--cases apns,fcm,webpush,sms,mail] [--latency 0,20] [--rounds 5]
                                          [--recipients 20000] [--untuned]

One process on core 0 sends a sealed campaign to a fake provider on core 1, with the ledger on; the two
checkouts take turns, and the order changes with every round. Figures are medians of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.fake import build_fake, fake_provider
from benchmarks.http2 import keep
from benchmarks.machine import ROOT
from benchmarks.peers.__main__ import CASES, TUNED, Ground

HEAD = """
| case | latency | before n/s | now n/s | ratio (rounds) | CPU ms/1,000: before, now | ratio |
|---|---|---|---|---|---|---|"""


def measured(before: Path, name: str, latency: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Both in turn."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with fake_provider(folder / "fake", CASES[name].channel, latency) as fake:
            sides = [Ground(fake, folder, name, asked, checkout, asked.tuned) for checkout in (before, ROOT)]
            done: list[list[dict[str, float]]] = [[], []]
            for number in range(asked.rounds):
                for side in (0, 1) if number % 2 else (1, 0):
                    done[side].append(sides[side].engine())
    both = list(zip(*done, strict=True))
    rates, cpus = ([(old[what], new[what]) for old, new in both] for what in ("rate", "cpu"))
    return {
        "case": name,
        "latency": latency,
        "recipients": asked.recipients,
        "untuned": asked.untuned,
        "rates": [median(side) for side in zip(*rates, strict=True)],
        "ratio": median(new / old for old, new in rates),
        "ratios": [round(new / old, 3) for old, new in rates],
        "cpus": [median(side) for side in zip(*cpus, strict=True)],
        "cpu_ratio": median(new / old for old, new in cpus),
    }


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    (old, new), (old_cpu, new_cpu) = row["rates"], row["cpus"]
    return (
        f"| {row['case']} | {row['latency']} ms | {old:,.0f} | {new:,.0f} | **{row['ratio']:.3f}** "
        f"({', '.join(map(str, row['ratios']))}) | {old_cpu:.0f}, {new_cpu:.0f} | {row['cpu_ratio']:.3f} |"
    )


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.before",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkout", type=Path, help="an earlier one, installed")
    parser.add_argument("--cases", default="apns,fcm,webpush,sms,mail")
    parser.add_argument("--latency", default="0,20", help="of the provider, in ms")
    parser.add_argument("--recipients", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--untuned", action="store_true", help="as delivered")
    asked = parser.parse_args()
    asked.set, asked.tuned = {}, {} if asked.untuned else TUNED
    build_fake()
    print(HEAD)
    for name in asked.cases.split(","):
        for latency in map(int, asked.latency.split(",")):
            row = measured(asked.checkout.resolve(), name, latency, asked)
            print(line(row), flush=True)
            keep("before", [row], ("case", "latency", "untuned"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
