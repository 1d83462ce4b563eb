"""A report as tables of words and numbers, for a console, a terminal or a page. Pure; counts only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgxc.delivery import Counts
from msgxc.ledger import Mark
from msgxc.model import Channel
from msgxc.reports.advice import advice
from msgxc.reports.drawing import picture
from msgxc.reports.funnel import ChannelLine, End, Report

Row = dict[str, str | int]

ENDS: Mapping[End, str] = {
    End.REACHED: "reached: at least one provider accepted it",
    End.FELL_BACK: "reached by the fallback",
    End.FAILED: "failed",
    End.SKIPPED: "skipped, with a reason",
    End.UNKNOWN: "in doubt after a crash or a lost answer, not repeated",
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
    "read": "had read it already",
    "joined": "got it as part of another message",
    "budget": "the day's budget of text messages was spent",
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
            "waiting": max(counts.waiting[channel], 0),
        }
        for channel in Channel
        if channel in found
    ]


def fields(report: Report) -> dict[str, object]:
    """The report for programs: these names stay. Everybody stands in `ends`, in people; the rest of the
    numbers are deliveries, but `fell_back` and `skips`."""
    rows = channels(report)
    return {
        "campaign": report.name,
        "finished": report.finished,
        "canceled": report.canceled,
        "audience": report.audience,
        "ends": {end.value: report.ends[end] for end in End},
        "channels": [{name.replace(" ", "_"): value for name, value in row.items()} for row in rows],
        "skips": dict(report.skips),
        "errors": [
            {"deliveries": n, "channel": channel.value if channel else None, "reason": reason, "code": code}
            for (channel, reason, code), n in report.errors.most_common()
        ],
        "sandboxed": sorted(report.sandboxed),
        "repeat_bound": report.repeat_bound,
        "sent_again": report.sent_again,
    }


def summary(report: Report) -> str:
    """One line."""
    ends = report.ends
    parts = [f"{ends[End.REACHED] + ends[End.FELL_BACK]:,} of {report.audience:,} people reached"]
    parts += [
        f"{ends[end]:,} {end}" for end in (End.FAILED, End.SKIPPED, End.UNKNOWN, End.PENDING) if ends[end]
    ]
    return ", ".join(parts)


def in_vain(report: Report, *, of_rest: bool = False) -> str:
    """Why a campaign has reached nobody at all, in one sentence; "": it has, or may have. `of_rest`: it was
    for those whom another one had not reached: that they have no address is no failure of it."""
    may = (End.REACHED, End.FELL_BACK, End.UNKNOWN, End.PENDING)
    if not report.audience or any(report.ends[end] for end in may) or (of_rest and not report.channels):
        return ""
    failed, skipped = report.errors.most_common(1), report.skips.most_common(1)
    parts = []
    if failed:
        channel, reason, _ = failed[0][0]
        parts.append(f"{report.ends[End.FAILED]:,} failed (most: {channel}, {reason})")
    if skipped:
        reason = skipped[0][0]
        parts.append(f"{report.ends[End.SKIPPED]:,} skipped (most: {SKIPS.get(reason, reason)})")
    return f"nobody of {report.audience:,} people was reached: {', '.join(parts)}"


def how_far(total: Counts, audience: int, rate: float) -> str:
    """How far a campaign is that is being sent, in one line: people, and of deliveries those that failed, for
    a person may be reached on another device. `rate`: people a second, 0: not known."""
    done = min(total.recipients, audience)
    percent = 100 * done // audience if audience else 100
    parts = [
        f"{done:,} of {audience:,} people looked at ({percent} %)",
        f"{total.reached:,} reached",
        f"{total.of(Mark.FAILED):,} deliveries failed",
    ]
    if rate > 0:
        parts += [f"{rate:,.0f} a second" if rate >= 1 else f"{60 * rate:,.0f} a minute"]
        parts += [f"about {_span((audience - done) / rate)} left"] if done < audience else []
    return ", ".join(parts)


def _span(seconds: float) -> str:
    """45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def so_far(name: str, total: Counts, audience: int) -> str:
    """The page of a campaign that is being sent."""
    page = [f"# {name}", f"{how_far(total, audience, 0)}. The whole report comes at the end."]
    return "\n\n".join([*page, _section("Deliveries by channel, so far", progress(total))]).rstrip()


def markdown(report: Report, *, pictures: bool = False) -> str:
    """The whole report as one page; `pictures`: with its funnel, for whoever can show that."""
    sections = [
        f"# {report.name}",
        picture(report) if report.audience and pictures else "",
        _notes(report),
        _section("What became of the audience", people(report)),
        _section("Deliveries by channel", channels(report)),
        _section("Skipped", skips(report)),
        _section("Errors", errors(report)),
    ]
    return "\n\n".join(section for section in sections if section)


def _notes(report: Report) -> str:
    notes = [f"{summary(report)}."]
    if report.canceled:
        notes.append("**Canceled** before everybody was sent to.")
    if report.sandboxed:
        names = ", ".join(sorted(report.sandboxed))
        notes.append(f"**Sandbox**: no real provider was called ({names}).")
    if report.repeat_bound:
        notes.append(
            f"A killed process repeats {report.repeat_bound:,} messages at most, and those that a provider "
            f"was slow to answer just then (at most {report.slow_calls:,} calls). Sent again in doubt, after "
            f"a crash or a lost answer, and so perhaps repeated: **{report.sent_again:,}**."
        )
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
