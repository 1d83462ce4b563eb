"""Reports add up: everybody of the audience in one place."""

from __future__ import annotations

from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st
from samples import NOW

from msgxc import links
from msgxc.errors import WrongInput
from msgxc.ledger import NO_DELIVERY, Mark, Row
from msgxc.model import Channel, Reason, Skip
from msgxc.reports.funnel import End, Report, standing, wants_fallback

rows = st.builds(
    Row,
    uid=st.just(UUID(int=1)),
    delivery=st.uuids(version=4),
    channel=st.sampled_from(Channel),
    marks=st.dictionaries(st.sampled_from(Mark), st.just(NOW), min_size=1),
    reason=st.sampled_from([Reason.REJECTED, Reason.UNREGISTERED]),
    code=st.just("410"),
    ref=st.just(""),
    attempt=st.just(1),
)
skipped = st.sampled_from(Skip).map(
    lambda skip: [Row(UUID(int=1), NO_DELIVERY, None, {Mark.SKIPPED: NOW}, reason=skip)]
)
people = st.lists(rows, max_size=3) | skipped


@given(st.lists(st.tuples(people, people), max_size=30), st.booleans())
def test_the_ends_add_up_to_the_audience(some: list[tuple[list[Row], list[Row]]], canceled: bool) -> None:
    """Whatever the ledger holds, each person is counted once, and each skip has a reason."""
    report = Report("a")
    for first, second in some:
        report.add(first, second, canceled=canceled)
    assert report.adds_up
    assert report.audience == len(some)
    assert sum(report.skips.values()) == report.ends[End.SKIPPED]
    for line in report.channels.values():
        parts = line.accepted + line.failed + line.unknown + line.pending + line.dropped
        assert line.planned == parts


@given(people)
def test_a_fallback_is_never_owed_to_those_who_were_reached(some: list[Row]) -> None:
    """Whoever has an accepted delivery gets no fallback, unless confirmation is asked for."""
    if standing(some).end is End.REACHED:
        assert not wants_fallback(some, unconfirmed=False)


def _row(mark: Mark, reason: str = "") -> Row:
    return Row(UUID(int=1), uuid4(), Channel.APNS, {mark: NOW}, reason=reason)


def test_who_gets_a_fallback() -> None:
    """Failed, or nowhere to send to: yes. Own will (no consent, muted): no. In doubt: no."""
    assert wants_fallback([_row(Mark.FAILED)], unconfirmed=False)
    assert wants_fallback([_row(Mark.SKIPPED, Skip.NO_ADDRESS)], unconfirmed=False)
    assert not wants_fallback([_row(Mark.SKIPPED, Skip.NO_CONSENT)], unconfirmed=False)
    assert not wants_fallback([_row(Mark.SKIPPED, Skip.MUTED)], unconfirmed=False)
    assert not wants_fallback([_row(Mark.UNKNOWN)], unconfirmed=False)
    assert wants_fallback([_row(Mark.ACCEPTED)], unconfirmed=True)
    assert not wants_fallback([_row(Mark.ACCEPTED), _row(Mark.DELIVERED)], unconfirmed=True)


def test_one_device_of_three_is_enough() -> None:
    """A person with an accepted delivery is reached, whatever their other devices say."""
    report = Report("a")
    report.add([_row(Mark.FAILED), _row(Mark.ACCEPTED), _row(Mark.FAILED)], (), canceled=False)
    assert report.ends == {End.REACHED: 1}
    assert report.channels[Channel.APNS].failed == 2


def test_a_canceled_campaign_leaves_nobody_pending() -> None:
    """What was not sent when the cancel came is skipped, with that reason."""
    report = Report("a")
    report.add([], (), canceled=True)
    report.add([_row(Mark.LATER)], (), canceled=True)
    assert report.ends == {End.SKIPPED: 2}
    assert report.skips == {Skip.CANCELED: 2}


@given(st.uuids(), st.uuids(), st.integers(0, 58), st.sampled_from("AZaz09-_"))
def test_a_link_is_for_one_person_and_cannot_be_changed(
    campaign: UUID, uid: UUID, at: int, other: str
) -> None:
    """A token reads back, and with any character changed it is refused (or is still the same bytes)."""
    key = b"0123456789abcdef"
    token = links.token(key, campaign, uid)
    assert links.read_token(key, token) == (campaign, uid)
    changed = token[:at] + other + token[at + 1 :]
    try:
        assert links.read_token(key, changed) == (campaign, uid)
    except WrongInput:
        assert changed != token
