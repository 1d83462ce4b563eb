"""Tell open connections of a message, and wake dispatch. Over the bus: what is lost here, the store has."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

from msgxc import ids
from msgxc.messages.records import Message, To, frame, withdrawal
from msgxc.model import Urgency
from msgxc.wiring import Exchange

EVERYBODY = "broadcast.system"
#: On a thread's subject: who may hear it has changed. No frame, so nobody is shown it.
MEMBERS = b"members"


async def tell(exchange: Exchange, message: Message) -> None:
    """One frame for each thread that it stands in; with `broadcast` one for everybody besides."""
    for copy in copies(exchange.key, message) or (message,):
        await _publish(exchange, subject_of(copy), frame(copy))
    if _to_everybody(message):
        await _publish(exchange, EVERYBODY, {**frame(message), "slug": "/broadcast/system"})


async def tell_withdrawn(exchange: Exchange, message: Message) -> None:
    """Take it off the screens that show it now."""
    for copy in copies(exchange.key, message) or (message,):
        await _publish(exchange, subject_of(copy), withdrawal(copy))
    if _to_everybody(message):
        await _publish(exchange, EVERYBODY, withdrawal(message))


def _to_everybody(message: Message) -> bool:
    """Whether a message of a thread is shown on every connection besides. Only a service or an operator may
    ask for that; one that was stored before that was looked at has no word of whose right it was."""
    by_right = message.by_role or message.sender is None
    return message.broadcast and by_right and message.to is not To.EVERYONE


async def tell_members(exchange: Exchange, tid: UUID) -> None:
    """Somebody has left the thread or was put out of it, or it is open no longer: gateways look who of those
    that listen still may. What comes after this on the thread's subject, nobody else hears any more."""
    await exchange.bus.publish(f"thread.{tid}", MEMBERS)


async def wake(exchange: Exchange, urgency: Urgency) -> None:
    """Something is owed."""
    await exchange.bus.publish(f"triage.{int(urgency)}", b"")


def subject_of(message: Message) -> str:
    """Where connections hear of it."""
    return EVERYBODY if message.to is To.EVERYONE else f"thread.{message.tid}"


def copies(key: bytes, message: Message) -> tuple[Message, ...]:
    """A multicast as each of its people sees it, in the thread of their own; else nothing."""
    if message.to is not To.PEOPLE:
        return ()
    return tuple(replace(message, tid=ids.own_thread(key, uid), uids=_own(uid)) for uid in message.uids)


def _own(uid: UUID) -> tuple[UUID, ...]:
    return (uid,)


async def _publish(exchange: Exchange, subject: str, told: dict[str, Any]) -> None:
    payload = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    await exchange.bus.publish(subject, payload.encode("utf-8", "replace"))
