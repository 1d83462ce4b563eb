"""The ledger's pure half: merging, doubt, what is left, the bound."""

from __future__ import annotations

from datetime import timedelta
from functools import reduce
from itertools import pairwise
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st
from samples import KEY, NOW, results, uids

from msgxc import ids
from msgxc.ledger import (
    NO_DELIVERY,
    Intent,
    Mark,
    Result,
    Row,
    ShardState,
    Window,
    in_doubt,
    left,
    merge,
    repeat_bound,
)
from msgxc.model import Channel
from msgxc.store.records import pack_intents, unpack_intents

WHO, WHAT = UUID(int=1), UUID(int=2)


def merged(some: list[Result]) -> Row:
    return reduce(merge, some, None)  # type: ignore[arg-type,return-value]


@given(st.lists(results(WHO, WHAT), min_size=1, max_size=6), st.randoms())
def test_order_does_not_matter(some: list[Result], chance: object) -> None:
    """Marks, state and attempts are the same in whatever order results come in."""
    other = list(some)
    chance.shuffle(other)  # type: ignore[attr-defined]
    one, two = merged(some), merged(other)
    assert set(one.marks) == set(two.marks)
    assert (one.state, one.attempt) == (two.state, two.attempt)


@given(st.lists(results(WHO, WHAT), min_size=1, max_size=6))
def test_twice_is_once(some: list[Result]) -> None:
    """A result that is recorded again changes nothing."""
    once = merged(some)
    assert reduce(merge, some, once) == once


@given(st.lists(results(WHO, WHAT), min_size=2, max_size=6))
def test_a_mark_never_goes_away(some: list[Result]) -> None:
    """A row only grows: its state never goes back in the order of precedence."""
    states = [merged(some[:n]).marks for n in range(1, len(some) + 1)]
    for before, after in pairwise(states):
        assert set(before) <= set(after)


def _state(windows: tuple[Window, ...], rows: list[Row], recipients: tuple[UUID, ...] = (WHO,)) -> ShardState:
    return ShardState(recipients, windows, {(r.uid, r.delivery): r for r in rows})


def test_only_open_windows_of_older_owners_are_in_doubt() -> None:
    """What this owner has opened itself, or what has a result, is not in doubt."""
    intent = Intent(WHO, Channel.APNS, WHAT)
    old = _state((Window(1, 0, (intent,)),), [])
    assert list(in_doubt(old, epoch=2)) == [intent]
    assert list(in_doubt(old, epoch=1)) == []
    done = Row(WHO, WHAT, Channel.APNS, {Mark.ACCEPTED: NOW}, attempt=1)
    assert list(in_doubt(_state((Window(1, 0, (intent,)),), [done]), epoch=2)) == []


def test_an_answer_to_an_earlier_attempt_does_not_settle_a_later_one() -> None:
    """Put off once, then sent again and killed: that second attempt is in doubt."""
    row = Row(WHO, WHAT, Channel.SMS, {Mark.LATER: NOW}, attempt=1)
    first, second = Intent(WHO, Channel.SMS, WHAT, 1), Intent(WHO, Channel.SMS, WHAT, 2)
    assert list(in_doubt(_state((Window(1, 0, (first,)),), [row]), epoch=2)) == []
    assert list(in_doubt(_state((Window(1, 1, (second,)),), [row]), epoch=2)) == [second]


def test_what_is_left_of_a_shard() -> None:
    """No row: due. Put off: due when its time has come. Anything else: done."""
    fresh, parked, ripe, done, skipped = (UUID(int=n) for n in range(1, 6))
    soon, past = NOW + timedelta(minutes=1), NOW - timedelta(minutes=1)
    rows = [
        Row(parked, WHAT, Channel.FCM, {Mark.LATER: soon}),
        Row(ripe, WHAT, Channel.FCM, {Mark.LATER: past}),
        Row(done, WHAT, Channel.FCM, {Mark.LATER: past, Mark.ACCEPTED: NOW}),
        Row(skipped, NO_DELIVERY, None, {Mark.SKIPPED: NOW}),
    ]
    due, until = left(_state((), rows, (fresh, parked, ripe, done, skipped)), NOW.timestamp())
    assert due == [fresh, ripe]
    assert until == soon.timestamp()


def test_the_bound_is_the_smaller_of_windows_and_calls() -> None:
    """min(W, C+F-1) for one window at a time, as docs/architecture.md promises."""
    assert repeat_bound(window=50, in_flight=10, flush=10, windows_at_once=1) == 19
    assert repeat_bound(window=50, in_flight=100, flush=10, windows_at_once=1) == 50
    assert repeat_bound(window=50, in_flight=100, flush=10, windows_at_once=4) == 109


@given(st.lists(st.builds(Intent, uids, st.sampled_from(Channel), uids, st.integers(1, 255))))
def test_intents_survive_packing(intents: list[Intent]) -> None:
    """What a window was about to send is read back as it was written."""
    assert list(unpack_intents(pack_intents(intents))) == intents


@given(st.lists(uids, unique=True, min_size=1, max_size=50), st.randoms(), st.integers(1, 40))
def test_the_audience_hash_does_not_depend_on_order(some: list[UUID], chance: object, shards: int) -> None:
    """Same people, same hash, same shards, whatever the order; one person more changes it."""
    campaign = uuid4()
    total = sum(ids.audience_digest(KEY, campaign, uid) for uid in some) % 2**64
    other = list(some)
    chance.shuffle(other)  # type: ignore[attr-defined]
    assert total == sum(ids.audience_digest(KEY, campaign, uid) for uid in other) % 2**64
    assert total != (total + ids.audience_digest(KEY, campaign, uuid4())) % 2**64
    assert all(0 <= ids.shard_of(KEY, campaign, uid, shards) < shards for uid in some)


def test_ids_depend_on_everything_they_name() -> None:
    """Another key, campaign, person, channel or address is another delivery."""
    campaign, who = uuid4(), uuid4()
    base = ids.delivery_id(KEY, campaign, who, Channel.SMS, "+15550100")
    others = [
        ids.delivery_id(b"another key, also 32 bytes long.", campaign, who, Channel.SMS, "+15550100"),
        ids.delivery_id(KEY, uuid4(), who, Channel.SMS, "+15550100"),
        ids.delivery_id(KEY, campaign, uuid4(), Channel.SMS, "+15550100"),
        ids.delivery_id(KEY, campaign, who, Channel.EMAIL, "+15550100"),
        ids.delivery_id(KEY, campaign, who, Channel.SMS, "+15550101"),
    ]
    assert base not in others
    assert len(set(others)) == 5
    assert base == ids.delivery_id(KEY, campaign, who, Channel.SMS, "+15550100")
