"""Receipts of providers, devices and browsers: verified, stored, merged; forged and repeated harmless."""

from __future__ import annotations

import asyncio
import random
import time
from uuid import uuid4

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from gateway_world import PUBLIC, SENDGRID, TWILIO, World, signed_events
from msgspec import structs
from sendgrid.helpers.eventwebhook import EventWebhook
from twilio.request_validator import RequestValidator

from msgxc import ids, links
from msgxc.errors import WrongInput
from msgxc.ledger import Mark, Result
from msgxc.model import Channel
from msgxc.receipts import sendgrid, twilio
from msgxc.receipts.merging import Merger
from msgxc.store.gateway import News, Received

# -- signatures, against the vendors' own libraries


def test_sendgrids_library_agrees_about_signatures() -> None:
    """What their EventWebhook takes for signed, we do, and nothing else."""
    public = SENDGRID.public_key()
    body, stamp = b'[{"event":"delivered"}]', "1764000000"
    headers = signed_events(body, stamp)
    signature = headers["X-Twilio-Email-Event-Webhook-Signature"]
    from base64 import b64encode

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    theirs = EventWebhook(
        b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    )
    for text, at in ((body, stamp), (body + b" ", stamp), (body, "1764000001")):
        expected = theirs.verify_signature(text.decode(), signature, at)
        assert sendgrid.is_signed(public, at, signature, text) == expected
    for wrong in ("", "x", "AAAA", signature[:-4]):
        assert not sendgrid.is_signed(public, stamp, wrong, body)


@pytest.mark.parametrize(
    "form", [{"A": "1", "b": "ü€", "MessageSid": "SM1"}, {}, {"To": "+1", "Body": "a b&c"}]
)
def test_twilios_library_agrees_about_signatures(form: dict[str, str]) -> None:
    """What their RequestValidator computes, we compute."""
    url = f"{PUBLIC}/hooks/twilio?delivery=1&receipt=x"
    theirs = RequestValidator(TWILIO).compute_signature(url, form)
    assert twilio.signature(TWILIO, url, list(form.items())) == theirs


# -- SendGrid


async def test_a_delivered_event_becomes_a_mark(world: World) -> None:
    """Signed, stored, answered 204; merged into the row of just that delivery."""
    person = await world.person()
    handle = await world.delivery(person, Channel.EMAIL)
    answer = await world.sendgrid(world.event(handle, "delivered", person))
    assert answer.status_code == 204
    assert await world.state(handle) is Mark.DELIVERED


async def test_forged_events_are_refused(world: World) -> None:
    """No signature, another key's, another body's: 403, and nothing is stored."""
    person = await world.person()
    event = world.event(await world.delivery(person, Channel.EMAIL), "bounce", person)
    body = orjson.dumps([event])
    now = world.stamp()
    other = signed_events(body, now, ec.generate_private_key(ec.SECP256R1()))
    for headers in ({}, other, signed_events(body + b" ", now)):
        answer = await world.client.post("/hooks/sendgrid", content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "signature")
    assert await world.exchange.store.gateway.inbox() == []


async def test_an_event_with_a_token_that_is_not_ours_changes_no_row(world: World) -> None:
    """A token for one delivery does not do for another, and one letter more does not do at all."""
    person = await world.person()
    handle = await world.delivery(person, Channel.EMAIL)
    sms = structs.replace(handle, channel=Channel.SMS)
    right = links.receipt(world.exchange.key, handle)
    tokens = [
        "",
        "x",
        ("B" if right[0] == "A" else "A") + right[1:],
        links.receipt(b"k" * 32, handle),
    ]
    tokens.append(links.receipt(world.exchange.key, sms))
    events = [world.event(handle, "delivered", person, receipt=token) for token in tokens]
    assert (await world.sendgrid(*events)).status_code == 204
    assert await world.row(handle) is None


