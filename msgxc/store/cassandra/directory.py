"""The recipient tables in Cassandra: one partition each person."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from msgxc.errors import StoreUnavailable
from msgxc.model import Channel, Device, Recipient
from msgxc.store import records
from msgxc.store.cassandra import statements as cql
from msgxc.store.cassandra.groups import CassandraCohorts, CassandraThreads
from msgxc.store.cassandra.messages import forget_people
from msgxc.store.cassandra.session import AT_ONCE, Session
from msgxc.store.cassandra.times import instant, time_of
from msgxc.store.ports import DEVICES, Suppression

if TYPE_CHECKING:
    from msgxc.expression import Condition, Narrowing


def _values(recipient: Recipient) -> tuple[object, ...]:
    return (
        recipient.uid,
        recipient.name,
        recipient.email,
        recipient.cell,
        recipient.lang,
        recipient.tz,
        records.spell_channels(recipient.channels),
        {
            d.token: (records.device_channel(d), place, instant(d.registered), d.p256dh, d.auth)
            for place, d in enumerate(recipient.devices)
        },
        recipient.consents,
        {name: json.dumps(value, ensure_ascii=False) for name, value in recipient.attributes.items()},
        instant(recipient.last_seen),
        instant(recipient.created),
    )


def _recipient(row: tuple[Any, ...]) -> Recipient:
    uid, name, email, cell, lang, tz, channels, devices, consents, attributes, last_seen, created = row
    return Recipient(
        uid=uid,
        name=name or "",
        email=email or "",
        cell=cell or "",
        lang=lang or "",
        tz=tz or "",
        channels=None if channels is None else records.read_channels(channels),
        devices=_devices(devices) if devices else (),
        consents=frozenset(consents or ()),
        attributes={key: records.from_json(value) for key, value in _pairs(attributes)} if attributes else {},
        last_seen=time_of(last_seen),
        created=time_of(created),
    )


def _devices(stored: Any) -> tuple[Device, ...]:
    """From a map of token -> (channel, place, registered, p256dh, auth), in the order of the places."""
    pairs = _pairs(stored)
    ordered = sorted(pairs, key=_place) if len(pairs) > 1 else pairs
    return tuple(
        [
            Device(records.CHANNELS[channel], token, time_of(registered), p256dh or "", auth or "")
            for token, (channel, _, registered, p256dh, auth) in ordered
        ]
    )


def _pairs(stored: Any) -> list[tuple[str, Any]]:
    """The entries of a map. The driver's own `items()` looks each key up again, by its bytes."""
    pairs: list[tuple[str, Any]] = stored._items
    return pairs


def _place(entry: tuple[str, Any]) -> int:
    place: int = entry[1][1]
    return place


def _narrowed(narrowing: Narrowing) -> tuple[str, list[object]]:
    """The conditions that an index answers, as CQL, and their values.

    Times are kept in milliseconds: < becomes <=, so that the fraction loses nobody. An attribute is compared
    when it is text alone: 7 and 7.0 are equal, their JSON is not.
    """
    clauses: list[str] = []
    values: list[object] = []
    for condition in narrowing:
        if found := _clause(condition):
            clauses.append(f" AND {found[0]}")
            values += found[1:]
    return "".join(clauses), values


def _clause(condition: Condition) -> tuple[object, ...] | None:
    field, value = condition.field, condition.value
    if field in ("lang", "tz") and condition.op == "=" and value:
        return f"{field} = ?", value
    if field == "last_seen" and isinstance(value, datetime) and condition.op != "=":
        return f"last_seen {condition.op[0]}= ?", instant(value)
    if field.startswith("attr.") and condition.op == "=" and isinstance(value, str):
        return "attributes[?] = ?", field.removeprefix("attr."), json.dumps(value, ensure_ascii=False)
    return None


