"""The results as tables: on the screen, and as Markdown (`python -m benchmarks.table FILE`)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Row = dict[str, str]
PHASES = ("plan", "seal", "send")
MEMORY_LIMIT_MB, GROWTH_LIMIT_MB, PREFECT_LIMIT = 500, 50, 0.05


def tables(results: dict[str, Any]) -> Iterator[tuple[str, list[Row]]]:
    """Titles and rows, in the order of the results."""
    if campaigns := results.get("campaigns"):
        yield "Campaigns through the engine, ledger on", [_campaign(one) for one in campaigns]
        yield "By channel, in the large one", _mix(campaigns[1])
        yield "Memory of the sender", _memory(campaigns)
    if distant := results.get("distant"):
        title = f"A provider that answers after {distant[0]['latency_ms']} ms"
        yield title, [_campaign(one) for one in distant]
    if staged := results.get("stages"):
        yield "Where the CPU goes (ms per 1,000 messages)", list(_stages(staged))
    if results.get("bare"):
        yield "Beside the bare client library", list(_beside(results))
    if share := results.get("prefect"):
        yield "Prefect's share of the CPU", _prefect(share)


def verdicts(results: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """What was promised, and whether it holds."""
    if campaigns := results.get("campaigns"):
        small, large = campaigns[0]["peak_mb"], campaigns[1]["peak_mb"]
        yield f"peak memory {large:.0f} MB, under {MEMORY_LIMIT_MB} MB", large < MEMORY_LIMIT_MB
        audience = f"{campaigns[0]['recipients']:,} to {campaigns[1]['recipients']:,}"
        yield (
            f"memory does not grow with the audience ({audience}: {large - small:+.0f} MB)",
            large - small < GROWTH_LIMIT_MB,
        )
    if share := results.get("prefect"):
        text = f"Prefect's share of the CPU {share['share']:.1%}, under {PREFECT_LIMIT:.0%}"
        yield text, share["share"] < PREFECT_LIMIT
        later = share["share_without_start"]
        yield (
            f"the same without the start of the flow runs, which any audience has: {later:.1%}",
            later < PREFECT_LIMIT,
        )


def _total(found: dict[str, Any], what: str) -> float:
    return sum(float(found[what][phase]) for phase in PHASES)


def _campaign(found: dict[str, Any]) -> Row:
    n, wall, cpu = found["recipients"], _total(found, "wall"), _total(found, "cpu")
    return {
        "recipients": f"{n:,}",
        "windows at once": str(found["windows_at_once"]),
        "n/s": f"{n / wall:,.0f}",
        "CPU ms/1,000": f"{1e6 * cpu / n:,.0f}",
        "core 0: sender": f"{cpu / wall:.0%}",
        "others": f"{found['core_taken']:.0%}",
        "core 1: sandbox": f"{found['sandbox_cpu'] / wall:.0%}",
        "seal, send, report (s)": ", ".join(f"{found['wall'][it]:.1f}" for it in ("seal", "send", "report")),
        "load": f"{found['load'][0]:.1f}",
    }


def _mix(found: dict[str, Any]) -> list[Row]:
    wall = _total(found, "wall")
    return [
        {"channel": name, "accepted": f"{n:,}", "n/s": f"{n / wall:,.0f}"}
        for name, n in sorted(found["accepted"].items())
    ]


def _memory(campaigns: list[dict[str, Any]]) -> list[Row]:
    return [
        {
            "recipients": f"{found['recipients']:,}",
            "windows at once": str(found["windows_at_once"]),
            "before the campaign": f"{found['base_mb']:.0f} MB",
            "at 10 %, 50 %, 90 %": " ".join(_sampled(found, share) for share in (0.1, 0.5, 0.9)),
            "peak": f"{found['peak_mb']:.0f} MB",
        }
        for found in campaigns
    ]


def _sampled(found: dict[str, Any], share: float) -> str:
    wanted = share * found["recipients"]
    _, mb = min(found["memory"], key=lambda sample: abs(sample[0] - wanted))
    return f"{mb:.0f}"


def _stages(found: dict[str, Any]) -> Iterator[Row]:
    n, accepted = found["recipients"], found["accepted"]
    sealing = found["cpu"]["plan"] + found["cpu"]["seal"]
    spent = {"plan and seal the audience": sealing, **found["stages"]}
    total = sum(spent.values())
    for stage, cpu in sorted(spent.items(), key=lambda pair: -pair[1]):
        channel = stage.removeprefix("send ")
        own = f"{1e6 * cpu / accepted[channel]:,.0f}" if channel in accepted else ""
        yield {
            "stage": stage,
            "of all": f"{1e6 * cpu / n:,.0f}",
            "of that channel's": own,
            "share": f"{cpu / total:.0%}",
        }
    yield {"stage": "all", "of all": f"{1e6 * total / n:,.0f}", "of that channel's": "", "share": "100%"}


def _beside(results: dict[str, Any]) -> Iterator[Row]:
    """The engine's campaign of one channel, and under it each way without the engine, with its ratio."""
    for engine in results["channels"]:
        n, wall, cpu = engine["recipients"], _total(engine, "wall"), _total(engine, "cpu")
        speed, cost = n / wall, 1e6 * cpu / n
        yield _way(engine["channel"], "the engine", speed, cost, "", "", engine)
        for bare in results["bare"]:
            if bare["channel"] == engine["channel"]:
                its_speed, its_cost = bare["messages"] / bare["wall"], 1e6 * bare["cpu"] / bare["messages"]
                times = (f"{speed / its_speed:.2f}", f"{cost / its_cost:.2f}")
                yield _way("", bare["way"], its_speed, its_cost, *times, bare)