@pytest.mark.parametrize(
    ("kind", "more", "reason"),
    [
        ("bounce", {"type": "bounce", "status": "5.1.1"}, "bounced"),
        ("dropped", {"reason": "Bounced Address"}, "bounced"),
        ("spamreport", {}, "complained"),
        ("unsubscribe", {}, "stopped"),
        ("dropped", {"reason": "Unsubscribed Address"}, "stopped"),
        ("dropped", {"reason": "Spam Reporting Address"}, "complained"),
        ("dropped", {"reason": "Invalid"}, "invalid_address"),
        ("dropped", {"reason": "Recipient List over Package Quota"}, None),
        ("dropped", {"reason": "Spam Content (if Spam Checker app is enabled)"}, None),
        ("dropped", {"reason": "Invalid SMTPAPI header"}, None),
        ("dropped", {"reason": "a reason of next year"}, None),
        ("dropped", {"reason": {"odd": 1}}, None),
        ("dropped", {}, None),
        (
            "bounce",
            {"type": "bounce", "bounce_classification": "Invalid Address", "status": "5.4.9"},
            "bounced",
        ),
        ("bounce", {"type": "bounce", "bounce_classification": "Reputation", "status": "5.1.1"}, None),
        ("bounce", {"type": "bounce", "bounce_classification": "Content", "status": "5.7.1"}, None),
        ("bounce", {"type": "bounce", "bounce_classification": "Technical"}, None),
        ("bounce", {"type": "bounce", "bounce_classification": "Mailbox Unavailable"}, None),
        ("bounce", {"type": "bounce", "bounce_classification": "Unclassified", "status": "5.7.1"}, None),
        ("bounce", {"type": "bounce", "status": "5.2.2"}, None),
        ("bounce", {"type": "bounce", "reason": "550 5.7.26 not authenticated"}, None),
        ("bounce", {"type": "bounce", "reason": "550 unknown"}, "bounced"),
        ("blocked", {}, None),
        ("bounce", {"type": "blocked"}, None),
        ("deferred", {}, None),
        ("delivered", {}, None),
    ],
)
async def test_bad_news_suppresses_the_address(
    world: World, kind: str, more: dict, reason: str | None
) -> None:
    """What is true of the address suppresses it; what is about us (quota, content, header, reputation, route)
    and a moment (a full mailbox, a block, a deferral) do not."""
    person = await world.person()
    handle = await world.delivery(person, Channel.EMAIL)
    await world.sendgrid(world.event(handle, kind, person, **more))
    assert await world.suppressed(Channel.EMAIL, person.email) == reason


async def test_an_old_signature_does_not_count(world: World) -> None:
    """Signed more than five minutes ago, or ahead, or at no time in ten digits: 403; nor can a byte be moved
    between the timestamp and the body that are signed together."""
    person = await world.person()
    handle = await world.delivery(person, Channel.EMAIL)
    body = orjson.dumps([world.event(handle, "bounce", person)])

    async def answered(stamp: str, sent: bytes, signed: dict[str, str]) -> int:
        headers = {**signed, "X-Twilio-Email-Event-Webhook-Timestamp": stamp}
        return (await world.client.post("/hooks/sendgrid", content=sent, headers=headers)).status_code

    for stamp in (world.stamp(-310), world.stamp(310), "1764000000", "", "-1", world.stamp() + ".0"):
        assert await answered(stamp, body, signed_events(body, stamp)) == 403
    now = world.stamp()
    digits = b"7" + body
    for stamp, sent in ((now + "7", body), (now[:-1], now[-1].encode() + digits)):
        assert await answered(stamp, sent, signed_events(digits, now)) == 403
    assert await world.exchange.store.gateway.inbox() == []
    for seconds in (-290, 0, 290):
        stamp = world.stamp(seconds)
        assert await answered(stamp, body, signed_events(body, stamp)) == 204


async def test_a_start_of_before_does_not_undo_a_stop(world: World) -> None:
    """SendGrid comes again, for a day and under a fresh signature, with events of before: the newest wish
    counts, whatever comes when, and each is merged before the next one comes."""
    person = await world.person()
    handle = await world.delivery(person, Channel.EMAIL)
    now = int(world.exchange.clock())
    start = world.event(handle, "group_resubscribe", person, timestamp=now - 3600)
    stop = world.event(handle, "group_unsubscribe", person, timestamp=now - 60)
    older = world.event(handle, "unsubscribe", person, timestamp=now - 7200)
    last = world.event(handle, "group_resubscribe", person, timestamp=now - 30)
    for event, expected in (
        (stop, "stopped"),
        (start, "stopped"),
        (stop, "stopped"),
        (start, "stopped"),
        (last, None),
        (older, None),
        (stop, None),
    ):
        assert (await world.sendgrid(event)).status_code == 204
        assert await world.suppressed(Channel.EMAIL, person.email) == expected


