"""What a connection can listen to: subjects of the bus, who may, and what the store knows of the past."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

import orjson

from msgxc import ids
from msgxc.bus import Message as BusMessage
from msgxc.errors import Forbidden, MsgxcError, NotFound
from msgxc.gateway import frames
from msgxc.gateway.frames import Heard, Wire
from msgxc.gateway.hub import OVERLAP_SECONDS, Feed, Presence, Refill, Review
from msgxc.messages import records, rights
from msgxc.messages.records import Message, Principal
from msgxc.providers.websocket import subject_of as person
from msgxc.wiring import Exchange

__all__ = [
    "BROADCAST",
    "BusAway",
    "Source",
    "channel",
    "deliver",
    "history",
    "members",
    "missed",
    "named",
    "person",
    "source",
]

BROADCAST = "broadcast.system"
#: What a person's sessions are asked, and how long one waits for them, in seconds.
PRESENCE, PRESENCE_SECONDS = b"presence", 1.0
#: Messages of one page of the store; the most that one subscription sends again.
PAGE, REPLAYED = 100, 1_000


class BusAway(MsgxcError):
    """The bus does not take anything just now."""

    code = "bus_away"


def channel(name: str) -> str:
    """The subject of a public ephemeral channel: its name may hold what no subject does."""
    return f"ephemeral.{blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


def named(exchange: Exchange, tid: str) -> UUID:
    """The thread that is meant: a UUID, or a foreign id."""
    return ids.uid_of(exchange.key, tid)


@dataclass(frozen=True, slots=True)
class Source:
    """What to listen to, how it is read again, and who may go on listening. `open`: anybody may."""

    subject: str
    refill: Refill
    review: Review | None
    open: bool


async def source(exchange: Exchange, principal: Principal, tid: UUID) -> Source:
    """What to listen to for a thread, if the caller may. Raises NotFound, Forbidden."""
    if tid == ids.broadcast_thread(exchange.key):
        return Source(BROADCAST, history(exchange, tid), None, True)
    if principal.uid is not None and tid == ids.own_thread(exchange.key, principal.uid):
        return Source(f"thread.{tid}", history(exchange, tid), None, True)
    found = await exchange.store.threads.get(tid)
    if found is None:
        raise NotFound("there is no such thread")
    uid = principal.uid
    subscribed = uid is not None and uid in await exchange.store.threads.subscriptions(tid, [uid])
    rights.may_read(principal, found, subscribed=subscribed)
    return Source(f"thread.{tid}", history(exchange, tid), members(exchange, tid), found.open)


async def deliver(feed: Feed, message: BusMessage) -> None:
    """Show a request of the websocket provider to every session of the person; say whether they are there."""
    if message.payload == PRESENCE:
        there = [listener.presence() for listener in feed.listeners]
        online, active = max((one.online for one in there), default=0), any(one.active for one in there)
        await message.answer(orjson.dumps({"online": online, "active": active}))
        return
    found = frames.delivery(message.payload)
    if found is not None:
        for listener in tuple(feed.listeners):
            listener.deliver(*found, message.answer)


async def presence(exchange: Exchange, uid: UUID) -> Presence | None:
    """Whether a person has a connection anywhere; None: no, or the bus is away."""
    answer = await exchange.bus.request(person(uid), PRESENCE, PRESENCE_SECONDS)
    if answer is None:
        return None
    said = orjson.loads(answer)
    return Presence(int(said["online"]), bool(said["active"]))


# -- the past -----------------------------------------------------------------------------------------------


async def missed(
    exchange: Exchange, tid: UUID, after: UUID | None, seen: frozenset[UUID] | None
) -> AsyncIterator[Heard]:
    """What was said after that message, oldest first; nothing for a client that has seen nothing. With `seen`
    it begins some seconds earlier, for a message may be stored late, and leaves out what was seen."""
    if after is None:
        return
    known = {after, *(seen or ())}
    async for message in _pages(exchange, tid, beginning(exchange, after, seen)):
        if message.mid not in known:
            yield _heard(message)


def beginning(exchange: Exchange, after: UUID | None, seen: frozenset[UUID] | None) -> UUID:
    """After which message a client wants to hear of the past: now, if it has seen nothing."""
    if after is None:
        return _floor(exchange.clock())
    return after if seen is None else _earlier(after)


def history(exchange: Exchange, tid: UUID) -> Refill:
    """How a thread is read again."""

    async def refill(_feed: Feed, since: float) -> list[Heard]:
        return await _since(exchange, tid, since)

    return refill


def members(exchange: Exchange, tid: UUID) -> Review:
    """Sends away whoever has left the thread, or was put out of it."""

    async def review(feed: Feed) -> None:
        found = await exchange.store.threads.get(tid)
        if found is not None and found.open:
            return
        uids = {listener.principal.uid for listener in feed.listeners} - {None}
        there = await exchange.store.threads.subscriptions(tid, [uid for uid in uids if uid is not None])
        for listener in tuple(feed.listeners):
            try:
                if found is None:
                    raise NotFound("there is no such thread")
                rights.may_read(listener.principal, found, subscribed=listener.principal.uid in there)
            except (Forbidden, NotFound):
                listener.dismiss(feed.subject, str(tid))

    return review


async def _since(exchange: Exchange, tid: UUID, since: float) -> list[Heard]:
    return [_heard(message) async for message in _pages(exchange, tid, _floor(since))]


async def _pages(exchange: Exchange, tid: UUID, after: UUID) -> AsyncIterator[Message]:
    while page := await exchange.store.messages.history(tid, after=after, limit=PAGE, shown=True):
        for message in page:
            yield message
        if len(page) < PAGE:
            return
        after = page[-1].mid


def _heard(message: Message) -> Heard:
    mid = str(message.mid)
    return Heard(Wire(orjson.dumps(records.frame(message))), mid, frames.key(mid, message.slug), again=True)


def _floor(moment: float) -> UUID:
    """The least id of a message that was made at that time (RFC 9562 section 5.7)."""
    return UUID(int=(max(int(moment * 1000), 0) << 80) | (7 << 76) | (2 << 62))


def _earlier(mid: UUID) -> UUID:
    """Where to begin, so that what was stored late is there too."""
    return _floor((mid.int >> 80) / 1000 - OVERLAP_SECONDS) if mid.version == 7 else mid
