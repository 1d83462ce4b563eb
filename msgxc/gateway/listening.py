"""What a connection can listen to: subjects of the bus, who may, and what the store knows of the past."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from hashlib import blake2b
from uuid import UUID

import orjson

from msgxc import ids
from msgxc.bus import Message as BusMessage
from msgxc.errors import Forbidden, MsgxcError, NotFound
from msgxc.gateway import frames
from msgxc.gateway.frames import Heard, Wire
from msgxc.gateway.hub import OVERLAP_SECONDS, Feed, Presence, Refill
from msgxc.messages import records, rights
from msgxc.messages.records import Message, Principal
from msgxc.providers.websocket import subject_of as person
from msgxc.wiring import Exchange

__all__ = [
    "BROADCAST",
    "BusAway",
    "broadcasts",
    "channel",
    "deliver",
    "missed",
    "named",
    "person",
    "thread",
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


async def source(exchange: Exchange, principal: Principal, tid: UUID) -> tuple[str, Refill]:
    """What to listen to for a thread, and how it is read again, if the caller may.

    Raises NotFound, Forbidden.
    """
    if tid == ids.broadcast_thread(exchange.key):
        return BROADCAST, broadcasts(exchange)
    own = principal.uid is not None and tid == ids.own_thread(exchange.key, principal.uid)
    if not own:
        await _check(exchange, principal, tid)
    return f"thread.{tid}", thread(exchange, tid, always=own)


async def _check(exchange: Exchange, principal: Principal, tid: UUID) -> None:
    """Whether the caller may listen to the thread."""
    found = await exchange.store.threads.get(tid)
    if found is None:
        raise NotFound("there is no such thread")
    uid = principal.uid
    subscribed = uid is not None and uid in await exchange.store.threads.subscriptions(tid, [uid])
    rights.may_read(principal, found, subscribed=subscribed)


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
        if message.mid not in known and _is_out(message, exchange.clock()):
            yield _heard(message)


def beginning(exchange: Exchange, after: UUID | None, seen: frozenset[UUID] | None) -> UUID:
    """After which message a client wants to hear of the past: now, if it has seen nothing."""
    if after is None:
        return _floor(exchange.clock())
    return after if seen is None else _earlier(after)


def thread(exchange: Exchange, tid: UUID, *, always: bool) -> Refill:
    """How a thread is read again; on the way those who may not listen any more are sent away (`always`:
    nobody is, it is the person's own)."""

    async def refill(feed: Feed, since: float) -> list[Heard]:
        if not always:
            await _review(exchange, feed, tid)
        return await _since(exchange, tid, since)

    return refill


def broadcasts(exchange: Exchange) -> Refill:
    """How the broadcasts are read again."""

    async def refill(_feed: Feed, since: float) -> list[Heard]:
        return await _since(exchange, ids.broadcast_thread(exchange.key), since)

    return refill


async def _since(exchange: Exchange, tid: UUID, since: float) -> list[Heard]:
    found = _pages(exchange, tid, _floor(since))
    return [_heard(message) async for message in found if _is_out(message, exchange.clock())]


async def _pages(exchange: Exchange, tid: UUID, after: UUID) -> AsyncIterator[Message]:
    while page := await exchange.store.messages.history(tid, after=after, limit=PAGE):
        for message in page:
            yield message
        if len(page) < PAGE:
            return
        after = page[-1].mid


async def _review(exchange: Exchange, feed: Feed, tid: UUID) -> None:
    """Send away whoever has left the thread, or was put out of it."""
    found = await exchange.store.threads.get(tid)
    if found is None or found.open:
        return
    uids = {listener.principal.uid for listener in feed.listeners}
    members = await exchange.store.threads.subscriptions(tid, [uid for uid in uids if uid is not None])
    for listener in tuple(feed.listeners):
        try:
            rights.may_read(listener.principal, found, subscribed=listener.principal.uid in members)
        except Forbidden:
            listener.dismiss(feed.subject, str(tid))


def _is_out(message: Message, now: float) -> bool:
    """Whether it may be shown: not taken back, and its time has come."""
    waits = message.scheduled is not None and message.scheduled > datetime.fromtimestamp(now, UTC)
    return not waits and message.canceled is None and message.recalled is None


def _heard(message: Message) -> Heard:
    mid = str(message.mid)
    return Heard(Wire(orjson.dumps(records.frame(message))), mid, frames.key(mid, message.slug), again=True)


def _floor(moment: float) -> UUID:
    """The least id of a message that was made at that time (RFC 9562 section 5.7)."""
    return UUID(int=(max(int(moment * 1000), 0) << 80) | (7 << 76) | (2 << 62))


def _earlier(mid: UUID) -> UUID:
    """Where to begin, so that what was stored late is there too."""
    return _floor((mid.int >> 80) / 1000 - OVERLAP_SECONDS) if mid.version == 7 else mid
