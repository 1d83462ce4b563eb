"""The contract of campaigns, audiences, windows and rows in ports.Ledger."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from store_samples import WORDS, at, campaign, gathered, result, uids, window

from msgxc import ids
from msgxc.errors import NotFound
from msgxc.ledger import (
    NO_DELIVERY,
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
from msgxc.model import Channel, Skip
from msgxc.store.ports import Ledger

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _leased(ledger: Ledger, shard: int = 2) -> Lease:
    lease = await ledger.claim(uuid4(), shard, "anna", 100, 130)
    assert lease is not None
    return lease


# -- campaigns


async def test_the_first_campaign_of_an_id_stays(ledger: Ledger) -> None:
    """Creating again, with the same or another spec, answers what was stored first."""
    first = campaign()
    other = replace(campaign(), id=first.id, shards=9)
    assert await ledger.create(first) == first
    assert await ledger.create(first) == first
    assert await ledger.create(other) == first
    assert await ledger.campaign(first.id) == first
    assert await ledger.campaign(uuid4()) is None


async def test_campaigns_created_at_once_are_one(ledger: Ledger) -> None:
    """Two callers with different specs get the same answer."""
    rivals = [replace(campaign(), id=identity) for identity in [uuid4()] * 4]
    answers = await asyncio.gather(*map(ledger.create, rivals))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0] in rivals


async def test_every_campaign_is_met_once(ledger: Ledger) -> None:
    """The stream of campaigns holds each one."""
    made = [campaign() for _ in range(5)]
    for one in made:
        await ledger.create(one)
    met = await gathered(ledger.campaigns())
    assert sorted(str(c.id) for c in met if c in made) == sorted(str(c.id) for c in made)


async def test_cancel_is_final(ledger: Ledger) -> None:
    """Run and pause change places as often as wanted; after cancel nothing changes any more."""
    made = await ledger.create(campaign())
    assert await ledger.control(made.id) is Control.RUN
    for wish in (Control.PAUSE, Control.PAUSE, Control.RUN, Control.CANCEL):
        assert await ledger.set_control(made.id, wish) is wish
        assert await ledger.control(made.id) is wish
    for wish in Control:
        assert await ledger.set_control(made.id, wish) is Control.CANCEL
    stored = await ledger.campaign(made.id)
    assert stored is not None
    assert stored.control is Control.CANCEL


async def test_what_was_restored_stands_still(ledger: Ledger) -> None:
    """Under way or paused when a backup was made: no wish starts it, until it is resumed as what it is, or
    canceled. Nothing else is resumed by that."""
    for before in (Control.RUN, Control.PAUSE):
        made = await ledger.create(campaign())
        await ledger.set_control(made.id, before)
        await ledger.resume_restored(made.id)
        assert await ledger.control(made.id) is before
        assert await ledger.set_control(made.id, Control.RESTORED) is Control.RESTORED
        for wish in (Control.RUN, Control.PAUSE, Control.RESTORED):
            assert await ledger.set_control(made.id, wish) is Control.RESTORED
        await ledger.resume_restored(made.id)
        assert await ledger.control(made.id) is Control.RUN
        await ledger.set_control(made.id, Control.RESTORED)
        assert await ledger.set_control(made.id, Control.CANCEL) is Control.CANCEL
        await ledger.resume_restored(made.id)
        assert await ledger.control(made.id) is Control.CANCEL


async def test_a_wish_keeps_its_time(ledger: Ledger) -> None:
    """When the operator wished something last stands beside it; a word without a time leaves that alone."""
    made = await ledger.create(campaign())
    for wish, moment in ((Control.PAUSE, at(1)), (Control.RUN, None), (Control.CANCEL, at(2))):
        await ledger.set_control(made.id, wish, moment)
        stored = await ledger.campaign(made.id)
        assert stored == replace(made, control=wish, told=at(2) if wish is Control.CANCEL else at(1))
    await ledger.set_control(made.id, Control.RUN, at(3))
    assert (await ledger.campaign(made.id)) == replace(made, control=Control.CANCEL, told=at(2))


async def test_new_campaigns_are_found_by_their_time(ledger: Ledger) -> None:
    """Those that were created since a time, however many are older; never the campaign of a message."""
    now = datetime.now(UTC).replace(microsecond=0)
    ages = {minutes: replace(campaign(), created=now - timedelta(minutes=minutes)) for minutes in (0, 1, 50)}
    ages[3000] = replace(campaign(), created=now - timedelta(minutes=3000))
    for one in ages.values():
        await ledger.create(one)
    of_message = replace(campaign(), id=ids.message_id(now.timestamp(), uuid4().bytes), created=now)
    await ledger.create(of_message)
    for since in (1, 60, 5000):
        found = set(await ledger.created_since(now - timedelta(minutes=since)))
        assert found & {one.id for one in ages.values()} == {
            one.id for minutes, one in ages.items() if minutes <= since
        }
        assert of_message.id not in found


async def test_an_unknown_campaign_is_not_sent(ledger: Ledger) -> None:
    """Its control reads as cancel, and neither a wish nor an end brings it into being."""
    unknown = uuid4()
    assert await ledger.control(unknown) is Control.CANCEL
    assert await ledger.set_control(unknown, Control.RUN) is Control.CANCEL
    await ledger.finish_campaign(unknown, at())
    assert await ledger.campaign(unknown) is None


async def test_a_campaign_ends_once(ledger: Ledger) -> None:
    """The first caller's time stays."""
    made = await ledger.create(campaign())
    await ledger.finish_campaign(made.id, at(1))
    await ledger.finish_campaign(made.id, at(2))
    assert await ledger.campaign(made.id) == replace(made, finished=at(1))


