"""A report as tables of words and numbers, for a console, a terminal or a page. Pure; counts only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgxc.delivery import Counts
from msgxc.ledger import Mark
from msgxc.model import Channel
from msgxc.reports.advice import advice
from msgxc.reports.funnel import ChannelLine, End, Report

Row = dict[str, str | int]

ENDS: Mapping[End, str] = {
    End.REACHED: "reached: at least one provider accepted it",
    End.FELL_BACK: "reached by the fallback",
    End.FAILED: "failed",
    End.SKIPPED: "skipped, with a reason",
    End.UNKNOWN: "in doubt after a crash, not repeated",
    End.PENDING: "still to come",
}

SKIPS: Mapping[str, str] = {
    "erased": "left the directory after the audience was fixed",
    "thread_disabled": "the thread is switched off",
    "muted": "wants no messages at all",
    "thread_muted": "wants no messages of this thread",
    "no_consent": "has not consented to this purpose",
    "channel_off": "has switched these channels off",
    "no_address": "has no live address on these channels",
    "suppressed": "every address is suppressed (bounce, complaint, STOP)",
    "reached": "was reached meanwhile",
    "canceled": "the campaign was canceled before",
}


def people(report: Report) -> list[Row]:
    """Where everybody ended; adds up to the audience."""
    rows: list[Row] = [
        {"people": report.ends[end], "what became of them": text}
        for end, text in ENDS.items()
        if report.ends[end] or end in (End.REACHED, End.SKIPPED)
    ]
    return [*rows, {"people": sum(report.ends.values()), "what became of them": "the whole audience"}]


def channels(report: Report) -> list[Row]:
    """The funnel: one row a channel, in deliveries; one person can have several devices."""
    return [_channel(channel, line) for channel, line in sorted(report.channels.items(), key=_order)]


def _order(item: tuple[Channel, ChannelLine]) -> int:
    return list(Channel).index(item[0])


def _channel(channel: Channel, line: ChannelLine) -> Row:
    return {
        "channel": channel.value,
        "planned": line.planned,
        "accepted": line.accepted,
        "confirmed": line.confirmed,
        "failed": line.failed,
        "in doubt": line.unknown,
        "waiting": line.pending,
        "dropped": line.dropped,
        "fell back": line.fell_back,
    }


def skips(report: Report) -> list[Row]:
    """Why people were skipped, the commonest reason first."""
    return [
        {"people": count, "reason": reason, "meaning": SKIPS.get(reason, "")}
        for reason, count in report.skips.most_common()
    ]


def errors(report: Report) -> list[Row]:
    """What failed, by the provider's own code, and what to do about it."""
    return [
        {
            "deliveries": count,
            "channel": channel.value if channel else "",
            "reason": reason,
            "provider's code": code,
            "what to do": advice(reason),
        }
        for (channel, reason, code), count in report.errors.most_common()
    ]


def progress(counts: Counts) -> list[Row]:
    """How far one process has come: the funnel while it still moves."""
    found = {channel for channel, _ in counts.marks if channel}
    return [
        {
            "channel": channel.value,
            "accepted": counts.marks[channel, Mark.ACCEPTED],
            "failed": counts.marks[channel, Mark.FAILED],
            "waiting": counts.marks[channel, Mark.LATER],
        }
        for channel in Channel
        if channel in found
    ]


def summary(report: Report) -> str:
    """One line."""
    ends = report.ends
    parts = [f"{ends[End.REACHED] + ends[End.FELL_BACK]:,} of {report.audience:,} people reached"]
    parts += [
        f"{ends[end]:,} {end}" for end in (End.FAILED, End.SKIPPED, End.UNKNOWN, End.PENDING) if ends[end]
    ]
    return ", ".join(parts)


def markdown(report: Report) -> str:
    """The whole report as one page."""
    sections = [
        f"# {report.name}",
        _notes(report),
        _section("What became of the audience", people(report)),
        _section("Deliveries by channel", channels(report)),
        _section("Skipped", skips(report)),
        _section("Errors", errors(report)),
    ]
    return "\n\n".join(section for section in sections if section)


def _notes(report: Report) -> str:
    notes = [f"{summary(report)}."]
    if report.control == "cancel":
        notes.append("**Canceled** before everybody was sent to.")
    if report.sandboxed:
        names = ", ".join(sorted(report.sandboxed))
        notes.append(f"**Sandbox**: no real provider was called ({names}).")
    if not report.adds_up:
        notes.append("**The numbers do not add up**: please report this.")
    return "\n\n".join(notes)


def _section(title: str, rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows]
    return f"## {title}\n\n" + "\n".join(lines)


def _cell(value: str | int) -> str:
    return f"{value:,}" if isinstance(value, int) else value.replace("|", "\\|")
