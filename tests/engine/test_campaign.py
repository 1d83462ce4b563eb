"""A campaign through the engine, with the sandbox's journal as the truth."""

from __future__ import annotations

import asyncio
import time

import pytest
from conftest_engine import NEVER, Ground, crowd, device, enlist, person, send, spec
from msgspec import structs

from msgxc import campaigns
from msgxc.campaign import Audience, CampaignSpec, Cohort, Fallback, InDoubt, People, Sending, Where
from msgxc.errors import CampaignConflict, NotFound, WrongExpression, WrongInput
from msgxc.ledger import Control
from msgxc.model import Channel, Reason, Skip
from msgxc.reports.funnel import End
from msgxc.reports.why import why
from msgxc.wiring import Exchange

PUSH = (Channel.APNS, Channel.FCM, Channel.WEBPUSH)


async def test_everybody_gets_it_once_or_has_a_reason(exchange: Exchange, ground: Ground) -> None:
    """Three push channels, dead tokens, mutes, no consent: report = ledger = the providers' journal."""
    reached = [
        *crowd(40, Channel.APNS),
        *crowd(40, Channel.FCM),
        *crowd(40, Channel.WEBPUSH),
    ]
    both = person(device(Channel.APNS, "ok-phone-1"), device(Channel.APNS, "ok-tablet-1"))
    gone = crowd(7, Channel.APNS, "gone")
    muted = [person(device(Channel.FCM, "ok-muted"), channels=frozenset())]
    unasked = [person(device(Channel.FCM, "ok-unasked"), consents=frozenset())]
    nowhere = [person(email="nowhere@example.com")]
    await enlist(exchange, ground, [*reached, both, *gone, *muted, *unasked, *nowhere])
    await send(exchange, spec("mix"))
    report = await campaigns.report(exchange, "mix")
    assert report.adds_up
    assert report.audience == 131
    assert report.ends == {End.REACHED: 121, End.FAILED: 7, End.SKIPPED: 3}
    assert report.skips == {Skip.MUTED: 1, Skip.NO_CONSENT: 1, Skip.NO_ADDRESS: 1}
    assert report.errors == {(Channel.APNS, Reason.UNREGISTERED, "Unregistered"): 7}
    assert report.channels[Channel.APNS].accepted == 42
    accepted = ground.by_person()
    assert set(accepted) == {p.uid for p in [*reached, both]}
    assert accepted.pop(both.uid) == 2
    assert set(accepted.values()) == {1}
    assert report.finished


async def test_a_second_start_repeats_nobody(exchange: Exchange, ground: Ground) -> None:
    """The same name again finds the first campaign, and finds nothing left to do."""
    people = crowd(60)
    await enlist(exchange, ground, people)
    first = await send(exchange, spec("twice"))
    late = crowd(1)
    await enlist(exchange, ground, late)
    second = await send(exchange, spec("twice"))
    assert first.id == second.id
    assert ground.by_person() == dict.fromkeys([p.uid for p in people], 1)


async def test_another_campaign_cannot_take_the_name(exchange: Exchange, ground: Ground) -> None:
    """The same name with other parameters is refused, and says which differ."""
    await enlist(exchange, ground, crowd(1))
    await send(exchange, spec("taken"))
    with pytest.raises(CampaignConflict, match="sending"):
        await campaigns.plan(exchange, spec("taken", urgency=4))


async def test_duplicate_uids_collapse(exchange: Exchange, ground: Ground) -> None:
    """Somebody who stands in a list twice gets one message."""
    people = crowd(3)
    await enlist(exchange, ground, people)
    twice = tuple(p.uid for p in people) * 2
    await send(exchange, spec("dupes").model_copy(update={"audience": Audience(to=People(uids=twice))}))
    assert sorted(ground.by_person().values()) == [1, 1, 1]


async def test_cohorts_expressions_and_exclusions(exchange: Exchange, ground: Ground) -> None:
    """A rule chooses, a cohort and a list leave out; `why` tells each of them what happened."""
    german = [person(device(Channel.APNS, f"ok-de-{n}"), lang="de") for n in range(4)]
    french = [person(device(Channel.APNS, f"ok-fr-{n}"), lang="fr") for n in range(2)]
    await enlist(exchange, ground, [*german, *french])
    await exchange.store.cohorts.add("staff", [german[0].uid])
    who = Audience(
        to=Where(where='lang = "de"'), exclude=(Cohort(cohort="staff"), People(uids=(german[1].uid,)))
    )
    await send(exchange, spec("rule").model_copy(update={"audience": who}))
    assert set(ground.by_person()) == {german[2].uid, german[3].uid}
    assert "excluded (cohort staff)" in (await why(exchange, "rule", german[0].uid)).lines()[0]
    assert "excluded (a list of 1)" in (await why(exchange, "rule", german[1].uid)).lines()[0]
    assert "reached by apns" in (await why(exchange, "rule", german[2].uid)).lines()[0]
    assert 'where lang = "de"' in (await why(exchange, "rule", french[0].uid)).lines()[0]


