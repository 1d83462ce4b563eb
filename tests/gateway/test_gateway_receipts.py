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
    other = signed_events(body, "1764000000", ec.generate_private_key(ec.SECP256R1()))
    for headers in ({}, other, signed_events(body + b" ", "1764000000")):
        answer = await world.client.post("/hooks/sendgrid", content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "signature")
    assert await world.exchange.store.gateway.inbox() == []


async def test_an_event_with_a_token_that_is_not_ours_changes_no_row(world: World) -> None:
    """A token for one delivery does not do for another, and one letter more does not do at all."""
    person = await world.person()
    handle = await world.delivery(person, Channel.EMAIL)
    sms = structs.replace(handle, channel=Channel.SMS)
    tokens = [
        "",
        "x",
        links.receipt(world.exchange.key, handle)[:-2] + "AA",
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
        ("dropped", {"reason": "Bounced Address"}, "dropped"),
        ("spamreport", {}, "complained"),
        ("unsubscribe", {}, "stopped"),
        ("bounce", {"type": "blocked"}, None),
        ("deferred", {}, None),
        ("delivered", {}, None),
    ],
)
async def test_bad_news_suppresses_the_address(
    world: World, kind: str, more: dict, reason: str | None
) -> None:
    """bounce, dropped, spam report and unsubscribe suppress; a soft bounce and a deferral do not."""
    person = await world.person()
    handle = await world.delivery(person, Channel.EMAIL)
    await world.sendgrid(world.event(handle, kind, person, **more))
    assert await world.suppressed(Channel.EMAIL, person.email) == reason


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
    answer = await world.client.post("/hooks/sendgrid", content=body, headers=signed_events(body, "1"))
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


async def test_one_answer_takes_well_under_200_ms(world: World) -> None:
    """Stored first, merged afterwards: the provider does not wait for the ledger."""
    person = await world.person()
    handle = await world.delivery(person, Channel.EMAIL)
    times = []
    for _ in range(40):
        begun = time.perf_counter()
        await world.sendgrid(world.event(handle, "delivered", person))
        times.append(time.perf_counter() - begun)
    assert sorted(times)[20] < 0.1


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
