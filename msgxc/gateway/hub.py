"""All open connections of one gateway process, and what they listen to.

A subject of the bus is subscribed to once, however many listen here, and left when nobody does. The bus only
wakes: what it lost is read from the store. It says so itself (`dropped`), or nobody knows, and the patrol
reads each thread that somebody listens to again, a few a second.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID
from weakref import WeakValueDictionary

from msgxc import revocation
from msgxc.bus import Message
from msgxc.errors import MsgxcError, StoreUnavailable
from msgxc.gateway import frames
from msgxc.gateway.deadlines import Deadlines
from msgxc.gateway.descriptors import limit, needed, places
from msgxc.gateway.doorstep import Doorstep
from msgxc.gateway.frames import Heard, Wire
from msgxc.messages.records import Principal
from msgxc.messages.telling import MEMBERS
from msgxc.online import Attendance
from msgxc.wiring import Exchange

#: After so many connections the loop looks after others, before a message goes to the next ones.
TOGETHER = 200
#: Messages of a subject that are remembered, so that none is handed out twice.
REMEMBERED = 2_000
#: How often a thread is read again, at most, in seconds; and how many a second.
PATROL_SECONDS, PATROL_PER_SECOND = 15.0, 20.0
#: How often it is written down who is connected, in seconds.
SEEN_SECONDS = 30.0
#: How long somebody's replay waits for their one before it, in seconds.
REPLAY_SECONDS = 5.0
#: Ids of two machines may be out of order by so many seconds; a read from the store goes back so far.
OVERLAP_SECONDS = 10.0
#: Messages that wait for us on one subject before the oldest is dropped, and read from the store.
WAITING = 10_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Presence:
    """`online`: seconds of the oldest connection. `active`: somebody is at the screen."""

    online: int
    active: bool


class Listener(Protocol):
    """An open connection, as the hub sees it. Nothing here waits, nothing raises."""

    @property
    def principal(self) -> Principal:
        """Whose connection it is."""

    def hear(self, subject: str, heard: Heard) -> None:
        """A frame has arrived."""

    def deliver(self, delivery: str, wire: Wire, answer: Callable[[bytes], Awaitable[None]]) -> None:
        """A delivery for this person, which wants an answer."""

    def presence(self) -> Presence:
        """For how long it has been open, and whether somebody is at the screen."""

    def dismiss(self, subject: str, tid: str) -> None:
        """They may not listen to this thread any more."""


@dataclass(slots=True, eq=False)
class Feed:
    """One subject, and who listens to it here."""

    subject: str
    take: Take
    refill: Refill | None
    review: Review | None
    listeners: set[Listener] = field(default_factory=set)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    known: OrderedDict[str, None] = field(default_factory=OrderedDict)
    filled: float = field(default_factory=time.time)  # everything older has been handed out
    task: asyncio.Task[None] | None = None

    def fresh(self, heard: Heard) -> bool:
        """Whether it has not been handed out before."""
        if not heard.key:
            return True
        if heard.key in self.known:
            return False
        self.known[heard.key] = None
        if len(self.known) > REMEMBERED:
            self.known.popitem(last=False)
        return True


#: What is done with a message of the bus; what the store has of a subject after a time; who may not listen to
#: it any more is dismissed.
Take = Callable[[Feed, Message], Awaitable[None]]
Refill = Callable[[Feed, float], Awaitable[Iterable[Heard]]]
Review = Callable[[Feed], Awaitable[None]]


class Hub:
    """Made once for each gateway process, by `running`."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.connections = 0
        self.places = places(limit(), exchange.settings.websocket_connections)
        self.doorstep = Doorstep(
            self.places.waiting, max(self.places.waiting // 2, 1)
        )  # of them, unknown yet
        self.deadlines = Deadlines(exchange)  # of the others
        self.patrol_seconds, self.replay_seconds = PATROL_SECONDS, REPLAY_SECONDS
        self._replays: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._feeds: dict[str, Feed] = {}
        self._turns: OrderedDict[str, Feed] = OrderedDict()  # of those that the store can fill
        self._seen: dict[UUID, datetime] = {}  # and not written down yet
        self._attendance = Attendance()

    def see(self, uid: UUID | None) -> None:
        """Somebody is here now: `last_seen` of theirs is written soon, with everybody else's."""
        if uid is not None:
            self._seen[uid] = datetime.fromtimestamp(self.exchange.clock(), UTC)

    def come(self, uid: UUID) -> None:
        """A connection of this person is open; `go` when it is not any more."""
        self.see(uid)
        self._attendance.come(uid, time.monotonic())

    def go(self, uid: UUID) -> None:
        """One that had come."""
        self.see(uid)
        self._attendance.go(uid, self.exchange.clock(), time.monotonic())

    async def note_seen(self) -> None:
        """Write down who was here, and for how long; what a store that is away does not take is written
        later."""
        seen, self._seen = self._seen, {}
        online = self._attendance.tell(self.exchange.clock(), time.monotonic())
        try:
            if seen:
                await self.exchange.store.directory.seen(seen)
                seen = {}
            if online:
                await self.exchange.store.directory.note_online(online)
                online = {}
        except StoreUnavailable:
            pass
        finally:  # also when it is ended meanwhile: it is written once more then
            self._seen = {**seen, **self._seen}
            self._attendance.again(online)

    async def keep_noting(self) -> None:
        """Now and then, for ever."""
        while True:
            await asyncio.sleep(SEEN_SECONDS)
            await self.note_seen()

    def replaying(self, account: str) -> asyncio.Lock:
        """Held while somebody is shown a thread's past: one at a time for all their connections."""
        return self._replays.setdefault(account, asyncio.Lock())

    async def join(
        self,
        subject: str,
        listener: Listener,
        *,
        take: Take | None = None,
        refill: Refill | None = None,
        review: Review | None = None,
    ) -> None:
        """Listen: what is published after this has returned is heard. Twice is the same as once.

        `take` handles a message of the bus (else every listener hears it); `refill` reads from the store what
        was said after a time; `review` sends away whoever may not listen any more.
        """
        feed = self._feeds.get(subject)
        if feed is None:
            feed = self._feeds[subject] = Feed(subject, take or self.spread, refill, review)
            feed.task = asyncio.create_task(self._run(feed), name="feed")
            if refill is not None:
                self._turns[subject] = feed
        feed.listeners.add(listener)
        await feed.ready.wait()

    def leave(self, subject: str, listener: Listener) -> None:
        """Listen no longer."""
        feed = self._feeds.get(subject)
        if feed is None:
            return
        feed.listeners.discard(listener)
        if not feed.listeners:
            del self._feeds[subject]
            self._turns.pop(subject, None)
            if feed.task is not None:
                feed.task.cancel()

    async def spread(self, feed: Feed, message: Message) -> None:
        """Hand a message of the bus to everybody who listens, and may."""
        if message.payload == MEMBERS:
            if feed.review is not None:
                await feed.review(feed)
            return
        heard = frames.heard(message.payload)
        if heard is not None and feed.fresh(heard):
            await _hand_out(feed, heard)

    async def fill(self, feed: Feed) -> None:
        """Hand out what the store has and the bus did not bring."""
        if feed.refill is None:
            return
        begun = time.time()
        if feed.review is not None:
            await feed.review(feed)
        missed = [
            heard for heard in await feed.refill(feed, feed.filled - OVERLAP_SECONDS) if feed.fresh(heard)
        ]
        feed.filled = begun
        for heard in missed:
            await _hand_out(feed, heard)

    async def patrol(self) -> None:
        """Read every thread that somebody listens to again, in turn, for ever."""
        while True:
            await asyncio.sleep(1 / PATROL_PER_SECOND)
            feed = next(iter(self._turns.values()), None)
            if feed is not None and feed.filled < time.time() - self.patrol_seconds:
                self._turns.move_to_end(feed.subject)
                await self._safely_fill(feed)

    async def close(self) -> None:
        """Let go of every subject."""
        tasks = [feed.task for feed in self._feeds.values() if feed.task is not None]
        self._feeds.clear()
        self._turns.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, feed: Feed) -> None:
        try:
            async with self.exchange.bus.subscribe(feed.subject, waiting=WAITING) as heard:
                feed.ready.set()
                async for message in heard:
                    if message.dropped:
                        await self._safely_fill(feed)
                    await self._safely_take(feed, message)
        finally:
            feed.ready.set()

    async def _safely_take(self, feed: Feed, message: Message) -> None:
        """One message that cannot be handed out does not end the subscription."""
        try:
            await feed.take(feed, message)
        except Exception as error:
            _log.error("a message could not be handed out: %s", type(error).__name__)

    async def _safely_fill(self, feed: Feed) -> None:
        try:
            await self.fill(feed)
        except Exception as error:
            code = error.code if isinstance(error, MsgxcError) else type(error).__name__
            _log.warning("a thread could not be read again: %s", code)


async def _hand_out(feed: Feed, heard: Heard) -> None:
    """Whoever comes while it is handed out has it from the store."""
    for number, listener in enumerate(tuple(feed.listeners), 1):
        listener.hear(feed.subject, heard)
        if number % TOGETHER == 0:
            await asyncio.sleep(0)


@asynccontextmanager
async def running(exchange: Exchange) -> AsyncIterator[Hub]:
    """A hub, with its patrol, that hears of revocations."""
    hub = Hub(exchange)
    if hub.places.websockets < exchange.settings.websocket_connections:
        _log.warning(
            "room for %d websockets: MSGXC_WEBSOCKET_CONNECTIONS takes %d file descriptors (ulimit -Hn)",
            hub.places.websockets,
            needed(exchange.settings),
        )
    async with exchange.bus.subscribe(revocation.SUBJECT) as told:
        tasks = [
            asyncio.create_task(hub.patrol(), name="patrol"),
            asyncio.create_task(hub.deadlines.listen(told), name="revocations"),
            asyncio.create_task(hub.deadlines.patrol(), name="new revocations"),
            asyncio.create_task(hub.keep_noting(), name="who was seen"),
        ]
        try:
            yield hub
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await hub.close()
            await hub.note_seen()
