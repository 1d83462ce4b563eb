"""One row of a file to one person, and what it changes of the record that is there. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from functools import partial
from typing import Any
from uuid import UUID

from msgspec import structs

from msgxc import ids
from msgxc.model import Attribute, Channel, Device, Recipient
from msgxc.people import fields

Reader = Callable[[Any], Any]

#: Columns that stand for a field of Recipient, under the field's name.
SCALARS: Mapping[str, Reader] = {
    "name": fields.plain,
    "email": fields.normal_email,
    "cell": partial(fields.normal_cell, region=None),
    "lang": fields.language,
    "tz": fields.zone,
    "channels": fields.channels,
    "consents": fields.words,
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
COLUMNS = frozenset({*SCALARS, *DEVICES, *IDENTITIES, "suppressed", "cohorts", "attributes"})
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

    scalars: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Attribute] = field(default_factory=dict)
    devices: list[Device] = field(default_factory=list)
    suppressed: frozenset[Channel] = frozenset()
    cohorts: frozenset[str] = frozenset()
    uid: str = ""
    xid: str = ""

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
    elif column == "cohorts":
        made.cohorts = fields.words(value)


def merge(before: Recipient | None, made: Draft, uid: UUID, now: datetime) -> Recipient:
    """The record after this row.

    What the row says replaces what was there, except: devices are added, attributes are added or replaced one
    by one, and nobody becomes less recently seen. A new person without `created` gets `now`. Applying a row
    twice is the same as once. Raises Refused when there are too many devices.
    """
    scalars = made.scalars
    attributes = made.attributes
    if made.xid:
        attributes = {"xid": made.xid, **attributes}
    if before is None:
        devices = merge_devices((), made.devices)
        return Recipient(uid, attributes=attributes, devices=devices, **{"created": now, **scalars})
    if before.last_seen and "last_seen" in scalars:
        scalars = {**scalars, "last_seen": max(before.last_seen, scalars["last_seen"])}
    return structs.replace(
        before,
        attributes={**before.attributes, **attributes} if attributes else before.attributes,
        devices=merge_devices(before.devices, made.devices),
        **scalars,
    )


def merge_devices(before: tuple[Device, ...], added: list[Device]) -> tuple[Device, ...]:
    """All devices, each token once, the youngest registration first; of a token the younger one stays."""
    if not added or (len(added) == 1 and not before):
        return before or tuple(added)
    by_token = {(device.channel, device.token): device for device in before}
    for device in added:
        known = by_token.get((device.channel, device.token))
        if known is None or device.registered >= known.registered:
            by_token[(device.channel, device.token)] = device
    if len(by_token) > fields.MAX_ITEMS:
        raise Refused("devices", f"more than {fields.MAX_ITEMS} devices with those already known")
    return tuple(sorted(by_token.values(), key=_registered, reverse=True))


def _registered(device: Device) -> datetime:
    return device.registered
