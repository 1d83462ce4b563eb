"""The charts of docs/speed.md, drawn from benchmarks/results: `python docs/charts.py`.

SVG, once for light pages and once for dark ones, without any library. Of each kind of result the newest file
is drawn.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from math import log10
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE.parent / "benchmarks" / "results"
WIDTH, LEFT, RIGHT, TOP, BAR = 830, 255, 190, 58, 26
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours, readable on the page that they are named after, and on a ground of their own elsewhere."""

    name: str
    ground: str
    text: str
    faint: str
    grid: str
    ours: str
    theirs: str
    lines: tuple[str, ...]


THEMES = (
    Theme(
        "light",
        "#ffffff",
        "#1f2328",
        "#59636e",
        "#d1d9e0",
        "#1a7f5a",
        "#8c959f",
        ("#1a7f5a", "#b35900", "#5b5fc7"),
    ),
    Theme(
        "dark",
        "#0d1117",
        "#f0f6fc",
        "#9198a1",
        "#3d444d",
        "#3fb984",
        "#7d8590",
        ("#3fb984", "#e3a04f", "#a5a8f5"),
    ),
)


@dataclass
class Picture:
    """An SVG under construction."""

    theme: Theme
    height: int
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, words: str, **more: Any) -> None:
        """Words; `size`, `anchor`, `fill`, `weight` as in SVG."""
        style = {"size": 13, "anchor": "start", "fill": self.theme.text, "weight": 400, **more}
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{style["size"]}" text-anchor="{style["anchor"]}" '
            f'fill="{style["fill"]}" font-weight="{style["weight"]}">{escape(words)}</text>'
        )

    def bar(self, x: float, y: float, width: float, fill: str) -> None:
        """One bar."""
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(1.5, width):.1f}" height="{BAR - 9}" rx="3" '
            f'fill="{fill}"/>'
        )

    def line(
        self, points: Sequence[tuple[float, float]], colour: str, width: float = 2, dash: str = ""
    ) -> None:
        """A line through points."""
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(
            f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="{width}" '
            f'stroke-dasharray="{dash}" stroke-linejoin="round"/>'
        )

    def dot(self, x: float, y: float, colour: str) -> None:
        """A measured point."""
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')

    def head(self, title: str, below: str) -> None:
        """The title, and what is shown."""
        self.text(16, 24, title, size=16, weight=600)
        self.text(16, 43, below, size=12, fill=self.theme.faint)

    def written(self, name: str, about: str) -> None:
        """Keep it."""
        (HERE / "img" / f"{name}-{self.theme.name}.svg").write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" '
            f'height="{self.height}" font-family="{FONT}" role="img" aria-label="{escape(about)}">\n'
            f'<rect width="{WIDTH}" height="{self.height}" rx="8" fill="{self.theme.ground}"/>\n'
            + "\n".join(self.parts)
            + "\n</svg>\n",
            encoding="utf-8",
        )


# -- bars ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bar:
    """A row: its words, its length, whether it is ours, what stands behind it, and a mark to reach."""

    label: str
    value: float
    ours: bool
    shown: str
    mark: float | None = None


def bars(name: str, title: str, below: str, rows: Sequence[Bar]) -> None:
    """A picture of bars, in both themes."""
    if not rows:
        return
    most = max(max(row.value, row.mark or 0) for row in rows)
    for theme in THEMES:
        picture = Picture(theme, TOP + BAR * len(rows) + 14)
        picture.head(title, below)
        for number, row in enumerate(rows):
            _bar(picture, TOP + BAR * number, row, (WIDTH - LEFT - RIGHT) / most)
        picture.written(name, title)


def _bar(picture: Picture, y: float, row: Bar, scale: float) -> None:
    theme = picture.theme
    picture.text(LEFT - 10, y + 13, row.label, anchor="end", weight=600 if row.ours else 400)
    picture.bar(LEFT, y, row.value * scale, theme.ours if row.ours else theme.theirs)
    end = LEFT + row.value * scale
    if row.mark is not None:
        at = LEFT + row.mark * scale
        picture.line([(at, y - 3), (at, y + BAR - 6)], theme.text, 2)
        end = max(end, at)
    picture.text(end + 8, y + 13, row.shown, fill=theme.faint if not row.ours else theme.text)


