"""Reports add up: everybody of the audience in one place."""

from __future__ import annotations

from base64 import b64decode
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from samples import NOW

from msgxc import links
from msgxc.campaign import Audience, CampaignSpec, Everyone
from msgxc.errors import WrongInput
from msgxc.ledger import NO_DELIVERY, Campaign, Control, Mark, Row, is_canceled
from msgxc.model import Channel, Reason, Skip
from msgxc.reports.advice import ADVICE
from msgxc.reports.drawing import funnel
from msgxc.reports.funnel import End, Report, standing, wants_fallback
from msgxc.reports.tables import in_vain, markdown
from msgxc.window import Fit, Prepared

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


def test_in_doubt_is_not_unsent() -> None:
    """Canceled while it was put off: skipped, if it surely was not sent; if its answer was lost, unknown."""
    report = Report("a")
    for doubts in (0, 1):
        late = structs.replace(_row(Mark.LATER), doubts=doubts)
        report.add([late], (), canceled=True)
    assert report.ends == {End.SKIPPED: 1, End.UNKNOWN: 1}
    assert report.adds_up


def test_every_try_in_doubt_is_counted() -> None:
    """Whatever the doubt came of: a delivery that was in doubt and then sent again may be a repeat; one that
    was held is none. The page of the report says how many."""
    report = Report("a", repeat_bound=50)
    for mark, doubts in ((Mark.ACCEPTED, 0), (Mark.ACCEPTED, 2), (Mark.UNKNOWN, 1), (Mark.UNKNOWN, 2)):
        report.add([structs.replace(_row(mark), doubts=doubts)], (), canceled=False)
    assert report.sent_again == 3
    assert "repeats 50 messages at most" in markdown(report)
    assert "**3**" in markdown(report)


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


@pytest.mark.parametrize(
    ("marks", "of_rest", "says"),
    [
        ([], False, ""),
        ([Mark.ACCEPTED, Mark.FAILED], False, ""),
        ([Mark.UNKNOWN, Mark.FAILED], False, ""),  # it may have arrived
        ([None, Mark.FAILED], False, ""),  # still to come
        (
            [Mark.FAILED, Mark.FAILED],
            False,
            "nobody of 2 people was reached: 2 failed (most: apns, template)",
        ),
        ([Mark.FAILED], True, "nobody of 1 people was reached: 1 failed (most: apns, template)"),
        ([Mark.SKIPPED], False, "nobody of 1 people was reached: 1 skipped (most: has no live address"),
        ([Mark.SKIPPED], True, ""),  # a fallback for people without an address
    ],
)
def test_nobody_reached_is_said(marks: list[Mark | None], of_rest: bool, says: str) -> None:
    """Of more than nobody: a campaign that reached nobody is not completed."""
    report = Report("a")
    for mark in marks:
        row = mark and structs.replace(_row(mark), reason="template")
        if row and mark is Mark.SKIPPED:
            row = structs.replace(row, delivery=NO_DELIVERY, channel=None, reason="no_address")
        report.add([row] if row else [], (), canceled=False)
    found = in_vain(report, of_rest=of_rest)
    assert found.startswith(says) if says else found == ""


def test_nothing_is_said_to_be_removed_that_may_be_there() -> None:
    """Whether an address was removed, the report does not know: it says when it is."""
    assert not any("has been pruned" in text for text in ADVICE.values())


@pytest.mark.parametrize(
    ("control", "told", "finished", "is_so"),
    [
        (Control.RUN, None, 5, False),
        (Control.CANCEL, 3, None, True),
        (Control.CANCEL, 3, 5, True),
        (Control.CANCEL, None, 5, True),
        (Control.CANCEL, 7, 5, False),  # taken back after everybody was sent to
    ],
)
def test_what_was_finished_is_not_called_canceled(
    control: Control, told: int | None, finished: int | None, is_so: bool
) -> None:
    """Its time says which came first."""

    def at(second: int | None) -> datetime | None:
        return None if second is None else datetime.fromtimestamp(second, UTC)

    spec = CampaignSpec(name="a", template="b", audience=Audience(to=Everyone()))
    moment = datetime.fromtimestamp(0, UTC)
    of = Campaign(UUID(int=1), spec, 1, moment, control, finished=at(finished), told=at(told))
    assert is_canceled(of) is is_so


@pytest.mark.parametrize(
    ("windows", "stops"),
    [
        ([(0, 5)], True),
        ([(0, 4)], False),  # a few have their own reasons
        ([(20, 20)], False),  # half of them fit
        ([(20, 21)], True),
        ([(1, 1), (0, 2), (0, 3)], True),  # small windows are judged together
        ([(50, 0), (0, 50)], False),  # the first ones were well
        ([(0, 0), (0, 6)], True),
    ],
)
def test_a_template_is_judged_by_the_first_to_whom_it_is_sent(
    windows: list[tuple[int, int]], stops: bool
) -> None:
    """At least five of the first fifty misfits, and more than half: nobody more is tried."""
    fit, said = Fit(), ""
    for made, unfit in windows:
        out: Any = [None] * made
        said = said or fit.trouble(Prepared(NOW, outgoing=out, unfit=["a/sms.txt, line 1: 'x'"] * unfit))
    assert bool(said) is stops
    assert not said or said.startswith("a/sms.txt, line 1: 'x': ")


def test_the_report_begins_with_its_funnel() -> None:
    """A picture that is whole by itself, whose numbers are the report's; in a terminal there is none."""
    report = Report("spring & co")
    for end, count in ((Mark.ACCEPTED, 60), (Mark.FAILED, 15), (Mark.UNKNOWN, 5)):
        for _ in range(count):
            report.add([_row(end)], (), canceled=False)
    for _ in range(20):
        report.add([_row(Mark.FAILED)], [_row(Mark.ACCEPTED)], canceled=False)
    page = markdown(report, pictures=True).splitlines()
    assert page[2].startswith("![The funnel of spring & co](data:image/svg+xml;base64,")
    drawn = ElementTree.fromstring(b64decode(page[2].partition("base64,")[2].rstrip(")")))
    texts = [node.text or "" for node in drawn.iter() if node.tag.endswith("text")]
    assert texts == [
        "audience",
        "100",
        "sent to",
        "100",
        "reached",
        "80 · 80 %",
        "20 reached by the fallback · 15 failed · 5 in doubt",
    ]
    wide = [float(node.get("width", 0)) for node in drawn.iter() if node.tag.endswith("rect")]
    assert wide[3] == pytest.approx(0.8 * wide[1])
    assert wide[4] == pytest.approx(0.2 * wide[1])
    assert "data:image" not in markdown(report)
    assert funnel(Report("nobody"))  # an empty audience divides nothing