async def test_the_same_text_twice_is_one(world: World) -> None:
    """A START whose request is sent again, signed as ever, after a later STOP: the STOP stays, for Twilio's
    MessageSid says which text it was. A new START counts."""
    cell = "+15005550018"

    async def says(text: str, sid: str) -> str | None:
        form = {"MessageSid": sid, "From": cell, "To": "+15005550006", "Body": text}
        assert (await world.twilio("/hooks/twilio/reply", form)).status_code == 200
        return await world.suppressed(Channel.SMS, cell)

    assert await says("STOP", "SM-1") == "stopped"
    assert await says("START", "SM-2") is None
    assert await says("STOP", "SM-3") == "stopped"
    for _ in range(2):
        assert await says("START", "SM-2") == "stopped"
    assert await says("START", "SM-4") is None
    assert await says("STOP", "SM-3") is None


OURS = ("30001", "30002", "30003", "30004", "30007", "30008", "30023", "30034", "21408", "21612", "")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("21610", "stopped"),
        ("21211", "invalid_address"),
        ("21614", "invalid_address"),
        ("21635", "invalid_address"),
        ("30005", "invalid_address"),
        ("30006", "invalid_address"),
        *((code, None) for code in OURS),
    ],
)
async def test_only_codes_about_the_number_suppress_it(world: World, code: str, reason: str | None) -> None:
    """An account that is suspended, a carrier that filters, a handset that is off: the number stays. The
    delivery has failed either way; a number that had stopped may start again."""
    person = await world.person()
    handle = await world.delivery(person, Channel.SMS)
    form = {"MessageSid": f"SM{uuid4().hex}", "MessageStatus": "undelivered", "To": person.cell}
    await world.twilio(world.callback(handle), {**form, "From": "+15005550006", "ErrorCode": code})
    assert await world.state(handle) is Mark.BOUNCED
    assert await world.suppressed(Channel.SMS, person.cell) == reason
    again = {"MessageSid": "SM-again", "From": person.cell, "Body": "START"}
    await world.twilio("/hooks/twilio/reply", again)
    assert await world.suppressed(Channel.SMS, person.cell) == (None if reason == "stopped" else reason)


@pytest.mark.parametrize("sender", ["24273", "msgxc", ""])
async def test_a_short_code_that_reaches_no_carrier_suppresses_nobody(world: World, sender: str) -> None:
    """30006 is a landline, or a carrier that a short code does not reach: the delivery has failed, the number
    stays."""
    person = await world.person()
    handle = await world.delivery(person, Channel.SMS)
    form = {"MessageSid": f"SM{uuid4().hex}", "MessageStatus": "undelivered", "To": person.cell}
    await world.twilio(world.callback(handle), {**form, "From": sender, "ErrorCode": "30006"})
    assert await world.state(handle) is Mark.BOUNCED
    assert await world.suppressed(Channel.SMS, person.cell) is None


async def test_events_in_any_order_and_any_number_say_the_same(world: World) -> None:
    """The worst news wins, whatever comes first and however often it is repeated."""
    person = await world.person()
    kinds = ["processed", "delivered", "bounce", "spamreport"]
    chance = random.Random(7)
    for _ in range(6):
        handle = await world.delivery(person, Channel.EMAIL)
        events = [world.event(handle, kind, person) for kind in kinds] * 3
        chance.shuffle(events)
        for event in events:
            await world.sendgrid(event)
        assert await world.state(handle) is Mark.COMPLAINED


async def test_opens_and_clicks_count_with_consent_alone(world: World) -> None:
    """Looked at when the news comes: who has not consented, or no more, leaves no mark."""
    for consents, expected in (({"tracking"}, Mark.CLICKED), ({"marketing"}, None), (set(), None)):
        person = await world.person(consents=frozenset(consents))
        handle = await world.delivery(person, Channel.EMAIL)
        await world.sendgrid(world.event(handle, "open", person), world.event(handle, "click", person))
        assert await world.state(handle) is expected


