"""From a send through the providers' wire to the receipt: the token that leaves is the one that counts."""

from __future__ import annotations

import json
from threading import Event
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from gateway_world import PUBLIC, World

from msgxc import campaigns, links
from msgxc.campaign import Audience, CampaignSpec, Fallback, People, Sending
from msgxc.ledger import Mark
from msgxc.model import Channel, Device, Outgoing, Recipient
from msgxc.providers import fcm, sms, webpush
from msgxc.providers.email import EmailSettings
from msgxc.providers.email_batch import by_shape
from msgxc.providers.email_document import document
from msgxc.tracking import CONSENT


class Noting:
    """A provider that accepts everything and keeps what it was given."""

    batch = 50

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.got: list[Outgoing] = []

    async def send(self, batch, patience=None):
        """All accepted."""
        from msgxc.model import Outcome, Receipt

        self.got += batch
        return [Receipt(Outcome.ACCEPTED, ref="r") for _ in batch]

    async def close(self) -> None:
        """Nothing to close."""


async def sent(world: World, person: Recipient, channel: Channel) -> Outgoing:
    """What leaves for somebody, by a campaign on one channel."""
    provider = Noting(channel)
    world.exchange._providers[channel] = provider
    spec = CampaignSpec(
        name=f"c-{uuid4().hex[:8]}",
        template="welcome",
        audience=Audience(to=People(uids=(person.uid,))),
        sending=Sending(channels=(channel,), purpose="service"),
        fallback=Fallback(enabled=False),
    )
    plan = await campaigns.plan(world.exchange, spec)
    await campaigns.seal(world.exchange, plan.id)
    await campaigns.send_slice(world.exchange, plan.id, 0, plan.shards, stop=Event())
    (out,) = provider.got
    return out


async def row_of(world: World, out: Outgoing) -> Mark | None:
    """The mark that counts, of what has left."""
    from msgxc.receipts.merging import Merger

    await Merger(world.exchange).merge_all()
    campaign = await campaigns.campaign_named(world.exchange, out.campaign)
    rows = await campaigns.rows_of(world.exchange, campaign, out.uid)
    return next((row.state for row in rows or () if row.delivery == out.delivery), None)


async def test_an_email_comes_back_as_delivered(world: World) -> None:
    """Its custom_args, as SendGrid sends them back beside every event."""
    out = await sent(world, await world.person(), Channel.EMAIL)
    [joined], _ = by_shape([out.content])
    body = document([out], [out.target.address], joined, EmailSettings("key", "from@example.com"))
    custom = body["personalizations"][0]["custom_args"]
    assert await row_of(world, out) is Mark.ACCEPTED
    event = {"event": "delivered", "email": out.target.address, "sg_event_id": "1", **custom}
    assert (await world.sendgrid(event)).status_code == 204
    assert await row_of(world, out) is Mark.DELIVERED


async def test_a_text_message_comes_back_as_undelivered(world: World) -> None:
    """Its status callback is the URL that Twilio then calls."""
    out = await sent(world, await world.person(), Channel.SMS)
    settings = sms.SmsSettings("AC0", "secret", "+15005550006", callback=f"{PUBLIC}{sms.CALLBACK_PATH}")
    form = sms.form(out, settings)
    assert isinstance(form, dict)
    path = form["StatusCallback"].removeprefix(PUBLIC)
    answer = await world.twilio(
        path, {"MessageSid": "SM1", "MessageStatus": "undelivered", "ErrorCode": "30003"}
    )
    assert answer.status_code == 204
    assert await row_of(world, out) is Mark.BOUNCED
    assert parse_qs(urlsplit(path).query)["delivery"] == [str(out.delivery)]


@pytest.mark.parametrize("channel", [Channel.FCM, Channel.WEBPUSH])
async def test_a_push_comes_back_as_shown(world: World, channel: Channel) -> None:
    """The token in its data, as the app or the service worker posts it."""
    device = Device(channel, "https://fcm.googleapis.com/wp/x", world_time(), "p", "a")
    out = await sent(world, await world.person(devices=(device,)), channel)
    if channel is Channel.FCM:
        parts = fcm.parts(out)
        assert isinstance(parts, dict)
        token = parts["data_payload"]["msgxc_receipt"]
    else:
        token = json.loads(json.dumps(webpush.payload(out.content, out)))["receipt"]
    assert (await world.post("receipts", {"receipt": token})).json() is True
    assert await row_of(world, out) is Mark.DELIVERED


def world_time():
    """Now."""
    from datetime import UTC, datetime

    return datetime.now(UTC)


@pytest.mark.parametrize("consents", [frozenset(), frozenset({CONSENT})])
async def test_an_email_is_tracked_with_consent_alone(world: World, consents: frozenset[str]) -> None:
    """Links and picture in the email of who agreed; everybody else's is as it was written."""
    out = await sent(world, await world.person(consents=consents), Channel.EMAIL)
    html = out.content.html
    assert ("/o/" in html) == bool(consents)
    assert (f"{PUBLIC}/l/" in html) == bool(consents)
    handle = links.read_receipt(world.exchange.key, out.receipt)
    assert (handle.uid, handle.delivery, handle.channel) == (out.uid, out.delivery, Channel.EMAIL)
