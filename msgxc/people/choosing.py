"""What a person agrees to and by which channels they are reached, changed by themself with a signed link."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from msgxc.campaign import Purpose
from msgxc.errors import NotFound, WrongInput
from msgxc.ledger import Campaign
from msgxc.model import Channel, Recipient
from msgxc.people.fields import PURPOSES
from msgxc.store import choices
from msgxc.store.choices import Choice
from msgxc.wiring import Exchange

#: Every item that the preference page shows. A link holds the places: new ones go to the end, up to 16.
ITEMS = (*map(choices.consent, PURPOSES), *map(choices.channel, Channel))
SHOWN = frozenset(ITEMS)


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What a one-click unsubscribe takes back: emails of a thread, a purpose, or all emails."""

    thread: UUID | None = None
    purpose: str = ""


def withdrawal(campaign: Campaign | None) -> Withdrawal:
    """What unsubscribing means for an email of this campaign; None: it is forgotten, so all consents go."""
    if campaign is None:
        return Withdrawal(purpose="*")
    spec = campaign.spec
    if spec.thread is not None:
        return Withdrawal(thread=spec.thread)
    return Withdrawal(purpose="" if spec.sending.purpose is Purpose.SERVICE else spec.sending.purpose.value)


async def unsubscribe(exchange: Exchange, campaign_id: UUID, uid: UUID) -> Withdrawal | None:
    """Take back what the email stands for; durable when it returns, may be repeated. None: nobody there."""
    what = withdrawal(await exchange.store.ledger.campaign(campaign_id))
    if what.thread is not None and await exchange.store.threads.leave(what.thread, uid, [Channel.EMAIL]):
        return what
    choice = Choice(now_of(exchange), "one_click", withdrawn=_items(what), link=campaign_id)
    return what if await exchange.store.directory.choose(uid, choice) else None


async def is_unsubscribed(exchange: Exchange, what: Withdrawal, person: Recipient) -> bool:
    """Whether there is nothing left to take back."""
    if what.thread is not None:
        found = await exchange.store.threads.subscriptions(what.thread, [person.uid])
        if person.uid in found:
            channels = found[person.uid].channels
            return channels is not None and Channel.EMAIL not in channels
    return _items(what).isdisjoint(held(person))


def _items(what: Withdrawal) -> frozenset[str]:
    """Consents; all emails where none stands for it."""
    purposes = PURPOSES if what.purpose == "*" else (what.purpose,) if what.purpose else ()
    return frozenset(map(choices.consent, purposes)) or frozenset({choices.channel(Channel.EMAIL)})


def held(person: Recipient) -> frozenset[str]:
    """Of the items that are shown, those that hold now."""
    channels = frozenset(Channel) if person.channels is None else person.channels
    return SHOWN & {*map(choices.consent, person.consents), *map(choices.channel, channels)}


async def withdraw(exchange: Exchange, uid: UUID, items: Collection[str], link: UUID, how: str) -> bool:
    """Take back purposes and channels, at once. False: nobody there."""
    taken = SHOWN & frozenset(items)
    return await exchange.store.directory.choose(
        uid, Choice(now_of(exchange), how, withdrawn=taken, link=link)
    )


async def choose(
    exchange: Exchange, uid: UUID, given: Collection[str], withdrawn: Collection[str]
) -> frozenset[str]:
    """Give and take back by a login; answers the items that hold now. Raises WrongInput for an item that is
    not shown or stands in both, NotFound when nobody is there."""
    gives, takes = frozenset(given), frozenset(withdrawn)
    if not (gives | takes) <= SHOWN or gives & takes:
        raise WrongInput(f"each once, and of these: {', '.join(ITEMS)}")
    directory = exchange.store.directory
    if gives or takes:
        await directory.choose(uid, Choice(now_of(exchange), "app", gives, takes))
    person = (await directory.get([uid])).get(uid)
    if person is None:
        raise NotFound("there is nobody of that uid")
    return held(person)


def now_of(exchange: Exchange) -> datetime:
    """Now, by the exchange's clock."""
    return datetime.fromtimestamp(exchange.clock(), UTC)