# -- curves -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Curve:
    """Measured points, and what they are called."""

    label: str
    points: tuple[tuple[float, float], ...]


def curves(name: str, title: str, below: str, of: Sequence[Curve], *, logarithmic: bool) -> None:
    """A picture of curves, in both themes; both axes logarithmic, or both from 0."""
    if not any(curve.points for curve in of):
        return
    for theme in THEMES:
        picture = Picture(theme, 380)
        picture.head(title, below)
        _Plane(picture, of, logarithmic).draw()
        picture.written(name, title)


class _Plane:
    """Axes, grid and curves."""

    left, right, top, bottom = 70.0, WIDTH - 190.0, 70.0, 340.0

    def __init__(self, picture: Picture, of: Sequence[Curve], logarithmic: bool) -> None:
        self.picture, self.curves, self.logarithmic = picture, of, logarithmic
        xs = [x for curve in of for x, _ in curve.points]
        ys = [y for curve in of for _, y in curve.points]
        self.xs = _ticks(min(xs), max(xs)) if logarithmic else sorted(set(xs))
        self.ys = _ticks(min(ys), max(ys)) if logarithmic else _steps(max(ys))

    def _part(self, value: float, ticks: Sequence[float]) -> float:
        first, last = (ticks[0], ticks[-1]) if self.logarithmic else (0.0, ticks[-1])
        if self.logarithmic:
            first, last, value = log10(first), log10(last), log10(value)
        return (value - first) / (last - first)

    def x(self, value: float) -> float:
        return self.left + (self.right - self.left) * self._part(value, self.xs)

    def y(self, value: float) -> float:
        return self.bottom - (self.bottom - self.top) * self._part(value, self.ys)

    def draw(self) -> None:
        picture, theme = self.picture, self.picture.theme
        for tick in self.ys:
            picture.line([(self.left, self.y(tick)), (self.right, self.y(tick))], theme.grid, 1)
            picture.text(
                self.left - 8, self.y(tick) + 4, short(tick), anchor="end", size=12, fill=theme.faint
            )
        for tick in self.xs:
            picture.text(
                self.x(tick), self.bottom + 20, short(tick), anchor="middle", size=12, fill=theme.faint
            )
        ends: list[float] = []
        for number, curve in sorted(enumerate(self.curves), key=lambda one: -one[1].points[-1][1]):
            self._curve(curve, theme.lines[number % len(theme.lines)], ends)

    def _curve(self, curve: Curve, colour: str, ends: list[float]) -> None:
        drawn = [(self.x(x), self.y(y)) for x, y in curve.points]
        self.picture.line(drawn, colour, 2.5)
        for x, y in drawn:
            self.picture.dot(x, y, colour)
        at = max([drawn[-1][1] + 4, *(end + 17 for end in ends[-1:])])  # no label over another
        ends.append(at)
        self.picture.text(drawn[-1][0] + 12, at, curve.label, fill=colour, weight=600, size=12.5)