# -- audiences


async def test_an_audience_collapses_duplicates(ledger: Ledger) -> None:
    """The same pair counts once, in one batch and in two; members come in ascending order."""
    made, people = await ledger.create(campaign()), uids(500)
    pairs = [(n % 3, uid) for n, uid in enumerate(people)]
    await ledger.expand(made.id, [*pairs[:250], *pairs[:250]])
    await ledger.expand(made.id, pairs)
    await ledger.expand(made.id, [])
    for shard in range(3):
        assert await ledger.members(made.id, shard) == sorted(uid for n, uid in pairs if n == shard)
    assert await ledger.members(made.id, 3) == []


async def test_a_wide_audience(ledger: Ledger) -> None:
    """500 people on 500 shards arrive too."""
    made, people = await ledger.create(campaign(shards=500)), uids(500)
    await ledger.expand(made.id, list(enumerate(people)))
    found = await asyncio.gather(*(ledger.members(made.id, shard) for shard in range(500)))
    assert found == [[uid] for uid in people]


async def test_the_first_seal_stays(ledger: Ledger) -> None:
    """Sealing again, and at once, answers the first seal; the digest may fill 64 bits."""
    made = await ledger.create(campaign())
    first = Seal(3, 2**64 - 1)
    assert await ledger.seal(made.id, first) == first
    assert await ledger.seal(made.id, Seal(4, 0)) == first
    assert await ledger.campaign(made.id) == replace(made, seal=first)
    rival = await ledger.create(campaign())
    answers = await asyncio.gather(*(ledger.seal(rival.id, Seal(n, n)) for n in range(4)))
    assert len(set(answers)) == 1
    with pytest.raises(NotFound):
        await ledger.seal(uuid4(), first)


async def test_a_sealed_audience_does_not_grow(ledger: Ledger) -> None:
    """Whoever comes after the seal is not added, and it is no error."""
    made, (early, late) = await ledger.create(campaign()), uids(2)
    await ledger.expand(made.id, [(0, early)])
    await ledger.seal(made.id, Seal(1, 7))
    await ledger.expand(made.id, [(0, late), (1, late)])
    assert await ledger.members(made.id, 0) == [early]
    assert await ledger.members(made.id, 1) == []


# -- windows


