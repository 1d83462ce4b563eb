"""Say something: publish, send, multicast, broadcast; and take it back: cancel, execute, recall.

Stored first, together with its place in triage; then told to open connections over the bus; then dispatch is
woken. Whatever fails after the first step is made good from the store.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from msgspec import to_builtins

from msgxc import ids
from msgxc.errors import Conflict, Forbidden, NotFound, TooMuch, WrongInput
from msgxc.expression import parse
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
from msgxc.messages.rights import (
    by_role,
    is_staff,
    may_address,
    may_come_out,
    may_manage,
    may_reach,
    may_read,
    may_say,
    said_by,
    urgency_now,
)
from msgxc.messages.stopping import stop, take_back
from msgxc.messages.triage import is_over, place, whole_milliseconds
from msgxc.model import Thread, Urgency
from msgxc.people.selecting import select
from msgxc.people.tombstones import erased
from msgxc.render.options import OF_SILENT
from msgxc.render.person import whole
from msgxc.reserved import RULE, reserved
from msgxc.urgency import levels
from msgxc.wiring import Exchange

#: What units of work are paid with, as it turns out that they are needed: it raises TooMuch. A hundred people
#: are a unit; more than PEOPLE cost no more.
Spend = Callable[[int], None]
PEOPLE_A_UNIT = 100
#: The longest address of a picture, in bytes.
IMAGE = 500
#: For how long the size of a thread is remembered, in seconds; and of how many threads.
SIZE_SECONDS, SIZES = 60.0, 10_000
#: How far ahead a message may be scheduled; how many messages of one person may wait in a thread, and in all.
AHEAD, SCHEDULED, SCHEDULED_IN_ALL = timedelta(days=366), 100, 1_000
#: How far the clock of whoever chooses a message's id may be off.
CLOCKS = timedelta(minutes=1)
#: How old the id of a repeated call may be.
AGAIN = timedelta(days=1)


def free(_units: int) -> None:
    """Nobody counts: an operator at the machine, a test."""


def cost_of(people: int) -> int:
    """What a message to so many people costs besides itself, in units."""
    return min(people, PEOPLE) // PEOPLE_A_UNIT


async def publish(exchange: Exchange, principal: Principal, draft: Draft, spend: Spend = free) -> Message:
    """Say it in the draft's thread. With a time in the future nobody hears of it before.

    A draft with a `mid` that is taken is published once: the stored message is answered.
    Raises WrongInput, NotFound (no such thread, no such parent), Forbidden (see rights.may_say,
    rights.may_reach), TooMuch (the caller's quota; or they say too much in this thread).
    """
    checked(draft)
    if draft.tid is None:
        raise WrongInput("which thread? tid is missing")
    thread = await thread_at(exchange, draft.tid)
    may_say(principal, thread, draft)
    if draft.parent is not None:
        await _answerable(exchange, principal, thread, draft.parent)
    counts = spend is not free or not is_staff(principal, thread)
    if counts and not (draft.ephemeral or thread.ephemeral):
        people = await size_of(exchange, thread.tid)
        may_reach(principal, thread, people, exchange.settings.open_fanout)
        spend(cost_of(people))
    _not_too_often(exchange, principal, thread)
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
    what cancel and recall want. Unknown uids are skipped when it is sent, erased ones are left out before.
    Raises WrongInput, Forbidden, NotFound (all of them were erased)."""
    may_address(principal)
    checked(draft)
    people = tuple(dict.fromkeys(uids))
    if not 0 < len(people) <= PEOPLE:
        raise WrongInput(f"a multicast is for 1 to {PEOPLE:,} people")
    gone = await erased(exchange.store, exchange.key, people)
    people = tuple(uid for uid in people if uid not in gone)
    if not people:
        raise NotFound("there is nobody of those uids any more")
    message = _message(exchange, principal, draft, people[0], To.PEOPLE, people)
    return await _say(exchange, replace(message, tid=message.mid), known=draft.mid is not None)


async def meant(exchange: Exchange, principal: Principal, *, cohort: str, where: str) -> list[UUID]:
    """The people of a cohort, of a rule, or both, for a multicast. Raises Forbidden (not_an_operator),
    WrongExpression, NotFound (no such cohort, nobody), WrongInput for more than records.PEOPLE."""
    may_address(principal)
    rule, found = parse(where) if where else None, list[UUID]()
    async for page in select(exchange.store, now_of(exchange), cohort=cohort, where=rule):
        found += [person.uid for person in page]
        if len(found) > PEOPLE:
            raise WrongInput(f"these are more than {PEOPLE:,} people: start a campaign")
    if not found:
        raise NotFound("there is nobody among these people")
    return found


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
    await _unplan(exchange, message)
    await stop(exchange, message)
    if message.joined is None:
        await exchange.store.messages.note(tid, mid, unscheduled=True)
    return await _stored(exchange, tid, mid)


async def execute(exchange: Exchange, principal: Principal, tid: UUID, mid: UUID, qid: str) -> Message:
    """Send a stored message now, whatever its time. The first `qid` seals it: a second executor with another
    one gets Conflict (sealed), the same one again gets the same answer: the message as it came out.

    Raises WrongInput (no qid), NotFound, Forbidden (not_an_operator; see come_out), Conflict (sealed,
    canceled).
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


async def thread_of(exchange: Exchange, mid: UUID) -> UUID:
    """The thread of a message that is owed, leaves, or has left. Raises NotFound."""
    campaign = await exchange.store.ledger.campaign(mid)
    if campaign and campaign.spec.message:
        return campaign.spec.message.tid
    async for page in exchange.store.triage.scan():
        if found := next((item.tid for item in page if item.mid == mid), None):
            return found
    raise NotFound(f"there is no message {mid} that is owed, leaves or has left")


async def recall(
    exchange: Exchange, principal: Principal, tid: UUID, mid: UUID, spend: Spend = free
) -> Recalled:
    """Take it back as far as it can be: what is unsent stops, what has arrived is replaced or withdrawn.

    Rights as for cancel. May be made again: then it counts anew. Its people cost as those of the message did.
    Raises NotFound, Forbidden, TooMuch.
    """
    message = await _own_message(exchange, principal, tid, mid)
    if spend is not free:
        of_thread = message.to is To.THREAD
        everybody = PEOPLE if message.to is To.EVERYONE else len(message.uids)
        spend(cost_of(await size_of(exchange, message.tid) if of_thread else everybody))
    now = now_of(exchange)
    await exchange.store.messages.note(tid, mid, recalled=now)
    failpoint("recalling")
    message = await _stored(exchange, message.tid, mid)  # It may have come out meanwhile.
    await _unplan(exchange, message)
    for copy in (message.out, *telling.copies(exchange.key, message.out)):
        await exchange.store.messages.note(copy.tid, copy.mid, recalled=now)
    return await take_back(exchange, message)


# -- what comes out -----------------------------------------------------------------------------------------


async def come_out(exchange: Exchange, message: Message) -> Message:
    """A scheduled message at its time: it comes out under a fresh id, once, whoever does it and how often.

    The id is written down before the message: whoever finds it there goes on with it. When its sender may not
    say it any more it is canceled: raises Forbidden (see rights.may_come_out).
    """
    thread = await exchange.store.threads.get(message.tid) if message.to is To.THREAD else None
    if message.joined is None:
        await _still_allowed(exchange, message, thread)
        await exchange.store.messages.note(message.tid, message.mid, joined=_mid(exchange))
        message = await _stored(exchange, message.tid, message.mid)
    failpoint("coming_out")
    if is_over(message):
        return message.out
    out = message.out
    if thread is not None:
        out = replace(out, urgency=urgency_now(message, thread))
    out = await _say(exchange, out, known=True)
    await _unplan(exchange, message)
    await exchange.store.messages.note(message.tid, message.mid, completed=now_of(exchange))
    return out


async def _still_allowed(exchange: Exchange, message: Message, thread: Thread | None) -> None:
    """Who may publish may have changed meanwhile, and how many subscribe."""
    if message.to is not To.THREAD:
        return
    try:
        may_come_out(message, thread or Thread(message.tid, archived=True))
        if thread and not is_staff(said_by(message), thread):
            people = await size_of(exchange, thread.tid)
            may_reach(said_by(message), thread, people, exchange.settings.open_fanout)
    except Forbidden:
        now = now_of(exchange)
        await exchange.store.messages.note(
            message.tid, message.mid, canceled=now, completed=now, unscheduled=True
        )
        raise


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
    await _plan(exchange, message)
    item = place(message, levels(exchange.settings)[message.urgency], exchange.clock())
    live = message.scheduled is None
    await store.put(message, item, telling.copies(exchange.key, message) if live else ())
    failpoint("published")
    if live:
        await telling.tell(exchange, message)
    await telling.wake(exchange, message.urgency)
    return message


async def size_of(exchange: Exchange, tid: UUID) -> int:
    """How many subscribers a thread has, or had in the last minute; counted up to PEOPLE."""
    now, known = exchange.clock(), exchange.sizes.get(tid)
    if known is None or not 0 <= now - known[0] < SIZE_SECONDS:
        if len(exchange.sizes) >= SIZES:
            exchange.sizes.clear()
        known = exchange.sizes[tid] = now, await exchange.store.threads.size(tid, PEOPLE)
    return known[1]


def _not_too_often(exchange: Exchange, principal: Principal, thread: Thread) -> None:
    """Whoever is not of the staff says no more than so much a minute in one thread. Raises TooMuch."""
    most = exchange.settings.thread_per_minute
    if not most or is_staff(principal, thread):
        return
    fits, _, seconds = exchange.said.spend((thread.tid, principal.account), exchange.clock(), 1, most)
    if not fits:
        raise TooMuch(f"at most {most} messages a minute in one thread", seconds)


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
    return Message(
        mid=_checked_mid(exchange, draft.mid, draft.again) if draft.mid else _mid(exchange),
        tid=tid,
        text=whole(draft.text) if draft.text.strip() else "",  # as what is silent is stored
        to=to,
        uids=uids,
        sender=principal.uid,
        subject=whole(draft.subject) if draft.subject.strip() else "",
        data={whole(name): whole(value) for name, value in draft.data.items()},
        url=whole(draft.url),
        image=whole(draft.image),
        options=draft.options,
        parent=draft.parent,
        urgency=urgency or draft.urgency or Urgency.NORMAL,
        system=draft.system,
        broadcast=draft.broadcast,
        channels=draft.channels,
        scheduled=_time_of(exchange, draft),
        by_role=by_role(principal),
    )


def _time_of(exchange: Exchange, draft: Draft) -> datetime | None:
    """When it is to come out, None for now. Raises WrongInput for a time that is further away than AHEAD."""
    if draft.scheduled is None:
        return None
    now = now_of(exchange)
    try:
        at = whole_milliseconds(draft.scheduled.astimezone(UTC))
    except OverflowError:  # before the year 1, or after 9999, in UTC
        at = now if draft.scheduled.year < now.year else now + 2 * AHEAD
    if at - now > AHEAD:
        raise WrongInput("scheduled is a time within a year")
    return at if at > now else None


async def _plan(exchange: Exchange, message: Message) -> None:
    """One person's messages that wait for their time are so many, in a thread and in all. Written before it
    is counted, so that of two at once none is one too many. Raises Conflict (too_many_scheduled)."""
    sender, store = message.sender, exchange.store.messages
    if message.scheduled is None or sender is None or message.by_role:
        return
    due, now = message.scheduled.timestamp(), exchange.clock()
    here, everywhere = await store.plan(sender, message.tid, message.mid, due, now)
    if here > SCHEDULED or everywhere > SCHEDULED_IN_ALL:
        await store.unplan(sender, message.tid, message.mid)
        raise Conflict(
            f"{SCHEDULED} messages of yours wait in this thread, or {SCHEDULED_IN_ALL:,} in all",
            "too_many_scheduled",
        )


async def _unplan(exchange: Exchange, message: Message) -> None:
    """It waits no longer."""
    if message.sender and message.scheduled:
        await exchange.store.messages.unplan(message.sender, message.tid, message.mid)


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
    chosen = to_builtins(draft.options) if draft.options else {}
    besides = {**draft.data, **{name: one for name, one in chosen.items() if one not in (None, False)}}
    if len(json.dumps(besides, ensure_ascii=False).encode("utf-8", "replace")) > DATA:
        raise WrongInput(f"the data, with the options of the push, has more than {DATA:,} bytes")
    if draft.image and not (draft.image.startswith("https://") and len(draft.image.encode()) <= IMAGE):
        raise WrongInput(f"the image is an https address of at most {IMAGE} bytes")
    if draft.options and not (draft.text.strip() or draft.subject.strip()):
        seen = [name for name in chosen if chosen[name] not in (None, False) and name not in OF_SILENT]
        if seen:
            raise WrongInput(f"{seen[0]} needs a text or a subject: nothing is shown of a silent message")
    if reserved(draft.data):
        raise WrongInput(f"the data has a name that is reserved: {RULE}")
    for url in filter(None, (draft.url, draft.data.get("url"))):
        if len(url.encode("utf-8", "replace")) > 1_000 or not url.startswith(("https://", "http://", "/")):
            raise WrongInput("the url is an https address of at most 1,000 bytes, or a path")
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


async def _answerable(exchange: Exchange, principal: Principal, thread: Thread, mid: UUID) -> None:
    """Whether a message of this thread may be answered: it stands there, is not taken back, and the caller
    may read it. What was said in an ephemeral thread is not kept, so there is nothing to look at.

    Raises NotFound, Forbidden (not_a_subscriber).
    """
    if thread.ephemeral:
        return
    uid = principal.uid
    subscribed = bool(uid and await exchange.store.threads.subscriptions(thread.tid, [uid]))
    may_read(principal, thread, subscribed=subscribed)
    found = await _stored(exchange, thread.tid, mid)
    if not found.out.is_shown:
        raise NotFound(f"there is no message {mid} in thread {thread.tid}")


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
