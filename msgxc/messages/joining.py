"""Come into a thread and leave it; requests and invitations; what a person wants of a thread."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from msgxc.errors import Forbidden, NotFound, WrongInput
from msgxc.messages.publishing import now_of, thread_at
from msgxc.messages.records import Join, JoinState, Principal, Role
from msgxc.messages.rights import may_manage, may_subscribe
from msgxc.model import Channel, Subscription, Thread
from msgxc.wiring import Exchange


async def found(exchange: Exchange, thread: Thread) -> Thread:
    """Make a thread, or change it: the record as it is given. Rights are the caller's matter.

    Raises NotFound when its template is not there.
    """
    if thread.template:
        exchange.templates.get(thread.template)
    await exchange.store.threads.put(thread)
    return thread


async def subscribe(exchange: Exchange, principal: Principal, tid: UUID, uid: UUID | None = None) -> None:
    """Subscribe the caller; `uid`: somebody else, by an admin of the thread, a service or an operator. Uses
    up an invitation. Keeps preferences that are there. Raises NotFound, Forbidden, WrongInput (no uid)."""
    thread, person = await _of(exchange, principal, tid, uid)
    join = await exchange.store.joins.get(tid, person)
    invited = join is not None and join.state is JoinState.INVITED
    may_subscribe(principal, thread, invited=invited or person != principal.uid)
    await _enter(exchange, tid, person, join)


async def unsubscribe(exchange: Exchange, principal: Principal, tid: UUID, uid: UUID | None = None) -> None:
    """Leave; `uid` as in subscribe. Whoever is not subscribed is passed over."""
    _, person = await _of(exchange, principal, tid, uid)
    await exchange.store.threads.unsubscribe(tid, [person])


async def ask(exchange: Exchange, principal: Principal, tid: UUID) -> Join | None:
    """Ask to join a closed thread. None: the caller was invited, or may come in as it is, and is in now."""
    thread, person = await _of(exchange, principal, tid, None)
    join = await exchange.store.joins.get(tid, person)
    try:
        may_subscribe(principal, thread, invited=join is not None and join.state is JoinState.INVITED)
    except Forbidden as error:
        if error.code != "not_invited":
            raise
        return await _noted(exchange, Join(tid, person, JoinState.ASKED, None, now_of(exchange)))
    await _enter(exchange, tid, person, join)
    return None


async def invite(exchange: Exchange, principal: Principal, tid: UUID, uid: UUID) -> Join | None:
    """Invite somebody (admins). None: they had asked, or are in already, and are in now."""
    may_manage(principal, await thread_at(exchange, tid))
    join = await exchange.store.joins.get(tid, uid)
    if join and join.state is JoinState.ASKED:
        await _enter(exchange, tid, uid, join)
        return None
    if await exchange.store.threads.subscriptions(tid, [uid]):
        return None
    return await _noted(exchange, Join(tid, uid, JoinState.INVITED, principal.uid, now_of(exchange)))


async def accept(exchange: Exchange, principal: Principal, tid: UUID, uid: UUID | None = None) -> None:
    """An admin accepts the request of `uid`; without one the caller their invitation. Raises NotFound."""
    join = await _open_join(exchange, principal, tid, uid)
    await _enter(exchange, tid, join.uid, join)


async def refuse(exchange: Exchange, principal: Principal, tid: UUID, uid: UUID | None = None) -> None:
    """As accept, but no: the request or invitation is gone."""
    join = await _open_join(exchange, principal, tid, uid)
    await exchange.store.joins.remove(tid, join.uid)


async def joins(exchange: Exchange, principal: Principal, tid: UUID) -> list[Join]:
    """The requests and invitations of a thread (admins)."""
    may_manage(principal, await thread_at(exchange, tid))
    return await exchange.store.joins.of_thread(tid)


async def prefer(
    exchange: Exchange, principal: Principal, tid: UUID, channels: Collection[Channel] | None
) -> Subscription:
    """The caller's channels for this thread: None all, empty none. Raises NotFound when not subscribed."""
    _, person = await _of(exchange, principal, tid, None)
    if not await exchange.store.threads.subscriptions(tid, [person]):
        raise NotFound("not subscribed to that thread")
    wanted = Subscription(tid, person, None if channels is None else frozenset(channels))
    await exchange.store.threads.subscribe([wanted])
    return wanted


async def _of(exchange: Exchange, principal: Principal, tid: UUID, uid: UUID | None) -> tuple[Thread, UUID]:
    """The thread, and whom it is about: the caller, or somebody whom the caller may speak for."""
    thread = await thread_at(exchange, tid)
    person = uid or principal.uid
    if person is None:
        raise WrongInput("who? uid is missing")
    if person != principal.uid and not principal.has(Role.SERVICE):
        may_manage(principal, thread)
    return thread, person


async def _open_join(exchange: Exchange, principal: Principal, tid: UUID, uid: UUID | None) -> Join:
    """The request that an admin decides about, or the invitation that is the caller's own to decide about."""
    thread = await thread_at(exchange, tid)
    own = uid is None or uid == principal.uid
    if not own:
        may_manage(principal, thread)
    person = uid or principal.uid
    join = await exchange.store.joins.get(tid, person) if person else None
    if join is None or (own and join.state is not JoinState.INVITED):
        raise NotFound("there is no such invitation" if own else "there is no such request")
    return join


async def _enter(exchange: Exchange, tid: UUID, uid: UUID, join: Join | None) -> None:
    """Subscribed, with the preferences that are there; what was asked is done with."""
    if not await exchange.store.threads.subscriptions(tid, [uid]):
        await exchange.store.threads.subscribe([Subscription(tid, uid)])
    if join is not None:
        await exchange.store.joins.remove(tid, uid)


async def _noted(exchange: Exchange, join: Join) -> Join:
    await exchange.store.joins.put(join)
    return join