def _ticks(least: float, most: float) -> list[float]:
    """Powers of ten around the values."""
    first, last = int(log10(least) // 1), -int(-log10(most) // 1)
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def _steps(most: float) -> list[float]:
    """About five round steps from 0 up."""
    rough = 10 ** int(log10(most / 4))
    step = next(rough * part for part in (1, 2, 5, 10, 20) if most / (rough * part) <= 6)
    return [step * number for number in range(int(most // step) + 2)]


def short(value: float) -> str:
    """1,000,000 as 1M."""
    for size, word in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{word}"
    return f"{value:g}"


# -- what is drawn ------------------------------------------------------------------------------------------


def newest(kind: str) -> list[dict[str, Any]]:
    """The rows of the newest results of a kind; none when there are none."""
    files = sorted(RESULTS.glob(f"*-{kind}.json"))
    rows: list[dict[str, Any]] = json.loads(files[-1].read_text())["rows"] if files else []
    return rows


def senders(channel: str, latency: int, title: str) -> None:
    """Every sender of a channel, without the engine."""
    rows = [
        row
        for row in newest("http2")
        if row["channel"] == channel and row["latency"] == latency and "h2load" not in row["way"]
    ]
    rows.sort(key=lambda row: -row["rate"])
    bars(
        f"speed-{channel}",
        title,
        f"Messages a second from one core, answers after {latency} ms, nothing recorded; median of rounds",
        [
            Bar(
                row["way"],
                row["rate"],
                row["way"].startswith("our"),
                f"{row['rate']:,.0f}  ({row['cpu']:,.0f} ms per 1,000)",
            )
            for row in rows
        ],
    )


CASES = {
    "apns": "APNs ÷ Go apns2",
    "fcm": "FCM ÷ Go go-fcm",
    "webpush": "web push ÷ encryption",
    "sms": "SMS ÷ Twilio async",
    "mail": "email ÷ Jinja2",
    "mail-plain": "plain email ÷ Jinja2",
}


def whole() -> None:
    """The engine beside the others: ratios, with the mark to reach."""
    rows = {(row["case"], row["latency"]): row for row in newest("peers")}
    bars(
        "speed-whole",
        "The whole path: sealed audience to recorded results, ledger on",
        "n/s divided by that of a sender that records nothing, same core, same run. The line is the aim.",
        [
            Bar(
                f"{words}, {latency} ms",
                rows[case, latency]["ratio"],
                True,
                f"{rows[case, latency]['ratio']:.2f}  ({rows[case, latency]['engine']['rate']:,.0f}/s)",
                rows[case, latency]["target"],
            )
            for case, words in CASES.items()
            for latency in (0, 20, 50)
            if (case, latency) in rows
        ],
    )


def growth() -> None:
    """By processes, and by people."""
    rows = newest("growth")
    ways = list(dict.fromkeys(row["way"] for row in rows if row["part"] == "processes"))
    curves(
        "speed-processes",
        "More sender processes, provider answers after 20 ms",
        "Messages a second, APNs, two cores shared with the provider; SQLite, ledger on (adapter: no engine)",
        [Curve(way, _points(row for row in rows if row["way"] == way)) for way in ways],
        logarithmic=False,
    )
    audience = sorted((row for row in rows if row["part"] == "audience"), key=lambda row: row["x"])
    curves(
        "speed-audience",
        "Larger audiences: seconds to seal and to read",
        "SQLite, one process; both axes logarithmic: a line of slope 1 grows as its input does",
        [
            Curve(label, tuple((row["x"], row[what]["wall"]) for row in audience))
            for what, label in (("seal", "sealing"), ("read", "reading by shard"))
        ]
        if audience
        else [],
        logarithmic=True,
    )


def _points(rows: Iterable[dict[str, Any]]) -> tuple[tuple[float, float], ...]:
    return tuple(sorted((row["x"], row["rate"]) for row in rows))


def stages() -> None:
    """Where the engine's CPU goes."""
    for row in newest("peers"):
        if row["case"] != "apns" or row["latency"] or not row.get("stages"):
            continue
        parts = sorted(row["stages"].items(), key=lambda part: -part[1])
        total = sum(value for _, value in parts)
        bars(
            "speed-stages",
            "Where the CPU goes: APNs, sealed audience to recorded results",
            f"ms of CPU for 1,000 messages, {total:.0f} in all (measured apart, which costs a little)",
            [Bar(word, value, True, f"{value:.1f}  ({value / total:.0%})") for word, value in parts],
        )


def main() -> None:
    """Draw what there are results for."""
    senders("apns", 20, "APNs: what leaves one core")
    senders("fcm", 20, "FCM: what leaves one core")
    senders("webpush", 20, "Web push: what leaves one core")
    whole()
    growth()
    stages()


if __name__ == "__main__":
    main()
