"""Who answers for a campaign, what is done when nobody does, and what has to wait."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
import pytest_asyncio
from conftest_engine import NEVER, Ground, crowd, enlist, spec
from machine_fixture import name_of_the_dead, process_with_a_name

from msgxc import campaigns
from msgxc.campaigns import Planned
from msgxc.errors import ProviderBlocked
from msgxc.holding import end_of_the_dead
from msgxc.ledger import SEALING, SEAT, Campaign, Control
from msgxc.run_care import CRASH_SECONDS, QUIET_SECONDS, Standing
from msgxc.seat import ALL_SECONDS, LookedAfter, seated, standing
from msgxc.settings import Settings
from msgxc.store.cassandra import CassandraSettings, CassandraStore
from msgxc.store.ports import Store
from msgxc.wiring import Exchange


@pytest_asyncio.fixture
async def planned(exchange: Exchange, ground: Ground) -> Planned:
    """A sealed campaign to sixty people."""
    await enlist(exchange, ground, crowd(60))
    found = await campaigns.plan(exchange, spec("seat"))
    await campaigns.seal(exchange, found.id)
    return found


def later(exchange: Exchange, seconds: float) -> Exchange:
    """The same exchange as it will be in so many seconds."""
    return replace(exchange, clock=lambda: exchange.clock() + seconds)


async def held(exchange: Exchange, campaign: UUID) -> Standing:
    """What the store says of it now."""
    found = await exchange.store.ledger.campaign(campaign)
    assert found
    return await standing(exchange, found)


async def test_a_killed_run_is_missed(exchange: Exchange, planned: Planned, settings: Settings) -> None:
    """Whoever answers for a campaign is missed once the lease is over, and not before."""
    now = exchange.clock()
    assert await exchange.store.ledger.claim(planned.id, SEAT, "dead", now, now + settings.lease_seconds)
    stands = await held(exchange, planned.id)
    assert stands.attended(now + settings.lease_seconds)
    assert not stands.attended(now + settings.lease_seconds + QUIET_SECONDS + 0.1)


async def test_who_has_surely_died_is_missed_at_once(exchange: Exchange, planned: Planned) -> None:
    """However long its lease has to go; its worker alone is given the time to say that it has crashed. Who
    lives is not missed."""
    ledger, now = exchange.store.ledger, exchange.clock()
    with process_with_a_name() as (name, _):
        assert await ledger.claim(planned.id, SEAT, name, now, now + 1000)
        assert (await held(exchange, planned.id)).attended(now + 900)
    stands = await held(exchange, planned.id)
    assert stands.attended(now)
    assert not stands.attended(exchange.clock() + CRASH_SECONDS)
    assert (await held(later(exchange, CRASH_SECONDS), planned.id)).held == stands.held, "it has died once"


async def test_a_seat_of_the_dead_is_free(exchange: Exchange, planned: Planned, ground: Ground) -> None:
    """Seat and shards of a dead process, with leases that have long to go: who comes next answers for the
    campaign and sends it; where nobody else is to be waited for, there is nothing to be patient about."""
    ledger, now, dead = exchange.store.ledger, exchange.clock(), name_of_the_dead()
    for shard in (SEAT, *range(planned.shards)):
        assert await ledger.claim(planned.id, shard, f"{dead}/{shard}", now, now + 1000)
    async with seated(exchange, planned.id):
        assert (await ledger.held(planned.id, SEAT, SEAT + 1))[0].owner.startswith(f"{exchange.owner}/")
        for first, last in planned.slices:
            await campaigns.send_slice(exchange, planned.id, first, last, stop=NEVER, patient=False)
    assert await ledger.unfinished(planned.id, 0, planned.shards) == {}
    assert set(ground.by_person().values()) == {1}


async def test_what_the_dead_have_put_off_stays_put_off(exchange: Exchange, planned: Planned) -> None:
    """A shard that a process let go of until a provider's time has come is not its own any more."""
    ledger, now = exchange.store.ledger, exchange.clock()
    lease = await ledger.claim(planned.id, 0, name_of_the_dead(), now, now + 1000)
    assert lease
    await ledger.release(lease, now + 3600)
    assert await end_of_the_dead(ledger, planned.id, SEAT, planned.shards, now) == {}
    assert (await ledger.unfinished(planned.id, 0, 1))[0] == now + 3600


