"""One row of a file to one person, and what it changes of the record that is there. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from difflib import get_close_matches
from functools import partial
from typing import Any
from uuid import UUID

from msgspec import structs

from msgxc import ids
from msgxc.model import Attribute, Channel, Device, Recipient
from msgxc.people import fields
from msgxc.people.fields import MAX_ITEMS
from msgxc.store import choices
from msgxc.store.changes import Change, changed, own_after
from msgxc.store.choices import Choices

Reader = Callable[[Any], Any]

#: Columns that stand for a field of Recipient, under the field's name; `consented` is about `consents`.
SCALARS: Mapping[str, Reader] = {
    "name": fields.plain,
    "email": fields.normal_email,
    "cell": partial(fields.normal_cell, region=None),
    "lang": fields.language,
    "tz": fields.zone,
    "channels": fields.channels,
    "consents": fields.consents,
    "consented": fields.moment,
    "last_seen": fields.moment,
    "created": fields.moment,
}
#: Columns of devices; these may stand in a CSV file more than once.
DEVICES: Mapping[str, Reader] = {
    "apns": partial(fields.tokens, channel=Channel.APNS),
    "fcm": partial(fields.tokens, channel=Channel.FCM),
    "webpush": fields.subscriptions,
    "devices": fields.devices,
}
IDENTITIES = ("uid", "xid", "email")
COLUMNS = frozenset({*SCALARS, *DEVICES, *IDENTITIES, "suppressed", "cohorts", "attributes", "online_total"})
#: Names of the system before this one, in JSON Lines.
OLD_NAMES: Mapping[str, str] = {"mdevices": "devices", "mtypes": "channels"}


class Refused(Exception):
    """This row cannot be used; the reason repeats nothing of it. It never leaves the package."""

    def __init__(self, column: str, reason: str) -> None:
        super().__init__(f"{column}: {reason}")
        self.column = column
        self.reason = reason


@dataclass(slots=True)
class Draft:
    """What one row says. `scalars` holds only the fields of Recipient that it says something about."""

    scalars: dict[str, Any] = field(default_factory=dict, repr=False)
    attributes: dict[str, Attribute] = field(default_factory=dict, repr=False)
    devices: list[Device] = field(default_factory=list)
    suppressed: frozenset[Channel] = frozenset()
    cohorts: frozenset[str] = frozenset()
    online: int = 0  # milliseconds
    uid: str = field(default="", repr=False)
    xid: str = field(default="", repr=False)

    def identify(self, key: bytes) -> UUID:
        """The person's uid: from uid, else xid, else the email. Raises Refused when there is none of them."""
        text = self.uid or self.xid or self.scalars.get("email", "")
        if not text:
            raise Refused("uid", "there is no uid, xid or email")
        return ids.uid_of(key, text)


def readers(region: str | None) -> Mapping[str, Reader]:
    """The readers of the scalar columns; phone numbers without + are read as of this region."""
    return {**SCALARS, "cell": partial(fields.normal_cell, region=region)}


def unknown_column(name: str) -> str:
    """Why this column cannot be used, with the nearest known name; "" when it can."""
    if name in COLUMNS or (name.startswith("attr.") and fields.ATTRIBUTE_NAME.fullmatch(name[5:])):
        return ""
    near = get_close_matches(name.lower(), sorted(COLUMNS), n=1, cutoff=0.6)
    meant = f"did you mean {near[0]}, or" if near else "is it"
    shown = name if fields.ATTRIBUTE_NAME.fullmatch(name) else "NAME"
    return f"not a known column; {meant} an attribute (attr.{shown})?"


def draft(cells: Iterable[tuple[str, Any]], scalars: Mapping[str, Reader], *, typed: bool) -> Draft:
    """Read a row. Empty cells say nothing. `typed`: values come from JSON, not from text.

    Raises Refused with the first column that cannot be used.
    """
    made = Draft()
    for column, value in cells:
        if value is None or value in ("", []):
            continue
        try:
            if column in scalars:
                made.scalars[column] = scalars[column](value)
            else:
                _take(made, column, value, typed)
        except ValueError as error:
            raise Refused(column, str(error)) from None
    return made


def _take(made: Draft, column: str, value: Any, typed: bool) -> None:
    if column in ("uid", "xid"):
        setattr(made, column, fields.identity(value))
    elif column in DEVICES:
        made.devices += DEVICES[column](value)
    elif column.startswith("attr."):
        made.attributes[column[5:]] = fields.attribute(value) if typed else fields.guessed(value)
    elif column == "attributes":
        made.attributes.update(fields.attributes(value))
    elif column == "suppressed":
        made.suppressed = fields.suppressions(value)
    elif column == "online_total":
        made.online = fields.span(value)
    elif column == "cohorts":
        made.cohorts = fields.cohorts(value)


def in_future(made: Draft, now: datetime) -> list[str]:
    """The columns whose time lies in the future: what only moves forward would never be put right, and no
    news of a device's death would ever be younger. A day is let pass: a date has no zone, clocks differ."""
    latest = now + timedelta(days=1)
    found = [name for name in ("last_seen", "created") if made.scalars.get(name, now) > latest]
    return found + ["devices"] * any(device.registered > latest for device in made.devices)


def change_of(before: Recipient | None, made: Draft, uid: UUID, now: datetime, own: Choices) -> Change:
    """What the row changes, where `before` is the record as it holds now and `own` what its person chose.

    What the row says replaces what was there, except: devices are added, attributes are added or replaced one
    by one, and nobody becomes less recently seen. A new person without `created` gets `now`. **What the
    person took back by themself stays so**: of such consents only those count for which the row says when
    they were given (`consented`), and that is later. Raises Refused for a time in the future, and when there
    are too many devices.
    """
    if ahead := in_future(made, now):
        raise Refused(ahead[0], "a time in the future")
    attributes = {"xid": made.xid, **made.attributes} if made.xid else dict(made.attributes)
    scalars = dict(made.scalars)
    consented = scalars.pop("consented", None)
    if consented is not None and consented > now:
        raise Refused("consented", "a time in the future")
    change = Change(uid, now, scalars, attributes, list(made.devices))
    if "consents" in scalars:
        change.agreed = {choices.consent(one): consented for one in scalars["consents"]} if consented else {}
        held = own.consents(frozenset()) if own.given else frozenset()
        change.dropped |= {choices.consent(one) for one in held - scalars["consents"]}
    if own.given and scalars.get("channels") is not None:
        by = own.channels(frozenset())
        lost = (frozenset(Channel) if by is None else by) - scalars["channels"]
        change.dropped |= {choices.channel(one) for one in lost}
    known = before.devices if before else ()
    if made.devices and len({(d.channel, d.token) for d in (*known, *made.devices)}) > MAX_ITEMS:
        raise Refused("devices", f"more than {MAX_ITEMS} devices with those already known")
    return change


def merge(before: Recipient | None, change: Change, own: Choices) -> tuple[Recipient, Choices, int]:
    """The record as it holds after the change, what its person then chose by themself, and how many consents
    of the row they have taken back."""
    after, now = changed(before, change), own_after(own, change)
    if not (now.given or now.withdrawn):
        return after, now, 0
    held = structs.replace(
        after, consents=now.consents(after.consents), channels=now.channels(after.channels)
    )
    return held, now, len(change.fields.get("consents", frozenset()) - held.consents)
