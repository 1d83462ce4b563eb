"""A campaign through the engine, with the sandbox's journal as the truth."""

from __future__ import annotations

import asyncio
import time

import pytest
from conftest_engine import NEVER, Ground, crowd, device, enlist, person, send, spec
from msgspec import structs
from waiting import lag, until

from msgxc import campaigns, ids
from msgxc.campaign import (
    Audience,
    CampaignSpec,
    Cohort,
    Everyone,
    Fallback,
    InDoubt,
    People,
    Sending,
    Spread,
    Where,
)
from msgxc.errors import CampaignConflict, NotFound, WrongExpression, WrongInput, WrongTemplate
from msgxc.ledger import Control, Mark
from msgxc.model import Channel, Reason, Recipient, Skip
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


async def test_what_is_told_meanwhile_counts_people(exchange: Exchange, ground: Ground) -> None:
    """People with two devices, of which one may be dead or put off for a while: reached once each, in the
    counts of whoever sends, and in those of whoever goes on."""
    pairs = [("ok", "ok"), ("ok", "gone"), ("throttled1", "ok"), ("gone", "gone")]
    people = [
        person(*(device(Channel.APNS, f"{word}-{number}-{n}") for n, word in enumerate(pair)))
        for number, pair in enumerate(pairs * 5)
    ]
    await enlist(exchange, ground, people)
    planned = await campaigns.plan(exchange, spec("pairs"))
    await campaigns.seal(exchange, planned.id)
    counts = await campaigns.send_slice(exchange, planned.id, 0, planned.shards, stop=NEVER)
    assert (counts.reached, counts.of(Mark.ACCEPTED), counts.of(Mark.FAILED)) == (15, 25, 15)
    again = await campaigns.plan(exchange, spec("pairs"))
    assert (again.done.recipients, again.done.reached, again.done.of(Mark.ACCEPTED)) == (20, 15, 25)
    assert (await campaigns.report(exchange, "pairs")).ends == {End.REACHED: 15, End.FAILED: 5}


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


async def test_what_was_typed_finds_what_is_meant(exchange: Exchange, ground: Ground) -> None:
    """A foreign id stands for its person, among those who get it and among those who do not; the name of a
    report is the campaign's, however it was typed."""
    people = [of_id(one, exchange, f"mine-{number}") for number, one in enumerate(crowd(3))]
    await enlist(exchange, ground, people)
    to, but = People(uids=("mine-0", " mine-1", people[2].uid)), People(uids=("mine-2",))
    what = spec("typed").model_copy(update={"audience": Audience(to=to, exclude=(but,))})
    first = await send(exchange, what)
    assert set(ground.by_person()) == {people[0].uid, people[1].uid}
    assert (await campaigns.report(exchange, " Typed!")).name == "typed"
    assert (await send(exchange, what)).id == first.id  # no other campaign of its name


def of_id(one: Recipient, exchange: Exchange, foreign: str) -> Recipient:
    """The person of a foreign id."""
    return structs.replace(one, uid=ids.uid_of(exchange.key, foreign))


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


def template(exchange: Exchange, name: str, **parts: str) -> None:
    """Another template; `sms_de` is its sms.de.txt, `push` its push.json."""
    folder = exchange.settings.templates / name
    folder.mkdir()
    for part, text in parts.items():
        kind, _, lang = part.partition("_")
        file = {"sms": "sms", "push": "push", "subject": "em.subject", "html": "em"}[kind]
        ending = {"push": "json", "html": "html"}.get(kind, "txt")
        (folder / f"{file}{'.' * bool(lang)}{lang}.{ending}").write_text(text)
    vars(exchange).pop("templates", None)  # read anew


async def test_a_value_that_nobody_gave_is_asked_for(exchange: Exchange, ground: Ground) -> None:
    """What the template needs on the campaign's channels, in any language; not what has a default."""
    await enlist(exchange, ground, crowd(1))
    push = '{"title": "{{ values.code }}", "body": "{{ values.off | default(\'5 %\') }}"}'
    template(exchange, "sale", push=push, sms="{{ values.other }}", sms_de="{{ values.rabatt }}")
    sale = spec("sale").model_copy(update={"template": "sale"})
    for channels, values, missing in (
        (PUSH, {}, r"'sale' needs values that nobody gave: code \(given: none\)"),
        (PUSH, {"cod": "X"}, r"code \(given: cod\)"),
        ((Channel.SMS,), {"code": "X"}, r": other, rabatt \(given: code\)"),
    ):
        asked = sale.model_copy(update={"values": values, "sending": Sending(channels=channels)})
        with pytest.raises(WrongInput, match=missing):
            await campaigns.plan(exchange, asked)
    assert [c async for page in exchange.store.ledger.campaigns() for c in page] == []
    await campaigns.plan(exchange, sale.model_copy(update={"values": {"code": ""}}))


