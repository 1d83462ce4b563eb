"""A person goes, with all that is theirs, for good; and comes back only when an operator says so.

The order matters: the tombstone first, so that nothing that is written meanwhile stays; then their tokens and
open sockets; then the record, so that nothing leaves for them any more; then what they said. Whatever dies in
between: erase again, each step may be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from msgxc import ids
from msgxc.ledger import Control
from msgxc.messages.records import Message, To
from msgxc.messages.stopping import stop
from msgxc.messages.triage import is_over, whole_milliseconds
from msgxc.revocation import revoke
from msgxc.wiring import Exchange


@dataclass(frozen=True, slots=True)
class Erased:
    """What was found: whether there was a record, how many messages they had said or got with others, how
    many of those had not left yet, on the staff of how many threads they were."""

    record: bool
    messages: int = 0
    stopped: int = 0
    threads: int = 0


async def erase(exchange: Exchange, uid: UUID) -> Erased:
    """Erase a person, also one without a record (who only got a multicast, or only said something).

    Afterwards: tokens that were issued until now are refused and their websockets end; enlisting, importing
    and subscribing this uid is refused; no address, no device, no consent, no membership, no read mark is
    left; of what they said the ids and times stay, without sender, text, subject, data and link, and what had
    not left never does; other people's messages to several no longer name them. The ledger keeps uids,
    counts and codes. Reads every message of the exchange: minutes where there are millions. May be repeated.
    """
    store, now = exchange.store, whole_milliseconds(datetime.fromtimestamp(exchange.clock(), UTC))
    await store.directory.bury([ids.tombstone(exchange.key, uid)], now)
    await revoke(exchange, f"uid:{uid}", now)
    known = uid in await store.directory.get([uid])
    await store.directory.erase([uid])
    threads = await store.threads.dismiss(uid)
    await store.messages.forget(ids.own_thread(exchange.key, uid))
    messages = stopped = 0
    async for page in store.messages.naming(uid):
        for message in page:
            messages += 1
            if is_theirs(message, uid):
                stopped += await _ended(exchange, message, now)
            await store.messages.rewrite(without(message, uid))
    await store.scrub()
    return Erased(known, messages, stopped, threads)


async def readmit(exchange: Exchange, uid: UUID) -> None:
    """Whoever was erased may be enlisted, imported and subscribed again, as somebody new."""
    await exchange.store.directory.unbury([ids.tombstone(exchange.key, uid)])


def is_theirs(message: Message, uid: UUID) -> bool:
    """Whether they said it, or it was for them alone."""
    return message.sender == uid or (message.to is not To.THREAD and message.uids == (uid,))


def without(message: Message, uid: UUID) -> Message:
    """The message without this person: what is theirs says nothing any more, the rest does not name them."""
    if not is_theirs(message, uid):
        return replace(message, uids=tuple(one for one in message.uids if one != uid))
    return replace(
        message, sender=None, uids=(), text="", subject="", data={}, url="", system=False, broadcast=False
    )


async def _ended(exchange: Exchange, message: Message, now: datetime) -> bool:
    """Nothing of it leaves any more; True: something would have."""
    if is_over(message):  # at most its fallback
        fallback = UUID(int=(message.joined or message.mid).int ^ 1)
        await exchange.store.ledger.set_control(fallback, Control.CANCEL)
        return False
    place, waits = (message.tid, message.mid), message.joined is None
    await exchange.store.messages.note(*place, canceled=now, completed=now, unscheduled=waits)
    await stop(exchange, message)
    return True