def _way(
    channel: str, way: str, speed: float, cost: float, speeds: str, costs: str, of: dict[str, Any]
) -> Row:
    return {
        "channel": channel,
        "way": way,
        "n/s": f"{speed:,.0f}",
        "CPU ms/1,000": f"{cost:,.0f}",
        "engine's n/s ÷ its": speeds,
        "CPU ÷ its": costs,
        "peak MB": f"{of['peak_mb']:.0f}",
        "others": f"{of['core_taken']:.0%}",
    }


def _prefect(share: dict[str, Any]) -> list[Row]:
    total = sum(share["cpu"].values())
    rows = [
        {"what": name, "CPU s": f"{cpu:.1f}", "share": f"{cpu / total:.1%}"}
        for name, cpu in share["cpu"].items()
    ]
    first = {
        "what": f"{share['recipients']:,} recipients, {share['per_second']:,.0f}/s from start to end",
        "CPU s": f"{total:.1f}",
        "share": f"Prefect: {share['share']:.1%}",
    }
    idle = share["idle_cpu_per_minute"] * share["wall"] / 60
    last = {
        "what": "of server and worker: what they take when idle",
        "CPU s": f"{idle:.1f}",
        "share": f"{idle / total:.1%}",
    }
    return [first, *rows, last]


def show(results: dict[str, Any], console: Console) -> None:
    """On the screen."""
    console.print(f"\n{_where(results)}", highlight=False)
    for title, rows in tables(results):
        shown = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for name, value in rows[0].items():
            shown.add_column(name, justify="right" if value[:1].isdigit() else "left")
        for row in rows:
            shown.add_row(*row.values())
        console.print()
        console.print(shown)
    console.print()
    for text, holds in verdicts(results):
        console.print(f"{'[green]✔[/green]' if holds else '[red]✘[/red]'} {text}", highlight=False)


def markdown(results: dict[str, Any]) -> str:
    """As a part of a page."""
    lines = [_where(results), ""]
    for title, rows in tables(results):
        lines += [f"**{title}**", "", "| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
        lines += ["| " + " | ".join(row.values()) + " |" for row in rows]
        lines.append("")
    lines += [f"- {'holds' if holds else 'DOES NOT HOLD'}: {text}" for text, holds in verdicts(results)]
    return "\n".join(lines) + "\n"


def _where(results: dict[str, Any]) -> str:
    on, using, load = results["machine"], results["versions"], results["load"]
    note = f"\n{results['note']}" if results.get("note") else ""
    if using["commit"] != using.get("commit_after", using["commit"]):
        note += f"\nThe code was changed while it was measured: {using['commit_after']} at the end."
    return (
        f"{results['date']} · {on['processor']} · {on['cores']} cores · {on['memory_mb'] / 1000:.0f} GB · "
        f"Python {using['python']} · msgxc {using['commit']} · load before {load['before'][0]}, "
        f"after {load['after'][0]}{note}"
    )


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text())), end="")
