"""What was said, and how far somebody has read: history, last read, unread, and what a connection missed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from heapq import merge, nlargest
from uuid import UUID

from msgxc import ids
from msgxc.errors import NotFound, WrongInput
from msgxc.ledger import Campaign
from msgxc.messages.publishing import Spend, free
from msgxc.messages.records import Message, Principal, Role, Unread
from msgxc.messages.rights import may_read
from msgxc.model import Thread
from msgxc.wiring import Exchange

#: The longest page of history; a count of unread messages goes no further than UNREAD.
PAGE, UNREAD = 200, 100
#: The longest name of a device; how far another machine's clock may be ahead.
DEVICE, CLOCKS = 100, timedelta(minutes=1)


async def history(
    exchange: Exchange,
    principal: Principal,
    tid: UUID,
    *,
    before: UUID | None = None,
    after: UUID | None = None,
    limit: int = 50,
) -> list[Message]:
    """A page of a thread. `before` (or nothing): newest first; `after`: oldest first. The cursor is a mid.

    Messages whose time has not come, canceled and recalled ones are left out for whoever is not an operator.
    Raises NotFound, Forbidden (see rights.may_read).
    """
    await _readable(exchange, principal, tid)
    limit = max(1, min(limit, PAGE))
    shown = not principal.has(Role.ADMIN)
    return await exchange.store.messages.history(tid, before, after, limit, shown=shown)


async def mark_read(
    exchange: Exchange, uid: UUID, tid: UUID, mid: UUID, device: str = "", principal: Principal | None = None
) -> None:
    """This person has seen everything up to `mid` on this device: it is not pushed to them any more.
    `principal`: the caller, when they may read more than this person as such.

    Call it for a real acknowledgement of a person who looks, never because a socket is open. An older mid
    than the last changes nothing. Of a person's devices 20 are told apart (Reads.mark). Raises WrongInput for
    a mid from the future or a name that is too long; NotFound, Forbidden: as for history.
    """
    latest = datetime.fromtimestamp(exchange.clock(), UTC) + CLOCKS
    if not ids.is_message(mid) or ids.message_time(mid) > latest:
        raise WrongInput("mid is the id of a message that was there to be read")
    if len(device) > DEVICE:
        raise WrongInput(f"the name of a device has at most {DEVICE} characters")
    await _readable(exchange, principal or Principal(uid), tid)
    await exchange.store.reads.mark(uid, tid, mid, device)


async def unread(exchange: Exchange, uid: UUID, spend: Spend = free) -> list[Unread]:
    """Every thread that the person subscribes to, and their own thread, with how much is unread. Ten threads
    are a unit of work."""
    threads, marks = await asyncio.gather(audible(exchange, uid), exchange.store.reads.of(uid))
    spend(len(threads) // 10)
    last = {tid: max(devices.values()) for tid, devices in marks.items()}
    counts = await asyncio.gather(
        *(exchange.store.messages.count_after(tid, last.get(tid), UNREAD) for tid in threads)
    )
    return [Unread(tid, count, last.get(tid)) for tid, count in zip(threads, counts, strict=True)]


async def since(exchange: Exchange, uid: UUID, last: UUID, limit: int = PAGE) -> list[Message]:
    """What a connection missed: messages after `last` in all threads of the person, their own thread and
    broadcasts, oldest first. A full page: ask again with the last one's mid.

    Of two messages the one with the earlier id can be stored a moment later: whoever must not miss one asks
    from some seconds before what was seen, and passes over what was seen.
    """
    tids = [*await audible(exchange, uid), ids.broadcast_thread(exchange.key)]
    read = exchange.store.messages.history
    pages = await asyncio.gather(*(read(tid, after=last, limit=limit, shown=True) for tid in tids))
    return list(merge(*pages, key=lambda message: message.mid))[:limit]


async def audible(exchange: Exchange, uid: UUID) -> list[UUID]:
    """The threads whose `thread.<tid>` a connection of this person listens to: subscribed ones and their own
    (`ids.own_thread`); every connection listens to broadcast.system besides."""
    subscribed = await exchange.store.threads.of(uid)
    return [*(one.tid for one in subscribed), ids.own_thread(exchange.key, uid)]


async def _readable(exchange: Exchange, principal: Principal, tid: UUID) -> None:
    """Whether the caller may read there; everybody their own thread and broadcasts."""
    uid, store = principal.uid, exchange.store
    if tid == ids.broadcast_thread(exchange.key) or (uid and tid == ids.own_thread(exchange.key, uid)):
        return
    thread = await store.threads.get(tid)
    if thread is None and not principal.has(Role.ADMIN, Role.SERVICE):
        raise NotFound(f"there is no thread {tid}")
    subscribed = bool(uid and await store.threads.subscriptions(tid, [uid]))
    may_read(principal, thread or Thread(tid), subscribed=subscribed)


async def latest(exchange: Exchange, limit: int) -> list[tuple[Message, Campaign | None]]:
    """The newest messages that are owed or have left, those to single persons among them, newest first; each
    with the campaign that delivers it, None: nobody has begun. Reads all of them that the store keeps."""
    named = dict[tuple[UUID, UUID], Campaign | None]()
    async for owed in exchange.store.triage.scan():
        named |= {(item.tid, item.mid): None for item in owed}
    async for page in exchange.store.ledger.campaigns(messages=True):
        for campaign in page:
            of = campaign.spec.message
            if of and not of.withdraws and not campaign.spec.parent:
                named |= {(of.tid, mid): campaign for mid in (of.mid, *of.others)}
        named = dict(nlargest(limit, named.items(), key=lambda one: one[0][1].int))  # ids sort by time
    newest = nlargest(limit, named, key=lambda one: one[1].int)
    found = [(await exchange.store.messages.get(*one), named[one]) for one in newest]
    return [(message, campaign) for message, campaign in found if message is not None]
