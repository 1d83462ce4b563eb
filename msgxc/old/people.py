"""users, user_emails, cohorts and splits of the old system, as people and cohorts. Pure.

**No consent is made up**: the old system did not record any, so nobody has one afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from msgxc import ids
from msgxc.old.columns import Cells, milliseconds, types, uuid, whole
from msgxc.people import fields
from msgxc.people.fields import ATTRIBUTE_NAME, MAX_ITEMS
from msgxc.people.record import Draft, Reader, Refused, in_future

#: Columns that become an attribute of the same name.
ATTRIBUTES = ("org", "ref", "aff", "promo", "owner")
#: Before the name of a family of splits: the attribute that says in which part somebody is.
SPLIT = "split_"


#: Where the times of a draft come from.
_TIMES = {"last_seen": "mlast", "created": "created", "devices": "mdevices"}


def person(cells: Cells, readers: Mapping[str, Reader], now: datetime) -> tuple[UUID, Draft]:
    """One row of users. Whatever cannot be used is left out and remarked, one value at a time; only a row
    without a uid is refused (raises Refused). `readers`: people.record.readers."""
    uid = cells.key("uid")
    made = Draft(uid=str(uid))
    plain = {"name": "uname", "email": "email", "cell": "cell", "lang": "lang", "created": "created"}
    for name, column in plain.items():
        if (value := cells.one(column, readers[name])) is not None:
            made.scalars[name] = value
    if "created" not in made.scalars and (since := ids.timeuuid_time(uid)) is not None:
        made.scalars["created"] = since
    if (seen := cells.one("mlast", milliseconds)) is not None and seen > fields.UNKNOWN:
        made.scalars["last_seen"] = seen
    if (channels := types(cells, "mtypes")) is not None:
        made.scalars["channels"] = channels
    for some in cells.each("mdevices", lambda one: fields.devices([one])):
        made.devices += some
    for name in in_future(made, now):
        cells.refused(_TIMES[name], "a time in the future")
        made.scalars.pop(name, None)
        if name == "devices":
            made.devices = [
                one if one.registered <= now else replace(one, registered=fields.UNKNOWN)
                for one in made.devices
            ]
    for name, value in [*cells.pairs("params"), *_splits(cells)]:
        _attribute(cells, "params" if not name.startswith(SPLIT) else "splits", made, name, value)
    for name in ATTRIBUTES:
        if (value := cells.one(name, fields.attribute)) is not None:
            made.attributes[name] = value
    made.cohorts = frozenset().union(*cells.each("cohorts", partial(_cohort, cells, "cohorts")))
    return uid, made


def _splits(cells: Cells) -> list[tuple[str, Any]]:
    return [(f"{SPLIT}{family}", part) for family, part in cells.pairs("splits")]


def _attribute(cells: Cells, column: str, made: Draft, name: str, value: Any) -> None:
    if not ATTRIBUTE_NAME.fullmatch(name):
        cells.refused(column, "an attribute's name has letters, digits and _ and starts with a letter")
    elif len(made.attributes) >= MAX_ITEMS - len(ATTRIBUTES):
        cells.refused(column, f"more than {MAX_ITEMS} attributes with the others")
    else:
        try:
            made.attributes[name] = fields.attribute(value)
        except ValueError as error:
            cells.refused(column, str(error))


def _cohort(cells: Cells, column: str, name: Any) -> frozenset[str]:
    """Its name here: small letters, digits, `.`, `_` and `-`. Raises ValueError."""
    said = fields.plain(name)
    spelled = "-".join(said.lower().split())
    found = fields.words([spelled])
    if spelled != said and found:
        cells.changed(column, "a cohort's name is in small letters and without blanks here")
    return found


def email(cells: Cells) -> tuple[UUID, str]:
    """One row of user_emails: whose address it is. Raises Refused."""
    uid = cells.key("uid")
    found = cells.one("email", fields.normal_email)
    if found is None:
        raise Refused("email", cells.remarks.pop().reason if cells.remarks else "missing")
    return uid, found


@dataclass(frozen=True, slots=True)
class Named:
    """A cohort that a table of its own names. `imported`: how many it had there, None: not said."""

    name: str
    imported: int | None = None
    members: tuple[UUID, ...] = ()


def cohort(cells: Cells) -> Named:
    """One row of cohorts. Raises Refused."""
    cells.read |= {"started", "completed"}
    return Named(_key(cells, "cohort"), cells.one("imported", whole))


def split(cells: Cells) -> Named:
    """One row of splits: a part that lists its people is a cohort of the part's name; one that is drawn by
    percents has no place here (raises Refused)."""
    name = _key(cells, "split")
    cells.read |= {"cohort", "sfam"}
    members = tuple(cells.each("users", uuid))
    if not members:
        raise Refused("pct", "a part that is drawn by percents has no place here: a campaign draws its own")
    return Named(name, None, members)


def _key(cells: Cells, column: str) -> str:
    value = cells.get(column)
    if value is None:
        raise Refused(column, "missing")
    try:
        (name,) = _cohort(cells, column, value)
    except ValueError as error:
        raise Refused(column, str(error) or "no name") from None
    return name
