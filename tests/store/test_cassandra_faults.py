"""What the shared store does when Cassandra does not answer, or answers and is not heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from lossy_proxy import LossyProxy, lossy_proxy
from store_samples import at, campaign, person, result, uids
from store_writer import check, story, write

from msgxc.errors import StoreUnavailable
from msgxc.ledger import Control, Lease, Seal
from msgxc.store.cassandra import CassandraSettings, CassandraStore


@asynccontextmanager
async def _behind(
    settings: CassandraSettings, timeout: float
) -> AsyncIterator[tuple[CassandraStore, LossyProxy]]:
    """An open store whose connection can lose answers."""
    async with lossy_proxy(settings.port) as proxy:
        store = CassandraStore(replace(settings, port=proxy.port, timeout=timeout))
        await store.open()
        try:
            yield store, proxy
        finally:
            proxy.silent = False
            await store.close()


async def test_a_claim_whose_answer_is_lost_is_found_again(cassandra_settings: CassandraSettings) -> None:
    """The lease is read back: the caller holds it, and nobody else does; the first claim and a take-over."""
    async with _behind(cassandra_settings, timeout=1) as (store, proxy):
        identity, ledger = uuid4(), store.ledger
        await ledger.claim(uuid4(), 0, "anna", 100, 130)
        for epoch, now in ((1, 100.0), (2, 200.0)):
            proxy.lose = 1
            lease = await ledger.claim(identity, 0, "anna", now, now + 30)
            assert lease == Lease(identity, 0, "anna", epoch, now + 30)
            assert proxy.lost == epoch
            assert await ledger.claim(identity, 0, "ben", now, now + 30) is None


async def test_a_change_whose_answer_is_lost_is_read_back(cassandra_settings: CassandraSettings) -> None:
    """Create, seal, cancel, renew and finish answer what really holds."""
    async with _behind(cassandra_settings, timeout=1) as (store, proxy):
        ledger, made = store.ledger, campaign()
        lease = await ledger.claim(made.id, 0, "anna", 100, 130)
        assert lease is not None
        calls: list[tuple[Callable[[], Awaitable[Any]], object]] = [
            (lambda: ledger.create(made), made),
            (lambda: ledger.seal(made.id, Seal(1, 2)), Seal(1, 2)),
            (lambda: ledger.set_control(made.id, Control.CANCEL), Control.CANCEL),
            (lambda: ledger.renew(lease, 160), replace(lease, until=160)),
            (lambda: ledger.finish(lease), True),
        ]
        for lost, (call, answer) in enumerate(calls, start=1):
            proxy.lose = 1
            assert await call() == answer
            assert proxy.lost == lost


async def test_silence_is_an_outage_and_passes(cassandra_settings: CassandraSettings) -> None:
    """Every kind of call raises StoreUnavailable in time, with no value in its text; then all works again."""
    async with _behind(cassandra_settings, timeout=0.6) as (store, proxy):
        someone, identity = person(), uuid4()
        lease = await store.ledger.claim(identity, 0, "anna", 100, 130)
        assert lease is not None
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: store.directory.put([someone]),
            lambda: store.directory.get([someone.uid]),
            lambda: store.ledger.claim(uuid4(), 0, "anna", 100, 130),
            lambda: store.ledger.record(lease, [result(someone.uid)]),
            lambda: anext(aiter(store.directory.scan())),
            lambda: store.cohorts.add("cohort", uids(100)),
            lambda: store.ledger.finish_campaign(identity, at()),
        ]
        for call in calls:  # once heard, so that everything is prepared
            await call()
        proxy.silent = True
        for call in calls:
            with pytest.raises(StoreUnavailable) as caught:
                async with asyncio.timeout(60):
                    await call()
            assert someone.email not in str(caught.value)
            assert "127.0.0.1" not in str(caught.value)
        proxy.silent = False
        for _ in range(600):
            try:
                await store.directory.put([someone])
                break
            except StoreUnavailable:
                await asyncio.sleep(0.1)
        assert await store.directory.get([someone.uid]) == {someone.uid: someone}


async def test_nobody_listens() -> None:
    """A store that is not there, or not open, is unavailable, and closing it is no error."""
    settings = CassandraSettings(port=1)
    store = CassandraStore(settings)
    with pytest.raises(StoreUnavailable):
        await store.open()
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.directory.get(uids(1))
    await store.close()


async def test_nothing_acknowledged_is_lost_when_the_node_is_killed(
    cassandra_settings: CassandraSettings, cassandra_node: Any
) -> None:
    """kill -9 of Cassandra right after the writes, and a start: all is there, over the same connection."""
    store, stories = CassandraStore(cassandra_settings), [story(uuid4()) for _ in range(5)]
    await store.open()
    await asyncio.gather(*(write(store, *one) for one in stories))
    cassandra_node.kill()
    with pytest.raises(StoreUnavailable):
        await store.directory.get(uids(1))
    cassandra_node.launch()
    await asyncio.to_thread(cassandra_node.wait_until_ready, 120)
    for _ in range(1200):
        try:
            await store.directory.get(uids(1))
            break
        except StoreUnavailable:
            await asyncio.sleep(0.1)
    for someone, made, _ in stories:
        await check(store, someone, made)
    await store.close()