async def test_a_sealing_that_was_cut_off_is_missed(exchange: Exchange, ground: Ground) -> None:
    """A run that was killed while it wrote the audience is missed too."""
    found, now = await campaigns.plan(exchange, spec("half-sealed")), exchange.clock()
    assert not (await held(exchange, found.id)).attended(now)
    assert await exchange.store.ledger.claim(found.id, SEALING, "dead", now, now + 1)
    stands = await held(exchange, found.id)
    assert stands.attended(now + 1)
    assert not stands.attended(now + 1 + QUIET_SECONDS + 0.1)


async def test_refused_credentials_pause_the_campaign(exchange: Exchange, planned: Planned) -> None:
    """A provider that refuses us waits for a person: nobody takes the campaign up by themselves."""
    with pytest.raises(ProviderBlocked):
        async with seated(exchange, planned.id):
            raise ProviderBlocked("403")
    assert (await held(exchange, planned.id)).control is Control.PAUSE


async def test_a_seat_is_taken_when_it_comes_free(exchange: Exchange, planned: Planned) -> None:
    """Whoever comes while a dead process's lease still runs answers for the campaign once that is over."""
    now, ledger = exchange.clock(), exchange.store.ledger
    assert await ledger.claim(planned.id, SEAT, "dead", now, now + 2)
    async with seated(exchange, planned.id):
        while (await held(exchange, planned.id)).held <= now + 2:
            await asyncio.sleep(0.1)
        assert (await held(exchange, planned.id)).attended(exchange.clock())
    assert (await held(exchange, planned.id)).held <= exchange.clock()


async def test_new_campaigns_are_looked_after_and_settled_ones_are_not_read(
    exchange: Exchange, planned: Planned
) -> None:
    """All that are there when the look begins, then the new ones; one whose maker's clock is slow, too."""
    looked = LookedAfter()
    assert [one.id for one in await looked.look(exchange)] == [planned.id]
    looked.settle(planned.id)
    slow = replace(exchange, clock=lambda: exchange.clock() - 3600)
    made = [await campaigns.plan(at, spec(name)) for at, name in ((exchange, "new"), (slow, "slow"))]
    assert {one.id for one in await looked.look(exchange)} == {one.id for one in made}
    very_slow = await campaigns.plan(replace(exchange, clock=lambda: exchange.clock() - 86_400), spec("old"))
    assert very_slow.id not in {one.id for one in await looked.look(exchange)}
    assert very_slow.id in {one.id for one in await looked.look(later(exchange, ALL_SECONDS + 1))}


async def test_what_has_long_to_wait_gives_its_place_back(exchange: Exchange, ground: Ground) -> None:
    """All that is left is parked for an hour, or another process has it: who has no patience is told when to
    come again, and nobody waits in a worker's place."""
    await enlist(exchange, ground, crowd(60))
    found = await campaigns.plan(exchange, spec("patience"))
    await campaigns.seal(exchange, found.id)
    now, ledger = exchange.clock(), exchange.store.ledger
    leases = [await ledger.claim(found.id, shard, "another", now, now + 30) for shard in range(found.shards)]
    at = await campaigns.send_rest(exchange, found, stop=NEVER, patience=1)
    assert at
    for lease in leases:
        assert lease
        await ledger.release(lease, now + 3600)
    assert await campaigns.send_rest(exchange, found, stop=NEVER, patience=60) == pytest.approx(now + 3600)
    assert not ground.by_person()


async def test_a_second_run_has_no_seat_and_works(
    exchange: Exchange, planned: Planned, ground: Ground
) -> None:
    """A campaign that is started twice is sent by both; one of them answers for it."""
    async with seated(exchange, planned.id), seated(exchange, planned.id):
        await campaigns.send_slice(exchange, planned.id, 0, planned.shards, stop=NEVER)
    assert set(ground.by_person().values()) == {1}


