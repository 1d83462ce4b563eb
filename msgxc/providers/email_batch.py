"""Many rendered emails as one SendGrid request: what they share once, what differs as substitutions. Pure.

A template's renderings differ in a few places. Autoescape keeps `>` out of every inserted value, so
renderings of one template have as many pieces between their `>`; a piece that differs becomes a tag.
Source: twilio.com/docs/sendgrid, "Mail Send" and its errors and limitations, "Substitution tags".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from msgxc.model import Email, Outgoing

#: Bytes of tags and values of one recipient. The field's reference says 10,000; another page says 50,000.
SUBSTITUTIONS_LIMIT = 10_000


BATCH = 1000  # personalizations of a request


@dataclass(frozen=True, slots=True)
class Joined:
    """One request's content. `members` are indexes into the emails; `values` the substitutions of each."""

    members: tuple[int, ...]
    html: str
    text: str
    values: tuple[Mapping[str, str], ...]


def lots(batch: Sequence[Outgoing], among: Iterable[int]) -> list[list[int]]:
    """Which deliveries may share a request: of one campaign, BATCH at most, and no address twice in one."""
    found: dict[tuple[str, int], list[int]] = {}
    seen: dict[str, int] = {}
    for index in among:
        address = batch[index].target.address.lower()
        seen[address] = seen.get(address, -1) + 1
        found.setdefault((batch[index].campaign, seen[address]), []).append(index)
    return [lot[n : n + BATCH] for lot in found.values() for n in range(0, len(lot), BATCH)]


def join(emails: Sequence[Email]) -> list[Joined]:
    """The emails as few requests: each email in exactly one, rebuilt exactly by its substitutions."""
    shapes: dict[tuple[int, int, bool, bool], list[int]] = {}
    for index, email in enumerate(emails):
        shape = (email.html.count(">"), email.text.count("\n"), bool(email.html), bool(email.text))
        shapes.setdefault(shape, []).append(index)
    marker = _unused(emails)
    rows = [email.html.split(">") + email.text.split("\n") for email in emails]
    return [
        joined for shape, members in shapes.items() for joined in _fit(rows, members, shape[0] + 1, marker)
    ]


def _fit(rows: Sequence[Sequence[str]], members: Sequence[int], html: int, marker: str) -> list[Joined]:
    """Requests whose substitutions fit: parted, until they do, by the piece that differs least: language."""
    fitting: list[Joined] = []
    todo = [members]
    while todo:
        some = todo.pop()
        columns = list(zip(*(rows[member] for member in some), strict=True))
        varied = [n for n, column in enumerate(columns) if column.count(column[0]) < len(column)]
        joined = _joined(columns, some, varied, html, marker)
        if all(_size(values) <= SUBSTITUTIONS_LIMIT for values in joined.values):
            fitting.append(joined)
        else:
            least = min(varied, key=[len(set(column)) for column in columns].__getitem__)
            todo += _parted(some, columns[least])
    return fitting


def _parted(members: Sequence[int], column: Sequence[str]) -> list[list[int]]:
    parts: dict[str, list[int]] = {}
    for member, piece in zip(members, column, strict=True):
        parts.setdefault(piece, []).append(member)
    return list(parts.values())


def _joined(
    columns: Sequence[Sequence[str]], members: Sequence[int], varied: Sequence[int], html: int, marker: str
) -> Joined:
    """The shared pieces with tags, and what each tag stands for. The first `html` pieces are the HTML."""
    shared = [column[0] for column in columns]
    values: list[dict[str, str]] = [{} for _ in members]
    for n in varied:
        start = _common(columns[n])
        end = _common([piece[start:][::-1] for piece in columns[n]])
        tag = f"{marker}{n}-"
        for value, piece in zip(values, columns[n], strict=True):
            value[tag] = piece[start : len(piece) - end]
        shared[n] = shared[n][:start] + tag + shared[n][len(shared[n]) - end :]
    return Joined(tuple(members), ">".join(shared[:html]), "\n".join(shared[html:]), tuple(values))


def _unused(emails: Sequence[Email]) -> str:
    """How every tag begins: something that no content holds, so that nothing else is ever substituted."""
    parts = [part for email in emails for part in (email.html, email.text, email.subject)]
    candidates = (f"-m{n}x" for n in count())
    return next(marker for marker in candidates if not any(marker in part for part in parts))


def _common(pieces: Sequence[str]) -> int:
    """How many characters all pieces begin with."""
    low, high = min(pieces), max(pieces)
    return next((n for n, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))


def _size(values: Mapping[str, str]) -> int:
    return sum(len(text.encode("utf-8", "replace")) for pair in values.items() for text in pair)
