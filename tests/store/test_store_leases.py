"""The contract of the leases in ports.Ledger. Times are plain numbers: the store looks at no clock."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from msgxc.holding import take
from msgxc.ledger import Lease
from msgxc.store.ports import Ledger

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _claimed(ledger: Ledger, now: float = 100, until: float = 130) -> Lease:
    lease = await ledger.claim(uuid4(), 3, "anna", now, until)
    assert lease is not None
    return lease


async def test_a_claim_is_a_lease(ledger: Ledger) -> None:
    """The first owner gets epoch 1, and the lease says what was asked for."""
    campaign = uuid4()
    assert await ledger.claim(campaign, 3, "anna", 100, 130) == Lease(campaign, 3, "anna", 1, 130)


async def test_nobody_claims_what_is_held(ledger: Ledger) -> None:
    """While the lease runs, another owner gets None, and so does the holder."""
    lease = await _claimed(ledger)
    assert await ledger.claim(lease.campaign, 3, "ben", 129.9, 160) is None
    assert await ledger.claim(lease.campaign, 3, "anna", 129.9, 160) is None
    assert await ledger.claim(lease.campaign, 4, "ben", 100, 130) is not None


async def test_of_two_claims_at_once_one_wins(ledger: Ledger) -> None:
    """Twenty races for a free shard and for an expired one: exactly one owner each."""
    for _ in range(20):
        campaign = uuid4()
        for epoch, now in ((1, 100.0), (2, 200.0)):
            claims = (ledger.claim(campaign, 0, owner, now, now + 30) for owner in ("anna", "ben", "cleo"))
            won = [lease for lease in await asyncio.gather(*claims) if lease]
            assert [lease.epoch for lease in won] == [epoch]


async def test_an_expired_lease_is_taken_over_with_a_higher_epoch(ledger: Ledger) -> None:
    """Each owner's epoch is one more than the last one's, the same owner's too."""
    lease = await _claimed(ledger)
    for epoch, owner in enumerate(("ben", "ben", "anna"), start=2):
        now = 100.0 * epoch
        taken = await ledger.claim(lease.campaign, 3, owner, now, now + 30)
        assert taken == Lease(lease.campaign, 3, owner, epoch, now + 30)


async def test_renewing_holds_it_longer(ledger: Ledger) -> None:
    """A renewed lease cannot be claimed at its old end; renewing twice is renewing once."""
    lease = await _claimed(ledger)
    for _ in range(2):
        renewed = await ledger.renew(lease, 160)
        assert renewed == Lease(lease.campaign, 3, "anna", 1, 160)
    assert await ledger.claim(lease.campaign, 3, "ben", 140, 170) is None
    assert await ledger.claim(lease.campaign, 3, "ben", 160, 190) is not None


async def test_who_did_not_hear_of_its_claim_has_the_lease_at_once(ledger: Ledger) -> None:
    """A claim was applied and its answer lost: whoever made it does not wait for its own lease, and nothing
    comes of the one that it does not know of. For everybody else it is held."""
    unheard = await _claimed(ledger)
    key = unheard.campaign, 3
    assert await take(ledger, *key, "anna/another", 101, 131) is None
    assert await take(ledger, *key, "anna", 101, 131) == Lease(*key, "anna", 2, 131)
    assert await ledger.renew(unheard, 500) is None
    assert await ledger.unfinished(unheard.campaign, 3, 4) == {3: 131}


async def test_a_lost_lease_is_not_renewed(ledger: Ledger) -> None:
    """After a take-over the former owner gets None, and the new one is not disturbed."""
    lease = await _claimed(ledger)
    taken = await ledger.claim(lease.campaign, 3, "ben", 130, 160)
    assert taken is not None
    assert await ledger.renew(lease, 500) is None
    assert await ledger.unfinished(lease.campaign, 3, 4) == {3: 160}
    assert await ledger.renew(taken, 170) is not None