async def test_windows_are_loaded_until_they_are_done(ledger: Ledger) -> None:
    """Opening twice is opening once; what is intended comes back in order; a closed window does not."""
    lease, people = await _leased(ledger), uids(60)
    windows = [window(people[:50], number=0), window(people[50:], number=1)]
    for one in (*windows, *windows):
        await ledger.open_window(lease, one)
    assert (await ledger.load(lease)).windows == tuple(windows)
    for _ in range(2):
        await ledger.close_window(lease, windows[0])
        assert (await ledger.load(lease)).windows == (windows[1],)


async def test_opening_a_window_closes_another_and_tells_whose_the_shard_is(ledger: Ledger) -> None:
    """One call writes the intent and closes the window before it; it says whether the lease is as it was."""
    lease, people = await _leased(ledger), uids(3)
    first, second, third = (window([uid], number=number) for number, uid in enumerate(people))
    assert await ledger.open_window(lease, first)
    for _ in range(2):
        assert await ledger.open_window(lease, second, first)
    assert (await ledger.load(lease)).windows == (second,)
    renewed = await ledger.renew(lease, 140)
    assert renewed is not None
    assert not await ledger.open_window(lease, third)
    assert await ledger.open_window(renewed, third)
    assert await ledger.claim(lease.campaign, lease.shard, "ben", 150, 180)
    assert not await ledger.open_window(renewed, third)


async def test_a_new_owner_sees_the_windows_of_the_last(ledger: Ledger) -> None:
    """Windows of both epochs are there, each under its own number."""
    lease = await _leased(ledger)
    old, new = window(uids(2), 1, 0), window(uids(2), 2, 0)
    await ledger.open_window(lease, old)
    taken = await ledger.claim(lease.campaign, lease.shard, "ben", 130, 160)
    assert taken is not None
    await ledger.open_window(taken, new)
    assert (await ledger.load(taken)).windows == (old, new)
    await ledger.close_window(taken, new)
    assert (await ledger.load(taken)).windows == (old,)


async def test_a_shard_is_loaded_whole(ledger: Ledger) -> None:
    """Recipients ascending, windows not done, rows by (uid, delivery); an untouched shard is empty."""
    made, people = await ledger.create(campaign()), uids(30)
    await ledger.expand(made.id, [(1, uid) for uid in people])
    lease = await ledger.claim(made.id, 1, "anna", 100, 130)
    assert lease is not None
    assert await ledger.load(lease) == ShardState(tuple(sorted(people)), (), {})
    opened = window(people[:3])
    await ledger.open_window(lease, opened)
    await ledger.record(lease, [result(people[0]), result(people[1], Mark.FAILED, reason="throttled")])
    state = await ledger.load(lease)
    assert state.windows == (opened,)
    assert set(state.rows) == {(uid, uid) for uid in people[:2]}
    assert state.rows[people[1], people[1]].reason == "throttled"
    other = await ledger.claim(made.id, 2, "anna", 100, 130)
    assert other is not None
    assert await ledger.load(other) == ShardState((), (), {})


# -- rows


def _same(found: Row, expected: Row) -> bool:
    """Equal in all that does not depend on the order of writing."""
    words = {"reason": "", "code": ""}
    return (
        structs.replace(found, **words) == structs.replace(expected, **words)
        and found.state is expected.state
    )


async def test_a_result_comes_back_whole(ledger: Ledger) -> None:
    """Every field of a result is in its row; recording twice is recording once."""
    lease, uid = await _leased(ledger), uuid4()
    failed = Result(
        uid, uuid4(), Channel.SMS, Mark.FAILED, at(1.5), "rejected", "3000" + "7", "SM" + WORDS[3], attempt=4
    )
    for _ in range(2):
        await ledger.record(lease, [failed, failed])
        assert await ledger.rows(lease.campaign, lease.shard) == [merge(None, failed)]


async def test_doubts_are_counted(ledger: Ledger) -> None:
    """How often a delivery was in doubt comes back, beside its attempts; news of an older try changes
    neither, whichever came first."""
    lease, uid = await _leased(ledger), uuid4()
    news = [
        result(uid, Mark.LATER, 1, reason="timeout", attempt=2, doubts=1),
        result(uid, Mark.ACCEPTED, 2, attempt=3, doubts=2),
        result(uid, Mark.DELIVERED, 3),
    ]
    for one in (*news, *reversed(news)):
        await ledger.record(lease, [one])
    [row] = await ledger.rows(lease.campaign, lease.shard)
    assert (row.attempt, row.doubts) == (3, 2)