async def test_a_part_that_cannot_be_read_is_refused(exchange: Exchange) -> None:
    """File and line, before anybody is asked; not of a part that is not used."""
    template(exchange, "torn", push='{"title": "a", "body": "b"}', sms="{{ name", sms_de="x")
    torn = spec("torn").model_copy(update={"template": "torn"})
    await campaigns.checked(exchange, torn)
    with pytest.raises(WrongInput, match=r"sms.txt, line 1"):
        await campaigns.checked(exchange, torn.model_copy(update={"sending": Sending(channels=("sms",))}))


@pytest.mark.parametrize(
    ("fallback", "says"),
    [
        (
            {"template": "not-there"},
            "the fallback cannot be sent: there is no template 'not-there'; there are: .*hello",
        ),
        ({"template": "texts"}, "the fallback cannot be sent: .*template 'texts' has parts for sms"),
        ({"template": "texts", "channels": ("sms",)}, "the fallback .*'texts' needs values.*: code"),
    ],
)
async def test_a_fallback_that_cannot_be_sent_is_refused_with_its_campaign(
    exchange: Exchange, fallback: dict[str, object], says: str
) -> None:
    """Not half an hour later, when its turn has come."""
    template(exchange, "texts", sms="{{ values.code }}")
    asked = spec("first").model_copy(update={"fallback": Fallback(**fallback)})  # type: ignore[arg-type]
    with pytest.raises((NotFound, WrongInput), match=says):
        await campaigns.plan(exchange, asked)
    assert [c async for page in exchange.store.ledger.campaigns() for c in page] == []
    await campaigns.plan(exchange, spec("off").model_copy(update={"fallback": Fallback(enabled=False)}))


@pytest.mark.parametrize(
    ("what", "channels", "fallback", "follows"),
    [
        ("mails", ("email",), {}, ()),  # everybody was just tried there
        ("mails", ("apns", "email"), {}, ()),  # the template has no push: the same
        ("hello", ("apns", "email"), {}, ("email",)),  # some have a phone, and got no mail
        ("hello", ("email",), {"channels": ("email", "sms")}, ("sms",)),
        ("hello", ("email",), {"when": "unconfirmed"}, ()),
        ("hello", ("email",), {"when": "unconfirmed", "template": "mails"}, ("email",)),  # a reminder
        ("pushes", ("apns",), {}, ()),  # there is no part to fall back to
    ],
)
async def test_a_fallback_goes_where_not_everybody_was_just_tried(
    exchange: Exchange,
    what: str,
    channels: tuple[str, ...],
    fallback: dict[str, object],
    follows: tuple[str, ...],
) -> None:
    """And where the message has a part; else there is none."""
    template(exchange, "mails", subject="a", html="b")
    template(exchange, "pushes", push='{"title": "a", "body": "b"}')
    asked = spec("first", channels=channels).model_copy(
        update={"template": what, "fallback": Fallback(after_minutes=0, **fallback)}  # type: ignore[arg-type]
    )
    await campaigns.plan(exchange, asked)
    second = await campaigns.fallback_spec(exchange, "first")
    assert (second.sending.channels if second else ()) == follows


async def test_a_template_that_fits_hardly_anybody_stops_at_the_first_window(
    exchange: Exchange, ground: Ground
) -> None:
    """Nobody of them counts as failed: once it is mended, the same campaign reaches them all."""
    people = crowd(60)
    await enlist(exchange, ground, people)
    template(exchange, "towns", push='{"title": "{{ attributes.town }}", "body": "b"}')
    asked = spec("towns").model_copy(update={"template": "towns"})
    with pytest.raises(WrongTemplate, match=r"push.json, line 1: 'town' is undefined: 20 of the first 20 "):
        await send(exchange, asked)
    assert not ground.accepted()
    assert (await campaigns.report(exchange, "towns")).ends == {End.PENDING: 60}
    (exchange.settings.templates / "towns" / "push.json").write_text('{"title": "a", "body": "b"}')
    vars(exchange).pop("templates")
    await send(exchange, asked)
    assert ground.by_person() == dict.fromkeys([p.uid for p in people], 1)


async def test_a_finished_campaign_is_told_as_such(exchange: Exchange, ground: Ground) -> None:
    """Also when its template is gone, and when somebody cancels it afterwards, which stops its fallback."""
    await enlist(exchange, ground, crowd(3))
    assert (await send(exchange, spec("over"))).finished is None
    (exchange.settings.templates / "hello" / "push.json").unlink()
    vars(exchange).pop("templates")
    planned = await campaigns.plan(exchange, spec("over"))
    assert planned.finished
    await campaigns.set_control(exchange, "over", Control.CANCEL)
    report = await campaigns.report(exchange, "over")
    assert not report.canceled
    assert report.finished == planned.finished


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


