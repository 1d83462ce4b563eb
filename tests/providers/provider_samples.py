"""Deliveries to send, one kind per channel; the word in front of the address steers the sandbox."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from uuid import UUID, uuid4

import pytest

from msgxc.model import Channel, Content, Device, Email, Outgoing, Push, Sms, Target, Urgency
from msgxc.providers import PROVIDERS
from msgxc.sandbox.subscriber import SUBSCRIBER_AUTH, SUBSCRIBER_P256DH, push_endpoint

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CALLER = UUID(int=7)

#: Phone numbers are steered by four of their last digits (sandbox/steering.py).
CELL_CODES = {
    "": "01",
    "stop": "10",
    "bad": "11",
    "gone": "14",
    "toolarge": "17",
    "throttled": "20",
    "slow": "30",
    "refuses": "40",
    "expired": "41",
    "down": "50",
    "lost": "60",
}

#: Every adapter, over each of its transports.
WAYS = [
    (channel, transport)
    for channel in PROVIDERS
    for transport in (("library",) if channel is Channel.EMAIL else ("lean", "library"))
]
EVERY = pytest.mark.parametrize(("channel", "transport"), WAYS)

_numbers = count(100_000)


def address(channel: Channel, word: str = "") -> str:
    """A new address on this channel that the sandbox answers with `word`."""
    number = next(_numbers)
    if channel is Channel.SMS:
        name, tenths = word.rstrip("0123456789"), word.lstrip("abcdefghijklmnopqrstuvwxyz") or "0"
        tail = f"{int(tenths) // 100 if name == 'slow' else int(tenths):02d}"
        return f"+49{number}555{CELL_CODES[name]}{tail}"
    name = f"{word}-{number}" if word else f"device{number}"
    if channel is Channel.WEBPUSH:
        return push_endpoint(name)
    return f"{name}@example.org" if channel is Channel.EMAIL else name


def content(channel: Channel) -> Content:
    """A small message of the channel's kind."""
    if channel is Channel.SMS:
        return Sms("Your parcel has arrived.")
    if channel is Channel.EMAIL:
        return Email("Your parcel", "<p>Dear Ann,</p><p>it has arrived.</p>", "Dear Ann,\nit has arrived.")
    return Push("Your parcel", "It has arrived.", url="https://example.org/p/1", data={"parcel": "1"})


def outgoing(
    channel: Channel,
    to: str | None = None,
    what: Content | None = None,
    *,
    urgency: Urgency = Urgency.NORMAL,
    ttl: int = 600,
    collapse: str = "collapse-0123456789_AZ",
    campaign: str = "spring",
    unsubscribe: str = "",
    p256dh: str = SUBSCRIBER_P256DH,
    auth: str = SUBSCRIBER_AUTH,
) -> Outgoing:
    """A delivery to `to` (default: an ordinary address)."""
    to = address(channel) if to is None else to
    device = None
    if channel in (Channel.APNS, Channel.FCM):
        device = Device(channel, to, NOW)
    if channel is Channel.WEBPUSH:
        device = Device(channel, to, NOW, p256dh, auth)
    return Outgoing(
        delivery=uuid4(),
        uid=CALLER,
        target=Target(channel, to, device),
        content=content(channel) if what is None else what,
        urgency=urgency,
        ttl=ttl,
        collapse=collapse,
        campaign=campaign,
        unsubscribe=unsubscribe,
    )
