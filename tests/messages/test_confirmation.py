"""A confirmation goes out through the exchange's own sending, and its link is what gives the consent."""

from __future__ import annotations

import re
from datetime import timedelta

from conftest_engine import Ground, enlist, person
from message_world import drain

from msgxc import ids
from msgxc.campaign import Audience, CampaignSpec, Everyone
from msgxc.ledger import Campaign
from msgxc.model import Channel
from msgxc.people.choosing import now_of, withdraw
from msgxc.privacy import confirmation
from msgxc.privacy.confirmation import Asked
from msgxc.store.choices import consent
from msgxc.wiring import Exchange

MARKETING = frozenset({consent("marketing")})


async def test_the_person_is_asked_where_they_can_be(exchange: Exchange, ground: Ground) -> None:
    """By email; by text message where email is turned off: the provider has got just one message, with a link
    that is theirs. Before it is pressed nothing holds, after it the consent does."""
    campaign = Campaign(
        ids.campaign_id(exchange.key, "c"),
        CampaignSpec(name="c", template="hello", audience=Audience(to=Everyone())),
        1,
        now_of(exchange),
    )
    await exchange.store.ledger.create(campaign)
    nothing, sms = frozenset[str](), frozenset({Channel.SMS})
    mail = person(email="ok-ann@example.com", cell="+15005550021", consents=nothing)
    text = person(email="ok-bob@example.com", cell="+15005550022", consents=nothing, channels=sms)
    await enlist(exchange, ground, [mail, text])
    for who, channel, address in ((mail, Channel.EMAIL, mail.email), (text, Channel.SMS, text.cell)):
        found = await confirmation.ask(exchange, who, MARKETING, campaign.id, "Offers and news")
        assert found == (Asked.SENT, channel)
        await drain(exchange)
        (entry,) = [entry for entry in ground.accepted() if entry.address == address]
        assert "Please confirm" in (entry.subject or entry.text)
        own = ids.own_thread(exchange.key, who.uid)
        (message,) = await exchange.store.messages.history(own)
        token = message.url.rpartition("/c/")[2]
        if channel is Channel.SMS:
            assert re.findall(r"/c/([A-Za-z0-9_-]+)", entry.text) == [token]
        assert (await exchange.store.directory.get([who.uid]))[who.uid].consents == frozenset()
        confirmed = await confirmation.confirm(exchange, token)
        assert confirmed
        assert confirmed.consents == {"marketing"}
    assert len(ground.accepted()) == 2


async def test_a_consent_counts_from_when_it_was_asked_for(exchange: Exchange) -> None:
    """Confirmed an hour later: a withdrawal of half an hour ago is newer, and wins."""
    someone = person(email="ok-eve@example.com", consents=frozenset[str]())
    await exchange.store.directory.put([someone])
    campaign = Campaign(
        ids.campaign_id(exchange.key, "c"),
        CampaignSpec(name="c", template="hello", audience=Audience(to=Everyone())),
        1,
        now_of(exchange),
    )
    await exchange.store.ledger.create(campaign)
    await confirmation.ask(exchange, someone, MARKETING, campaign.id, "Offers and news")
    (message,) = await exchange.store.messages.history(ids.own_thread(exchange.key, someone.uid))
    token, now = message.url.rpartition("/c/")[2], exchange.clock()
    uid, link, items, asked = confirmation.read(exchange, token)
    assert (uid, link, items) == (someone.uid, campaign.id, MARKETING)
    assert abs(asked - now_of(exchange)) < timedelta(minutes=1)
    exchange.clock = lambda: now + 1_800
    assert await withdraw(exchange, someone.uid, MARKETING, campaign.id, "page")
    exchange.clock = lambda: now + 3_600
    confirmed = await confirmation.confirm(exchange, token)
    assert confirmed
    assert confirmed.consents == frozenset()
