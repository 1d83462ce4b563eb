"""Is it them, or is it us: what the answers of one origin say of our settings."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgxc.model import Channel, Device, Outcome, Reason, Receipt, Target
from msgxc.origins import AFTERWARDS, ALL_DAY, FIRST_PAUSE, LONGEST_PAUSE, MANY, SEVERAL, Origin, Origins

ACCEPTED = Receipt(Outcome.ACCEPTED, code="201")
REFUSED = Receipt(Outcome.BLOCKED, Reason.CREDENTIALS, "403")
GONE = Receipt(Outcome.DEAD, Reason.UNREGISTERED, "Unregistered")
STRANGE = Receipt(Outcome.DEAD, Reason.MISMATCH, "DeviceTokenNotForTopic")
OTHER_KEY = Receipt(Outcome.REFUSED, Reason.MISMATCH, "401")
TOO_LARGE = Receipt(Outcome.REFUSED, Reason.TOO_LARGE, "413")
LATER = Receipt(Outcome.LATER, Reason.UNAVAILABLE, "503")
THROTTLED = Receipt(Outcome.LATER, Reason.THROTTLED, "429", retry_after=1.0)

ANSWERS = st.sampled_from([ACCEPTED, REFUSED, GONE, STRANGE, OTHER_KEY, TOO_LARGE, LATER])
CALLS = st.lists(st.lists(st.tuples(st.integers(0, 40), ANSWERS), min_size=1, max_size=30), max_size=30)


def apns() -> Origin:
    """A provider that nobody has asked yet."""
    return Origin(Channel.APNS)


def said(receipt: Receipt, count: int) -> list[tuple[UUID, Receipt]]:
    """The same to so many different people."""
    return [(uuid4(), receipt) for _ in range(count)]


@given(st.integers(1, 50), st.sampled_from([REFUSED, STRANGE, OTHER_KEY, GONE]))
def test_one_recipient_never_closes_an_origin(times: int, receipt: Receipt) -> None:
    """However often one person is refused, with however many devices: it is about them."""
    origin, uid = apns(), uuid4()
    for now in range(times):
        origin.hear([(uid, receipt)] * 3, float(now))
    assert not origin.code
    assert origin.until == 0


@given(CALLS)
def test_an_origin_is_closed_by_several_recipients_without_a_success_between(
    calls: list[list[tuple[int, Receipt]]],
) -> None:
    """It refuses us if and only if, since the last acceptance, so many different people were refused; or so
    many were called strange before anybody was ever accepted."""
    origin, refused, strange, ever = apns(), set[int](), set[int](), False
    for now, call in enumerate(calls):
        origin.hear([(UUID(int=who), receipt) for who, receipt in call], float(now))
        if any(receipt is ACCEPTED for _, receipt in call):
            refused, strange, ever = set(), set(), True
        else:
            refused |= {who for who, receipt in call if receipt is REFUSED}
            strange |= {who for who, receipt in call if receipt in (GONE, STRANGE, OTHER_KEY)}
        assert bool(origin.code) == (len(refused) >= SEVERAL or (not ever and len(strange) >= MANY))
        assert origin.suspect == (not ever and bool(refused))
        assert bool(origin.trouble) == (bool(origin.code) or origin.suspect)


@given(CALLS)
def test_nobody_is_pruned_on_what_everybody_is_told(calls: list[list[tuple[int, Receipt]]]) -> None:
    """A device goes only while fewer than MANY people were called dead since the last acceptance; as "not
    ours" only where somebody was accepted."""
    origin, since, ever = apns(), set[int](), False
    for now, call in enumerate(calls):
        origin.hear([(UUID(int=who), receipt) for who, receipt in call], float(now))
        accepted = any(receipt is ACCEPTED for _, receipt in call)
        ever |= accepted
        since = set() if accepted else since | {w for w, r in call if r in (GONE, STRANGE, OTHER_KEY)}
        assert origin.may_prune(GONE) == (len(since) < MANY)
        assert origin.may_prune(STRANGE) == (ever and len(since) < MANY)


