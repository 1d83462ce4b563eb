"""The tables of docs/speed.md, from benchmarks/results: `python docs/speed_tables.py` writes them.

A table stands between `<!-- NAME -->` and `<!-- /NAME -->`. Of each kind of result the newest file is shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.growth import exponent
from benchmarks.million import PHASES
from benchmarks.peers.__main__ import HEAD, line

HERE = Path(__file__).parent
RESULTS = HERE.parent / "benchmarks" / "results"
PAGE = HERE / "speed.md"
CHANNELS = {"apns": "APNs", "fcm": "FCM", "webpush": "Web push", "sms": "SMS"}


def newest(kind: str) -> dict[str, Any]:
    """The newest results of a kind; without rows when there are none."""
    files = sorted(RESULTS.glob(f"*-{kind}.json"))
    found: dict[str, Any] = json.loads(files[-1].read_text()) if files else {"rows": []}
    return found


def machine() -> Iterator[str]:
    """What was measured, on what."""
    found = newest("http2")
    on, using = found["machine"], found["versions"]
    yield (
        f"{on['processor']}, {on['cores']} cores, {on['memory_mb'] / 1000:.0f} GB, {on['system']}. "
        + ", ".join(f"{name} {version}" for name, version in using.items() if name not in ("msgxc", "commit"))
        + "."
    )


def senders() -> Iterator[str]:
    """Without the engine, by channel."""
    rows = newest("http2")["rows"]
    for channel, words in CHANNELS.items():
        some = {(row["way"], row["latency"]): row for row in rows if row["channel"] == channel}
        if not some:
            continue
        latencies = sorted({latency for _, latency in some})
        yield f"\n**{words}**\n"
        shown = " / ".join(map(str, latencies))
        yield f"| sender | n/s at {shown} ms | CPU ms/1,000 | ÷ {_base(channel)} | others had | peak MB |"
        yield "|---|---|---|---|---|---|"
        ways = dict.fromkeys(way for way, _ in some)
        for way in sorted(ways, key=lambda way: -some[way, latencies[0]]["rate"]):
            yield _sender(way, [some[way, latency] for latency in latencies if (way, latency) in some])


def _base(channel: str) -> str:
    return {"apns": "Go apns2", "fcm": "Go go-fcm", "webpush": "encryption", "sms": "twilio async"}[channel]


def _sender(way: str, rows: list[dict[str, Any]]) -> str:
    def joined(name: str, form: str) -> str:
        return " / ".join(format(row[name], form) if name in row else "–" for row in rows)

    ours = f"**{way}**" if way.startswith("our") else way
    most = max(row["peak_mb"] for row in rows)
    return (
        f"| {ours} | {joined('rate', ',.0f')} | {joined('cpu', ',.0f')} | {joined('ratio', '.2f')} "
        f"| {joined('others', '.0%')} | {most:,.0f} |"
    )


def whole() -> Iterator[str]:
    """The engine beside the others."""
    yield HEAD.strip()
    for row in newest("peers")["rows"]:
        yield line(row)


def million() -> Iterator[str]:
    """Whole campaigns, phase by phase."""
    yield (
        "| store | people | whole: s | seal, send, report: s | sender's CPU: seal, send, report: µs each "
        "| Cassandra's CPU: µs each | others had | peak MB |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for row in newest("million")["rows"]:
        if row["staged"]:
            continue
        seconds = ", ".join(f"{row['seconds'][phase]:.0f}" for phase in PHASES)
        spent = ", ".join(f"{row['cpu_us'][phase]:.0f}" for phase in PHASES)
        server = f"{row['server_cpu_us']:.0f}" if row["server_cpu_us"] else "–"
        yield (
            f"| {row['store']} | {row['recipients']:,} | **{row['whole_seconds']:.0f}** | {seconds} "
            f"| {spent} | {server} | {row['others_had']:.0%} | {row['peak_mb']:.0f} |"
        )


def stages() -> Iterator[str]:
    """CPU by stage, for each case that was told apart."""
    rows = [row for row in newest("peers")["rows"] if row.get("stages") and not row["latency"]]
    names = sorted(
        {name for row in rows for name in row["stages"]},
        key=lambda name: -max(row["stages"].get(name, 0) for row in rows),
    )
    yield "| stage | " + " | ".join(row["case"] for row in rows) + " |"
    yield "|---" * (len(rows) + 1) + "|"
    for name in names:
        parts = (f"{row['stages'][name]:.1f}" if name in row["stages"] else "" for row in rows)
        yield f"| {name} | " + " | ".join(parts) + " |"
    totals = (f"**{sum(row['stages'].values()):.0f}**" for row in rows)
    yield "| all | " + " | ".join(totals) + " |"


def processes() -> Iterator[str]:
    """By number of sender processes."""
    rows = [row for row in newest("growth")["rows"] if row["part"] == "processes"]
    yield "| what | processes | n/s | ÷ one process | CPU ms/1,000 | sent twice |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        one = next(other for other in rows if other["way"] == row["way"] and other["x"] == 1)
        yield (
            f"| {row['way']} | {row['x']} | {row['rate']:,.0f} | {row['rate'] / one['rate']:.2f} | "
            f"{row['cpu']:.0f} | {row['repeated']} |"
        )


def audience() -> Iterator[str]:
    """By people."""
    rows = sorted(
        (row for row in newest("growth")["rows"] if row["part"] == "audience"), key=lambda row: row["x"]
    )
    yield "| people | seal: s, CPU s | read: s, CPU s | memory before, peak MB |"
    yield "|---|---|---|---|"
    for row in rows:
        sealed, read = row["seal"], row["read"]
        yield (
            f"| {row['x']:,} | {sealed['wall']:.2f}, {sealed['cpu']:.2f} | "
            f"{read['wall']:.2f}, {read['cpu']:.2f} | {row['base_mb']:.0f}, {row['peak_mb']:.0f} |"
        )
    if len(rows) > 1:
        seal, read = (exponent([(row["x"], row[what]["cpu"]) for row in rows]) for what in ("seal", "read"))
        yield f"\nCPU seconds, fitted over all: sealing grows as people^{seal:.2f}, reading ^{read:.2f}."


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "machine": machine,
    "senders": senders,
    "whole": whole,
    "million": million,
    "stages": stages,
    "processes": processes,
    "audience": audience,
}


def main() -> None:
    """Put all of them into the page."""
    page = PAGE.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        said = "\n".join(table()).strip()
        page = re.sub(
            f"<!-- {name} -->.*?<!-- /{name} -->",
            lambda _, name=name, said=said: f"<!-- {name} -->\n{said}\n<!-- /{name} -->",  # type: ignore[misc]
            page,
            flags=re.DOTALL,
        )
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
