"""Records for the store's tests: fresh ids every time, times in whole milliseconds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID, uuid4

from msgxc.campaign import Audience, CampaignSpec, Everyone
from msgxc.ledger import Campaign, Intent, Mark, Result, Window
from msgxc.model import Channel, Device, Recipient

T = TypeVar("T")

START = datetime(2026, 11, 22, 12, 0, 0, 123000, tzinfo=UTC)
#: Joined emoji, right-to-left with an override, combining marks, and characters beyond the basic plane.
WORDS = ("👩‍👩‍👧‍👦 família", "\u202eשלום עולם\u202c", "Zoe\u0308 e\u0301", "𠜎𝔘𝔫𝔦 'quoted' \"$$\" ?;--")


def at(seconds: float = 0) -> datetime:
    """A time, `seconds` after START."""
    return START + timedelta(seconds=seconds)


def uids(count: int) -> list[UUID]:
    """Fresh random uids."""
    return [uuid4() for _ in range(count)]


def device(token: str, registered: float = 0, channel: Channel = Channel.FCM) -> Device:
    """A device, registered `registered` seconds after START."""
    return Device(channel, token, at(registered))


def person(uid: UUID | None = None) -> Recipient:
    """A recipient with something in every field."""
    return Recipient(
        uid=uid or uuid4(),
        name=WORDS[0],
        email="someone@example.org",
        cell="+15005550006",
        lang="pt",
        tz="America/Sao_Paulo",
        channels=frozenset({Channel.EMAIL, Channel.WEBPUSH}),
        devices=(
            Device(Channel.WEBPUSH, "https://push.example.org/z", at(5), "p256dh-key", "auth-secret"),
            device("token-b", 7),
            device("token-a", -3, Channel.APNS),
        ),
        consents=frozenset({"marketing", "product"}),
        attributes={"plan": "pro", "seats": 12, "score": 0.1, "beta": True, "note": WORDS[1], "gone": None},
        last_seen=at(-86_400),
        created=at(-1e7),
    )


def campaign(name: str = "", shards: int = 4) -> Campaign:
    """A campaign under a fresh id."""
    spec = CampaignSpec(
        name=name or f"c-{uuid4()}",
        template="welcome",
        audience=Audience(to=Everyone()),
        values={"greeting": WORDS[2]},
    )
    return Campaign(id=uuid4(), spec=spec, shards=shards, created=START)


def result(uid: UUID, mark: Mark = Mark.ACCEPTED, seconds: float = 0, **more: object) -> Result:
    """One mark for the delivery of `uid` (a delivery has the id of its person here)."""
    values: dict[str, object] = {"delivery": uid, "channel": Channel.APNS, "at": at(seconds), **more}
    return Result(uid=uid, mark=mark, **values)  # type: ignore[arg-type]  # the tests name the fields


def window(people: list[UUID], epoch: int = 1, number: int = 0) -> Window:
    """A window over these people, over the channels in turn."""
    channels = list(Channel)
    intents = (
        Intent(uid, channels[n % len(channels)], uuid4(), attempt=n % 3 + 1) for n, uid in enumerate(people)
    )
    return Window(epoch, number, tuple(intents))


async def gathered(stream: AsyncIterator[list[T]]) -> list[T]:
    """Everything that a stream yields, each batch checked to hold 1 to 500."""
    found: list[T] = []
    async for batch in stream:
        assert 1 <= len(batch) <= 500
        found.extend(batch)
    return found
