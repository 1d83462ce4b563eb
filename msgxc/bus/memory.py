"""The bus of one process: for the embedded exchange, and for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from msgxc.bus import WAITING, Message, Subscription, checked_pattern, checked_payload, checked_subject
from msgxc.bus.queue import Waiting


@dataclass(frozen=True, slots=True, eq=False)
class _Listener:
    pattern: tuple[str, ...]
    waiting: Waiting


class Listeners:
    """Who listens in this process. Subjects without wildcards are found by name: they may be thousands."""

    def __init__(self) -> None:
        self._exact: dict[str, list[Waiting]] = {}
        self._patterns: list[_Listener] = []
        self._closed = False

    @asynccontextmanager
    async def subscribe(self, subject: str, *, waiting: int = WAITING) -> AsyncIterator[Subscription]:
        """See Bus.subscribe."""
        mine = Waiting(waiting)
        if self._closed:
            mine.end()
        leave = self._add(checked_pattern(subject), mine)
        try:
            yield mine
        finally:
            leave()

    def hand_out(self, subject: str, payload: bytes, answer: Callable[[bytes], Awaitable[None]]) -> int:
        """Give it to all whom it is for; answers how many they are."""
        if self._closed:
            return 0
        found = self._found(subject)
        for waiting in found:
            waiting.put(Message(subject, payload, answer))
        return len(found)

    def missed(self, count: int) -> None:
        """Some messages, nobody knows for whom, did not reach this process: everybody is told."""
        for waiting in self._all():
            waiting.missed(count)

    def close(self) -> None:
        """End every subscription; nothing is handed out any more."""
        self._closed = True
        for waiting in self._all():
            waiting.end()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def _add(self, subject: str, waiting: Waiting) -> Callable[[], None]:
        """Listen; answers how to stop."""
        words = tuple(subject.split("."))
        if "*" in words or ">" in words:
            listener = _Listener(words, waiting)
            self._patterns.append(listener)
            return lambda: self._patterns.remove(listener)
        self._exact.setdefault(subject, []).append(waiting)
        return lambda: self._remove(subject, waiting)

    def _remove(self, subject: str, waiting: Waiting) -> None:
        self._exact[subject].remove(waiting)
        if not self._exact[subject]:
            del self._exact[subject]

    def _found(self, subject: str) -> list[Waiting]:
        found = list(self._exact.get(subject, ()))
        if self._patterns:
            words = tuple(subject.split("."))
            found += [one.waiting for one in self._patterns if matches(one.pattern, words)]
        return found

    def _all(self) -> list[Waiting]:
        exact = [waiting for waitings in self._exact.values() for waiting in waitings]
        return exact + [one.waiting for one in self._patterns]


class MemoryBus:
    """A bus that ends at the process's own border."""

    def __init__(self) -> None:
        self._listeners = Listeners()
        self.subscribe = self._listeners.subscribe

    async def publish(self, subject: str, payload: bytes) -> bool:
        """See Bus.publish. False once the bus is closed."""
        self._listeners.hand_out(checked_subject(subject), checked_payload(payload), unanswered)
        return not self._listeners.closed

    async def request(self, subject: str, payload: bytes, timeout: float) -> bytes | None:  # noqa: ASYNC109
        """See Bus.request."""
        asked = asyncio.get_running_loop().create_future()
        if not self._listeners.hand_out(checked_subject(subject), checked_payload(payload), answers(asked)):
            return None
        return await first_answer(asked, timeout)

    async def close(self) -> None:
        """See Bus.close."""
        self._listeners.close()


async def unanswered(_answer: bytes) -> None:
    """What answering does to a message that is no request."""


def answers(asked: asyncio.Future[bytes | None]) -> Callable[[bytes], Awaitable[None]]:
    """What answering does to a request: the first answer counts."""

    async def answer(text: bytes) -> None:
        checked_payload(text)
        if not asked.done():
            asked.set_result(text)

    return answer


async def first_answer(asked: asyncio.Future[bytes | None], timeout: float) -> bytes | None:  # noqa: ASYNC109
    """The answer, or None when there is none in time."""
    try:
        async with asyncio.timeout(timeout):
            return await asked
    except TimeoutError:
        return None


def matches(pattern: tuple[str, ...], subject: tuple[str, ...]) -> bool:
    """Whether a subscription's words take a subject's words: * is one word, > at the end one or more."""
    if pattern[-1] == ">":
        start = len(pattern) - 1
        return len(subject) > start and _equal(pattern[:start], subject[:start])
    return len(pattern) == len(subject) and _equal(pattern, subject)


def _equal(pattern: tuple[str, ...], subject: tuple[str, ...]) -> bool:
    return all(word in ("*", other) for word, other in zip(pattern, subject, strict=True))
