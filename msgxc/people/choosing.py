"""What a person agrees to and by which channels they are reached, changed by themself with a signed link."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from msgxc.campaign import Purpose
from msgxc.ledger import Campaign
from msgxc.model import Channel, Recipient, Subscription
from msgxc.tracking import CONSENT
from msgxc.wiring import Exchange

#: What needs consent, and can be chosen.
PURPOSES = (Purpose.MARKETING.value, Purpose.PRODUCT.value, CONSENT)


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
    directory = exchange.store.directory
    person = (await directory.get([uid])).get(uid)
    if person is None:
        return None
    what = withdrawal(await exchange.store.ledger.campaign(campaign_id))
    if what.thread is not None:
        await _leave_by_email(exchange, person, what.thread)
    elif what.purpose == "*":
        await directory.choose(uid, person.consents - set(PURPOSES), person.channels)
    elif what.purpose:
        await directory.choose(uid, person.consents - {what.purpose}, person.channels)
    else:
        await directory.choose(uid, person.consents, _all(person.channels) - {Channel.EMAIL})
    return what


async def _leave_by_email(exchange: Exchange, person: Recipient, tid: UUID) -> None:
    """The thread stays, without emails; whoever is no subscriber gets no emails at all."""
    threads = exchange.store.threads
    held = (await threads.subscriptions(tid, [person.uid])).get(person.uid)
    if held is None:
        channels = _all(person.channels) - {Channel.EMAIL}
        await exchange.store.directory.choose(person.uid, person.consents, channels)
        return
    await threads.subscribe([Subscription(tid, person.uid, _all(held.channels) - {Channel.EMAIL})])


async def choose(
    exchange: Exchange, uid: UUID, purposes: Collection[str], channels: Collection[Channel]
) -> Recipient | None:
    """Set consents and channels as ticked; consents that the page does not show stay. None: nobody there."""
    person = (await exchange.store.directory.get([uid])).get(uid)
    if person is None:
        return None
    consents = (person.consents - set(PURPOSES)) | (set(purposes) & set(PURPOSES))
    chosen = None if set(channels) >= set(Channel) else frozenset(channels)
    await exchange.store.directory.choose(uid, consents, chosen)
    return (await exchange.store.directory.get([uid])).get(uid)


def _all(channels: Collection[Channel] | None) -> frozenset[Channel]:
    return frozenset(Channel) if channels is None else frozenset(channels)
