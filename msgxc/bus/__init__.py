"""What the exchange asks of a bus: to wake others, and to ask the session that is open now.

The bus is never the record: a message may be lost, and whoever needs it looks in the store. Subjects are
words joined by dots and hold ids only, never an address: `person.<uid>`, `thread.<tid>`, `campaign.<id>`. In
a subscription `*` stands for one word, and `>` at the end for one or more (the NATS rules).

Three adapters: memory (one process), local (the processes of one machine) and nats.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from msgxc.errors import WrongInput

#: How many messages wait for a subscriber before the oldest are dropped.
WAITING = 1_000
#: The largest payload, in bytes: the default of nats-server.
PAYLOAD = 1_048_576

_WORD = r"[A-Za-z0-9_-]+"
_SUBJECT = re.compile(rf"{_WORD}(\.{_WORD})*")
_PATTERN = re.compile(rf"({_WORD}|\*)(\.({_WORD}|\*))*(\.>)?|>")


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it reached a subscriber. `answer` replies to a request; for the others it does nothing.

    `dropped`: how many messages this subscription has lost since the last one that it handed out, because the
    subscriber was too slow: the gap is before this message, and is filled from the store.
    """

    subject: str
    payload: bytes = field(repr=False)
    answer: Callable[[bytes], Awaitable[None]]
    dropped: int = 0


class Subscription(Protocol):
    """The messages of one subscription, in order; iteration ends when the bus is closed."""

    dropped: int  # lost in all, because the subscriber was too slow

    def __aiter__(self) -> AsyncIterator[Message]: ...


class Bus(Protocol):
    """One connection to the bus, used from one event loop."""

    async def publish(self, subject: str, payload: bytes) -> bool:
        """Hand it to whoever listens now. True: the bus has it (nobody may be listening). False: the bus is
        away, and the message is gone; nothing is kept back to be sent later. Never waits more than 50 ms.
        Raises WrongInput for a subject or payload that no bus takes."""

    def subscribe(self, subject: str, *, waiting: int = WAITING) -> AbstractAsyncContextManager[Subscription]:
        """Listen, from the moment the context is entered. While the bus is away nothing comes; afterwards the
        subscription goes on by itself. At most `waiting` messages are kept for a slow subscriber: then the
        oldest is dropped, counted, and told with the next message. Raises WrongInput."""

    async def request(self, subject: str, payload: bytes, timeout: float) -> bytes | None:  # noqa: ASYNC109
        """The first answer within `timeout` seconds, or None: nobody listens (told at once), nobody answered
        in time, or the bus is away. Raises WrongInput."""

    async def close(self) -> None:
        """Hand out what has arrived, then end every subscription. May be called twice."""


def checked_subject(subject: str) -> str:
    """The subject, if it names one; raises WrongInput."""
    if not _SUBJECT.fullmatch(subject):
        raise WrongInput("a subject is words of letters, digits, - and _, joined by dots")
    return subject


def checked_pattern(subject: str) -> str:
    """The subject of a subscription; raises WrongInput."""
    if not _PATTERN.fullmatch(subject):
        raise WrongInput("a subscription is a subject in which * may stand for a word, and > for the rest")
    return subject


def checked_payload(payload: bytes) -> bytes:
    """The payload, if it is small enough; raises WrongInput."""
    if len(payload) > PAYLOAD:
        raise WrongInput(f"a message on the bus has at most {PAYLOAD} bytes")
    return payload
