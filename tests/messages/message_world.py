"""A thread with people in it, and a way to have everything that is owed sent here and now."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any
from uuid import UUID, uuid4

from conftest_engine import Ground, crowd, enlist

from msgxc.messages.dispatching import Dispatcher
from msgxc.messages.records import Principal, Role
from msgxc.model import Recipient, Subscription, Thread
from msgxc.wiring import Exchange

OPERATOR = Principal(None, frozenset({Role.ADMIN}))
SERVICE = Principal(None, frozenset({Role.SERVICE}))


def user(uid: UUID) -> Principal:
    """Somebody with nothing but a token."""
    return Principal(uid)


@dataclass
class Room:
    """One thread, open to all, and its subscribers."""

    exchange: Exchange
    ground: Ground
    thread: Thread
    people: list[Recipient] = field(default_factory=list)

    @property
    def tid(self) -> UUID:
        """The thread's id."""
        return self.thread.tid

    async def change(self, **changes: Any) -> None:
        """Other settings of the thread."""
        self.thread = replace(self.thread, **changes)
        await self.exchange.store.threads.put(self.thread)

    async def join(self, people: list[Recipient]) -> None:
        """More people, all subscribed."""
        await enlist(self.exchange, self.ground, people)
        await self.exchange.store.threads.subscribe([Subscription(self.tid, p.uid) for p in people])
        self.people += people


async def open_room(exchange: Exchange, ground: Ground, count: int, **settings: Any) -> Room:
    """A thread with `count` people, one device each."""
    room = Room(exchange, ground, Thread(uuid4(), "Room", open=True, open_to_publish=True, **settings))
    await room.change()
    await room.join(crowd(count))
    return room


async def drain(exchange: Exchange, seconds: float = 0.0) -> int:
    """All that is due within so many seconds is sent; answers how many messages were settled."""
    dispatcher = Dispatcher(exchange, Event())
    if seconds:
        exchange.clock, before = (lambda: before() + seconds), exchange.clock
    return await dispatcher.drain()


class Ears:
    """What the bus carries while one listens."""

    def __init__(self, exchange: Exchange, subject: str) -> None:
        self._exchange, self._subject = exchange, subject
        self.heard: list[tuple[str, dict[str, Any]]] = []

    async def __aenter__(self) -> Ears:
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._listen(ready))
        await ready.wait()
        return self

    async def _listen(self, ready: asyncio.Event) -> None:
        async with self._exchange.bus.subscribe(self._subject) as news:
            ready.set()
            async for message in news:
                if message.payload:
                    self.heard.append((message.subject, json.loads(message.payload)))

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0.3)
        self._task.cancel()
