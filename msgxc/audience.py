"""From a selection to uids, in batches: whom a campaign is for, and who is left out.

Streams from the store; memory does not grow with the audience.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable
from datetime import datetime
from uuid import UUID

from msgxc import expression
from msgxc.campaign import Audience, Cohort, Everyone, People, Selection, Subscribers, Where
from msgxc.errors import NotFound, WrongInput
from msgxc.store.ports import BATCH, Store
from msgxc.store.records import batches


async def check(store: Store, selection: Selection) -> None:
    """Whether the selection means anything. Raises NotFound, WrongExpression."""
    if isinstance(selection, Where):
        expression.parse(selection.where)
    elif isinstance(selection, Cohort) and selection.cohort not in await store.cohorts.sizes():
        raise NotFound(f"there is no cohort {selection.cohort!r}")
    elif isinstance(selection, Subscribers) and await store.threads.get(selection.thread) is None:
        raise NotFound(f"there is no thread {selection.thread}")


async def estimate(store: Store, selection: Selection, now: datetime) -> int:
    """How many it may be: exact where counting is as cheap as reading."""
    if isinstance(selection, Everyone):
        return await store.directory.count()
    if isinstance(selection, Cohort):
        return (await store.cohorts.sizes()).get(selection.cohort, 0)
    return sum([len(some) async for some in stream(store, selection, now)])


async def stream(store: Store, selection: Selection, now: datetime) -> AsyncIterator[list[UUID]]:
    """The uids of a selection; a list of people may hold the same uid twice."""
    if isinstance(selection, Everyone):
        async for some in store.directory.scan_uids():
            yield some
    elif isinstance(selection, Cohort):
        async for some in store.cohorts.scan(selection.cohort):
            yield some
    elif isinstance(selection, Subscribers):
        async for some in store.threads.subscribers(selection.thread):
            yield some
    elif isinstance(selection, People):
        for some in batches(selection.uids, BATCH):
            yield list(await store.directory.get(some))
    elif isinstance(selection, Where):
        wanted = expression.parse(selection.where)
        async for people in store.directory.scan(expression.narrow(wanted, now)):
            yield [person.uid for person in people if expression.matches(wanted, person, now)]
    else:
        raise WrongInput(f"the audience of another campaign ({selection.campaign}) is not streamed")


async def members(store: Store, selection: Selection, uids: Collection[UUID], now: datetime) -> set[UUID]:
    """Which of these uids belong to the selection."""
    if isinstance(selection, Everyone):
        return set(await store.directory.get(uids))
    if isinstance(selection, Cohort):
        return await store.cohorts.members(selection.cohort, uids)
    if isinstance(selection, Subscribers):
        return set(await store.threads.subscriptions(selection.thread, uids))
    if isinstance(selection, People):
        return set(uids).intersection(selection.uids)
    if isinstance(selection, Where):
        wanted = expression.parse(selection.where)
        people = (await store.directory.get(uids)).values()
        return {person.uid for person in people if expression.matches(wanted, person, now)}
    raise WrongInput(f"the audience of another campaign ({selection.campaign}) cannot be asked")


async def resolve(store: Store, audience: Audience, now: datetime) -> AsyncIterator[list[UUID]]:
    """The uids of the audience, those excluded left out; a uid may come twice."""
    async for some in stream(store, audience.to, now):
        yield await without(store, some, audience.exclude, now)


async def without(store: Store, uids: list[UUID], exclude: Iterable[Selection], now: datetime) -> list[UUID]:
    """These uids without those that any of the selections holds."""
    for selection in exclude:
        out = await members(store, selection, uids, now)
        uids = [uid for uid in uids if uid not in out]
    return uids


def describe(selection: Selection) -> str:
    """The selection in a few words, for a report."""
    match selection:
        case Everyone():
            return "everyone"
        case Cohort(cohort=name):
            return f"cohort {name}"
        case Where(where=text):
            return f"where {text}"
        case People(uids=uids):
            return f"a list of {len(uids)}"
        case Subscribers(thread=thread):
            return f"subscribers of thread {thread}"
        case _:
            return f"those not reached by {selection.campaign}"