async def test_a_lease_that_never_was_is_not_renewed(ledger: Ledger) -> None:
    """A made-up lease is nobody's, and does not come into being."""
    made_up = Lease(uuid4(), 0, "anna", 1, 130)
    assert await ledger.renew(made_up, 160) is None
    assert await ledger.finish(made_up) is False
    await ledger.release(made_up, 200)
    assert await ledger.unfinished(made_up.campaign, 0, 1) == {0: 0}


async def test_who_holds_a_shard(ledger: Ledger) -> None:
    """The leases as they stand, by shard, also those that have ended; not those let go of, finished, or of
    other shards."""
    campaign = uuid4()
    leases = [await ledger.claim(campaign, shard, f"anna/{shard}", 100, 130) for shard in range(-2, 5)]
    assert None not in leases
    taken = [lease for lease in leases if lease]
    await ledger.release(taken[1], 500)
    await ledger.finish(taken[3])
    renewed = await ledger.renew(taken[4], 100)
    assert await ledger.held(campaign, -2, 4) == [taken[0], taken[2], renewed, taken[5]]
    assert await ledger.held(campaign, -1, 0) == []
    assert await ledger.held(uuid4(), 0, 4) == []
    again = await ledger.claim(campaign, -1, "ben", 500, 530)
    assert await ledger.held(campaign, -1, 0) == [again]


async def test_release_parks_the_shard(ledger: Ledger) -> None:
    """Nobody claims it before `not_before`; then anybody, with a higher epoch."""
    lease = await _claimed(ledger)
    for _ in range(2):
        await ledger.release(lease, 120)
        assert await ledger.unfinished(lease.campaign, 3, 4) == {3: 120}
    assert await ledger.claim(lease.campaign, 3, "ben", 119.9, 150) is None
    taken = await ledger.claim(lease.campaign, 3, "ben", 120, 150)
    assert taken is not None
    assert taken.epoch == 2
    assert await ledger.renew(lease, 500) is None


async def test_release_and_finish_are_fenced_by_the_epoch(ledger: Ledger) -> None:
    """What a former owner does to the lease has no effect."""
    lease = await _claimed(ledger)
    taken = await ledger.claim(lease.campaign, 3, "anna", 130, 160)
    assert taken is not None
    await ledger.release(lease, 0)
    assert await ledger.finish(lease) is False
    assert await ledger.unfinished(lease.campaign, 3, 4) == {3: 160}


async def test_a_finished_shard_is_over(ledger: Ledger) -> None:
    """Finishing twice is finishing once; nobody claims, renews or parks the shard afterwards."""
    lease = await _claimed(ledger)
    assert await ledger.finish(lease) is True
    assert await ledger.finish(lease) is True
    assert await ledger.claim(lease.campaign, 3, "ben", 1000, 1030) is None
    assert await ledger.renew(lease, 2000) is None
    await ledger.release(lease, 0)
    assert await ledger.unfinished(lease.campaign, 0, 5) == {0: 0, 1: 0, 2: 0, 4: 0}


async def test_an_expired_lease_that_nobody_took_may_finish(ledger: Ledger) -> None:
    """The end of a lease is when others may take it, not when its work becomes void."""
    lease = await _claimed(ledger)
    assert await ledger.renew(lease, 140) is not None
    assert await ledger.finish(lease) is True


async def test_unfinished_over_many_shards(ledger: Ledger) -> None:
    """300 shards: free ones at 0, held ones at their end, finished ones left out; the range is half-open."""
    campaign = uuid4()
    held = {
        shard: await ledger.claim(campaign, shard, "anna", 100, 130 + shard) for shard in range(0, 300, 7)
    }
    for shard in (7, 14):
        lease = held.pop(shard)
        assert lease is not None
        assert await ledger.finish(lease)
    expected = {
        shard: 130.0 + shard if shard in held else 0.0 for shard in range(300) if shard not in (7, 14)
    }
    assert await ledger.unfinished(campaign, 0, 300) == expected
    assert await ledger.unfinished(campaign, 0, 7) == {s: w for s, w in expected.items() if s < 7}
    assert await ledger.unfinished(campaign, 5, 5) == {}