async def test_nonsense_is_refused_before_anything_is_written(exchange: Exchange, ground: Ground) -> None:
    """Unknown templates, cohorts, threads, broken rules and channels without a part: one clear error each."""
    base = spec("nonsense")
    for update, error in (
        ({"template": "nope"}, NotFound),
        ({"audience": Audience(to=Cohort(cohort="nope"))}, NotFound),
        ({"audience": Audience(to=Where(where="lang ="))}, WrongExpression),
    ):
        with pytest.raises(error):
            await campaigns.plan(exchange, base.model_copy(update=update))
    (exchange.settings.templates / "mailonly").mkdir()
    (exchange.settings.templates / "mailonly" / "em.html").write_text("x")
    (exchange.settings.templates / "mailonly" / "em.subject.txt").write_text("x")
    del exchange.templates
    with pytest.raises(WrongInput, match="email"):
        await campaigns.plan(exchange, base.model_copy(update={"template": "mailonly"}))
    assert [c async for page in exchange.store.ledger.campaigns() for c in page] == []


async def test_put_off_deliveries_come_later(exchange: Exchange, ground: Ground) -> None:
    """A provider that says 429 once is asked again, and the person is reached, once."""
    people = [*crowd(5, Channel.APNS, "throttled1"), *crowd(20)]
    await enlist(exchange, ground, people)
    await send(exchange, spec("later"))
    assert ground.by_person() == dict.fromkeys([p.uid for p in people], 1)
    report = await campaigns.report(exchange, "later")
    assert report.ends == {End.REACHED: 25}


async def test_a_provider_that_stays_down_is_given_up(exchange: Exchange, ground: Ground) -> None:
    """After the last try the delivery has failed, and the campaign ends."""
    await enlist(exchange, ground, crowd(2, Channel.APNS, "down"))
    await send(exchange, spec("down"))
    report = await campaigns.report(exchange, "down")
    assert report.ends == {End.FAILED: 2}
    assert {reason for _, reason, _ in report.errors} == {Reason.EXPIRED}


async def test_dead_devices_are_pruned_and_young_ones_kept(exchange: Exchange, ground: Ground) -> None:
    """410 with a timestamp prunes a token registered before it, not one registered after."""
    gone, young = crowd(1, Channel.APNS, "gone")[0], crowd(1, Channel.APNS, "goneold")[0]
    await enlist(exchange, ground, [gone, young])
    await send(exchange, spec("prune"))
    left = await exchange.store.directory.get([gone.uid, young.uid])
    assert left[gone.uid].devices == ()
    assert left[young.uid].devices == young.devices


async def test_the_fallback_reaches_those_who_were_not(exchange: Exchange, ground: Ground) -> None:
    """Failed or without a device: email, later, once; own will and reached ones: nothing. It all adds up."""
    reached = crowd(10)
    failed = [person(device(Channel.APNS, f"gone-{n}x"), email=f"failed-{n}@example.com") for n in range(4)]
    deviceless = [person(email=f"nodevice-{n}@example.com") for n in range(3)]
    unwilling = [person(email="unwilling@example.com", consents=frozenset())]
    hopeless = crowd(2, Channel.APNS, "gone")
    await enlist(exchange, ground, [*reached, *failed, *deviceless, *unwilling, *hopeless])
    await send(exchange, spec("fall", fallback=True))
    second = await campaigns.fallback_spec(exchange, "fall")
    assert second
    await send(exchange, second)
    await send(exchange, second)
    report = await campaigns.report(exchange, "fall")
    assert report.adds_up
    assert report.ends == {End.REACHED: 10, End.FELL_BACK: 7, End.SKIPPED: 1, End.FAILED: 2}
    assert report.channels[Channel.APNS].fell_back == 4
    assert report.channels[Channel.EMAIL].fell_back == 3
    emails = [entry.address for entry in ground.accepted() if entry.channel == "email"]
    assert sorted(emails) == sorted(p.email for p in [*failed, *deviceless])
    assert await campaigns.fallback_spec(exchange, second.name) is None


async def test_a_cancel_stops_within_two_seconds(exchange: Exchange, ground: Ground) -> None:
    """Nothing is accepted later than 2 s after the cancel; the rest is skipped with that reason (I4)."""
    await enlist(exchange, ground, crowd(400))
    planned = await campaigns.plan(exchange, spec("cancel", per_second=40))
    await campaigns.seal(exchange, planned.id)
    sending = asyncio.create_task(campaigns.send_slice(exchange, planned.id, 0, planned.shards, stop=NEVER))
    await asyncio.sleep(1.5)
    await campaigns.set_control(exchange, "cancel", Control.CANCEL)
    canceled = time.time()
    await asyncio.wait_for(sending, 30)
    await asyncio.sleep(1)
    assert await campaigns.finish(exchange, planned.id)
    times = [entry.at for entry in ground.accepted()]
    assert 10 < len(times) < 200
    assert max(times) < canceled + 2
    report = await campaigns.report(exchange, "cancel")
    assert report.ends == {End.REACHED: len(times), End.SKIPPED: 400 - len(times)}
    assert report.skips == {Skip.CANCELED: 400 - len(times)}
    assert await campaigns.set_control(exchange, "cancel", Control.RUN) is Control.CANCEL


