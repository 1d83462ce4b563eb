"""The window ledger in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from time import time_ns
from typing import Any
from uuid import UUID

from msgxc import ids
from msgxc.errors import LeaseLost, NotFound
from msgxc.ledger import PRECEDENCE, Campaign, Control, Lease, Mark, Result, Row, Seal, ShardState, Window
from msgxc.store import records
from msgxc.store.sqlite import statements as sql
from msgxc.store.sqlite.connection import Connection, blob, marks

_MARKS = tuple(Mark)
FORGOTTEN_AT_ONCE = 20  # shards, of 500 people or so


def _campaign(row: tuple[Any, ...]) -> Campaign:
    identity, spec, shards, created, control, count, digest, finished, told = row
    return Campaign(
        id=UUID(bytes=identity),
        spec=records.read_spec(spec),
        shards=shards,
        created=datetime.fromtimestamp(created, UTC),
        control=Control(control),
        seal=None if count is None else Seal(count, int(digest)),
        finished=records.time_of(finished),
        told=records.time_of(told),
    )


def _record(db: sqlite3.Connection, campaign: bytes, shard: int, results: Sequence[Result]) -> None:
    """One statement for each kind of mark: usually there is one kind, and one time."""
    by_mark: dict[Mark, list[tuple[object, ...]]] = {}
    key, last, at = blob(campaign), None, None
    for r in results:
        if r.at is not last:
            last, at = r.at, records.seconds(r.at)
        place, channel = PRECEDENCE[r.mark], r.channel and r.channel.value
        row = key, shard, blob(r.uid.bytes), blob(r.delivery.bytes), channel, place, at
        by_mark.setdefault(r.mark, []).append((*row, r.reason, r.code, r.ref, records.pack_tries(r)))
    for mark, rows in by_mark.items():
        db.executemany(sql.RECORD[mark], rows)


def _row(row: tuple[Any, ...]) -> Row:
    uid, delivery, channel, _, *rest = row
    times, (reason, code, ref, tries) = rest[: len(_MARKS)], rest[len(_MARKS) :]
    return Row(
        uid=ids.uuid_of(uid),
        delivery=ids.uuid_of(delivery),
        channel=records.CHANNELS[channel] if channel else None,
        marks={
            mark: datetime.fromtimestamp(at, UTC)
            for mark, at in zip(_MARKS, times, strict=True)
            if at is not None
        },
        reason=reason,
        code=code,
        ref=ref,
        attempt=tries & 255,
        doubts=tries >> 8,
    )


def _begin(db: sqlite3.Connection, campaign: bytes) -> int | None:
    """A token that is later than all before; the audience is empty then."""
    row = db.execute(sql.GET_SEALER, (campaign,)).fetchone()
    if row is None:
        return None
    token = max(time_ns() // 1000, int(row[0]) + 1)
    db.execute(sql.BEGIN, (str(token), campaign))
    db.execute(sql.CLEAR, (campaign,))
    return token


def _expand(db: sqlite3.Connection, campaign: blob, rows: list[tuple[blob, int, blob]], token: int) -> None:
    if db.execute(sql.GET_SEALER, (campaign,)).fetchone() == (str(token),):
        db.executemany(sql.EXPAND, rows)


def _create(
    db: sqlite3.Connection,
    campaign: tuple[object, ...],
    members: list[tuple[bytes, int, bytes]],
    seal: tuple[int, str, bytes],
) -> tuple[Any, ...]:
    """The campaign as it is stored; the audience goes with the one who was first."""
    if db.execute(sql.CREATE_CAMPAIGN, campaign).rowcount:
        db.executemany(sql.EXPAND, members)
        db.execute(sql.SEAL, seal)
    row: tuple[Any, ...] = db.execute(sql.GET_CAMPAIGN, (campaign[0],)).fetchone()
    return row


def _open_window(
    db: sqlite3.Connection,
    opens: tuple[object, ...],
    closes: tuple[object, ...] | None,
    owned: tuple[object, ...],
) -> bool:
    db.execute(sql.OPEN_WINDOW, opens)
    if closes:
        db.execute(sql.CLOSE_WINDOW, closes)
    return db.execute(sql.OWNED, owned).fetchone() is not None


def _forget(statements: Sequence[str], values: tuple[object, ...], db: sqlite3.Connection) -> None:
    for statement in statements:
        db.execute(statement, values)


class SqliteLedger:
    """See ports.Ledger.

    On the disk before anybody is told: campaigns, seals, the operator's wish, intents. What may be lost with
    the power rides along: leases (the intent that follows takes them along), results (in doubt then, as after
    a kill), members (the seal takes them along).
    """

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    # -- campaigns and audiences

    async def create(self, campaign: Campaign) -> Campaign:
        await self._db.change(
            sql.CREATE_CAMPAIGN,
            campaign.id.bytes,
            records.spell_spec(campaign.spec),
            campaign.shards,
            records.seconds(campaign.created),
            campaign.control,
            ids.is_message(campaign.id),
        )
        stored = await self.campaign(campaign.id)
        if stored is None:
            raise NotFound(f"campaign {campaign.id} was removed while it was made")
        return stored

    async def campaign(self, campaign: UUID) -> Campaign | None:
        rows = await self._db.rows(sql.GET_CAMPAIGN, campaign.bytes)
        return _campaign(rows[0]) if rows else None

    async def create_sealed(self, campaign: Campaign, members: Sequence[tuple[int, UUID]]) -> Campaign:
        key, seal = campaign.id.bytes, campaign.seal
        if seal is None:
            raise ValueError("the campaign has no seal")
        values = (
            key,
            records.spell_spec(campaign.spec),
            campaign.shards,
            records.seconds(campaign.created),
            campaign.control,
            ids.is_message(campaign.id),
        )
        rows = [(key, shard, uid.bytes) for shard, uid in members]
        found = await self._db.write(
            lambda db: _create(db, values, rows, (seal.count, str(seal.digest), key))
        )
        return _campaign(found)

    async def holders(self, campaigns: Collection[UUID]) -> dict[UUID, tuple[str, float]]:
        keys = [campaign.bytes for campaign in campaigns]
        rows = await self._db.rows(sql.HOLDERS.format(marks=marks(len(keys))), *keys) if keys else []
        return {UUID(bytes=campaign): (owner, until) for campaign, owner, until in rows}

    async def campaigns(self, *, messages: bool = False) -> AsyncIterator[list[Campaign]]:
        async for page in self._db.pages(sql.SCAN_MESSAGE_CAMPAIGNS if messages else sql.SCAN_CAMPAIGNS):
            yield [_campaign(row) for row in page]

    async def control(self, campaign: UUID) -> Control:
        rows = await self._db.rows(sql.GET_CONTROL, campaign.bytes)
        return Control(rows[0][0]) if rows else Control.CANCEL

    async def set_control(self, campaign: UUID, control: Control, at: datetime | None = None) -> Control:
        await self._db.change(sql.SET_CONTROL, control, records.seconds(at), campaign.bytes, control)
        return await self.control(campaign)

    async def resume_restored(self, campaign: UUID) -> None:
        await self._db.change(sql.RESUME_RESTORED, campaign.bytes)

    async def created_since(self, at: datetime) -> list[UUID]:
        return [UUID(bytes=row[0]) for row in await self._db.rows(sql.CREATED_SINCE, records.seconds(at))]

    async def begin(self, campaign: UUID) -> int | None:
        token = await self._db.write(lambda db: _begin(db, campaign.bytes), synced=False)
        if token is None and await self.campaign(campaign) is None:
            raise NotFound(f"no campaign {campaign}")
        return token

    async def expand(self, campaign: UUID, members: Sequence[tuple[int, UUID]], token: int = 0) -> None:
        key = blob(campaign.bytes)
        rows = [(key, shard, blob(uid.bytes)) for shard, uid in members]
        await self._db.write(lambda db: _expand(db, key, rows, token), synced=False)

    async def seal(self, campaign: UUID, seal: Seal, token: int = 0) -> Seal:
        await self._db.change(sql.SEAL_AS, seal.count, str(seal.digest), campaign.bytes, str(token))
        stored = await self.campaign(campaign)
        if stored is None:
            raise NotFound(f"no campaign {campaign}")
        if stored.seal is None:
            raise LeaseLost("somebody else expands the audience now")
        return stored.seal

    async def members(self, campaign: UUID, shard: int) -> list[UUID]:
        rows = await self._db.rows(sql.SHARD_MEMBERS, campaign.bytes, shard)
        return [ids.uuid_of(row[0]) for row in rows]

    async def finish_campaign(self, campaign: UUID, at: datetime) -> None:
        await self._db.change(sql.FINISH_CAMPAIGN, records.seconds(at), campaign.bytes, synced=False)

    async def forget(self, campaign: UUID) -> None:
        """Some shards at a time, so that nobody waits long for the lock. The campaign goes last: a call that
        was interrupted is made again."""
        key, stored = campaign.bytes, await self.campaign(campaign)
        for first in range(0, stored.shards if stored else 0, FORGOTTEN_AT_ONCE):
            some = sql.FORGET_SHARDS, (key, first, first + FORGOTTEN_AT_ONCE)
            await self._db.write(partial(_forget, *some), synced=False)
        await self._db.write(partial(_forget, sql.FORGET, (key,)))

    # -- leases

    async def claim(self, campaign: UUID, shard: int, owner: str, now: float, until: float) -> Lease | None:
        values = campaign.bytes, shard, owner, until, now
        rows = await self._db.write(lambda db: db.execute(sql.CLAIM, values).fetchall(), synced=False)
        return Lease(campaign, shard, owner, rows[0][0], until) if rows else None

    async def renew(self, lease: Lease, until: float) -> Lease | None:
        return replace(lease, until=until) if await self._set_until(sql.RENEW, lease, until) else None

    async def release(self, lease: Lease, not_before: float) -> None:
        await self._set_until(sql.RELEASE, lease, not_before)

    async def _set_until(self, statement: str, lease: Lease, until: float) -> int:
        key = lease.campaign.bytes, lease.shard, lease.owner, lease.epoch
        return await self._db.change(statement, until, *key, synced=False)

    async def finish(self, lease: Lease) -> bool:
        key = lease.campaign.bytes, lease.shard, lease.owner, lease.epoch
        return await self._db.change(sql.FINISH_SHARD, *key, synced=False) == 1

    async def unfinished(self, campaign: UUID, first: int, last: int) -> dict[int, float]:
        known = {
            shard: (until, finished)
            for shard, until, finished in await self._db.rows(sql.LEASES, campaign.bytes, first, last)
        }
        free = (0.0, 0)
        return {
            shard: known.get(shard, free)[0] for shard in range(first, last) if not known.get(shard, free)[1]
        }

    async def held(self, campaign: UUID, first: int, last: int) -> list[Lease]:
        rows = await self._db.rows(sql.HELD, campaign.bytes, first, last)
        return [Lease(campaign, *row) for row in rows]

    # -- windows and results

    async def load(self, lease: Lease) -> ShardState:
        windows = await self._db.rows(sql.OPEN_WINDOWS, lease.campaign.bytes, lease.shard)
        rows = await self.rows(lease.campaign, lease.shard)
        return ShardState(
            recipients=tuple(await self.members(lease.campaign, lease.shard)),
            windows=tuple(Window(e, n, records.unpack_intents(packed)) for e, n, packed in windows),
            rows={(row.uid, row.delivery): row for row in rows},
        )

    async def open_window(self, lease: Lease, window: Window, done: Window | None = None) -> bool:
        key = lease.campaign.bytes, lease.shard
        opens = (*key, window.epoch, window.number, records.pack_intents(window.intents))
        closes = (*key, done.epoch, done.number) if done else None
        owned = (*key, lease.owner, lease.epoch, lease.until)
        return await self._db.write(lambda db: _open_window(db, opens, closes, owned))

    async def record(self, lease: Lease, results: Sequence[Result]) -> None:
        await self.note(lease.campaign, lease.shard, results)

    async def close_window(self, lease: Lease, window: Window) -> None:
        key = lease.campaign.bytes, lease.shard, window.epoch, window.number
        await self._db.change(sql.CLOSE_WINDOW, *key, synced=False)

    async def note(self, campaign: UUID, shard: int, results: Sequence[Result]) -> None:
        if results:
            key, kept = campaign.bytes, tuple(results)
            await self._db.write(lambda db: _record(db, key, shard, kept), synced=False)

    async def rows(self, campaign: UUID, shard: int) -> list[Row]:
        return [_row(row) for row in await self._db.rows(sql.SHARD_ROWS, campaign.bytes, shard)]
