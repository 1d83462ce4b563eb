"""Come into a thread and leave it; requests and invitations; what a person wants of a thread."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from msgxc.errors import Conflict, Forbidden, NotFound, WrongInput
from msgxc.messages.publishing import now_of, thread_at
from msgxc.messages.records import Join, JoinState, Principal, Role
from msgxc.messages.rights import by_role, may_manage, may_subscribe
from msgxc.messages.telling import tell_members
from msgxc.model import Channel, Subscription, Thread
from msgxc.people.tombstones import still_here
from msgxc.store import choices
from msgxc.store.choices import Choice
from msgxc.wiring import Exchange

#: Of one person: threads that they are in; requests to join, and invitations, that are open. Invitations of
#: one thread that are open.
SUBSCRIPTIONS, JOINS, INVITED = 1_000, 100, 1_000


async def found(exchange: Exchange, tid: UUID, fields: Mapping[str, Any]) -> None:
    """Make a thread, or change these fields of it; the others stay. Rights are the caller's matter.

    Raises NotFound when its template is not there.
    """
    if fields.get("template"):
        exchange.templates.get(fields["template"])
    await exchange.store.threads.change(tid, fields)
    await tell_members(exchange, tid)


async def subscribe(exchange: Exchange, principal: Principal, tid: UUID, uid: UUID | None = None) -> None:
    """Subscribe the caller; `uid`: somebody else, by an admin of the thread, a service or an operator. Uses
    up an invitation. Keeps preferences that are there. Raises NotFound, Forbidden, WrongInput (no uid)."""
    thread, person = await _of(exchange, principal, tid, uid)
    join = await exchange.store.joins.get(tid, person)
    invited = join is not None and join.state is JoinState.INVITED
    may_subscribe(principal, thread, invited=invited or person != principal.uid)
    await _enter(exchange, principal, tid, person, join)


async def unsubscribe(exchange: Exchange, principal: Principal, tid: UUID, uid: UUID | None = None) -> None:
    """Leave; `uid` as in subscribe. Whoever is not subscribed is passed over. Who leaves by themselves is not
    brought back by a file of threads."""
    _, person = await _of(exchange, principal, tid, uid)
    if person == principal.uid:
        left = Choice(now_of(exchange), "left", withdrawn=frozenset({choices.thread(tid)}))
        await exchange.store.directory.choose(person, left)
    await exchange.store.threads.unsubscribe(tid, [person])
    await tell_members(exchange, tid)


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
    await _enter(exchange, principal, tid, person, join)
    return None


async def invite(exchange: Exchange, principal: Principal, tid: UUID, uid: UUID) -> Join | None:
    """Invite somebody (admins). None: they had asked, or are in already, and are in now."""
    may_manage(principal, await thread_at(exchange, tid))
    join = await exchange.store.joins.get(tid, uid)
    if join and join.state is JoinState.ASKED:
        await _enter(exchange, principal, tid, uid, join)
        return None
    if await exchange.store.threads.subscriptions(tid, [uid]):
        return None
    return await _noted(exchange, Join(tid, uid, JoinState.INVITED, principal.uid, now_of(exchange)))


async def accept(exchange: Exchange, principal: Principal, tid: UUID, uid: UUID | None = None) -> None:
    """An admin accepts the request of `uid`; without one the caller their invitation. Raises NotFound."""
    join = await _open_join(exchange, principal, tid, uid)
    await _enter(exchange, principal, tid, join.uid, join)


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


async def _enter(exchange: Exchange, principal: Principal, tid: UUID, uid: UUID, join: Join | None) -> None:
    """Subscribed, with the preferences that are there; what was asked is done with. Raises Conflict when this
    person has that many subscriptions already, unless by right of a role."""
    await still_here(exchange.store, exchange.key, uid)
    threads = exchange.store.threads
    full = not by_role(principal) and await threads.count_of(uid, SUBSCRIPTIONS) >= SUBSCRIPTIONS
    if full and not await threads.subscriptions(tid, [uid]):
        raise Conflict(f"a person subscribes to at most {SUBSCRIPTIONS:,} threads", "too_many_subscriptions")
    if uid == principal.uid or (join is not None and join.state is JoinState.ASKED):  # their own word
        own = (await exchange.store.directory.choices([uid])).get(uid)
        if own is not None and own.holds(choices.thread(tid)) is False:
            back = Choice(now_of(exchange), "entered", given=frozenset({choices.thread(tid)}))
            await exchange.store.directory.choose(uid, back)
    await exchange.store.threads.enter([Subscription(tid, uid)])
    if join is not None:
        await exchange.store.joins.remove(tid, uid)


async def _noted(exchange: Exchange, join: Join) -> Join:
    """Raises Conflict when that many of the kind are open already: of this person or, of invitations, of this
    thread."""
    open_joins = [one for one in await exchange.store.joins.of_person(join.uid) if one.state is join.state]
    if len(open_joins) >= JOINS and join.tid not in {one.tid for one in open_joins}:
        raise Conflict(f"a person has at most {JOINS} of these open", "too_many_joins")
    if join.state is JoinState.INVITED:
        invited = [one for one in await exchange.store.joins.of_thread(join.tid) if one.state is join.state]
        if len(invited) >= INVITED and join.uid not in {one.uid for one in invited}:
            raise Conflict(f"a thread has at most {INVITED:,} invitations open", "too_many_joins")
    await exchange.store.joins.put(join)
    return join
