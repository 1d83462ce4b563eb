"""How records are written down, the same way by both stores. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import orjson

from msgxc.campaign import CampaignSpec
from msgxc.ids import uuid_of
from msgxc.ledger import TRIES, Intent, Result
from msgxc.messages.records import Message, To
from msgxc.model import DEVICE_CHANNELS, Channel, Device, Options, Thread, Urgency
from msgxc.online import Online
from msgxc.store.choices import Choices

_CHANNELS = tuple(Channel)
_NUMBER = {channel: number for number, channel in enumerate(_CHANNELS)}
#: By name: looking one up is quicker than making it.
CHANNELS = {str(channel): channel for channel in _CHANNELS}
INTENT_BYTES = 34
T = TypeVar("T")


def from_json(text: str) -> Any:
    """What json.dumps wrote; what orjson does not know (NaN, large numbers) is read by json."""
    try:
        return orjson.loads(text)
    except ValueError:
        return json.loads(text)


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of at most `size`."""
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some


def seconds(time: datetime | None) -> float | None:
    """An aware time as seconds since the epoch. Raises ValueError for a naive one."""
    if time is None:
        return None
    if time.tzinfo is None:
        raise ValueError("a time needs a time zone")
    return time.timestamp()


def time_of(value: float | None) -> datetime | None:
    """Seconds since the epoch as a time in UTC."""
    return None if value is None else datetime.fromtimestamp(value, UTC)


def spell_online(kept: Online) -> list[int]:
    """The times of which somebody's total knows, in one row."""
    return [kept.before, *(time for span in kept.lately for time in span)]


def read_online(total: int, times: Sequence[int]) -> Online:
    """What spell_online wrote, with the total."""
    before, *rest = times
    return Online(total, before, tuple(zip(rest[::2], rest[1::2], strict=True)))


def pack_intents(intents: Iterable[Intent]) -> bytes:
    """34 bytes each: uid, delivery, number of the channel, attempt (at most 255)."""
    return b"".join(
        [i.uid.bytes + i.delivery.bytes + bytes((_NUMBER[i.channel], min(i.attempt, TRIES))) for i in intents]
    )


def pack_tries(result: Result) -> int:
    """A result's tries as one number of 15 bits: its doubts, and in the lowest 8 bits its attempts."""
    return min(result.attempt, TRIES) | min(result.doubts, 127) << 8


def unpack_intents(packed: bytes) -> tuple[Intent, ...]:
    """What pack_intents wrote."""
    return tuple(
        Intent(
            uid=uuid_of(packed[at : at + 16]),
            delivery=uuid_of(packed[at + 16 : at + 32]),
            channel=_CHANNELS[packed[at + 32]],
            attempt=packed[at + 33],
        )
        for at in range(0, len(packed), INTENT_BYTES)
    )


def spell_channels(channels: Iterable[Channel] | None) -> str | None:
    """None: every channel; "": none; else their names in order of declaration."""
    if channels is None:
        return None
    return " ".join(channel for channel in _CHANNELS if channel in frozenset(channels))


@lru_cache(1024)
def read_channels(text: str | None) -> frozenset[Channel] | None:
    """What spell_channels wrote."""
    return None if text is None else frozenset(Channel(word) for word in text.split())


@lru_cache(1024)
def read_held(text: str | None, without: str) -> frozenset[Channel] | None:
    """What spell_channels wrote, but for those that were taken back, spelled the same way."""
    held = read_channels(text)
    if not without:
        return held
    return (frozenset(_CHANNELS) if held is None else held) - (read_channels(without) or frozenset())


@lru_cache(1024)
def read_words(text: str) -> frozenset[str]:
    """Words that were joined by spaces; there are few different texts, so what they mean is kept."""
    return frozenset(text.split())


def spell_choices(times: Mapping[str, datetime]) -> str:
    """Items and their times as a JSON object; "" for none."""
    return json.dumps({item: at.timestamp() for item, at in times.items()}) if times else ""


def read_choices(given: str, withdrawn: str) -> Choices:
    """What spell_choices wrote, twice."""
    return Choices(
        *(
            {i: datetime.fromtimestamp(at, UTC) for i, at in from_json(t or "{}").items()}
            for t in (given, withdrawn)
        )
    )


def device_channel(device: Device) -> Channel:
    """Its channel. Raises ValueError for one on which nobody registers a device."""
    if device.channel not in DEVICE_CHANNELS:
        raise ValueError(f"a device is reached by apns, fcm or webpush, not by {device.channel}")
    return device.channel


