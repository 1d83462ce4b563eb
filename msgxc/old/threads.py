"""mthreads and msec of the old system, as threads, memberships and requests to join. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from msgxc import ids
from msgxc.messages.records import Join, JoinState
from msgxc.model import Channel, Subscription, Urgency
from msgxc.old.columns import Cells, flag, milliseconds, types, uuid, whole
from msgxc.people import fields
from msgxc.people.record import Refused


@dataclass(frozen=True, slots=True)
class OldThread:
    """One row of mthreads. `settings`: fields of model.Thread, those that the row says; the others stay.

    `outs`: who has left by themselves, no later than `left`: files of threads do not bring them back.
    """

    tid: UUID
    settings: Mapping[str, Any]
    subscriptions: tuple[Subscription, ...]
    outs: tuple[UUID, ...]
    left: datetime

    @property
    def staff(self) -> frozenset[UUID]:
        """Owner, admins and publishers, as the row says them."""
        said = self.settings
        owner = [said["owner"]] if "owner" in said else []
        return frozenset((*owner, *said.get("admins", ()), *said.get("publishers", ())))


def thread(cells: Cells) -> OldThread:
    """One row of mthreads. Raises Refused for one that has no id, or was deleted there."""
    tid = cells.key("tid")
    if cells.get("deleted") is not None:
        raise Refused("deleted", "deleted there")
    settings = {
        "name": cells.one("name", fields.plain) or cells.one("alias", fields.plain),
        "owner": cells.one("owner", uuid),
        "admins": frozenset(cells.each("admins", uuid)) or None,
        "publishers": frozenset(cells.each("pubs", uuid)) or None,
        "open": _either(cells, "opens", "open"),
        "open_to_publish": cells.one("openp", flag),
        "channels": types(cells, "mtypes"),
        "fallback": _fallback(cells),
        "child_channels": types(cells, "cmtypes"),
        "urgency": cells.one("urgency", urgency),
        "archived": cells.one("archived", flag),
        "system": cells.one("sys", flag),
        "ephemeral": _ephemeral(cells),
    }
    outs = tuple(dict.fromkeys(cells.each("outs", uuid)))
    subscriptions = tuple(_subscriptions(cells, tid, frozenset(outs)))
    said = {name: value for name, value in settings.items() if value is not None}
    return OldThread(tid, said, subscriptions, outs, _last(cells, tid))


def urgency(value: Any) -> Urgency:
    """A level. Raises ValueError."""
    if whole(value) not in set(Urgency):
        raise ValueError("urgency is 1, 2, 3 or 4")
    return Urgency(value)


def _either(cells: Cells, *columns: str) -> bool | None:
    """The same flag had two names."""
    said = [value for column in columns if (value := cells.one(column, flag)) is not None]
    return said[0] if said else None


def _fallback(cells: Cells) -> tuple[Channel, ...] | None:
    """A set there, in no order: email first, for it costs nothing."""
    found = types(cells, "fmtypes")
    return None if found is None else tuple(c for c in reversed(tuple(Channel)) if c in found)


def _ephemeral(cells: Cells) -> bool | None:
    """Seconds there, but nothing ever ended by them."""
    seconds = cells.one("ephemeral", whole)
    if seconds is None or seconds <= 0:
        return None if seconds is None else False
    cells.changed("ephemeral", "not for so many seconds: its messages reach open connections alone")
    return True


def _subscriptions(cells: Cells, tid: UUID, outs: frozenset[UUID]) -> list[Subscription]:
    preferences: dict[UUID, Any] = {}
    for name, words in cells.pairs("prefs"):
        try:
            preferences[uuid(name)] = words
        except ValueError as error:
            cells.refused("prefs", str(error))
    subscribers = dict.fromkeys(cells.each("subs", uuid))
    if not outs.isdisjoint(subscribers):
        cells.changed("outs", "who has left and is subscribed as well stays out")
    for uid in preferences:
        if uid not in subscribers:
            cells.refused("prefs", "the preference of somebody who is not subscribed")
    return [
        Subscription(tid, uid, types(cells, "prefs", preferences[uid] or []) if uid in preferences else None)
        for uid in subscribers
        if uid not in outs
    ]


def _last(cells: Cells, tid: UUID) -> datetime:
    """When somebody last wrote to the row: nobody has left later than that."""
    at = [cells.one("updated", fields.moment), cells.one("updatedms", milliseconds)]
    at.append(cells.one("created", fields.moment))
    known = [one for one in at if one is not None]
    return max(known) if known else ids.timeuuid_time(tid) or fields.UNKNOWN


def join(cells: Cells) -> Join:
    """One row of msec: an open request to join. Raises Refused for what is none, or is decided."""
    tid = cells.key("tid")
    cells.read |= {"secid", "approver"}
    if cells.get("perm") is not None:
        raise Refused("perm", "a permission: here owner, admins and publishers say who may do what")
    decided = cells.get("approved") is not None
    if cells.one("pending", flag) is not True or decided:
        raise Refused("pending", "decided already: who was let in is among the subscribers")
    uid = cells.key("owner")
    at = cells.one("created", fields.moment) or ids.timeuuid_time(tid) or fields.UNKNOWN
    return Join(tid, uid, JoinState.ASKED, None, at)
