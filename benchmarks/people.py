"""Made-up people with one address each, the same every time: the audience of a measured campaign."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from uuid import UUID

from msgxc.model import Channel, Device, Recipient
from msgxc.sandbox.subscriber import SUBSCRIBER_AUTH, SUBSCRIBER_P256DH, push_endpoint
from msgxc.settings import Settings
from msgxc.store.records import batches
from msgxc.wiring import exchange_key, make_store

SEED = 20261122
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
#: The shares of push devices among the example people.
PUSH_MIX = {Channel.APNS: 42, Channel.FCM: 38, Channel.WEBPUSH: 20}
#: Language, its share, and names in it.
NAMES = {
    "en": (40, ("Olivia O'Connor", "Noah Smith", "Zoë Okafor", "Liam Nguyen 🌱")),
    "de": (25, ("Jürgen Müller", "Änne Groß", "Lena von Weizsäcker", "Mehmet Yılmaz")),
    "fr": (15, ("Chloé Lefèvre", "François d'Artagnan", "Aïssatou Diallo")),
    "ar": (10, ("محمد الحسن", "فاطمة حداد", "ليلى المصري")),
    "ja": (10, ("佐藤 さくら", "髙橋 蓮", "渡邉 陽菜")),
}


def people(count: int, channels: dict[Channel, int]) -> Iterator[Recipient]:
    """So many people, who consented, on channels in these shares."""
    random = Random(SEED)
    languages, kinds = list(NAMES), list(channels)
    for number in range(count):
        lang = random.choices(languages, [share for share, _ in NAMES.values()])[0]
        channel = random.choices(kinds, [channels[kind] for kind in kinds])[0]
        yield _person(random, number, lang, channel)


def _person(random: Random, number: int, lang: str, channel: Channel) -> Recipient:
    uid = UUID(int=random.getrandbits(128), version=4)
    return Recipient(
        uid,
        name=random.choice(NAMES[lang][1]),
        email=f"person{number}@example.com" if channel is Channel.EMAIL else "",
        cell=f"+1201{2000000 + number}" if channel is Channel.SMS else "",
        lang=lang,
        tz="Europe/Berlin",
        devices=_devices(channel, f"{random.getrandbits(256):064x}"),
        consents=frozenset({"marketing"}),
        attributes={"city": "Zürich", "plan": "pro"},
        last_seen=SINCE,
        created=SINCE,
    )


def _devices(channel: Channel, token: str) -> tuple[Device, ...]:
    if channel is Channel.WEBPUSH:
        return (Device(channel, push_endpoint(token), SINCE, SUBSCRIBER_P256DH, SUBSCRIBER_AUTH),)
    if channel in PUSH_MIX:
        return (Device(channel, token, SINCE),)
    return ()


async def enlist(settings: Settings, count: int, channels: dict[Channel, int]) -> None:
    """Put them into a fresh exchange's directory."""
    store = make_store(settings)
    try:
        await store.apply_schema()
        await exchange_key(settings, store)  # a store with people in it wants the key that it was made with
        await store.open()
        for some in batches(people(count, channels), 8000):
            await asyncio.gather(*(store.directory.put(part) for part in batches(some, 1000)))
    finally:
        await store.close()
