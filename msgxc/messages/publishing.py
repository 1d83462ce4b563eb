"""Say something: publish, send, multicast, broadcast; and take it back: cancel, execute, recall.

Stored first, together with its place in triage; then told to open connections over the bus; then dispatch is
woken. Whatever fails after the first step is made good from the store.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from msgxc import ids
from msgxc.errors import Conflict, Forbidden, NotFound, WrongInput
from msgxc.failpoints import failpoint
from msgxc.messages import telling
from msgxc.messages.records import (
    DATA,
    PEOPLE,
    SUBJECT,
    TEXT,
    Draft,
    Message,
    Principal,
    Recalled,
    Role,
    To,
)
from msgxc.messages.rights import may_address, may_manage, may_publish
from msgxc.messages.stopping import stop, take_back
from msgxc.messages.triage import is_over, place, whole_milliseconds
from msgxc.model import Thread, Urgency
from msgxc.render.person import whole
from msgxc.urgency import levels
from msgxc.wiring import Exchange

#: How far the clock of whoever chooses a message's id may be off.
CLOCKS = timedelta(minutes=1)
#: How old the id of a repeated call may be.
AGAIN = timedelta(days=1)


async def publish(exchange: Exchange, principal: Principal, draft: Draft) -> Message:
    """Say it in the draft's thread. With a time in the future nobody hears of it before.

    A draft with a `mid` that is taken is published once: the stored message is answered.
    Raises WrongInput, NotFound (no such thread), Forbidden (see rights.may_publish).
    """
    checked(draft)
    if draft.tid is None:
        raise WrongInput("which thread? tid is missing")
    thread = await thread_at(exchange, draft.tid)
    may_publish(principal, thread)
    message = _message(exchange, principal, draft, thread.tid, urgency=draft.urgency or thread.urgency)
    if draft.ephemeral or thread.ephemeral:
        await telling.tell(exchange, message)
        return message
    return await _say(exchange, message, known=draft.mid is not None)


async def send(exchange: Exchange, principal: Principal, draft: Draft, uid: UUID) -> Message:
    """Say it to one person; it stands in their own thread. Raises WrongInput, Forbidden (not_an_operator),
    NotFound (nobody of that uid)."""
    may_address(principal)
    checked(draft)
    if not await exchange.store.directory.get([uid]):
        raise NotFound("there is nobody of that uid")
    own = ids.own_thread(exchange.key, uid)
    message = _message(exchange, principal, draft, own, To.PERSON, (uid,))
    return await _say(exchange, message, known=draft.mid is not None)


async def multicast(exchange: Exchange, principal: Principal, draft: Draft, uids: Sequence[UUID]) -> Message:
    """Say it to some people (at most records.PEOPLE): each sees it in their own thread. The answer's `tid` is
    what cancel and recall want. Unknown uids are skipped when it is sent. Raises WrongInput, Forbidden."""
    may_address(principal)
    checked(draft)
    people = tuple(dict.fromkeys(uids))
    if not 0 < len(people) <= PEOPLE:
        raise WrongInput(f"a multicast is for 1 to {PEOPLE:,} people")
    message = _message(exchange, principal, draft, people[0], To.PEOPLE, people)
    return await _say(exchange, replace(message, tid=message.mid), known=draft.mid is not None)


async def broadcast(exchange: Exchange, principal: Principal, draft: Draft) -> Message:
    """Say it to everybody: open connections hear /broadcast/system. Raises WrongInput, Forbidden."""
    may_address(principal)
    checked(draft)
    tid = ids.broadcast_thread(exchange.key)
    message = _message(exchange, principal, draft, tid, To.EVERYONE)
    return await _say(exchange, message, known=draft.mid is not None)


async def cancel(exchange: Exchange, principal: Principal, tid: UUID, mid: UUID) -> Message:
    """Nothing of it leaves any more: `scheduled` cleared, canceled and completed set. Again is the same.

    Raises NotFound; Forbidden unless operator, service, admin of the thread or its sender.
    """
    message = await _own_message(exchange, principal, tid, mid)
    now = now_of(exchange)
    await exchange.store.messages.note(tid, mid, canceled=now, completed=now)
    failpoint("canceling")
    message = await _stored(exchange, tid, mid)  # It may have come out meanwhile.
    await stop(exchange, message)
    if message.joined is None:
        await exchange.store.messages.note(tid, mid, unscheduled=True)
    return await _stored(exchange, tid, mid)


async def execute(exchange: Exchange, principal: Principal, tid: UUID, mid: UUID, qid: str) -> Message:
    """Send a stored message now, whatever its time. The first `qid` seals it: a second executor with another
    one gets Conflict (sealed), the same one again gets the same answer: the message as it came out.

    Raises WrongInput (no qid), NotFound, Forbidden (not_an_operator), Conflict (sealed, canceled).
    """
    may_address(principal)
    if not 0 < len(qid) <= 100:
        raise WrongInput("qid says who executes: 1 to 100 characters")
    message = await _stored(exchange, tid, mid)
    if message.canceled or message.recalled:
        raise Conflict("the message is canceled", "canceled")
    if await exchange.store.messages.take(tid, mid, qid) != qid:
        raise Conflict("another executor has sealed the message", "sealed")
    if message.scheduled is None:
        await _hurry(exchange, message)
        return await _stored(exchange, tid, mid)
    return await come_out(exchange, message)


async def recall(exchange: Exchange, principal: Principal, tid: UUID, mid: UUID) -> Recalled:
    """Take it back as far as it can be: what is unsent stops, what has arrived is replaced or withdrawn.

    Rights as for cancel. May be made again: then it counts anew. Raises NotFound, Forbidden.
    """
    message = await _own_message(exchange, principal, tid, mid)
    now = now_of(exchange)
    await exchange.store.messages.note(tid, mid, recalled=now)
    failpoint("recalling")
    message = await _stored(exchange, message.tid, mid)  # It may have come out meanwhile.
    for copy in (message.out, *telling.copies(exchange.key, message.out)):
        await exchange.store.messages.note(copy.tid, copy.mid, recalled=now)
    return await take_back(exchange, message)


# -- what comes out -----------------------------------------------------------------------------------------


async def come_out(exchange: Exchange, message: Message) -> Message:
    """A scheduled message at its time: it comes out under a fresh id, once, whoever does it and how often.

    The id is written down before the message: whoever finds it there goes on with it.
    """
    if message.joined is None:
        await exchange.store.messages.note(message.tid, message.mid, joined=_mid(exchange))
        message = await _stored(exchange, message.tid, message.mid)
    failpoint("coming_out")
    if is_over(message):
        return message.out
    out = await _say(exchange, message.out, known=True)
    await exchange.store.messages.note(message.tid, message.mid, completed=now_of(exchange))
    return out


async def _hurry(exchange: Exchange, message: Message) -> None:
    """One that stands in the queue already goes before all that waits."""
    if is_over(message):
        return
    now = exchange.clock()
    item = place(replace(message, urgency=Urgency.HIGH), levels(exchange.settings)[Urgency.HIGH], now)
    await exchange.store.triage.add([replace(item, due=now)])
    await telling.wake(exchange, Urgency.HIGH)


async def _say(exchange: Exchange, message: Message, *, known: bool) -> Message:
    """Store it, tell it, wake dispatch. `known`: its id was chosen before; then it may be there already."""
    store = exchange.store.messages
    if known and (stored := await store.get(message.tid, message.mid)):
        return stored
    item = place(message, levels(exchange.settings)[message.urgency], exchange.clock())
    live = message.scheduled is None
    await store.put(message, item, telling.copies(exchange.key, message) if live else ())
    failpoint("published")
    if live:
        await telling.tell(exchange, message)
    await telling.wake(exchange, message.urgency)
    return message


def _message(
    exchange: Exchange,
    principal: Principal,
    draft: Draft,
    tid: UUID,
    to: To = To.THREAD,
    uids: tuple[UUID, ...] = (),
    *,
    urgency: Urgency | None = None,
) -> Message:
    scheduled = whole_milliseconds(draft.scheduled.astimezone(UTC)) if draft.scheduled else None
    later = scheduled is not None and scheduled.timestamp() > exchange.clock()
    return Message(
        mid=_checked_mid(exchange, draft.mid, draft.again) if draft.mid else _mid(exchange),
        tid=tid,
        text=whole(draft.text),
        to=to,
        uids=uids,
        sender=principal.uid,
        subject=whole(draft.subject),
        data={whole(name): whole(value) for name, value in draft.data.items()},
        url=whole(draft.url),
        parent=draft.parent,
        urgency=urgency or draft.urgency or Urgency.NORMAL,
        system=draft.system,
        broadcast=draft.broadcast,
        channels=draft.channels,
        scheduled=scheduled if later else None,
    )


def _mid(exchange: Exchange) -> UUID:
    return ids.message_id(exchange.clock(), os.urandom(8))


def _checked_mid(exchange: Exchange, mid: UUID, again: bool) -> UUID:
    off = now_of(exchange) - ids.message_time(mid) if ids.is_message(mid) else None
    if off is None or not -CLOCKS <= off <= (AGAIN if again else CLOCKS):
        raise WrongInput("mid is a UUIDv7 of now")
    return mid


def checked(draft: Draft) -> None:
    """Whether it can be said. Raises WrongInput with the first thing that is wrong."""
    if not draft.text.strip() and not draft.data:
        raise WrongInput("the message is empty")
    if len(draft.text) > TEXT:
        raise WrongInput(f"the text has more than {TEXT:,} characters")
    if len(draft.subject) > SUBJECT:
        raise WrongInput(f"the subject has more than {SUBJECT} characters")
    if len(json.dumps(dict(draft.data), ensure_ascii=False).encode("utf-8", "replace")) > DATA:
        raise WrongInput(f"the data has more than {DATA:,} bytes")
    if len(draft.url) > 1_000 or (draft.url and not draft.url.startswith(("https://", "http://", "/"))):
        raise WrongInput("the url is an https address of at most 1,000 characters, or a path")
    if draft.scheduled and draft.scheduled.tzinfo is None:
        raise WrongInput("scheduled needs a time zone")


# -- who may -----------------------------------------------------------------------------------------------


async def thread_at(exchange: Exchange, tid: UUID) -> Thread:
    """The thread. Raises NotFound."""
    thread = await exchange.store.threads.get(tid)
    if thread is None:
        raise NotFound(f"there is no thread {tid}")
    return thread


async def _stored(exchange: Exchange, tid: UUID, mid: UUID) -> Message:
    message = await exchange.store.messages.get(tid, mid) if ids.is_message(mid) else None
    if message is None:
        raise NotFound(f"there is no message {mid} in thread {tid}")
    return message


async def _own_message(exchange: Exchange, principal: Principal, tid: UUID, mid: UUID) -> Message:
    """The message, for whoever may take it back: its sender, an admin of its thread, operators, services."""
    message = await _stored(exchange, tid, mid)
    if principal.has(Role.ADMIN, Role.SERVICE) or (principal.uid and principal.uid == message.sender):
        return message
    thread = await exchange.store.threads.get(tid)
    if thread is None:
        raise Forbidden("only operators and services may do that", "not_an_operator")
    may_manage(principal, thread)
    return message


def now_of(exchange: Exchange) -> datetime:
    """Now, as every store keeps times."""
    return whole_milliseconds(datetime.fromtimestamp(exchange.clock(), UTC))