def test_a_wrong_topic_is_told_and_nobody_has_failed() -> None:
    """120 devices "not for this topic": none is pruned, each is put off, and the setting is named."""
    origin = apns()
    for call in range(12):
        origin.hear(said(STRANGE, 10), float(call))
        put_off = origin.weighed(STRANGE, 1)
        assert (put_off.outcome, put_off.reason) == (Outcome.LATER, Reason.MISMATCH)
        assert not origin.may_prune(STRANGE)
    assert "MSGXC_APNS_TOPIC" in origin.trouble
    assert "DeviceTokenNotForTopic" in origin.trouble
    assert origin.weighed(STRANGE, 2).outcome is Outcome.LATER


def test_refused_credentials_name_their_settings() -> None:
    """Five people refused: the text names the provider's word and the settings, and holds no address."""
    origin = Origin(Channel.WEBPUSH, "https://push.example")
    origin.hear(said(REFUSED, SEVERAL), 0.0)
    assert "the provider refuses our credentials" in origin.trouble
    assert "MSGXC_VAPID_PRIVATE_KEY" in origin.trouble
    assert "https://push.example" in origin.trouble


def test_a_single_dead_device_is_believed_at_the_second_word() -> None:
    """Of an exchange with one device, which is gone: put off once, then failed and pruned. "Not ours" fails,
    and prunes nobody, until somebody was accepted."""
    origin = apns()
    for receipt in (GONE, STRANGE):
        origin.hear([(uuid4(), receipt)], 0.0)
        assert origin.weighed(receipt, 1).outcome is Outcome.LATER
        assert origin.weighed(receipt, 2) is receipt
    assert origin.may_prune(GONE)
    assert not origin.may_prune(STRANGE)
    origin.hear([(uuid4(), ACCEPTED), (uuid4(), STRANGE)], 1.0)
    assert origin.weighed(STRANGE, 1) is STRANGE
    assert origin.may_prune(STRANGE)


def test_what_we_refuse_ourselves_says_nothing_of_an_origin() -> None:
    """A token that cannot stand in a request is bad, whatever the provider is like: it has no code."""
    origin, ours = apns(), Receipt(Outcome.DEAD, Reason.INVALID_ADDRESS)
    origin.hear(said(ours, 100), 0.0)
    assert not origin.code
    assert origin.weighed(ours, 1) is ours
    assert origin.may_prune(ours)


def test_an_origin_is_looked_at_again_and_opens_at_once() -> None:
    """Closed for half a minute, then one, up to ten; one acceptance ends it."""
    origin, now, waits = apns(), 0.0, []
    for _ in range(6):
        origin.hear(said(REFUSED, SEVERAL), now)
        origin.hear(said(REFUSED, SEVERAL), now)  # what was under way changes nothing
        waits.append(origin.until - now)
        now = origin.until
    assert waits == [FIRST_PAUSE, 60.0, 120.0, 240.0, 480.0, LONGEST_PAUSE]
    origin.hear(said(ACCEPTED, 1), now)
    assert not origin.code
    assert origin.until == 0


@pytest.mark.parametrize("channel", [Channel.APNS, Channel.WEBPUSH])
def test_one_origin_closed_leaves_the_others_open(channel: Channel) -> None:
    """A push service or a provider that refuses us is one: other push services and channels go on."""
    origins, since = Origins(), datetime(2026, 1, 1, tzinfo=UTC)

    def at(address: str, on: Channel = channel) -> Target:
        return Target(on, address, Device(on, address, since))

    bad = at("https://one.example/a")
    origins.hear([(at("https://one.example/b"), uid, r) for uid, r in said(REFUSED, SEVERAL)], 0.0)
    assert origins.closed(bad, 1.0) == (FIRST_PAUSE - 1, Reason.CREDENTIALS)
    others = [at("token", Channel.FCM)] + (
        [at("https://two.example/a")] if channel is Channel.WEBPUSH else []
    )
    assert not any(origins.closed(other, 1.0)[0] for other in others)
    assert origins.refuse_all([channel]) == (channel is Channel.APNS)
    assert not origins.refuse_all([channel, Channel.FCM])
    assert not origins.refuse_all([])
    origins.accepted_by([bad], 2.0)
    assert origins.closed(bad, 1.0)[0] == 0
    assert origins.troubles == []