async def test_a_pause_holds_and_goes_on(exchange: Exchange, ground: Ground) -> None:
    """Paused: nothing leaves. Running again: everybody gets it once."""
    people = crowd(150)
    await enlist(exchange, ground, people)
    planned = await campaigns.plan(exchange, spec("pause", per_second=60))
    await campaigns.seal(exchange, planned.id)
    sending = asyncio.create_task(campaigns.send_slice(exchange, planned.id, 0, planned.shards, stop=NEVER))
    await asyncio.sleep(0.7)
    await campaigns.set_control(exchange, "pause", Control.PAUSE)
    await asyncio.sleep(1.2)
    before = len(ground.accepted())
    await asyncio.sleep(1.2)
    assert 0 < len(ground.accepted()) == before < 150
    await campaigns.set_control(exchange, "pause", Control.RUN)
    await asyncio.wait_for(sending, 30)
    assert ground.by_person() == dict.fromkeys([p.uid for p in people], 1)


async def test_the_look_is_at_the_window_not_at_the_seal(exchange: Exchange, ground: Ground) -> None:
    """Who withdraws consent, mutes or is erased after the seal gets nothing (I5)."""
    people = crowd(4)
    await enlist(exchange, ground, people)
    planned = await campaigns.plan(exchange, spec("look"))
    await campaigns.seal(exchange, planned.id)
    await exchange.store.directory.put([structs.replace(people[0], consents=frozenset())])
    await exchange.store.directory.put([structs.replace(people[1], channels=frozenset())])
    await exchange.store.directory.erase([people[2].uid])
    await campaigns.send_slice(exchange, planned.id, 0, planned.shards, stop=NEVER)
    assert set(ground.by_person()) == {people[3].uid}
    report = await campaigns.report(exchange, "look")
    assert report.skips == {Skip.NO_CONSENT: 1, Skip.MUTED: 1, Skip.ERASED: 1}


async def test_a_lost_answer_follows_the_policy(exchange: Exchange, ground: Ground) -> None:
    """Accepted, then the connection was reset: sent again under the same identity, or held as unknown."""
    await enlist(exchange, ground, crowd(2, Channel.APNS, "lost"))
    await send(exchange, spec("lost-again"))
    entries = ground.accepted()
    assert len({(e.address, e.delivery, e.collapse) for e in entries}) == 2
    assert len(entries) == 4
    report = await campaigns.report(exchange, "lost-again")
    assert report.ends == {End.REACHED: 2}


async def test_hold_never_repeats(exchange: Exchange, ground: Ground) -> None:
    """With `hold`, a lost answer is one message and an unknown."""
    await enlist(exchange, ground, crowd(2, Channel.APNS, "lost"))
    await send(exchange, spec("lost-held", in_doubt=InDoubt.HOLD))
    assert len(ground.accepted()) == 2
    report = await campaigns.report(exchange, "lost-held")
    assert report.ends == {End.UNKNOWN: 2}


async def test_sms_and_email_as_first_channel(exchange: Exchange, ground: Ground) -> None:
    """Every channel goes the same way; STOP suppresses the number for good."""
    people = [person(cell=f"+1555010{n:04d}"[:12]) for n in range(3)]
    mail = [person(email=f"mail-{n}@example.com") for n in range(30)]
    await enlist(exchange, ground, [*people, *mail])
    await send(exchange, spec("both", channels=(Channel.SMS, Channel.EMAIL)))
    report = await campaigns.report(exchange, "both")
    assert report.ends == {End.REACHED: 33}


async def test_the_audience_is_sealed_once(exchange: Exchange, ground: Ground) -> None:
    """Sealing again, also from two callers at once, gives the same count and hash."""
    await enlist(exchange, ground, crowd(70))
    planned = await campaigns.plan(exchange, spec("seal"))
    first, second = await asyncio.gather(
        campaigns.seal(exchange, planned.id), campaigns.seal(exchange, planned.id)
    )
    await enlist(exchange, ground, crowd(5))
    assert first == second == await campaigns.seal(exchange, planned.id)
    assert first.count == 70


def test_a_fallback_waits_as_long_as_it_was_told() -> None:
    """Minutes in the form are a duration in the program."""
    what = CampaignSpec(name="a", template="b", sending=Sending(), fallback=Fallback(after_minutes=90))
    assert what.fallback.after.total_seconds() == 5400
