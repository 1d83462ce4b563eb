"""A message as the campaign that delivers it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgxc import ids
from msgxc.campaign import (
    Audience,
    CampaignSpec,
    Everyone,
    Fallback,
    MessageOf,
    People,
    Purpose,
    Sending,
    Spread,
    Subscribers,
)
from msgxc.ledger import Campaign, Control, Seal
from msgxc.messages.content import REPLACEABLE
from msgxc.messages.records import PEOPLE, Message, To
from msgxc.model import Channel, Thread, Urgency

#: The channels of a message when its thread names none: the devices of its people.
DEVICES = (Channel.APNS, Channel.FCM, Channel.WEBPUSH)
#: Stands in a spec where no template is used.
NO_TEMPLATE = "message"


def spec_of(
    message: Message, thread: Thread | None, others: Sequence[UUID] = (), into: UUID | None = None
) -> CampaignSpec:
    """What the delivery engine is asked for. `others` leave with it; `into`: it has left with that one.

    Each person gets it on every channel that the thread, its message and they themselves allow, as the system
    before did; the fallback's channels are the thread's. It is a service to them, not marketing: that is what
    campaigns are for.
    """
    fallback = _in_order(thread.fallback) if thread else ()
    template = thread.template if thread else ""
    return CampaignSpec(
        name=ids.message_name(message.mid),
        template=template or NO_TEMPLATE,
        audience=Audience(to=_audience(message)),
        sending=_sending(message.urgency, _channels(message, thread)),
        fallback=Fallback(enabled=bool(fallback), after_minutes=0, channels=fallback or (Channel.EMAIL,)),
        thread=message.tid if message.to is To.THREAD else None,
        message=MessageOf(
            tid=message.tid,
            mid=message.mid,
            child=message.parent is not None,
            plain=not template,
            others=tuple(others),
            into=into,
        ),
    )


def withdrawal_of(spec: CampaignSpec, uids: Sequence[UUID]) -> CampaignSpec:
    """What replaces a message on the screens of those who have it."""
    if spec.message is None:
        raise ValueError("not a message's")
    channels = tuple(c for c in DEVICES if c in spec.sending.channels and c in REPLACEABLE) or DEVICES
    return CampaignSpec(
        name=ids.message_name(spec.message.mid, ids.WITHDRAWAL),
        template=NO_TEMPLATE,
        audience=Audience(to=People(uids=tuple(uids)) if len(uids) <= PEOPLE else Everyone()),
        sending=_sending(Urgency.NORMAL, channels),
        fallback=Fallback(enabled=False),
        message=spec.message.model_copy(update={"withdraws": True, "plain": True, "into": None}),
    )


def sealed(
    key: bytes,
    spec: CampaignSpec,
    uids: Sequence[UUID],
    now: datetime,
    control: Control = Control.RUN,
    *,
    shards: int = 1,
) -> Campaign:
    """A campaign with its seal, for these people."""
    identity = ids.campaign_id(key, spec.name)
    digest = sum(ids.audience_digest(key, identity, uid) for uid in uids) % 2**64
    return Campaign(identity, spec, shards, now, control, Seal(len(uids), digest))


def _audience(message: Message) -> Subscribers | People | Everyone:
    if message.to is To.EVERYONE:
        return Everyone()
    if message.to is To.THREAD:
        return Subscribers(thread=message.tid)
    return People(uids=message.uids)


def _channels(message: Message, thread: Thread | None) -> tuple[Channel, ...]:
    """In order; the websocket is not among them: whoever is connected has been told already."""
    own = None if thread is None else thread.child_channels if message.parent else thread.channels
    wanted = DEVICES if own is None else _in_order(own)
    if message.channels is not None:
        wanted = tuple(c for c in _in_order(message.channels) if own is None or c in own)
    return tuple(c for c in wanted if c is not Channel.WEBSOCKET)


def _in_order(channels: object) -> tuple[Channel, ...]:
    if isinstance(channels, tuple):
        return channels
    return tuple(c for c in Channel if isinstance(channels, frozenset) and c in channels)


def _sending(urgency: Urgency, channels: tuple[Channel, ...]) -> Sending:
    """Where no channel is left, one stands there that the thread turns down: everybody has their reason."""
    return Sending(
        urgency=urgency, channels=channels or DEVICES, spread=Spread.EVERY, purpose=Purpose.SERVICE
    )