async def test_reading_counts_with_consent_alone(world: World) -> None:
    """A device's `read`, Twilio's and a token's: behaviour, as an opening is. Without the consent the ledger
    says no more than that it was delivered; how far the thread was read still works, for that is its use."""
    for consents, expected in (({"tracking"}, Mark.READ), ({"marketing"}, Mark.DELIVERED), (set(), None)):
        person = await world.person(consents=frozenset(consents))
        push, text = [await world.delivery(person, channel) for channel in (Channel.APNS, Channel.SMS)]
        events = ["delivered", "read"] if expected else ["read"]
        token = links.receipt(world.exchange.key, push)
        await world.post("receipts", {"items": [{"receipt": token, "event": event} for event in events]})
        for status in events:
            await world.twilio(world.callback(text), {"MessageSid": "SM1", "MessageStatus": status})
        assert [await world.state(push), await world.state(text)] == [expected, expected]
        mid = ids.message_id(world.exchange.clock() - 5, uuid4().bytes[:8])
        tid = ids.own_thread(world.exchange.key, person.uid)
        body = {"tid": str(tid), "mid": str(mid)}
        assert (await world.post("read", body, world.login(person.uid))).json() is True
        assert await world.exchange.store.reads.last([(tid, person.uid)]) == {person.uid: mid}


async def test_the_inbox_holds_no_address(world: World, tmp_path) -> None:
    """What is stored of an event is a hash: the address stands nowhere but in the directory."""
    person = await world.person()
    handle = await world.delivery(person, Channel.EMAIL)
    events = orjson.dumps([world.event(handle, "bounce", person, reason=f"550 <{person.email}> unknown")])
    found = sendgrid.receipts(world.exchange.key, events, time_now())
    assert person.email not in repr(found)


def time_now():
    from datetime import UTC, datetime

    return datetime.now(UTC)


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b'"x"', b"[1]", b"[null]", b"\xff", b"[" * 5000])
async def test_a_signed_body_that_is_no_list_is_refused(world: World, body: bytes) -> None:
    """422, never 5xx."""
    answer = await world.client.post(
        "/hooks/sendgrid", content=body, headers=signed_events(body, world.stamp())
    )
    assert answer.status_code == 422


async def test_odd_events_are_passed_over(world: World) -> None:
    """Fields of any type, times of any size: no exception, and nothing invented."""
    person = await world.person()
    handle = await world.delivery(person, Channel.EMAIL)
    odd = [
        {"event": []},
        {"event": "bounce"},
        {"event": "bounce", "email": 7, "receipt": {}},
        world.event(handle, "delivered", person, timestamp=1e300),
        world.event(handle, "delivered", person, timestamp="x", sg_event_id=None),
        world.event(handle, "bounce", person, email="\ud800 no", status=["5.1.1"]),
    ]
    assert (await world.sendgrid(*odd[:5])).status_code == 204
    row = await world.row(handle)
    assert row is not None
    assert row.marks[Mark.DELIVERED].timestamp() <= time.time() + 1


# -- Twilio


@pytest.mark.parametrize(
    ("status", "mark"),
    [
        ("sent", Mark.ACCEPTED),
        ("delivered", Mark.DELIVERED),
        ("undelivered", Mark.BOUNCED),
        ("failed", Mark.BOUNCED),
    ],
)
async def test_a_status_callback_becomes_a_mark(world: World, status: str, mark: Mark) -> None:
    """In our words; `undelivered` is worse news than `accepted`, and wins over it."""
    person = await world.person()
    handle = await world.delivery(person, Channel.SMS)
    form = {"MessageSid": "SM1", "MessageStatus": status, "To": person.cell, "From": "+15005550006"}
    assert (await world.twilio(world.callback(handle), form)).status_code == 204
    await world.twilio(world.callback(handle), {**form, "MessageStatus": "sent"})
    assert await world.state(handle) is mark


async def test_a_message_in_doubt_is_settled_by_its_callback(world: World) -> None:
    """`unknown`, as a crash leaves a text message, becomes accepted, then delivered."""
    person = await world.person()
    handle = await world.delivery(person, Channel.SMS)
    shard = ids.shard_of(world.exchange.key, handle.campaign, handle.uid, 4)
    doubt = Result(handle.uid, handle.delivery, Channel.SMS, Mark.UNKNOWN, time_now(), "in_doubt")
    await world.exchange.store.ledger.note(handle.campaign, shard, [doubt])
    assert await world.state(handle) is Mark.UNKNOWN
    for status, mark in (("sent", Mark.ACCEPTED), ("delivered", Mark.DELIVERED)):
        await world.twilio(world.callback(handle), {"MessageSid": "SM1", "MessageStatus": status})
        assert await world.state(handle) is mark