async def test_a_skip_stands_under_no_delivery(ledger: Ledger) -> None:
    """Who was not sent to has a row without channel and with the reason."""
    lease, uid = await _leased(ledger), uuid4()
    skipped = Result(uid, NO_DELIVERY, None, Mark.SKIPPED, at(), Skip.NO_CONSENT)
    await ledger.record(lease, [skipped])
    assert await ledger.rows(lease.campaign, lease.shard) == [
        Row(uid, NO_DELIVERY, None, {Mark.SKIPPED: at()}, reason="no_consent")
    ]


async def test_a_mark_stays_as_it_was_first_written(ledger: Ledger) -> None:
    """A repeated mark does not move; LATER alone does, and only forward."""
    lease, uid = await _leased(ledger), uuid4()
    later = [result(uid, Mark.LATER, seconds, attempt=n) for n, seconds in ((1, 10), (2, 30), (1, 20))]
    repeated = [result(uid, Mark.ACCEPTED, seconds, ref="ref-1") for seconds in (40, 50, 60)]
    for one in (*later, *repeated):
        await ledger.record(lease, [one])
    (row,) = await ledger.rows(lease.campaign, lease.shard)
    assert row.marks == {Mark.LATER: at(30), Mark.ACCEPTED: at(40)}
    assert (row.state, row.attempt, row.ref) == (Mark.ACCEPTED, 2, "ref-1")


async def test_the_words_of_the_state_are_the_row_s(ledger: Ledger) -> None:
    """Reason and code are those of the highest mark that has any."""
    lease, uid = await _leased(ledger), uuid4()
    await ledger.record(lease, [result(uid, Mark.LATER, 1, reason="throttled", code="429", attempt=1)])
    await ledger.record(lease, [result(uid, Mark.FAILED, 2, reason="expired", code="500", attempt=2)])
    (row,) = await ledger.rows(lease.campaign, lease.shard)
    assert (row.reason, row.code, row.attempt) == ("expired", "500", 2)
    await ledger.note(
        lease.campaign, lease.shard, [result(uid, Mark.BOUNCED, 3, reason="bounce", code="5.1.1")]
    )
    (row,) = await ledger.rows(lease.campaign, lease.shard)
    assert (row.reason, row.code, row.state) == ("bounce", "5.1.1", Mark.BOUNCED)


async def test_the_truth_is_recorded_without_a_lease(ledger: Ledger) -> None:
    """A former owner's answers and a webhook's news both count, before and after the take-over."""
    lease, uid = await _leased(ledger), uuid4()
    taken = await ledger.claim(lease.campaign, lease.shard, "ben", 130, 160)
    assert taken is not None
    await ledger.record(taken, [result(uid, Mark.DELIVERED, 5)])
    await ledger.record(lease, [result(uid, Mark.ACCEPTED, 1, ref="r")])
    await ledger.note(lease.campaign, lease.shard, [result(uid, Mark.OPENED, 9)])
    await ledger.note(lease.campaign, lease.shard, [])
    (row,) = await ledger.rows(lease.campaign, lease.shard)
    assert row.marks == {Mark.ACCEPTED: at(1), Mark.DELIVERED: at(5), Mark.OPENED: at(9)}
    assert (row.state, row.ref) == (Mark.OPENED, "r")


async def test_rows_come_by_uid(ledger: Ledger) -> None:
    """500 results in one call; a row for each delivery of a person; none of another shard."""
    identity, people = uuid4(), uids(400)
    results = [result(uid) for uid in people] + [result(uid, delivery=uuid4()) for uid in people[:100]]
    await ledger.note(identity, 0, results)
    await ledger.note(identity, 1, [result(uuid4())])
    rows = await ledger.rows(identity, 0)
    assert [row.uid for row in rows] == sorted(r.uid for r in results)
    assert {(row.uid, row.delivery) for row in rows} == {(r.uid, r.delivery) for r in results}
    assert await ledger.rows(identity, 2) == []