class CassandraDirectory:
    """See ports.Directory."""

    def __init__(self, session: Session, cohorts: CassandraCohorts, threads: CassandraThreads) -> None:
        self._session = session
        self._cohorts = cohorts
        self._threads = threads

    async def put(self, recipients: Sequence[Recipient]) -> None:
        last = {recipient.uid: recipient for recipient in recipients}  # one request has one time for all
        parts = [[_values(recipient)] for recipient in last.values()]
        await self._session.partitions(cql.PUT_RECIPIENT, parts, together=5)

    async def get(self, uids: Collection[UUID]) -> dict[UUID, Recipient]:
        chunks = [(some,) for some in records.batches(uids, AT_ONCE)]
        answers = await self._session.each(cql.GET_RECIPIENTS, chunks)
        return {row[0]: _recipient(row) for rows in answers for row in rows}

    async def scan(self, narrowing: Narrowing = ()) -> AsyncIterator[list[Recipient]]:
        where, values = _narrowed(narrowing)
        async for page in self._session.scan(cql.SCAN_RECIPIENTS + where, *values):
            yield [_recipient(row) for row in page]

    async def scan_uids(self) -> AsyncIterator[list[UUID]]:
        async for page in self._session.scan(cql.SCAN_UIDS):
            yield [uid for (uid,) in page]

    async def count(self) -> int:
        """Exactly, by counting on the servers: a second for some 100,000 people and node."""
        return sum([count async for page in self._session.scan(cql.COUNT_RECIPIENTS) for (count,) in page])

    async def erase(self, uids: Collection[UUID]) -> None:
        await self._cohorts.leave_all(uids)
        await self._threads.leave_all(uids)
        await forget_people(self._session, uids)
        await self._session.partitions(cql.ERASE_RECIPIENT, [[(uid,)] for uid in uids])

    async def prune(self, uid: UUID, token: str, dead_since: datetime | None) -> bool:
        """The deletion carries the time at which the device that was read was written: a registration that
        comes in between is younger, so it stays, whichever of the two arrives first."""
        rows = await self._session.rows(cql.GET_DEVICE, token, token, uid)
        device, written = rows[0] if rows else (None, None)
        if device is None or (dead_since is not None and time_of(device.registered) > instant(dead_since)):
            return False
        await self._session.rows(cql.PRUNE_DEVICE, token, written, uid)
        return True

    async def enlist(self, uid: UUID, device: Device, address: bytes) -> UUID | None:
        channel, seen = records.device_channel(device), instant(device.registered)
        before = await self._take(uid, address)
        if before:
            await self.prune(before, device.token, None)
        people = await self.get([uid])
        others = [d for d in (people[uid].devices if uid in people else ()) if d.token != device.token]
        places = await self._session.rows(cql.GET_PLACES, uid)
        first = min((entry[1] for entry in (places[0][0] or {}).values()), default=0) if places else 0
        entry = (channel, first - 1, seen, device.p256dh, device.auth)
        if uid not in people:
            await self._session.rows(cql.APPEAR, uid, seen)
        await self._session.rows(cql.ENLIST, {device.token: entry}, seen, uid)
        for old in others[DEVICES - 1 :]:
            await self.prune(uid, old.token, None)
        return before

    async def _take(self, uid: UUID, address: bytes) -> UUID | None:
        """Be the owner of a device; answers who was. By compare-and-set: two at once, and one loses it."""
        for _ in range(5):
            rows = await self._session.serial(cql.OWNER, address)
            before = rows[0][0] if rows else None
            if before == uid:
                return None
            change = (cql.OWN_NOW, uid, address, before) if before else (cql.OWN_FIRST, address, uid)
            if await self._session.change(*change):
                return before
        raise StoreUnavailable("Cassandra did not say whose the device is now")

    async def choose(
        self, uid: UUID, consents: Collection[str], channels: Collection[Channel] | None
    ) -> bool:
        if uid not in await self.get([uid]):
            return False
        await self._session.rows(cql.CHOOSE, frozenset(consents), records.spell_channels(channels), uid)
        return True

    async def suppress(self, entries: Sequence[Suppression]) -> None:
        values = [(e.address, e.channel, e.reason, instant(e.since)) for e in entries]
        await self._session.change_each(cql.SUPPRESS, values)

    async def unsuppress(self, addresses: Collection[bytes]) -> None:
        await self._session.change_each(cql.UNSUPPRESS, [(address,) for address in addresses])

    async def suppressed(self, addresses: Collection[bytes]) -> dict[bytes, str]:
        chunks = [(some,) for some in records.batches(addresses, AT_ONCE)]
        answers = await self._session.each(cql.SUPPRESSED, chunks)
        return {address: reason for rows in answers for address, reason in rows}
