"""From a selection to uids, in batches: whom a campaign is for, and who is left out.

Streams from the store; memory does not grow with the audience.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable
from datetime import datetime
from uuid import UUID

from msgxc import expression, ids
from msgxc.campaign import Audience, Cohort, Everyone, People, Selection, Subscribers, Where
from msgxc.errors import NotFound, WrongInput, none_such
from msgxc.people import fields
from msgxc.store.ports import BATCH, Store
from msgxc.store.records import batches


def ids_in(selection: People | Subscribers) -> list[UUID]:
    """The uids or the thread it names. Raises WrongInput for a foreign id: `keyed` has not seen it."""
    named = selection.uids if isinstance(selection, People) else (selection.thread,)
    if any(not isinstance(one, UUID) for one in named):
        raise WrongInput("a foreign id stands for nobody without the exchange's key")
    return [one for one in named if isinstance(one, UUID)]


def keyed(key: bytes, audience: Audience) -> Audience:
    """The same audience with every foreign id as the uid or tid that it stands for. Raises WrongInput."""
    to, *exclude = (_keyed(key, one) for one in (audience.to, *audience.exclude))
    return Audience(to=to, exclude=tuple(exclude))


def _keyed(key: bytes, selection: Selection) -> Selection:
    def id_of(one: UUID | str) -> UUID:
        return one if isinstance(one, UUID) else ids.uid_of(key, fields.identity(one))

    try:
        if isinstance(selection, People) and any(isinstance(one, str) for one in selection.uids):
            return People(uids=tuple(map(id_of, selection.uids)))
        if isinstance(selection, Subscribers) and isinstance(selection.thread, str):
            return Subscribers(thread=id_of(selection.thread))
    except ValueError as error:
        raise WrongInput(f"an id of the audience: {error}") from None
    return selection


async def check(store: Store, selection: Selection) -> None:
    """Whether the selection means anything. Raises NotFound, WrongExpression."""
    if isinstance(selection, Where):
        expression.parse(selection.where)
    elif isinstance(selection, Cohort) and selection.cohort not in (known := await store.cohorts.sizes()):
        raise none_such("cohort", selection.cohort, known)
    elif isinstance(selection, Subscribers) and await store.threads.get(ids_in(selection)[0]) is None:
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
        async for some in store.threads.subscribers(ids_in(selection)[0]):
            yield some
    elif isinstance(selection, People):
        for some in batches(ids_in(selection), BATCH):
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
        return set(await store.threads.subscriptions(ids_in(selection)[0], uids))
    if isinstance(selection, People):
        return set(uids).intersection(ids_in(selection))
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
