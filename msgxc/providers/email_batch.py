"""Many emails as few SendGrid requests: what they share once, what differs as substitutions. Pure.

Emails of one shape know what they share (`by_shape`): each value becomes a tag. The others are compared
(`join`): autoescape keeps `>` out of every inserted value, so renderings of one template have as many pieces
between their `>`; a piece that differs becomes a tag.
Source: twilio.com/docs/sendgrid, "Mail Send" and its errors and limitations, "Substitution tags".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count

from msgxc.model import Email, Outgoing, Shape
from msgxc.providers.wire import clean, fits

#: Bytes of tags and values of one recipient. The field's reference says 10,000; another page says 50,000.
SUBSTITUTIONS_LIMIT = 10_000
FEW = 4  # emails of one shape that are not worth a request of their own, if there are others to join

BATCH = 1000  # personalizations of a request


@dataclass(frozen=True, slots=True)
class Joined:
    """One request's content. `members` are indexes into the emails; `values` the substitutions of each."""

    members: tuple[int, ...]
    html: str = field(repr=False)
    text: str = field(repr=False)
    values: tuple[Mapping[str, str], ...] = field(repr=False)


def lots(batch: Sequence[Outgoing], among: Iterable[int]) -> list[list[int]]:
    """Which deliveries may share a request: of one campaign, BATCH at most, and no address twice in one."""
    found: dict[tuple[str, int], list[int]] = {}
    seen: dict[str, int] = {}
    for index in among:
        address = batch[index].target.address.lower()
        seen[address] = seen.get(address, -1) + 1
        found.setdefault((batch[index].campaign, seen[address]), []).append(index)
    return [lot[n : n + BATCH] for lot in found.values() for n in range(0, len(lot), BATCH)]


def by_shape(emails: Sequence[Email]) -> tuple[list[Joined], list[int]]:
    """Requests for emails that share a shape with enough others, and the indexes of those left to `join`."""
    shapes: dict[Shape, list[int]] = {}
    for index, email in enumerate(emails):
        shapes.setdefault(email.shape, []).append(index)
    few = [shape for shape, members in shapes.items() if len(members) < FEW]
    rest = [index for shape in few for index in shapes.pop(shape)] if len(few) > 1 else []
    found: list[Joined] = []
    for shape, members in shapes.items():
        if joined := _of_shape(shape, members, [emails[member] for member in members]):
            found.append(joined)
        else:
            rest += members
    return found, rest


def _of_shape(shape: Shape, members: Sequence[int], emails: Sequence[Email]) -> Joined | None:
    """One request: a tag for each value that is not the same for all, one tag where two values are always the
    same. None when there is no tag that nothing else holds, or the substitutions do not fit."""
    columns = list(zip(*(email.values for email in emails), strict=True))
    varied = dict.fromkeys(column for column in columns if column.count(column[0]) < len(column))
    if not varied:
        html, text = shape.filled(emails[0].values)
        return Joined(tuple(members), html, text, tuple({} for _ in members))
    letter = _letter(chain(shape.html, shape.text, *columns, (email.subject for email in emails)))
    tags = [f"-{letter}{n}-" for n in range(len(varied))]
    values = tuple(dict(zip(tags, row, strict=True)) for row in zip(*varied, strict=True))
    if not letter or not all(map(_fits, values)):
        return None
    tag_of = dict(zip(varied, tags, strict=True))
    html, text = shape.filled([tag_of.get(column, column[0]) for column in columns])
    return Joined(tuple(members), html, text, values)


def _letter(texts: Iterable[str]) -> str:
    """With which every tag begins, after a hyphen: one that stands nowhere else, so that nothing else is ever
    substituted, in whatever order that is done; "" if there is none. It means nothing in regular expressions:
    nobody says how SendGrid looks for tags."""
    found = "".join(texts)
    return next((letter for letter in "~`" if letter not in found), "")


def _fits(values: Mapping[str, str]) -> bool:
    return fits([*values, *values.values()], SUBSTITUTIONS_LIMIT)


def join(emails: Sequence[Email], among: Iterable[int] | None = None) -> list[Joined]:
    """The emails (`among`: those at these indexes) as few requests: each email in exactly one, rebuilt by its
    substitutions, exactly but for lone surrogates."""
    shapes: dict[tuple[int, int, bool, bool], list[int]] = {}
    rows: dict[int, list[str]] = {}
    for index in range(len(emails)) if among is None else among:
        html, text = clean(emails[index].html), clean(emails[index].text)
        shapes.setdefault((html.count(">"), text.count("\n"), bool(html), bool(text)), []).append(index)
        rows[index] = html.split(">") + text.split("\n")
    marker = _unused(chain(*rows.values(), (emails[index].subject for index in rows)))
    return [
        joined for shape, members in shapes.items() for joined in _fit(rows, members, shape[0] + 1, marker)
    ]


def _fit(rows: Mapping[int, Sequence[str]], members: Sequence[int], html: int, marker: str) -> list[Joined]:
    """Requests whose substitutions fit: parted, until they do, by the piece that differs least: language."""
    fitting: list[Joined] = []
    todo = [members]
    while todo:
        some = todo.pop()
        columns = list(zip(*(rows[member] for member in some), strict=True))
        varied = [n for n, column in enumerate(columns) if column.count(column[0]) < len(column)]
        joined = _joined(columns, some, varied, html, marker)
        if all(map(_fits, joined.values)):
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


def _unused(texts: Iterable[str]) -> str:
    """How every tag begins: a hyphen, and something that no text holds (it has no `>` and no line end, so no
    piece of one either), so that nothing else is ever substituted, in whatever order that is done."""
    found = list(texts)
    candidates = (f"m{n}x" for n in count())
    return "-" + next(marker for marker in candidates if not any(marker in text for text in found))


def _common(pieces: Sequence[str]) -> int:
    """How many characters all pieces begin with."""
    low, high = min(pieces), max(pieces)
    return next((n for n, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