@st.composite
def _stories(draw: st.DrawFn) -> tuple[list[Result], list[list[Result]]]:
    """Marks of one delivery, each at its own time; and the same in another order, repeated, in batches."""
    uid = uuid4()
    marks = draw(st.lists(st.sampled_from(list(Mark)), min_size=1, max_size=7, unique=True))
    times = draw(st.lists(st.integers(0, 10**6), min_size=len(marks), max_size=len(marks), unique=True))
    told = [result(uid, mark, seconds / 1000) for mark, seconds in zip(marks, times, strict=True)]
    again = draw(st.permutations(told + draw(st.lists(st.sampled_from(told), max_size=5))))
    cuts = sorted(draw(st.lists(st.integers(0, len(again)), max_size=3)))
    edges = [0, *cuts, len(again)]
    return told, [again[a:b] for a, b in pairwise(edges)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=_stories())
async def test_news_in_any_order_gives_the_same_row(
    ledger: Ledger, story: tuple[list[Result], list[list[Result]]]
) -> None:
    """Whatever the order, the repeats and the batches: the row is what `merge` makes of the marks."""
    told, batches = story
    identity = uuid4()
    for batch in batches:
        await ledger.note(identity, 0, batch)
    (row,) = await ledger.rows(identity, 0)
    expected = reduce(merge, told, None)
    assert expected is not None
    assert _same(row, expected)


async def test_news_at_once_from_many_processes(ledger: Ledger) -> None:
    """Fifty people's marks written at once by six callers: every mark is there."""
    identity, people = uuid4(), uids(50)
    marks = (Mark.ACCEPTED, Mark.DELIVERED, Mark.OPENED, Mark.CLICKED, Mark.BOUNCED, Mark.READ)
    calls = [ledger.note(identity, 0, [result(uid, m, n) for uid in people]) for n, m in enumerate(marks)]
    await asyncio.gather(*calls)
    expected = {mark: at(n) for n, mark in enumerate(marks)}
    rows = await ledger.rows(identity, 0)
    assert len(rows) == 50
    assert all(row.marks == expected for row in rows)


# -- forgetting


async def _lived(ledger: Ledger, made: Campaign, people: list[UUID]) -> Window:
    """Give the campaign an audience, leases, a window, rows and an end."""
    await ledger.create(made)
    await ledger.expand(made.id, [(n % made.shards, uid) for n, uid in enumerate(people)])
    await ledger.seal(made.id, Seal(len(people), 1))
    opened = window(people[:2])
    for shard in range(made.shards):
        lease = await ledger.claim(made.id, shard, "anna", 100, 130)
        assert lease is not None
        assert lease.epoch == 1
        await ledger.open_window(lease, opened)
        await ledger.record(lease, [result(uid, ref="r") for uid in people[shard :: made.shards]])
        assert await ledger.finish(lease)
    await ledger.finish_campaign(made.id, at(9))
    return opened


async def test_a_forgotten_campaign_leaves_nothing_and_may_come_again(ledger: Ledger) -> None:
    """Campaign, audience, leases, windows and rows are gone; another's stay; the id starts anew."""
    made, other, people = campaign(shards=3), campaign(shards=3), uids(9)
    await _lived(ledger, other, people)
    for _ in range(2):
        await _lived(ledger, made, people)
        await ledger.forget(made.id)
        await ledger.forget(made.id)
        assert await ledger.campaign(made.id) is None
        assert await ledger.unfinished(made.id, 0, 3) == {0: 0, 1: 0, 2: 0}
        for shard in range(3):
            nobody = Lease(made.id, shard, "anna", 1, 130)
            assert await ledger.load(nobody) == ShardState((), (), {})
    await ledger.forget(uuid4())
    assert len(await ledger.rows(other.id, 0)) == 3
    assert await ledger.unfinished(other.id, 0, 3) == {}
    opened = await _lived(ledger, made, people)
    state = await ledger.load(Lease(made.id, 0, "anna", 1, 130))
    assert (len(state.recipients), state.windows, len(state.rows)) == (3, (opened,), 3)