def spell_devices(devices: Sequence[Device]) -> str:
    """The devices as a JSON list of lists. Raises ValueError for another channel, and for a naive time."""
    return json.dumps(
        [[device_channel(d), d.token, seconds(d.registered), d.p256dh, d.auth] for d in devices]
    )


def read_devices(text: str) -> tuple[Device, ...]:
    """What spell_devices wrote."""
    if text == "[]":
        return ()
    return tuple(
        [
            Device(CHANNELS[channel], token, datetime.fromtimestamp(registered, UTC), p256dh, auth)
            for channel, token, registered, p256dh, auth in from_json(text)
        ]
    )


def spell_thread(thread: Thread) -> str:
    """The thread as a JSON object, without its tid."""
    return json.dumps(
        {
            "name": thread.name,
            "owner": thread.owner and str(thread.owner),
            "admins": sorted(map(str, thread.admins)),
            "publishers": sorted(map(str, thread.publishers)),
            "open": thread.open,
            "open_to_publish": thread.open_to_publish,
            "channels": spell_channels(thread.channels),
            "fallback": None if thread.fallback is None else list(thread.fallback),
            "child_channels": spell_channels(thread.child_channels),
            "urgency": int(thread.urgency),
            "archived": thread.archived,
            "system": thread.system,
            "ephemeral": thread.ephemeral,
            "template": thread.template,
        }
    )


def read_thread(tid: UUID, text: str) -> Thread:
    """What spell_thread wrote."""
    record = json.loads(text)
    fallback = record["fallback"]
    return Thread(
        tid=tid,
        name=record["name"],
        owner=UUID(record["owner"]) if record["owner"] else None,
        admins=frozenset(map(UUID, record.get("admins", ()))),
        publishers=frozenset(map(UUID, record.get("publishers", ()))),
        open=record["open"],
        open_to_publish=record["open_to_publish"],
        channels=read_channels(record["channels"]),
        fallback=None if fallback is None else tuple(Channel(c) for c in fallback),
        child_channels=read_channels(record["child_channels"]),
        urgency=Urgency(record["urgency"]),
        archived=record["archived"],
        system=record.get("system", False),
        ephemeral=record.get("ephemeral", False),
        template=record.get("template", ""),
    )


def spell_message(message: Message) -> str:
    """What does not change of a message, as a JSON object without its ids."""
    record = {
        "text": message.text,
        "to": message.to,
        "uids": [uid.hex for uid in message.uids],
        "sender": message.sender and message.sender.hex,
        "subject": message.subject,
        "data": dict(message.data),
        "url": message.url,
        "image": message.image,
        "parent": message.parent and message.parent.hex,
        "urgency": int(message.urgency),
        "system": message.system,
        "broadcast": message.broadcast,
    }
    kept: dict[str, object] = {name: value for name, value in record.items() if value}
    if message.channels is not None:
        kept["channels"] = spell_channels(message.channels)
    if message.by_role is not None:
        kept["by_role"] = message.by_role
    if message.options is not None:
        chosen = msgspec.structs.asdict(message.options)
        kept["options"] = {name: value for name, value in chosen.items() if value is not None}
    return json.dumps(kept, ensure_ascii=False)


def read_message(tid: UUID, mid: UUID, text: str, **more: Any) -> Message:
    """What spell_message wrote; `more`: what changes."""
    record = json.loads(text)
    return Message(
        mid=mid,
        tid=tid,
        text=record.get("text", ""),
        to=To(record["to"]),
        uids=tuple(map(UUID, record.get("uids", ()))),
        sender=UUID(record["sender"]) if "sender" in record else None,
        subject=record.get("subject", ""),
        data=record.get("data", {}),
        url=record.get("url", ""),
        image=record.get("image", ""),
        options=msgspec.convert(record["options"], Options) if "options" in record else None,
        parent=UUID(record["parent"]) if "parent" in record else None,
        urgency=Urgency(record["urgency"]),
        system=record.get("system", False),
        broadcast=record.get("broadcast", False),
        channels=read_channels(record.get("channels")),
        by_role=record.get("by_role"),
        **more,
    )


def spell_spec(spec: CampaignSpec) -> str:
    """The spec as JSON; equal specs give equal text."""
    return spec.model_dump_json()


def read_spec(text: str) -> CampaignSpec:
    """What spell_spec wrote."""
    return CampaignSpec.model_validate_json(text)