@given(st.lists(st.sampled_from([ACCEPTED, THROTTLED, THROTTLED, GONE, LATER]), min_size=1, max_size=60))
def test_one_device_that_is_throttled_costs_nobody_else_anything(answers: list[Receipt]) -> None:
    """Fewer than several recipients who are told "not now", however often: it is not the origin."""
    origin, few = apns(), [uuid4() for _ in range(SEVERAL - 1)]
    for now, receipt in enumerate(answers):
        origin.hear([(few[now % len(few)], receipt)], float(now))
    assert not origin.spares(len(answers))
    assert origin.flow.until == 0


@given(st.lists(st.integers(0, 25), min_size=1, max_size=40))
def test_an_origin_throttles_when_half_of_all_are_told_so(calls: list[int]) -> None:
    """Of calls to fifty people each: the one in which so many are throttled that it is half of all since
    nearly all were taken takes the pace down, and no other does."""
    origin, late, taken, distinct = apns(), 0, 0, 0
    for number, some in enumerate(calls, start=1):
        before, now = origin.flow.until, 10.0 * number
        origin.hear([*said(THROTTLED, 2 * some), *said(ACCEPTED, 50 - 2 * some)], now)
        if 20 * some <= 50 - 2 * some:
            late = taken = distinct = 0
        else:
            if late + taken > 10 * MANY:
                late, taken = late // 2, taken // 2
            late, taken, distinct = late + 2 * some, taken + 50 - 2 * some, distinct + 2 * some
        throttles = distinct >= SEVERAL and late >= taken
        assert (origin.flow.until > before) == throttles
        assert not throttles or origin.spares(now)


def test_time_counts_while_everybody_is_throttled() -> None:
    """Nobody is given up while everybody is throttled, nor in the hour afterwards, but for a day at most in
    which nobody is accepted."""
    origin = apns()
    for now in range(0, int(ALL_DAY) + 1, 600):
        origin.hear(said(THROTTLED, 50), float(now))
        assert origin.spares(now) == (now < ALL_DAY)
    origin.hear(said(ACCEPTED, 50), ALL_DAY + 600)
    assert origin.spares(ALL_DAY + 600)
    origin.hear(said(THROTTLED, 50), ALL_DAY + 700)
    assert origin.spares(ALL_DAY + 700 + AFTERWARDS)
    assert not origin.spares(ALL_DAY + 701 + AFTERWARDS)


def test_each_push_service_has_a_pace_of_its_own() -> None:
    """One that throttles is waited for, as long as it is no longer than a minute; the others are not."""
    origins = Origins()
    one, other = (Target(Channel.WEBPUSH, f"https://{name}.example/a") for name in ("one", "other"))
    origins.hear([(one, uid, receipt) for uid, receipt in said(THROTTLED, 50)], 10.0)
    assert (origins.pause(one, 10.5), origins.pause(other, 10.5)) == (0.5, 0.0)
    assert origins.closed(one, 10.5) == (0.5, Reason.THROTTLED)
    asked = Receipt(Outcome.LATER, Reason.THROTTLED, "429", retry_after=600.0)
    origins.hear([(one, uid, receipt) for uid, receipt in said(asked, 50)], 20.0)
    assert origins.pause(one, 20.0) == 0
    assert origins.closed(one, 20.0) == (600.0, Reason.THROTTLED)
    assert origins.closed(other, 20.0)[0] == 0
