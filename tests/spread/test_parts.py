"""How a campaign is divided over slices and runs."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from msgxc.parts import PER_RUN, parts, slices


@given(st.integers(1, 3000), st.integers(1, 100), st.integers(0, 40), st.none() | st.integers(1, 50_000))
def test_parts_are_all_shards_once(shards: int, size: int, each: int, per_second: int | None) -> None:
    """Whatever the settings: every shard stands in one slice, every slice in one part, in order."""
    divided = parts(slices(0, shards, size), each, per_second)
    ranges = [some for part in divided for some in part]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == shards
    assert all(left[1] == right[0] for left, right in pairwise(ranges))
    assert all(0 < last - first <= size for first, last in ranges)
    if per_second is None:
        assert not each or max(map(len, divided)) <= each
    else:
        assert len(divided) <= max(1, -(-per_second // PER_RUN))


def test_a_small_campaign_is_one_part() -> None:
    """With the setting left out, and when there is but one slice, nothing is spread."""
    assert len(parts(slices(0, 400, 40), 0, None)) == 1
    assert len(parts(slices(0, 40, 40), 2, None)) == 1


def test_a_throttle_keeps_the_runs_few() -> None:
    """What one run could send alone is not spread; three times as much is worth three runs."""
    ten = slices(0, 400, 40)
    assert len(parts(ten, 1, PER_RUN)) == 1
    assert len(parts(ten, 1, 3 * PER_RUN)) == 3
    assert len(parts(ten, 1, None)) == 10
