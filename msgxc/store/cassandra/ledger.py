"""The window ledger in Cassandra: audience, lease, windows and marks of a shard are one partition each.

A mark is a row of its own under (uid, delivery, mark, at), so that writing only ever adds: late, repeated
and reordered news meet on their key, nobody reads before writing, and no clock decides who wins. Reading
folds the marks with `ledger.merge`, in order of precedence, the earliest of a kind first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import time_ns
from typing import Any
from uuid import UUID, uuid4

from msgxc import ids
from msgxc.errors import LeaseLost, NotFound, StoreUnavailable
from msgxc.ledger import (
    PLACES,
    PRECEDENCE,
    SEALING,
    SEAT,
    Campaign,
    Control,
    Lease,
    Mark,
    Result,
    Row,
    Seal,
    ShardState,
    Window,
    merge,
)
from msgxc.store import records
from msgxc.store.cassandra import statements as cql
from msgxc.store.cassandra.session import AT_ONCE, Session
from msgxc.store.cassandra.times import instant, time_of
from msgxc.store.cassandra.together import Together

_MARKS = {str(mark): mark for mark in Mark}
KEPT_DAYS = 31  # campaigns_by_day forgets what is older


def _campaign(row: tuple[Any, ...]) -> Campaign:
    identity, spec, shards, created, control, count, digest, finished, told = row
    return Campaign(
        id=identity,
        spec=records.read_spec(spec),
        shards=shards,
        created=time_of(created),
        control=Control(control),
        seal=None if count is None else Seal(count, digest),
        finished=time_of(finished),
        told=time_of(told),
    )


def _of(statement: str, campaign: UUID) -> str:
    """The statement for the table that the campaign stands in."""
    return cql.of_message(statement) if ids.is_message(campaign) else statement


def _values(campaign: UUID, shard: int, r: Result) -> tuple[object, ...]:
    """What cql.RECORD takes."""
    first = campaign, shard, r.uid, r.delivery, r.mark, instant(r.at), r.channel or ""
    return *first, r.reason, r.code, r.ref, records.pack_tries(r)


def _plain(campaign: UUID, shard: int, r: Result) -> tuple[object, ...]:
    """What cql.RECORD_PLAIN takes."""
    first = campaign, shard, r.uid, r.delivery, r.mark, instant(r.at), r.channel or ""
    return *first, r.ref, records.pack_tries(r)


def _result(row: tuple[Any, ...]) -> Result:
    uid, delivery, mark, at, channel, reason, code, ref, tries = row
    return Result(
        uid=uid,
        delivery=delivery,
        channel=records.CHANNELS[channel] if channel else None,
        mark=_MARKS[mark],
        at=time_of(at),
        reason=reason or "",
        code=code or "",
        ref=ref,
        attempt=tries & 255,
        doubts=tries >> 8,
    )


def _place(result: Result) -> tuple[int, int, int, datetime]:
    return result.uid.int, result.delivery.int, PRECEDENCE[result.mark], result.at


def _folded(results: Iterable[Result]) -> dict[tuple[UUID, UUID], Row]:
    """The rows that these marks make, by (uid, delivery), ascending."""
    rows: dict[tuple[UUID, UUID], Row] = {}
    for result in sorted(results, key=_place):
        key = result.uid, result.delivery
        rows[key] = merge(rows.get(key), result)
    return rows


class CassandraLedger:
    """See ports.Ledger."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._noting = Together(self._note)

    # -- campaigns: after each compare-and-set the answer is read, so a lost one makes no difference

    async def create(self, campaign: Campaign) -> Campaign:
        spec, created = records.spell_spec(campaign.spec), instant(campaign.created)
        if not ids.is_message(campaign.id):
            await self._session.rows(cql.NOTE_CREATED, created.astimezone(UTC).date(), created, campaign.id)
        statement = _of(cql.CREATE_CAMPAIGN, campaign.id)
        await self._session.change(statement, campaign.id, spec, campaign.shards, created, campaign.control)
        return await self._decided(campaign.id, StoreUnavailable("Cassandra did not keep the campaign"))

    async def create_sealed(self, campaign: Campaign, members: Sequence[tuple[int, UUID]]) -> Campaign:
        seal = campaign.seal
        if seal is None:
            raise ValueError("the campaign has no seal")
        await self._add_members(campaign.id, members)
        await self._session.change(
            _of(cql.CREATE_SEALED, campaign.id),
            campaign.id,
            records.spell_spec(campaign.spec),
            campaign.shards,
            instant(campaign.created),
            campaign.control,
            seal.count,
            seal.digest,
        )
        return await self._decided(campaign.id, StoreUnavailable("Cassandra did not keep the campaign"))

    async def _add_members(self, campaign: UUID, members: Sequence[tuple[int, UUID]]) -> None:
        shards: dict[int, list[tuple[object, ...]]] = {}
        for shard, uid in members:
            shards.setdefault(shard, []).append((campaign, shard, uid))
        await self._session.partitions(cql.EXPAND, shards.values())

    async def holders(self, campaigns: Collection[UUID]) -> dict[UUID, tuple[str, float]]:
        found = await self._session.each(cql.GET_HOLDER, [(campaign,) for campaign in campaigns])
        return {campaign: (owner, until) for rows in found for campaign, owner, until in rows}

    async def _decided(self, campaign: UUID, otherwise: Exception) -> Campaign:
        rows = await self._session.serial(_of(cql.GET_CAMPAIGN, campaign), campaign)
        if not rows:
            raise otherwise
        return _campaign(rows[0])

    async def campaign(self, campaign: UUID) -> Campaign | None:
        rows = await self._session.rows(_of(cql.GET_CAMPAIGN, campaign), campaign)
        return _campaign(rows[0]) if rows else None

    async def campaigns(self, *, messages: bool = False) -> AsyncIterator[list[Campaign]]:
        statement = cql.of_message(cql.SCAN_CAMPAIGNS) if messages else cql.SCAN_CAMPAIGNS
        async for page in self._session.scan(statement):
            yield [_campaign(row) for row in page]

    async def control(self, campaign: UUID) -> Control:
        rows = await self._session.rows(_of(cql.GET_CONTROL, campaign), campaign)
        return Control(rows[0][0]) if rows else Control.CANCEL

    async def created_since(self, at: datetime) -> list[UUID]:
        """A day is a partition; one day more than today's, for a machine whose clock is ahead."""
        first, last = at.astimezone(UTC).date(), datetime.now(UTC).date() + timedelta(days=1)
        days = [last - timedelta(days=n) for n in range(min((last - first).days, KEPT_DAYS) + 1)]
        found = await self._session.each(cql.CREATED_SINCE, [(day, instant(at)) for day in days])
        return [identity for rows in found for (identity,) in rows]

    async def set_control(self, campaign: UUID, control: Control, at: datetime | None = None) -> Control:
        change = cql.CANCEL if control is Control.CANCEL else cql.SET_CONTROL
        values: tuple[object, ...] = (control,)
        if at:
            change, values = cql.with_time(change), (control, instant(at))
        applied = await self._session.change(_of(change, campaign), *values, campaign)
        rows = await self._session.serial(_of(cql.GET_CONTROL, campaign), campaign)
        now = Control(rows[0][0]) if rows else Control.CANCEL
        if applied is None and now not in (control, Control.CANCEL, Control.RESTORED):
            raise StoreUnavailable("Cassandra did not say whether the wish was taken")
        return now

    async def resume_restored(self, campaign: UUID) -> None:
        if await self._session.change(_of(cql.RESUME_RESTORED, campaign), campaign) is None:
            raise StoreUnavailable("Cassandra did not say whether the campaign was resumed")

    async def begin(self, campaign: UUID) -> int | None:
        """The token is the time of the writes that are made with it. What is older is removed once, for good:
        a write that was held up for however long finds that it is older than its removal."""
        while rows := await self._session.serial(_of(cql.GET_SEALER, campaign), campaign):
            count, last, shards = rows[0]
            if count is not None:
                return None
            token = max(time_ns() // 1000, (last or 0) + 1)
            if await self._session.change(_of(cql.BEGIN, campaign), token, campaign, last):
                older = [(token - 1, campaign, shard) for shard in range(shards)] if last else []
                await self._session.each(cql.CLEAR, older)
                return token
        raise NotFound(f"no campaign {campaign}")

    async def expand(self, campaign: UUID, members: Sequence[tuple[int, UUID]], token: int = 0) -> None:
        rows = await self._session.rows(_of(cql.GET_SEALER, campaign), campaign)
        if not rows or rows[0][0] is not None or (rows[0][1] or 0) != token:
            return
        statement, end = (cql.EXPAND_AS, (token,)) if token else (cql.EXPAND, ())
        shards: dict[int, list[tuple[object, ...]]] = {}
        for shard, uid in members:
            shards.setdefault(shard, []).append((campaign, shard, uid, *end))
        await self._session.partitions(statement, shards.values())

    async def seal(self, campaign: UUID, seal: Seal, token: int = 0) -> Seal:
        values = seal.count, seal.digest, campaign, token or None
        done = await self._session.change(_of(cql.SEAL_AS, campaign), *values)
        stored = await self._decided(campaign, NotFound(f"no campaign {campaign}"))
        if stored.seal is None and done is None:
            raise StoreUnavailable("Cassandra did not keep the seal")
        if stored.seal is None:
            raise LeaseLost("somebody else expands the audience now")
        return stored.seal

    async def members(self, campaign: UUID, shard: int) -> list[UUID]:
        return sorted(uid for (uid,) in await self._session.rows(cql.SHARD_MEMBERS, campaign, shard))

    async def finish_campaign(self, campaign: UUID, at: datetime) -> None:
        statement = _of(cql.FINISH_CAMPAIGN, campaign)
        if await self._session.change(statement, instant(at), campaign) is None:
            raise StoreUnavailable("Cassandra did not say whether the end was noted")

    async def forget(self, campaign: UUID) -> None:
        """The campaign goes last: an interrupted call is made again, and finds how many shards there are."""
        stored = await self.campaign(campaign)
        if stored is None:
            return
        shards = [(campaign, shard) for shard in range(stored.shards)]
        for statement in cql.FORGET_SHARD:
            await self._session.each(statement, shards)
        others = [SEALING, SEAT, *(PLACES if stored.spec.sending.per_second else ())]
        shards += [(campaign, other) for other in others]
        await self._session.change_each(cql.FORGET_LEASE, shards)
        await self._session.change_each(_of(cql.FORGET_CAMPAIGN, campaign), [(campaign,)])

    # -- leases

    async def claim(self, campaign: UUID, shard: int, owner: str, now: float, until: float) -> Lease | None:
        rows = await self._session.rows(cql.GET_LEASE, campaign, shard)
        _, epoch, last, held, finished = rows[0] if rows else ("", 0, None, 0.0, False)
        if finished or held > now:
            return None
        mine = uuid4()
        if last is None:
            won = await self._session.change(cql.CLAIM_FIRST, campaign, shard, owner, mine, until)
        else:
            values = (owner, epoch + 1, mine, until, campaign, shard, epoch, last, held)
            won = await self._session.change(cql.TAKE_OVER, *values)
        if won is None:
            won = await self._holds(campaign, shard, mine)
        return Lease(campaign, shard, owner, epoch + 1, until) if won else None

    async def _holds(self, campaign: UUID, shard: int, claim: UUID) -> bool:
        """Whether a claim whose answer was lost was applied."""
        rows = await self._session.serial(cql.GET_LEASE, campaign, shard)
        return bool(rows) and rows[0][2] == claim

    async def renew(self, lease: Lease, until: float) -> Lease | None:
        done = await self._change(cql.RENEW, (until,), lease, lambda held, _: bool(held == until))
        return replace(lease, until=until) if done else None

    async def release(self, lease: Lease, not_before: float) -> None:
        await self._change(cql.RELEASE, (not_before,), lease, lambda *_: False)

    async def finish(self, lease: Lease) -> bool:
        return await self._change(cql.FINISH_SHARD, (), lease, lambda _, finished: bool(finished))

    async def _change(self, statement: str, new: tuple[object, ...], lease: Lease, applied: Any) -> bool:
        """Change a lease that is ours; False when it is not. When the answer was lost and the lease is still
        ours, `applied(until, finished)` tells whether the change is there."""
        key = lease.campaign, lease.shard
        done = await self._session.change(statement, *new, *key, lease.owner, lease.epoch)
        if done is not None:
            return done
        rows = await self._session.serial(cql.GET_LEASE, *key)
        if not rows or rows[0][:2] != (lease.owner, lease.epoch):
            return False
        if not applied(*rows[0][3:]):
            raise StoreUnavailable("Cassandra did not say whether the lease was changed")
        return True

    async def unfinished(self, campaign: UUID, first: int, last: int) -> dict[int, float]:
        claimed = {row[0]: row[1:] for row in await self._of_shards(cql.GET_LEASES, campaign, first, last)}
        states = {shard: claimed.get(shard, (0.0, False)) for shard in range(first, last)}
        return {shard: until for shard, (until, finished) in states.items() if not finished}

    async def held(self, campaign: UUID, first: int, last: int) -> list[Lease]:
        rows = sorted(await self._of_shards(cql.GET_HELD, campaign, first, last))
        return [Lease(campaign, *lease) for *lease, finished in rows if lease[1] and not finished]

    async def _of_shards(
        self, statement: str, campaign: UUID, first: int, last: int
    ) -> list[tuple[Any, ...]]:
        """What is known of the leases in [first, last) that were ever claimed."""
        some = [(campaign, part) for part in records.batches(range(first, last), AT_ONCE)]
        return [row for rows in await self._session.each(statement, some) for row in rows]

    # -- windows and results

    async def load(self, lease: Lease) -> ShardState:
        key = lease.campaign, lease.shard
        recipients, windows, marks = await asyncio.gather(
            self.members(*key), self._windows(*key), self._session.rows(cql.SHARD_MARKS, *key)
        )
        return ShardState(tuple(recipients), windows, _folded(map(_result, marks)))

    async def _windows(self, campaign: UUID, shard: int) -> tuple[Window, ...]:
        rows = await self._session.rows(cql.SHARD_WINDOWS, campaign, shard)
        return tuple(
            Window(epoch, number, records.unpack_intents(intents))
            for epoch, number, intents, done in rows
            if not done and intents is not None
        )

    async def open_window(self, lease: Lease, window: Window, done: Window | None = None) -> bool:
        key = lease.campaign, lease.shard, window.epoch, window.number
        opening = cql.OPEN_WINDOW, (*key, records.pack_intents(window.intents))
        if done:
            closing = cql.CLOSE_WINDOW, (*key[:2], done.epoch, done.number)
            await self._session.one_partition([opening, closing])
        else:
            await self._session.rows(opening[0], *opening[1])
        rows = await self._session.rows(cql.GET_LEASE, lease.campaign, lease.shard)
        return bool(rows) and rows[0] == (lease.owner, lease.epoch, rows[0][2], lease.until, False)

    async def close_window(self, lease: Lease, window: Window) -> None:
        key = lease.campaign, lease.shard, window.epoch, window.number
        await self._session.rows(cql.CLOSE_WINDOW, *key)

    async def record(self, lease: Lease, results: Sequence[Result]) -> None:
        await self.note(lease.campaign, lease.shard, results)

    async def note(self, campaign: UUID, shard: int, results: Sequence[Result]) -> None:
        """A request costs as much as twenty marks: what comes of a shard meanwhile is one request."""
        if results:
            await self._noting((campaign, shard), results)

    async def _note(self, place: tuple[UUID, int], results: Sequence[Result]) -> None:
        campaign, shard = place
        plain = not any(result.reason or result.code for result in results)
        statement, values_of = (cql.RECORD_PLAIN, _plain) if plain else (cql.RECORD, _values)
        values = [values_of(campaign, shard, result) for result in results]
        await self._session.partitions(statement, [values])

    async def rows(self, campaign: UUID, shard: int) -> list[Row]:
        marks = await self._session.rows(cql.SHARD_MARKS, campaign, shard)
        return list(_folded(map(_result, marks)).values())