async def test_forged_callbacks_are_refused(world: World) -> None:
    """Signed for another URL, another delivery, or not at all: 403."""
    person = await world.person()
    one, two = [await world.delivery(person, Channel.SMS) for _ in range(2)]
    form = {"MessageSid": "SM1", "MessageStatus": "delivered"}
    signature = twilio.signature(TWILIO, PUBLIC + world.callback(one), list(form.items()))
    for headers in ({}, {"X-Twilio-Signature": signature}, {"X-Twilio-Signature": "é"}):
        raw = {name: value.encode() for name, value in headers.items()}
        answer = await world.client.post(world.callback(two), data=form, headers=raw)
        assert (answer.status_code, answer.json()["code"]) == (403, "signature")
    assert await world.row(two) is None


async def test_stop_and_start_by_text(world: World) -> None:
    """STOP suppresses the number, START takes that back and nothing else; other words do nothing."""
    cell = "+15005550019"

    async def says(text: str) -> str | None:
        form = {"MessageSid": f"SM{uuid4().hex}", "From": cell, "To": "+15005550006", "Body": text}
        answer = await world.twilio("/hooks/twilio/reply", form)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/xml")
        return await world.suppressed(Channel.SMS, cell)

    assert await says("hello") is None
    assert await says(" Stop. ") == "stopped"
    assert await says("more please") == "stopped"
    assert await says("START") is None
    dead = {"MessageSid": "SM9", "MessageStatus": "undelivered", "ErrorCode": "30005", "To": cell}
    await world.twilio("/hooks/twilio", dead)
    assert await says("start") == "invalid_address"


@pytest.mark.parametrize(
    "text",
    [
        "STOP",
        "ＳＴＯＰ",
        "Stopp!",
        "Arrêt",
        "opt-out",
        "Opt out.",
        "please stop",
        "Stop texting me!",
        "stop, thanks",
        "unsubscribe me from this",
        "إيقاف",
        "配信停止",
        "“Stop”",
        "stop stop stop",
        "I want to opt out",
        "Please opt-out me from your list",
        "No more texts please",
        "Remove me",
        "Do not text me!",
        "Don't text me",
        "Bitte abmelden",
        "Keine SMS mehr",
        "Arrêtez",
        "BAJA",
        "配信解除",
        "إلغاء الاشتراك",
        # 47 CFR 64.1200(a)(10): each of its words, and whatever else says so clearly
        "please end",
        "Quit, please.",
        "cancel now!",
        "Quit texting me",
        "revoke consent",
        "I revoke my consent",
        "Remove me from your list",
        "take me off your list",
        "Don't contact me",
        "no more messages",
    ],
)
def test_stop_is_understood_however_it_is_written(text: str) -> None:
    """By letter, language and courtesy."""
    assert twilio.wish(text) is News.STOPPED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "don't stop",
        "Stop by at six?",
        "cancel it",
        "the end",
        "nonstop",
        "please",
        "start stop",
        "yes please",
        "stop" * 500,
        "I would like to stop by",
        "I don't want to opt out",
        "no more than two, please",
        "cancel my order",
        "the bus stop",
        "please, thanks",
        "end of the week?",
        "quit your job",
        "please cancel my order",
        "I never revoke",
        "take me off at the next stop",
    ],
)
def test_what_says_something_else_is_no_wish(text: str) -> None:
    """Neither a STOP nor a START: nobody is taken at a word that they did not mean so."""
    assert twilio.wish(text) is None


async def test_without_keys_webhooks_are_off(world: World) -> None:
    """An exchange that was told no key takes nothing, rather than everything."""
    bare = world.exchange.settings.model_copy(
        update={
            "sendgrid_webhook_key": type(world.exchange.settings.sendgrid_webhook_key)(""),
            "twilio_auth_token": type(world.exchange.settings.twilio_auth_token)(""),
        }
    )
    world.exchange.settings = bare
    for path in ("/hooks/sendgrid", "/hooks/twilio", "/hooks/twilio/reply"):
        answer = await world.client.post(path, content=b"[]")
        assert (answer.status_code, answer.json()["code"]) == (403, "webhook_off")


# -- devices and browsers


async def test_a_device_reports_with_its_token(world: World) -> None:
    """No login: the token that came with the message names the delivery."""
    person = await world.person(consents=frozenset({"tracking"}))
    handle = await world.delivery(person, Channel.APNS)
    token = links.receipt(world.exchange.key, handle)
    assert (await world.post("receipts", {"receipt": token})).json() is True
    assert await world.state(handle) is Mark.DELIVERED
    both = {"items": [{"receipt": token, "event": "clicked"}, {"receipt": token, "event": "read"}]}
    assert (await world.post("receipts", both)).json() is True
    assert await world.state(handle) is Mark.READ


