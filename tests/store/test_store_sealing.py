"""Who may expand and seal an audience: the last one who has begun, and nobody's late write."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from store_samples import campaign, uids

from msgxc.errors import LeaseLost, NotFound
from msgxc.ledger import Seal
from msgxc.store.cassandra import CassandraSettings, CassandraStore
from msgxc.store.cassandra.ledger import CassandraLedger
from msgxc.store.ports import Ledger


async def test_whoever_begins_later_starts_afresh(ledger: Ledger) -> None:
    """What the first has added is gone, and the second's alone is what is sealed."""
    made, (left, stays) = await ledger.create(campaign()), uids(2)
    first = await ledger.begin(made.id)
    assert first
    await ledger.expand(made.id, [(0, left), (1, stays)], first)
    second = await ledger.begin(made.id)
    assert second
    assert second > first
    await ledger.expand(made.id, [(1, stays)], second)
    assert await ledger.members(made.id, 0) == []
    assert await ledger.members(made.id, 1) == [stays]
    assert await ledger.seal(made.id, Seal(1, 7), second) == Seal(1, 7)


async def test_an_older_token_adds_and_seals_nothing(ledger: Ledger) -> None:
    """Before the seal and after it: the writes of whoever was overtaken are as if they were never made."""
    made, (theirs, ours) = await ledger.create(campaign()), uids(2)
    old = await ledger.begin(made.id)
    new = await ledger.begin(made.id)
    assert old
    assert new
    await ledger.expand(made.id, [(0, ours)], new)
    with pytest.raises(LeaseLost):
        await ledger.seal(made.id, Seal(0, 0), old)
    await ledger.expand(made.id, [(0, theirs)], old)
    assert await ledger.seal(made.id, Seal(1, 7), new) == Seal(1, 7)
    await ledger.expand(made.id, [(0, theirs)], old)
    assert await ledger.members(made.id, 0) == [ours]
    assert await ledger.seal(made.id, Seal(0, 0), old) == Seal(1, 7)


async def test_after_the_seal_nobody_begins(ledger: Ledger) -> None:
    """A sealed audience stays as it is; a campaign that is not there is an error."""
    made, (someone,) = await ledger.create(campaign()), uids(1)
    token = await ledger.begin(made.id)
    assert token
    await ledger.expand(made.id, [(0, someone)], token)
    await ledger.seal(made.id, Seal(1, 7), token)
    assert await ledger.begin(made.id) is None
    assert await ledger.members(made.id, 0) == [someone]
    with pytest.raises(NotFound):
        await ledger.begin(uuid4())


async def test_many_who_begin_at_once_have_one_last(ledger: Ledger) -> None:
    """Eight at once: eight tokens, and only the greatest of them may seal."""
    made = await ledger.create(campaign())
    tokens = [token for token in await asyncio.gather(*(ledger.begin(made.id) for _ in range(8))) if token]
    assert len(set(tokens)) == 8
    for token in sorted(tokens)[:-1]:
        with pytest.raises(LeaseLost):
            await ledger.seal(made.id, Seal(0, 0), token)
    assert await ledger.seal(made.id, Seal(0, 0), max(tokens)) == Seal(0, 0)


async def test_a_forgotten_name_can_be_expanded_again(ledger: Ledger) -> None:
    """After retention the same campaign, made anew, has the audience that it is given."""
    made, (someone,) = campaign(), uids(1)
    for _ in range(2):
        await ledger.create(made)
        token = await ledger.begin(made.id)
        assert token
        await ledger.expand(made.id, [(0, someone)], token)
        assert await ledger.members(made.id, 0) == [someone]
        await ledger.forget(made.id)


class Held:
    """A session whose writes of many rows wait until they are let go: a process that was stopped between its
    look at the campaign and its write."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.waits, self.go = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def partitions(self, *args: Any) -> None:
        """See Session.partitions."""
        self.waits.set()
        await self.go.wait()
        await self._inner.partitions(*args)


async def test_a_write_that_arrives_after_the_seal_adds_nobody(cassandra_settings: CassandraSettings) -> None:
    """A slow sealer has looked (not sealed), another one takes over and seals, then the slow one's write
    arrives: nobody is added to the sealed audience, and whoever is in both stays."""
    store = CassandraStore(cassandra_settings)
    await store.open()
    held = Held(store.ledger._session)
    slow, quick = CassandraLedger(held), store.ledger  # type: ignore[arg-type]  # a Session all the same
    made, (theirs, both) = await quick.create(campaign()), uids(2)
    old = await slow.begin(made.id)
    assert old
    late = asyncio.create_task(slow.expand(made.id, [(0, theirs), (0, both)], old))
    await held.waits.wait()
    new = await quick.begin(made.id)
    assert new
    await quick.expand(made.id, [(0, both)], new)
    await quick.seal(made.id, Seal(1, 7), new)
    held.go.set()
    await late
    assert await quick.members(made.id, 0) == [both]
    await store.close()