async def test_what_has_to_wait_holds_up_nobody(exchange: Exchange, ground: Ground) -> None:
    """A shard that another process holds: its slice is left at once, the next ones go out, and send_rest
    stays until it is free and finished."""
    people = crowd(250)
    await enlist(exchange, ground, people)
    found = await campaigns.plan(exchange, spec("waiting"))
    await campaigns.seal(exchange, found.id)
    now, ledger = exchange.clock(), exchange.store.ledger
    held = await ledger.claim(found.id, 0, "another", now, now + 1000)
    assert held
    for first, last in found.slices:
        await campaigns.send_slice(exchange, found.id, first, last, stop=NEVER, patient=False)
    theirs = set(await ledger.members(found.id, 0))
    assert set(ground.by_person()) == {person.uid for person in people} - theirs
    rest = asyncio.create_task(campaigns.send_rest(exchange, found, stop=NEVER))
    await asyncio.sleep(0.2)
    assert not rest.done()
    await ledger.release(held, exchange.clock())
    await rest
    assert set(ground.by_person()) == {person.uid for person in people}
    assert set(ground.by_person().values()) == {1}
    assert await campaigns.finish(exchange, found.id)


async def test_parts_have_their_share_of_the_throttle(exchange: Exchange, ground: Ground) -> None:
    """Two runs at a half each are together no faster than the campaign may be."""
    await enlist(exchange, ground, crowd(200))
    found = await campaigns.plan(exchange, spec("halves", per_second=100))
    await campaigns.seal(exchange, found.id)
    half = found.shards // 2
    halves = [
        await campaigns.part(exchange, "halves", whole, 0.5) for whole in ((0, half), (half, found.shards))
    ]
    begun = asyncio.get_running_loop().time()
    await asyncio.gather(*(campaigns.send_rest(exchange, one, stop=NEVER) for one in halves))
    assert asyncio.get_running_loop().time() - begun > 1.6
    assert set(ground.by_person().values()) == {1}
    assert len(ground.by_person()) == 200


async def test_a_fallback_is_due_when_everything_is_sent(exchange: Exchange, ground: Ground) -> None:
    """Not before the last shard is finished; then once, under one key; never for a campaign that is canceled
    or has none."""
    await enlist(exchange, ground, crowd(10))
    found = await campaigns.plan(exchange, spec("due", fallback=True))
    await campaigns.seal(exchange, found.id)
    assert await campaigns.fallback_due(exchange, "due") is None
    await campaigns.send_rest(exchange, found, stop=NEVER)
    first, again = [await campaigns.fallback_due(exchange, "due") for _ in range(2)]
    assert first
    assert again
    assert first.key == again.key
    assert (first.at.timestamp() - exchange.clock()) == pytest.approx(0, abs=60)
    await campaigns.set_control(exchange, "due", Control.CANCEL)
    assert await campaigns.fallback_due(exchange, "due") is None


@pytest.mark.parametrize("kind", ["sqlite", "cassandra"])
async def test_a_forgotten_name_is_new(
    exchange: Exchange, cassandra_settings: CassandraSettings, kind: str
) -> None:
    """After retention has removed a campaign its name can be used again: no lease of the old one is left."""
    store: Store = exchange.store if kind == "sqlite" else CassandraStore(cassandra_settings)
    await store.open()
    found = await campaigns.plan(exchange, spec("forgotten"))
    made = Campaign(found.id, spec("forgotten"), 3, datetime.now(UTC))
    await store.ledger.create(made)
    for shard in (SEAT, SEALING, 0):
        lease = await store.ledger.claim(found.id, shard, "old", 1.0, 2.0)
        assert lease
        await store.ledger.finish(lease)
    await store.ledger.forget(found.id)
    for shard in (SEAT, SEALING, 0):
        assert await store.ledger.claim(found.id, shard, "new", 3.0, 4.0)
    if kind == "cassandra":
        await store.close()