async def test_a_token_that_is_not_ours_is_refused(world: World) -> None:
    """422 for anything else, and nothing is stored of a list in which one is wrong."""
    handle = await world.delivery(await world.person(), Channel.FCM)
    good = links.receipt(world.exchange.key, handle)
    for wrong in ("x", "é" * 9, good[:-1], good + "A", good[:40] + "AAAA" + good[44:]):
        answer = await world.post("receipts", {"items": [{"receipt": good}, {"receipt": wrong}]})
        assert answer.status_code == 422, wrong
        with pytest.raises(WrongInput):
            links.read_receipt(world.exchange.key, wrong)
    assert await world.row(handle) is None


# -- the inbox


async def test_ten_thousand_webhooks_at_once(world: World) -> None:
    """1,000 callbacks and 9 bodies of 1,000 events at the same moment: all are answered, and each delivery
    has its mark."""
    people = [await world.person() for _ in range(10)]
    handles = [await world.delivery(person, Channel.SMS) for person in people]
    emails = [await world.delivery(person, Channel.EMAIL) for person in people]
    forms = [{"MessageSid": f"SM{n}", "MessageStatus": "delivered"} for n in range(100)]
    calls = [world.twilio(world.callback(handle), form) for form in forms for handle in handles]
    pairs = list(zip(emails, people, strict=True)) * 100
    calls += [world.sendgrid(*(world.event(h, "delivered", p) for h, p in pairs)) for _ in range(9)]
    answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} == {204}
    for handle in handles + emails:
        assert await world.state(handle) is Mark.DELIVERED


async def test_more_than_can_wait_are_asked_to_come_again(world: World) -> None:
    """A store that is away does not fill the memory: 503 with Retry-After beyond a bound, and all is well
    after it."""
    person = await world.person()
    handle = await world.delivery(person, Channel.EMAIL)
    world.app.state.intake._waiting = [None] * 50_000
    answer = await world.sendgrid(world.event(handle, "delivered", person))
    world.app.state.intake._waiting = []
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert (await world.sendgrid(world.event(handle, "delivered", person))).status_code == 204
    assert await world.state(handle) is Mark.DELIVERED


async def test_an_answer_does_not_wait_for_the_ledger(world: World) -> None:
    """Stored first, merged afterwards: with nobody who merges the provider is answered all the same."""
    person = await world.person()
    handle = await world.delivery(person, Channel.EMAIL)
    [merging] = [task for task in asyncio.all_tasks() if "keep_merging" in repr(task.get_coro())]
    merging.cancel()
    async with asyncio.timeout(60):
        answer = await world.sendgrid(world.event(handle, "delivered", person))
    assert answer.status_code == 204
    assert len(await world.exchange.store.gateway.inbox()) == 1


async def test_what_was_stored_and_not_merged_is_merged_by_whoever_comes_next(world: World) -> None:
    """A process that dies between the two steps, or in the middle of the second, loses nothing."""
    person = await world.person()
    handle = await world.delivery(person, Channel.EMAIL)
    named = {"campaign": handle.campaign, "uid": handle.uid, "delivery": handle.delivery}
    some = [
        Received(uuid4(), news, Channel.EMAIL, time_now(), **named)
        for news in (News.ACCEPTED, News.DELIVERED)
    ]
    gateway = world.exchange.store.gateway
    await gateway.receive(some)
    half = Merger(world.exchange)
    results = await half._by_shard(await gateway.inbox())
    for (campaign, shard), marks in results.items():  # noted, and killed before the inbox was emptied
        await world.exchange.store.ledger.note(campaign, shard, marks)
    assert len(await gateway.inbox()) == 2
    assert await world.state(handle) is Mark.DELIVERED
    assert await gateway.inbox() == []


async def test_receipts_of_a_forgotten_campaign_are_dropped(world: World) -> None:
    """Retention has removed it; a late receipt does not bring anything back."""
    person = await world.person()
    handle = await world.delivery(person, Channel.EMAIL)
    await world.exchange.store.ledger.forget(handle.campaign)
    await world.sendgrid(world.event(handle, "delivered", person))
    assert await world.row(handle) is None
    assert await world.exchange.store.gateway.inbox() == []