@pytest.mark.parametrize("spread", Spread)
async def test_an_endpoint_that_nobody_would_send_to_is_no_address(
    exchange: Exchange, ground: Ground, spread: Spread
) -> None:
    """One that has ended for good, and one of another API, are pruned, and the push goes to the phone; one
    of a push service that is not on the list stays, and is not asked."""
    ended, foreign, unlisted = (
        structs.replace(device(Channel.WEBPUSH, "x"), token=url)
        for url in (
            "https://permanently-removed.invalid/fcm/send/abc",
            "https://fcm.googleapis.com/v1/projects/x/messages:send",
            "https://push.example/abc",
        )
    )
    people = [person(one, *crowd(1)[0].devices) for one in (ended, foreign, unlisted)]
    await enlist(exchange, ground, people)
    name = f"nowhere-{spread}"
    await send(exchange, spec(name, channels=(Channel.WEBPUSH, Channel.APNS), spread=spread))
    assert ground.by_person() == dict.fromkeys([p.uid for p in people], 1)
    assert {entry.channel for entry in ground.accepted()} == {Channel.APNS}
    assert (await campaigns.report(exchange, name)).ends == {End.REACHED: 3}
    found = await exchange.store.directory.get([p.uid for p in people])
    kept = {one.token for p in found.values() for one in p.devices if one.channel is Channel.WEBPUSH}
    assert kept == {unlisted.token}


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
    await until(lambda: len(ground.accepted()) > 10, sending)
    async with lag() as late:
        await campaigns.set_control(exchange, "cancel", Control.CANCEL)
        canceled = time.time()
        await asyncio.wait_for(sending, 120)
    await asyncio.sleep(1)
    assert await campaigns.finish(exchange, planned.id)
    times = [entry.at for entry in ground.accepted()]
    assert 10 < len(times) < 400
    assert max(times) < canceled + 2 + late.seconds
    report = await campaigns.report(exchange, "cancel")
    assert report.ends == {End.REACHED: len(times), End.SKIPPED: 400 - len(times)}
    assert report.skips == {Skip.CANCELED: 400 - len(times)}
    assert await campaigns.set_control(exchange, "cancel", Control.RUN) is Control.CANCEL


async def test_a_campaign_is_taken_back_by_its_name(exchange: Exchange, ground: Ground) -> None:
    """What is unsent stops, the fallback too; whoever was skipped got nothing; the numbers add up."""
    people = [*crowd(5), *crowd(4, word="gone"), person(consents=frozenset())]
    people = [structs.replace(one, email=f"{one.uid}@example.com") for one in people]
    await enlist(exchange, ground, people)
    await send(exchange, spec("back", fallback=True))
    found = await campaigns.take_back(exchange, "back")
    assert found.told() == "5 unsent, 0 withdrawn, 0 seen, 5 beyond recall"
    assert await campaigns.fallback_spec(exchange, "back") is None
    await campaigns.seal(exchange, (await campaigns.plan(exchange, spec("half"))).id)
    assert (await campaigns.take_back(exchange, "half")).unsent == 10
    await send(exchange, spec("half"))
    assert (await campaigns.take_back(exchange, "half")).unsent == 10
    with pytest.raises(NotFound):
        await campaigns.take_back(exchange, "nothing")


async def test_a_pause_holds_and_goes_on(exchange: Exchange, ground: Ground) -> None:
    """Paused: nothing leaves. Running again: everybody gets it once."""
    people = crowd(150)
    await enlist(exchange, ground, people)
    planned = await campaigns.plan(exchange, spec("pause", per_second=60))
    await campaigns.seal(exchange, planned.id)
    sending = asyncio.create_task(campaigns.send_slice(exchange, planned.id, 0, planned.shards, stop=NEVER))
    await until(lambda: bool(ground.accepted()), sending)
    await campaigns.set_control(exchange, "pause", Control.PAUSE)
    before = -1
    while (now := len(ground.accepted())) != before:  # what was under way
        before = now
        await asyncio.sleep(1.5)
    assert 0 < before < 150
    await campaigns.set_control(exchange, "pause", Control.RUN)
    await asyncio.wait_for(sending, 120)
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


async def test_whoever_has_no_open_websocket_gets_it_on_the_next_channel(
    exchange: Exchange, ground: Ground
) -> None:
    """Channels websocket, apns, and nobody is there: everybody with an iPhone gets it there, once, in the
    same run; who has nothing else has failed as not acknowledged, and a fallback is owed."""
    phones, nothing = crowd(60), [person(email=f"away-{n}@example.com") for n in range(3)]
    await enlist(exchange, ground, [*phones, *nothing])
    channels = (Channel.WEBSOCKET, Channel.APNS)
    await send(exchange, spec("away", channels=channels, fallback=True))
    assert ground.by_person() == dict.fromkeys([p.uid for p in phones], 1)
    report = await campaigns.report(exchange, "away")
    assert report.adds_up
    assert report.ends == {End.REACHED: 60, End.FAILED: 3}
    assert report.channels[Channel.WEBSOCKET].failed == 63
    assert report.sent_again == 0
    second = await campaigns.fallback_spec(exchange, "away")
    assert second
    await send(exchange, second)
    report = await campaigns.report(exchange, "away")
    assert report.ends == {End.REACHED: 60, End.FELL_BACK: 3}


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
    what = CampaignSpec(
        name="a",
        template="b",
        audience=Audience(to=Everyone()),
        sending=Sending(),
        fallback=Fallback(after_minutes=90),
    )
    assert what.fallback.after.total_seconds() == 5400
