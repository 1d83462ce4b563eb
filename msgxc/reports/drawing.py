"""The funnel of a report as a small picture (SVG), for a page that shows pictures and no markup. Pure."""

from __future__ import annotations

from base64 import b64encode
from html import escape

from msgxc.reports.funnel import End, Report

WIDTH, ROW, BAR, LEFT, RIGHT = 640, 40, 22, 120, 110
#: As on the pages of the gateway. The picture has a ground of its own: it is read in the light and the dark.
INK, SOFT, GROUND, LINE = "#1c2127", "#5b6470", "#ffffff", "#dfe3e8"
ALL, SENT, REACHED, BACK = "#c3ccd6", "#8fb0ea", "#1f5fd6", "#14713d"


def funnel(report: Report) -> str:
    """People, from the audience to those who were reached, as SVG."""
    ends, audience = report.ends, report.audience
    back, reached = ends[End.FELL_BACK], ends[End.REACHED] + ends[End.FELL_BACK]
    sent = audience - ends[End.SKIPPED] - ends[End.PENDING]
    rows = [("audience", audience, ALL, 0), ("sent to", max(sent, reached), SENT, 0)]
    rows.append(("reached", reached, REACHED, back))
    others = [(ends[end], word) for end, word in _OTHERS.items() if ends[end]]
    foot = " · ".join(f"{count:,} {word}" for count, word in others)
    height = 16 + ROW * len(rows) + (28 if foot else 8)
    drawn = [_row(16 + ROW * at, row, audience) for at, row in enumerate(rows)]
    if foot:
        drawn.append(_text(20, height - 14, foot, SOFT, 13))
    title = escape(f"{report.name}: {reached:,} of {audience:,} people reached")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif"><title>{title}</title>'
        f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="12" fill="{GROUND}" '
        f'stroke="{LINE}"/>{"".join(drawn)}</svg>'
    )


def picture(report: Report) -> str:
    """The same as a line of markdown."""
    data = b64encode(funnel(report).encode()).decode()
    return f"![The funnel of {report.name}](data:image/svg+xml;base64,{data})"


_OTHERS = {
    End.FELL_BACK: "reached by the fallback",
    End.FAILED: "failed",
    End.SKIPPED: "skipped",
    End.UNKNOWN: "in doubt",
    End.PENDING: "still to come",
}


def _row(top: int, row: tuple[str, int, str, int], audience: int) -> str:
    """A word, a bar, of which `tail` people have another colour, and a number with its part of the whole."""
    word, people, colour, tail = row
    room, base = WIDTH - LEFT - RIGHT, top + BAR * 0.72
    share = people / audience if audience else 0.0
    wide, last = room * share, room * tail / audience if audience else 0.0
    bars = f'<rect x="{LEFT}" y="{top}" width="{wide:.1f}" height="{BAR}" rx="4" fill="{colour}"/>'
    if tail:
        at = LEFT + wide - last
        bars += f'<rect x="{at:.1f}" y="{top}" width="{last:.1f}" height="{BAR}" rx="4" fill="{BACK}"/>'
    number = f"{people:,}" if people == audience else f"{people:,} · {100 * share:.0f} %"
    return _text(20, base, word, INK, 15) + bars + _text(LEFT + wide + 10, base, number, INK, 15)


def _text(x: float, y: float, text: str, colour: str, size: int) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}">{escape(text)}</text>'
