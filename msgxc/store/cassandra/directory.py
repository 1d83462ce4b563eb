"""The recipient tables in Cassandra: one partition each person."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from msgspec import structs

from msgxc.errors import StoreUnavailable
from msgxc.model import Device, Recipient
from msgxc.online import Heard, Online
from msgxc.store import records
from msgxc.store.cassandra import statements as cql
from msgxc.store.cassandra.binding import UNSET
from msgxc.store.cassandra.groups import CassandraCohorts, CassandraThreads
from msgxc.store.cassandra.messages import forget_people
from msgxc.store.cassandra.session import AT_ONCE, TRIES, Session
from msgxc.store.cassandra.times import instant, time_of
from msgxc.store.changes import FIELDS, Change
from msgxc.store.choices import Choice, Choices, Said, lines
from msgxc.store.ports import DEVICES, AddressOf, Suppression, Wish, nowhere

if TYPE_CHECKING:
    from msgxc.expression import Condition, Narrowing

STOPPED = "stopped"
_EVER = datetime.min.replace(tzinfo=UTC)


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
    uid, name, email, cell, lang, tz, channels, devices, consents, attributes, last_seen, created = row[:12]
    made = Recipient(
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
    given, withdrawn = row[12:]
    if not (given or withdrawn):
        return made
    chosen = _choices(given, withdrawn)
    return structs.replace(
        made, consents=chosen.consents(made.consents), channels=chosen.channels(made.channels)
    )


def _choices(given: Any, withdrawn: Any) -> Choices:
    """From two maps of item -> time, either may be null."""
    return Choices(
        *({item: time_of(at) for item, at in (stored or {}).items()} for stored in (given, withdrawn))
    )


def _devices(stored: Any) -> tuple[Device, ...]:
    """From a map of token -> (channel, place, registered, p256dh, auth), in the order of the places; of those
    of one place the youngest first."""
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


def _place(entry: tuple[str, Any]) -> tuple[int, float]:
    _, place, registered, _, _ = entry[1]
    return place, -time_of(registered).timestamp()


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


def _change_values(change: Change, devices: Any, last_seen: Any, given: Any) -> tuple[object, ...]:
    """The values of cql.CHANGE for one person: what is stored now tells what is older, and is not written."""
    fields = dict(change.fields)
    if last_seen is not None and "last_seen" in fields and time_of(last_seen) > fields["last_seen"]:
        del fields["last_seen"]
    for name in ("last_seen", "created"):
        if name in fields:
            fields[name] = instant(fields[name])
    if "channels" in fields:
        fields["channels"] = records.spell_channels(fields["channels"])
    known = {item: time_of(at) for item, at in (given or {}).items()}
    agreed = {i: instant(at) for i, at in change.agreed.items() if at > known.get(i, _EVER)}
    return (
        *(fields.get(name, UNSET) for name in FIELDS),
        {name: json.dumps(value, ensure_ascii=False) for name, value in change.attributes.items()} or UNSET,
        _added(change.devices, _pairs(devices) if devices else []) or UNSET,
        agreed or UNSET,
        change.uid,
    )


def _added(devices: Sequence[Device], stored: list[tuple[str, Any]]) -> dict[str, tuple[object, ...]]:
    """The devices that are new or younger than what is stored, each at the place of the first one that is not
    younger: before that one, and after all others, though none of them is written."""
    known, order = dict(stored), sorted(stored, key=_place)
    written: dict[str, tuple[object, ...]] = {}
    for d in devices:
        held = known.get(d.token)
        if held is not None and time_of(held[2]) > d.registered:
            continue
        others = [entry for token, entry in order if token != d.token]
        older = [place for _, place, registered, *_ in others if time_of(registered) <= d.registered]
        place = older[0] if older else others[-1][1] if others else 0
        if d.token not in written or cast(datetime, written[d.token][2]) <= d.registered:
            written[d.token] = (records.device_channel(d), place, instant(d.registered), d.p256dh, d.auth)
    return written


def _why(reason: str | None, since: Any, stopped: Any, started: Any) -> str:
    """Why an address is suppressed; "" when it is not. Before there were wishes a STOP was a reason."""
    if reason and reason != STOPPED:
        return reason
    if reason:
        stopped = max(since, stopped or since)
    return STOPPED if stopped and (started is None or started <= stopped) else ""


def _microseconds(at: datetime) -> int:
    """A time as a write's."""
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


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

    async def change(self, changes: Sequence[Change]) -> None:
        """Only cells of the fields that are named are written, so nothing has to be read for them. Devices
        are read for their places: one that is known and younger is left alone. The others keep theirs."""
        if not changes:
            return
        people: dict[UUID, tuple[Any, Any, Any]] = {}
        for some in records.batches([change.uid for change in changes], AT_ONCE):
            rows = await self._session.rows(cql.GET_KNOWN, some)
            people.update((uid, (devices, last_seen, given)) for uid, devices, last_seen, given in rows)
        appearing = [[(c.uid, instant(c.created))] for c in changes if c.uid not in people]
        await self._session.partitions(cql.APPEAR, appearing)
        parts = [[_change_values(change, *people.get(change.uid, (None, None, None)))] for change in changes]
        await self._session.partitions(cql.CHANGE, parts, together=5)
        dropped = [[(frozenset(change.dropped), change.uid)] for change in changes if change.dropped]
        await self._session.partitions(cql.DROP_GIVEN, dropped)

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
        for statement in cql.ERASE_UNDER_UID:
            await self._session.partitions(statement, [[(uid,)] for uid in uids])
        await self._forget_online(uids)
        await self._disown(frozenset(uids))

    async def _disown(self, uids: Collection[UUID]) -> None:
        """Owners of devices stand by the device's hash, so all are read; by compare-and-set, as they were
        written: whoever enlisted it meanwhile keeps it."""
        async for page in self._session.scan(cql.SCAN_OWNERS):
            for address, owner in page:
                if owner in uids:
                    await self._session.settle(cql.DISOWN, address, owner)

    async def bury(self, people: Collection[bytes], at: datetime) -> None:
        await self._session.partitions(cql.BURY, [[(mark, instant(at))] for mark in people])

    async def unbury(self, people: Collection[bytes]) -> None:
        await self._session.partitions(cql.UNBURY, [[(mark,)] for mark in people])

    async def buried(self, people: Collection[bytes]) -> set[bytes]:
        chunks = [(some,) for some in records.batches(people, AT_ONCE)]
        return {row[0] for rows in await self._session.each(cql.BURIED, chunks) for row in rows}

    async def prune(self, uid: UUID, token: str, dead_since: datetime | None, address: bytes = b"") -> bool:
        """The deletion carries the time at which the device that was read was written: a registration that
        comes in between is younger, so it stays, whichever of the two arrives first."""
        rows = await self._session.rows(cql.GET_DEVICE, token, token, uid)
        device, written = rows[0] if rows else (None, None)
        if device is None or (dead_since is not None and time_of(device.registered) > instant(dead_since)):
            return False
        await self._session.rows(cql.PRUNE_DEVICE, token, written, uid)
        if address:
            await self._session.settle(cql.DISOWN, address, uid)
        return True

    async def enlist(
        self, uid: UUID, device: Device, address: bytes, address_of: AddressOf = nowhere
    ) -> UUID | None:
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
            await self.prune(uid, old.token, None, address_of(old))
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

    async def seen(self, people: Mapping[UUID, datetime]) -> None:
        for some in records.batches(people, AT_ONCE):
            known = {uid: last for uid, _, last, _ in await self._session.rows(cql.GET_KNOWN, some)}
            later = [
                [(int(people[uid].timestamp() * 1e6), instant(people[uid]), uid)]
                for uid, last in known.items()
                if last is None or time_of(last) < people[uid]
            ]
            await self._session.partitions(cql.SEEN, later)

    async def note_online(self, people: Mapping[UUID, Heard]) -> None:
        """By compare-and-set: of several gateways at once the slower one reads again. Whoever is erased
        between the look and the write is forgotten once more."""
        for some in records.batches(people, AT_ONCE):
            left = await self._there(some)
            for _ in range(TRIES):
                rows = await self._session.rows(cql.ONLINE, left) if left else ()
                kept = {uid: records.read_online(total, lately) for uid, total, lately in rows}
                done = await asyncio.gather(*(self._set_online(u, kept.get(u), people[u]) for u in left))
                fresh = [uid for uid, written in zip(left, done, strict=True) if written and uid not in kept]
                await self._forget_online(set(fresh).difference(await self._there(fresh)))
                left = [uid for uid, written in zip(left, done, strict=True) if not written]
            if left:
                raise StoreUnavailable("Cassandra did not say whether somebody's time online was written")

    async def _there(self, uids: Sequence[UUID]) -> list[UUID]:
        return [uid for (uid,) in await self._session.rows(cql.THERE, uids)] if uids else []

    async def _set_online(self, uid: UUID, kept: Online | None, heard: Heard) -> bool:
        now = (kept or Online()).after(heard)
        values = (now.total, records.spell_online(now), uid)
        if now == kept:
            return True
        if kept is None:
            return bool(await self._session.change(cql.ONLINE_FIRST, *values))
        known = (kept.total, records.spell_online(kept))
        return bool(await self._session.change(cql.ONLINE_NOW, *values, *known))

    async def _forget_online(self, uids: Collection[UUID]) -> None:
        for uid in uids:
            await self._session.settle(cql.FORGET_ONLINE, uid)

    async def online(self, uids: Collection[UUID]) -> dict[UUID, int]:
        chunks = [(some,) for some in records.batches(uids, AT_ONCE)]
        answers = await self._session.each(cql.ONLINE, chunks)
        return {uid: total for rows in answers for uid, total, _ in rows}

    async def owner(self, address: bytes) -> UUID | None:
        rows = await self._session.rows(cql.OWNER, address)
        return rows[0][0] if rows else None

    async def choose(self, uid: UUID, choice: Choice) -> bool:
        """The log first: what is in it and was not done has not been answered."""
        if uid not in await self.get([uid]):
            return False
        await self._say(uid, lines(choice))
        at = instant(choice.at)
        given, withdrawn = dict.fromkeys(choice.given, at), dict.fromkeys(choice.withdrawn, at)
        done = await self._session.settle(cql.CHOOSE, given, withdrawn, uid)
        if not done:  # erased meanwhile
            await self._session.rows(cql.ERASE_UNDER_UID[0], uid)
        return done

    async def ask(self, uid: UUID, choice: Choice) -> None:
        await self._say(uid, lines(choice, "asked"))

    async def _say(self, uid: UUID, said: Sequence[Said]) -> None:
        values = [(uid, instant(s.at), s.item, s.act, s.how, s.link) for s in said]
        await self._session.partitions(cql.SAY, [values])

    async def choices(self, uids: Collection[UUID]) -> dict[UUID, Choices]:
        chunks = [(some,) for some in records.batches(uids, AT_ONCE)]
        answers = await self._session.each(cql.CHOICES, chunks)
        return {
            uid: _choices(given, taken) for rows in answers for uid, given, taken in rows if given or taken
        }

    async def said(self, uid: UUID) -> list[Said]:
        rows = await self._session.rows(cql.SAID, uid)
        return [Said(time_of(at), *rest) for at, *rest in rows]

    async def suppress(self, entries: Sequence[Suppression]) -> None:
        values = [(e.channel, e.reason, instant(e.since), e.address) for e in entries]
        await self._session.change_each(cql.SUPPRESS, values)

    async def wish(self, wishes: Sequence[Wish]) -> None:
        for stop, statement in cql.WISH.items():
            parts = [[(_microseconds(w.at), instant(w.at), w.address)] for w in wishes if w.stop is stop]
            await self._session.partitions(statement, parts)

    async def suppressed(self, addresses: Collection[bytes]) -> dict[bytes, str]:
        chunks = [(some,) for some in records.batches(addresses, AT_ONCE)]
        answers = await self._session.each(cql.SUPPRESSED, chunks)
        known = {address: _why(*rest) for rows in answers for address, *rest in rows}
        return {address: why for address, why in known.items() if why}
