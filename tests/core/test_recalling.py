"""Where a recall finds everybody: unsent is who surely has nothing of it."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import NOW

from msgxc.ledger import IN_DOUBT, Mark, Row
from msgxc.messages.recalling import Fate, counted, fate, to_withdraw
from msgxc.model import Channel

UID = UUID(int=1)


def row(mark: Mark, channel: Channel = Channel.APNS, doubts: int = 0, reason: str = "") -> Row:
    """One delivery of theirs."""
    return Row(UID, uuid4(), channel, {mark: NOW}, reason=reason, doubts=doubts)


rows = st.builds(
    row, st.sampled_from(Mark), st.sampled_from([Channel.APNS, Channel.EMAIL]), st.integers(0, 2)
)


@given(st.lists(rows, max_size=4), st.lists(rows, max_size=2), st.booleans())
def test_each_person_has_one_fate(some: list[Row], replaced: list[Row], read: bool) -> None:
    """The four add up; unsent is who has none that may have left; who is told of a withdrawal may have it."""
    found = fate(some, replaced, read=read)
    assert counted([found]).audience == 1
    surely_not = all(r.state in (Mark.LATER, Mark.SKIPPED, Mark.FAILED, Mark.BOUNCED) for r in some)
    surely_not = surely_not and not any(r.doubts for r in some)
    assert (found is Fate.UNSENT) == (surely_not and not read)
    if to_withdraw({UID: some}, [UID] if read else []):
        assert not surely_not
        assert found is not Fate.SEEN


@pytest.mark.parametrize(
    "doubt",
    [
        row(Mark.UNKNOWN),
        row(Mark.LATER, doubts=1),
        row(Mark.LATER, reason=IN_DOUBT),
        row(Mark.SKIPPED, doubts=1),
        row(Mark.FAILED, doubts=1),
    ],
)
def test_what_may_be_there_is_taken_back(doubt: Row) -> None:
    """In doubt, whatever came afterwards: a withdrawal is owed; with it, withdrawn; without, beyond."""
    assert to_withdraw({UID: [doubt]}, []) == [UID]
    assert fate([doubt], [row(Mark.ACCEPTED)], read=False) is Fate.WITHDRAWN
    assert fate([doubt], [row(Mark.FAILED)], read=False) is Fate.BEYOND
    assert fate([doubt], [], read=False) is Fate.BEYOND


@pytest.mark.parametrize("mark", [Mark.LATER, Mark.SKIPPED, Mark.FAILED])
def test_what_surely_did_not_leave_is_not_taken_back(mark: Mark) -> None:
    """Put off, skipped, refused, and never in doubt: nobody is told of a withdrawal."""
    assert to_withdraw({UID: [row(mark)]}, []) == []
    assert fate([row(mark)], [], read=False) is Fate.UNSENT
