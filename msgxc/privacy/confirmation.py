"""Less at once, more after a confirmation: who holds the link of an email may take consent back, not give it.

A link travels with its email: forwarded, in an archive, on somebody else's screen. So what it asks for (a
purpose, a channel that is off) is noted in the log of choices and sent to its person, over the exchange's own
sending, with a link of its own that is short-lived and has to be followed and pressed (double opt-in; GDPR
article 7(1): whoever relies on a consent must be able to show it). The consent then counts from when it was
asked for, so that a withdrawal in between, or after it, wins whatever is pressed again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from uuid import UUID

from msgxc import ids, links
from msgxc.errors import WrongInput
from msgxc.messages import publishing
from msgxc.messages.records import Draft, Principal, Role
from msgxc.model import DEVICE_CHANNELS, Channel, Recipient, Urgency
from msgxc.people.choosing import ITEMS, now_of
from msgxc.routing import addresses
from msgxc.store.choices import Choice
from msgxc.wiring import Exchange

#: How long a confirmation's link counts; how old the email may be whose link asks for it.
VALID, LINK_AGE = timedelta(days=1), timedelta(days=90)
#: One confirmation to a person in so many seconds, and so many in a day: who asks may be somebody else.
SLOT, A_DAY = 600.0, 5
#: By which channel a person is asked: the first that they have not turned off and have an address on.
ASKED_BY = (Channel.EMAIL, Channel.SMS, *sorted(DEVICE_CHANNELS))
_SERVICE = Principal(None, frozenset({Role.SERVICE}))


class Asked(StrEnum):
    """What came of asking."""

    SENT = "sent"
    RECENTLY = "recently"  # they were asked a moment ago, or often enough today
    NOWHERE = "nowhere"  # there is no place of theirs where they could be asked
    OLD_LINK = "old_link"


async def ask(
    exchange: Exchange, person: Recipient, items: frozenset[str], campaign: UUID, named: str
) -> tuple[Asked, Channel | None]:
    """Have the person confirm these items, asked for by the link of a campaign's email; and by which channel
    they are asked. `named`: the items in their words. Nothing holds before `confirm`."""
    now, store = publishing.now_of(exchange), exchange.store  # in whole milliseconds, as the link holds it
    sent = await store.ledger.campaign(campaign)
    if sent is None or now - sent.created > LINK_AGE:
        return Asked.OLD_LINK, None
    channel = await reachable(exchange, person)
    if channel is None:
        return Asked.NOWHERE, None
    asked = {said.at for said in await store.directory.said(person.uid) if said.act == "asked"}
    if sum(now - at < timedelta(days=1) for at in asked) >= A_DAY:
        return Asked.RECENTLY, channel
    token = links.confirmation(exchange.key, person.uid, campaign, now, _mask(items))
    url = f"{exchange.settings.public_url.rstrip('/')}/c/{token}"
    text = f"Somebody, we hope you, asked for this: {named}. If that is right, confirm it within a day."
    slot = now.timestamp() // SLOT * SLOT
    draft = Draft(
        f"{text} {url}" if channel is Channel.SMS else f"{text} If not, there is nothing to do.",
        subject="Please confirm",
        url=url,
        urgency=Urgency.HIGH,
        channels=frozenset({channel}),
        mid=ids.message_id(slot, blake2b(person.uid.bytes, key=exchange.key, digest_size=8).digest()),
        again=True,  # the second one of a slot is the first one
    )
    message = await publishing.send(exchange, _SERVICE, draft, person.uid)
    stored = await store.messages.get(message.tid, message.mid)
    if stored is None or stored.url != url:
        return Asked.RECENTLY, channel
    await store.directory.ask(person.uid, Choice(now, "page", given=items, link=campaign))
    return Asked.SENT, channel


async def reachable(exchange: Exchange, person: Recipient) -> Channel | None:
    """Where the person themself can be asked."""
    for channel in ASKED_BY:
        found = addresses(person, channel)
        if not found or not (person.channels is None or channel in person.channels):
            continue
        hashes = [ids.address_hash(exchange.key, channel, target.address) for target in found]
        if channel in DEVICE_CHANNELS or not await exchange.store.directory.suppressed(hashes):
            return channel
    return None


def read(exchange: Exchange, token: str) -> tuple[UUID, UUID, frozenset[str], datetime]:
    """(uid, campaign, items, when it was asked for) of a confirmation's link. Raises WrongInput for one that
    is not ours, or older than VALID."""
    uid, campaign, asked, mask = links.read_confirmation(exchange.key, token)
    if now_of(exchange) - asked > VALID:
        raise WrongInput("this link is too old")
    return uid, campaign, _items(mask), asked


async def confirm(exchange: Exchange, token: str) -> Recipient | None:
    """The person has pressed it: what was asked for holds from when it was asked for. Again is the same.
    None: nobody there. Raises WrongInput (see read)."""
    uid, campaign, items, asked = read(exchange, token)
    choice = Choice(asked, "confirmation", given=items, link=campaign, noted=now_of(exchange))
    if not await exchange.store.directory.choose(uid, choice):
        return None
    return (await exchange.store.directory.get([uid])).get(uid)


def _mask(items: frozenset[str]) -> int:
    return sum(1 << place for place, item in enumerate(ITEMS) if item in items)


def _items(mask: int) -> frozenset[str]:
    return frozenset(item for place, item in enumerate(ITEMS) if mask >> place & 1)
