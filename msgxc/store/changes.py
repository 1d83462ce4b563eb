"""What a row of a file changes of one record: the fields that it names, and no others. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import structs

from msgxc.model import Attribute, Channel, Device, Recipient, one_spelling
from msgxc.store.choices import Choices

#: Fields that a change may set, as the record holds them; `last_seen` only moves forward.
FIELDS = ("name", "email", "cell", "lang", "tz", "channels", "consents", "last_seen", "created")


@dataclass(slots=True)
class Change:
    """A change of one record. `fields`: of FIELDS, what is set; what is not there stays as it is.

    `attributes` and `devices` are added or replaced one by one. `created`: for somebody who is not there yet.
    `agreed`: consents of which the row tells when their person gave them: they outweigh an older withdrawal.
    `dropped`: items (choices.py) that the person had given and the row takes away.
    """

    uid: UUID
    created: datetime
    fields: dict[str, Any] = field(default_factory=dict, repr=False)
    attributes: dict[str, Attribute] = field(default_factory=dict, repr=False)
    devices: list[Device] = field(default_factory=list)
    agreed: dict[str, datetime] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)

    def add(self, later: Change) -> None:
        """One more row about the same person: field by field the later one wins."""
        seen = [c.fields["last_seen"] for c in (self, later) if c.fields.get("last_seen")]
        self.fields.update(later.fields)
        if seen:
            self.fields["last_seen"] = max(seen)
        self.attributes.update(later.attributes)
        self.devices += later.devices
        self.agreed.update(later.agreed)
        self.dropped |= later.dropped


def changed(before: Recipient | None, change: Change) -> Recipient:
    """The record after the change. Twice is the same as once."""
    fields = change.fields
    if before is None:
        devices = merge_devices((), change.devices)
        made: Mapping[str, Any] = {"created": change.created, **fields}
        return Recipient(change.uid, attributes=change.attributes, devices=devices, **made)
    if before.last_seen and fields.get("last_seen"):
        fields = {**fields, "last_seen": max(before.last_seen, fields["last_seen"])}
    return structs.replace(
        before,
        attributes={**before.attributes, **change.attributes} if change.attributes else before.attributes,
        devices=merge_devices(before.devices, change.devices),
        **fields,
    )


def own_after(own: Choices, change: Change) -> Choices:
    """What the person chose by themself, after the change."""
    if not (change.agreed or change.dropped):
        return own
    given = {item: at for item, at in own.given.items() if item not in change.dropped}
    for item, at in change.agreed.items():
        given[item] = max(at, given.get(item, at))
    return Choices(given, own.withdrawn)


def merge_devices(before: tuple[Device, ...], added: Iterable[Device]) -> tuple[Device, ...]:
    """All devices, each token once in whichever spelling, the youngest registration first; of a token the
    younger one stays."""
    by_token = {_known_by(device): device for device in before}
    news = False
    for device in added:
        known = by_token.get(_known_by(device))
        if known is None or device.registered >= known.registered:
            by_token[_known_by(device)] = device
            news = True
    return tuple(sorted(by_token.values(), key=_registered, reverse=True)) if news else before


def _known_by(device: Device) -> tuple[Channel, str]:
    return device.channel, one_spelling(device.channel, device.token)


def _registered(device: Device) -> datetime:
    return device.registered
