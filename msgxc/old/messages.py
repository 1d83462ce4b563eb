"""mstore of the old system, as messages. Pure, but for the time, which is passed in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from msgxc import ids
from msgxc.messages.records import DATA, PEOPLE, SUBJECT, TEXT, Message, To
from msgxc.messages.triage import whole_milliseconds
from msgxc.model import Thread
from msgxc.old.columns import Cells, flag, types, uuid
from msgxc.old.threads import urgency
from msgxc.people import fields
from msgxc.people.record import Refused
from msgxc.render.person import whole
from msgxc.reserved import reserved

OVERDUE = "its time was past and nobody had sent it: kept, canceled, not sent"
SEALED = "an executor had begun it, and nobody knows how far it came: kept, canceled, not sent"


@dataclass(frozen=True, slots=True)
class OldMessage:
    """One row of mstore. `ended`: the row itself says that it was completed or canceled."""

    message: Message
    ended: bool


def message(cells: Cells, thread: Thread, now: datetime) -> OldMessage:
    """One row of mstore, of this thread. Raises Refused for one without a usable id, deleted, or too long.

    Nothing that was sent, or may have been, or should have been by now, is ever sent: only what waits for a
    time after `now`, and that no executor there has begun, stays scheduled.
    """
    mid = _mid(cells)
    if cells.get("deleted") is not None:
        raise Refused("deleted", "deleted there")
    sender, service = cells.one("owner", uuid), cells.get("svc") is not None
    made = Message(
        mid=mid,
        tid=thread.tid,
        text=_text(cells, "msg", TEXT),
        sender=sender,
        subject=_subject(cells),
        data=_data(cells),
        parent=cells.one("pmid", _parent),
        urgency=cells.one("urgency", urgency) or thread.urgency,
        system=cells.one("sys", flag) or False,
        broadcast=cells.one("broadcast", flag) or False,
        channels=types(cells, "mtypes"),
        by_role=service or sender is None,
    )
    if not (made.text.strip() or made.subject.strip() or made.data):
        raise Refused("msg", "it says nothing")
    made = _addressed(cells, made)
    return _standing(cells, made, now)


def _mid(cells: Cells) -> UUID:
    try:
        return ids.message_of_timeuuid(cells.key("mid"))
    except ValueError as error:
        raise Refused("mid", str(error)) from None


def _parent(value: Any) -> UUID:
    return ids.message_of_timeuuid(uuid(value))


def _text(cells: Cells, column: str, most: int) -> str:
    value = cells.get(column)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Refused(column, "not text")
    if len(value) > most:
        raise Refused(column, f"longer than {most:,} characters")
    return whole(value)


def _subject(cells: Cells) -> str:
    value = cells.get("subject")
    if isinstance(value, str) and len(value) > SUBJECT:
        cells.changed("subject", f"cut to {SUBJECT} characters")
        return whole(value[:SUBJECT])
    return _text(cells, "subject", SUBJECT)


def _data(cells: Cells) -> Mapping[str, str]:
    """A JSON object as text there; each value is text here."""
    found = cells.one("data", _object)
    if found is None:
        return {}
    if names := reserved(found):
        cells.refused("data", "a name that is reserved (docs/templates.md): taken without it")
        found = {name: value for name, value in found.items() if name not in names}
    if any(not isinstance(value, str) for value in found.values()):
        cells.changed("data", "each value is text here: what was none is written as JSON")
    made = {
        whole(name): whole(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in found.items()
    }
    if len(json.dumps(made, ensure_ascii=False).encode("utf-8", "replace")) > DATA:
        cells.refused("data", f"longer than {DATA:,} bytes: taken without it")
        return {}
    return made


def _object(value: Any) -> dict[str, Any]:
    try:
        found = json.loads(value, parse_constant=fields.no_constant) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    return found


def _addressed(cells: Cells, made: Message) -> Message:
    """One that names its people is theirs alone: each finds it in the thread of their own."""
    people = tuple(dict.fromkeys(cells.each("users", uuid)))
    if cells.get("users") is None:
        return made
    if not 0 < len(people) <= PEOPLE:
        raise Refused("users", f"for no known person, or for more than {PEOPLE:,}")
    cells.changed("users", "for some people: each finds it in the thread of their own, not in this one")
    return replace(made, tid=made.mid, to=To.PEOPLE, uids=people)


def _standing(cells: Cells, made: Message, now: datetime) -> OldMessage:
    """Where it stood there, and so where it stands here."""
    completed, scheduled = cells.one("completed", _time), cells.one("scheduled", _time)
    begun = cells.get("started") is not None or cells.get("qid") is not None
    unreadable = cells.get("scheduled") is not None and scheduled is None
    hidden = _hidden(cells, now)
    if hidden:
        made = replace(made, recalled=completed or made.created)
    if _canceled(cells):
        at = completed or scheduled or made.created
        return OldMessage(replace(made, canceled=at, completed=at), True)
    if completed is not None:
        return OldMessage(replace(made, completed=completed), True)
    if scheduled is not None or unreadable:
        if scheduled is not None and scheduled > now and not begun and not hidden:
            return OldMessage(replace(made, scheduled=scheduled), False)
        cells.changed("scheduled", SEALED if begun else OVERDUE)
        at = scheduled if scheduled and scheduled <= now else made.created
        return OldMessage(replace(made, canceled=at, completed=at), False)
    cells.changed("completed", "nothing says whether it was sent: taken as said, and not sent again")
    return OldMessage(replace(made, completed=made.created), False)


def _time(value: Any) -> datetime:
    return whole_milliseconds(fields.moment(value))


def _canceled(cells: Cells) -> bool:
    meta = dict(cells.pairs("meta"))
    said = str(meta.pop("canceled", "")).lower()
    if meta:
        cells.changed("meta", "no place here for it, but for `canceled`")
    return said not in ("", "false", "0", "none")


def _hidden(cells: Cells, now: datetime) -> bool:
    """Hidden there is not shown here either."""
    at = cells.one("hide", _time)
    if at is not None and at > now:
        cells.changed("hide", "a message does not end by itself here")
    return bool(cells.one("hidden", flag)) or (at is not None and at <= now)
