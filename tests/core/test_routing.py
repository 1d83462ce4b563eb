"""Routing: everybody ends with targets or with exactly one reason."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from samples import NOW, offers, recipients, subscriptions

from msgxc.campaign import Audience, CampaignSpec, Everyone, Purpose, Sending, Spread
from msgxc.model import Channel, Device, Recipient, Skip, Subscription, Target, Thread
from msgxc.routing import SUPPRESSIBLE, Offer, addresses, fallback_channels, offer, route, suppressible

PUSH = (Channel.APNS, Channel.FCM, Channel.WEBPUSH)


def person(**changes: object) -> Recipient:
    base = Recipient(
        uid=uuid4(),
        email="a@example.com",
        cell="+15550100",
        devices=(Device(Channel.APNS, "t1", NOW), Device(Channel.FCM, "t2", NOW)),
        consents=frozenset({"marketing"}),
    )
    return structs.replace(base, **changes)  # type: ignore[arg-type]


def everything(*channels: Channel, purpose: Purpose = Purpose.MARKETING, **more: object) -> Offer:
    return Offer(channels=channels or tuple(Channel), purpose=purpose, **more)  # type: ignore[arg-type]


@given(st.none() | recipients, offers, subscriptions, st.booleans())
def test_exactly_one_end(who: Recipient | None, what: Offer, sub: Subscription | None, blocked: bool) -> None:
    """Targets and a reason to skip never come together, and never neither."""
    decision = route(who, what, sub, lambda _: "bounce" if blocked else None)
    assert bool(decision.targets) != bool(decision.skip)


@given(recipients, offers, subscriptions)
def test_nothing_against_anybodys_will(who: Recipient, what: Offer, sub: Subscription | None) -> None:
    """A target is offered, allowed by recipient and thread, consented to, and an address of theirs."""
    for target in route(who, what, sub).targets:
        assert target.channel in what.channels
        assert who.channels is None or target.channel in who.channels
        assert sub is None or sub.channels is None or target.channel in sub.channels
        assert what.purpose is Purpose.SERVICE or what.purpose in who.consents
        assert target in addresses(who, target.channel)


@given(recipients, offers)
def test_no_address_twice(who: Recipient, what: Offer) -> None:
    """A token that stands twice in the record is one target."""
    targets = [(t.channel, t.address) for t in route(who, what).targets]
    assert len(targets) == len(set(targets))


@given(recipients, offers)
def test_a_suppressed_address_is_never_a_target(who: Recipient, what: Offer) -> None:
    """With every address suppressed, only channels without suppression are left."""
    decision = route(who, what, None, lambda _: "complaint")
    assert SUPPRESSIBLE.isdisjoint(t.channel for t in decision.targets)


@given(recipients, offers)
def test_first_takes_one_channel_in_order(who: Recipient, what: Offer) -> None:
    """With `first`, all targets are on the first channel of those that `every` would use."""
    first = route(who, replace(what, spread=Spread.FIRST)).targets
    every = route(who, replace(what, spread=Spread.EVERY)).targets
    assert [t for t in every if t.channel == every[0].channel] == list(first) if every else not first


@pytest.mark.parametrize(
    ("who", "what", "sub", "skip"),
    [
        (None, everything(), None, Skip.ERASED),
        (person(), everything(disabled=True), None, Skip.THREAD_DISABLED),
        (person(channels=frozenset()), everything(), None, Skip.MUTED),
        (person(), everything(), Subscription(uuid4(), uuid4(), frozenset()), Skip.THREAD_MUTED),
        (person(consents=frozenset()), everything(), None, Skip.NO_CONSENT),
        (person(channels=frozenset({Channel.SMS})), everything(*PUSH), None, Skip.CHANNEL_OFF),
        (person(devices=()), everything(*PUSH), None, Skip.NO_ADDRESS),
        (person(email=""), everything(Channel.EMAIL), None, Skip.NO_ADDRESS),
    ],
)
def test_every_reason(who: Recipient | None, what: Offer, sub: Subscription | None, skip: Skip) -> None:
    """Each reason to skip, from the smallest record that has it."""
    assert route(who, what, sub).skip is skip


def test_suppressed_is_told_with_its_channel() -> None:
    """A suppressed address is named as the reason, with the channel it stands on."""
    decision = route(person(), everything(Channel.EMAIL), None, lambda _: "bounce")
    assert decision.skip is Skip.SUPPRESSED
    assert decision.turned_down == ((Channel.EMAIL, Skip.SUPPRESSED),)


def test_service_messages_need_no_consent() -> None:
    """A service message reaches those who consented to nothing."""
    decision = route(person(consents=frozenset()), everything(Channel.SMS, purpose=Purpose.SERVICE))
    assert decision.targets == (Target(Channel.SMS, "+15550100"),)


def test_the_device_registered_last_comes_first() -> None:
    """All devices of a channel are targets, the youngest first."""
    old, young = Device(Channel.APNS, "old", NOW.replace(year=2025)), Device(Channel.APNS, "young", NOW)
    targets = route(person(devices=(old, young)), everything(Channel.APNS)).targets
    assert [t.address for t in targets] == ["young", "old"]


def test_only_email_and_sms_are_looked_up() -> None:
    """Suppression is asked for addresses that can bounce, complain or say STOP."""
    assert {t.channel for t in suppressible(person(), tuple(Channel))} == {Channel.EMAIL, Channel.SMS}


def test_the_offer_is_an_intersection_in_order() -> None:
    """Campaign's order, template's parts, thread's channels; a child message has channels of its own."""
    spec = CampaignSpec(
        name="a",
        template="b",
        audience=Audience(to=Everyone()),
        sending=Sending(channels=(Channel.SMS, *PUSH)),
    )
    thread = Thread(
        uuid4(), channels=frozenset({Channel.SMS, Channel.FCM}), child_channels=frozenset({Channel.APNS})
    )
    parts = {Channel.APNS, Channel.FCM, Channel.SMS}
    assert offer(spec, parts).channels == (Channel.SMS, Channel.APNS, Channel.FCM)
    assert offer(spec, parts, thread).channels == (Channel.SMS, Channel.FCM)
    assert offer(spec, parts, thread, child=True).channels == (Channel.APNS,)
    assert not offer(spec, parts, thread).disabled
    assert offer(spec, parts, replace(thread, channels=frozenset())).disabled
    assert offer(spec, parts, replace(thread, archived=True)).disabled


def test_fallback_channels_are_the_threads() -> None:
    """A thread's fallback types limit the campaign's; none said allows all."""
    spec = CampaignSpec(name="a", template="b", audience=Audience(to=Everyone()))
    assert fallback_channels(spec, None) == (Channel.EMAIL,)
    assert fallback_channels(spec, Thread(uuid4())) == (Channel.EMAIL,)
    assert fallback_channels(spec, Thread(uuid4(), fallback=(Channel.SMS,))) == ()
