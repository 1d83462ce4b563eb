"""The pure rules of messages: rights, triage, recall. Over many cases, without a store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from random import Random
from uuid import UUID, uuid4

import pytest

from msgxc import ids
from msgxc.errors import Forbidden
from msgxc.gsm7 import segments
from msgxc.ledger import Mark, Row
from msgxc.messages.content import PUSH, plain
from msgxc.messages.recalling import Fate, counted, fate, to_withdraw
from msgxc.messages.records import Item, Kind, Message, Principal, Role, To
from msgxc.messages.rights import may_address, may_manage, may_publish, may_read, may_subscribe
from msgxc.messages.triage import LONGEST_PAUSE, again, leave_together, place
from msgxc.model import Channel, Email, Push, Sms, Thread, Urgency
from msgxc.render import Links
from msgxc.settings import read_settings
from msgxc.urgency import levels

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LEVELS = levels(read_settings(_env_file=None))
RANDOM = Random(7)


def mid(seconds: float = 0) -> UUID:
    """An id, so many seconds after NOW."""
    return ids.message_id(NOW.timestamp() + seconds, uuid4().bytes[:8])


def said(seconds: float = 0, tid: UUID | None = None, **more: object) -> Message:
    """A message of a thread."""
    return Message(mid=mid(seconds), tid=tid or uuid4(), text="Hi", **more)  # type: ignore[arg-type]


def _allowed(call: object, *args: object, **more: object) -> str:
    try:
        call(*args, **more)  # type: ignore[operator]
    except Forbidden as error:
        return error.code
    return ""


def test_rights_are_a_matrix() -> None:
    """Every kind of caller × every kind of thread: the same answer as this table, worked out by hand."""
    owner, admin, publisher, stranger = (uuid4() for _ in range(4))
    callers = {
        "owner": Principal(owner),
        "admin": Principal(admin),
        "publisher": Principal(publisher),
        "stranger": Principal(stranger),
        "nobody": Principal(None),
        "service": Principal(None, frozenset({Role.SERVICE})),
        "operator": Principal(None, frozenset({Role.ADMIN})),
    }
    staff, special = {"owner", "admin", "publisher"}, {"service", "operator"}
    for is_open, open_to_publish, archived, disabled, system in product((False, True), repeat=5):
        thread = Thread(
            uuid4(),
            owner=owner,
            admins=frozenset({admin}),
            publishers=frozenset({publisher}),
            open=is_open,
            open_to_publish=open_to_publish,
            archived=archived,
            system=system,
            channels=frozenset() if disabled else None,
        )
        for name, caller in callers.items():
            known = name in staff | special
            publishes = "thread_archived" if archived else "thread_disabled" if disabled else ""
            if not publishes and not known and (system or not open_to_publish):
                publishes = "not_a_publisher"
            assert _allowed(may_publish, caller, thread) == publishes
            enters = "thread_archived" if archived else "" if is_open or known else "not_invited"
            assert _allowed(may_subscribe, caller, thread) == enters
            assert _allowed(may_subscribe, caller, thread, invited=True) == (
                "thread_archived" if archived else ""
            )
            assert _allowed(may_read, caller, thread) == ("" if is_open or known else "not_a_subscriber")
            assert _allowed(may_read, caller, thread, subscribed=True) == ""
            manages = "" if name in {"owner", "admin", "operator"} else "not_an_admin"
            assert _allowed(may_manage, caller, thread) == manages
            assert _allowed(may_address, caller) == ("" if name in special else "not_an_operator")


def test_nobody_is_not_the_owner_of_an_ownerless_thread() -> None:
    """Without a uid nobody is staff, also where the thread has no owner."""
    assert _allowed(may_publish, Principal(None), Thread(uuid4())) == "not_a_publisher"


@pytest.mark.parametrize(
    ("urgency", "kind", "wait"),
    [(4, Kind.REALTIME, 0), (3, Kind.NEARLINE, 1), (2, Kind.NEARLINE, 60), (1, Kind.NEARLINE, 900)],
)
def test_a_message_is_placed_by_its_urgency(urgency: int, kind: Kind, wait: float) -> None:
    """Class and grace of each urgency, with the default settings; a scheduled one waits for its time."""
    now = NOW.timestamp()
    one = said(urgency=Urgency(urgency))
    item = place(one, LEVELS[one.urgency], now)
    assert (item.kind, item.due, item.since, item.urgency) == (kind, now + wait, now, one.urgency)
    later = said(urgency=Urgency(urgency), scheduled=NOW + timedelta(hours=1))
    assert place(later, LEVELS[one.urgency], now).due == now + 3600
    assert place(later, LEVELS[one.urgency], now).kind is Kind.SCHEDULED


def test_a_failed_try_is_made_again_ever_more_rarely() -> None:
    """The pause doubles up to a bound; what a provider asks for is kept; the age stays."""
    item = Item(Urgency.HIGH, 5.0, mid(), uuid4(), Kind.REALTIME, 5.0)
    pauses = []
    for _ in range(120):
        failed = again(item, 100.0)
        pauses.append(failed.due - 100.0)
        assert (failed.kind, failed.since) == (Kind.FAILED, 5.0)
        item = failed
    assert pauses[:4] == [1, 2, 4, 8]
    assert max(pauses) == LONGEST_PAUSE
    assert again(item, 100.0, 160.0).due == 160.0
    assert again(item, 100.0, 3.0).due == 100.1


def test_only_what_may_wait_leaves_together() -> None:
    """Joined are later messages of the same urgency, to the thread, that are neither over nor scheduled."""
    first = said(0, urgency=Urgency.LOW)
    fine = [said(n, first.tid, urgency=Urgency.LOW) for n in (1, 2)]
    others = [
        said(3, first.tid, urgency=Urgency.HIGH),
        said(4, first.tid, urgency=Urgency.LOW, canceled=NOW),
        said(5, first.tid, urgency=Urgency.LOW, recalled=NOW),
        said(6, first.tid, urgency=Urgency.LOW, scheduled=NOW),
        said(7, first.tid, urgency=Urgency.LOW, joined=mid()),
        said(8, first.tid, urgency=Urgency.LOW, to=To.PERSON),
        said(9, first.tid, urgency=Urgency.LOW, parent=mid()),
        said(9, first.tid, urgency=Urgency.LOW, channels=frozenset({Channel.SMS})),
    ]
    assert leave_together(first, [*fine, *others], LEVELS[Urgency.LOW]) == tuple(m.mid for m in fine)
    assert leave_together(first, fine, LEVELS[Urgency.HIGH]) == ()


def _row(uid: UUID, channel: Channel, *marks: Mark) -> Row:
    return Row(uid, uuid4(), channel, dict.fromkeys(marks, NOW))


def test_a_recall_adds_up() -> None:
    """Over random ledgers: everybody has exactly one fate, and the four numbers add up to the audience."""
    for _ in range(500):
        people = [uuid4() for _ in range(RANDOM.randint(0, 9))]
        rows = {uid: _random_rows(uid) for uid in people}
        read = set(RANDOM.sample(people, RANDOM.randint(0, len(people))))
        owed = to_withdraw(rows, read)
        replaced = {uid: _random_rows(uid) for uid in owed}
        fates = [fate(rows[uid], replaced.get(uid, ()), read=uid in read) for uid in people]
        assert counted(fates).audience == len(people)
        for uid, found in zip(people, fates, strict=True):
            assert (found is Fate.SEEN) >= (uid in read)
            assert found is not Fate.WITHDRAWN or uid in owed


def _random_rows(uid: UUID) -> list[Row]:
    channels = RANDOM.sample(list(Channel), RANDOM.randint(0, 3))
    return [_row(uid, channel, *RANDOM.sample(list(Mark), RANDOM.randint(1, 3))) for channel in channels]


@pytest.mark.parametrize(
    ("marks", "replaced", "expected"),
    [
        ((), (), Fate.UNSENT),
        ((Mark.SKIPPED,), (), Fate.UNSENT),
        ((Mark.FAILED,), (), Fate.UNSENT),
        ((Mark.LATER,), (), Fate.UNSENT),
        ((Mark.ACCEPTED,), (), Fate.BEYOND),
        ((Mark.UNKNOWN,), (), Fate.BEYOND),
        ((Mark.ACCEPTED,), (Mark.ACCEPTED,), Fate.WITHDRAWN),
        ((Mark.ACCEPTED, Mark.DELIVERED), (Mark.ACCEPTED,), Fate.WITHDRAWN),
        ((Mark.ACCEPTED,), (Mark.FAILED,), Fate.BEYOND),
        ((Mark.ACCEPTED,), (Mark.UNKNOWN,), Fate.BEYOND),
        ((Mark.ACCEPTED, Mark.OPENED), (Mark.ACCEPTED,), Fate.SEEN),
        ((Mark.ACCEPTED, Mark.READ), (), Fate.SEEN),
    ],
)
def test_each_fate(marks: tuple[Mark, ...], replaced: tuple[Mark, ...], expected: Fate) -> None:
    """What the marks of one delivery, and of what replaces it, mean for the person."""
    uid = uuid4()
    rows = [_row(uid, Channel.FCM, *marks)] if marks else []
    back = [_row(uid, Channel.FCM, *replaced)] if replaced else []
    assert fate(rows, back, read=False) is expected


def test_one_channel_beyond_recall_is_enough() -> None:
    """A push that was replaced does not take back the email that went with it."""
    uid = uuid4()
    rows = [_row(uid, Channel.FCM, Mark.ACCEPTED), _row(uid, Channel.EMAIL, Mark.ACCEPTED)]
    assert fate(rows, [_row(uid, Channel.FCM, Mark.ACCEPTED)], read=False) is Fate.BEYOND


@pytest.mark.parametrize(
    ("text", "parts", "end"),
    [
        ("Dear customer, your parcel is on its way. " * 16, 4, "..."),
        ("Dear customer, your parcel is on its way. " * 14, 4, "way. "),
        ("x" * 16_000, 4, "x..."),
        ("Żółw " * 200, 9, "..."),
        ("€" * 900, 8, "€..."),
        ("Hi", 1, "Hi"),
    ],
)
def test_what_is_cut_costs_no_more_for_it(text: str, parts: int, end: str) -> None:
    """A text that could be sent in GSM-7 is sent in GSM-7 when it has been cut."""
    sms = plain(Message(mid(), uuid4(), text), Channel.SMS, name="", others=0, where=Links())
    assert isinstance(sms, Sms)
    assert (segments(sms.text), len(sms.text) <= 600) == (parts, True)
    assert sms.text.endswith(end)


@pytest.mark.parametrize("text", ["x" * 16_000, "👩‍👩‍👧‍👦" * 1_000, "Hi", "ä" * 5_000, "a\nb<script>"])
def test_a_text_fits_every_channel(text: str) -> None:
    """However long it is, a push stays within its bytes, and an email holds all of it, escaped."""
    one = Message(mid(), uuid4(), text, subject="S" * 200, data={"k": "v" * 1_400})
    where = Links(preferences="https://example.org/p")
    push = plain(one, Channel.APNS, name="Room", others=0, where=where)
    assert isinstance(push, Push)
    texts = [push.title, push.body, *push.data, *push.data.values()]
    assert sum(len(part.encode()) for part in texts) <= PUSH
    assert push.body
    sms = plain(one, Channel.SMS, name="", others=2, where=where)
    assert isinstance(sms, Sms)
    assert len(sms.text) <= 600
    email = plain(one, Channel.EMAIL, name="", others=0, where=where)
    assert isinstance(email, Email)
    assert text.strip() in email.text
    assert "<script>" not in email.html
