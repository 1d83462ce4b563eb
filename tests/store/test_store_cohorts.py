"""The contract of ports.Cohorts and ports.Threads."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from store_samples import WORDS, gathered, uids

from msgxc.model import Channel, Subscription, Thread, Urgency
from msgxc.store.ports import Store

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_cohort_of_1200(store: Store) -> None:
    """Added twice, each member counts and is met once; membership is answered for members alone."""
    cohort, people = f"cohort-{uuid4()}", uids(1200)
    for _ in range(2):
        for start in range(0, 1200, 500):
            await store.cohorts.add(cohort, people[start : start + 500])
    met = await gathered(store.cohorts.scan(cohort))
    assert len(met) == 1200
    assert set(met) == set(people)
    assert (await store.cohorts.sizes())[cohort] == 1200
    assert await store.cohorts.members(cohort, [*people[:3], uuid4()]) == set(people[:3])
    assert await store.cohorts.members(cohort, people) == set(people)


async def test_members_leave_a_cohort(store: Store) -> None:
    """Removing twice, or somebody who is not there, is no error."""
    cohort, people = f"cohort-{uuid4()}", uids(3)
    await store.cohorts.add(cohort, people)
    for _ in range(2):
        await store.cohorts.remove(cohort, [people[0], uuid4()])
        assert set(await gathered(store.cohorts.scan(cohort))) == set(people[1:])
    assert (await store.cohorts.sizes())[cohort] == 2


async def test_a_dropped_cohort_is_gone_and_may_come_again(store: Store) -> None:
    """Dropping twice is no error; another cohort stays; the name may be used again."""
    cohort, other, people = f"cohort-{uuid4()}", f"cohort-{uuid4()}", uids(5)
    await store.cohorts.add(cohort, people)
    await store.cohorts.add(other, people)
    for _ in range(2):
        await store.cohorts.drop(cohort)
        assert await gathered(store.cohorts.scan(cohort)) == []
        assert await store.cohorts.members(cohort, people) == set()
        assert cohort not in await store.cohorts.sizes()
    assert len(await gathered(store.cohorts.scan(other))) == 5
    await store.cohorts.add(cohort, people[:1])
    assert await gathered(store.cohorts.scan(cohort)) == people[:1]


async def test_empty_lists_of_members_are_nothing(store: Store) -> None:
    """Nobody added makes no cohort."""
    cohort = f"cohort-{uuid4()}"
    await store.cohorts.add(cohort, [])
    await store.cohorts.remove(cohort, [])
    assert await store.cohorts.members(cohort, []) == set()
    assert cohort not in await store.cohorts.sizes()


async def test_a_thread_comes_back_whole(store: Store) -> None:
    """Every field is kept, None and empty stay apart, and the later record wins."""
    thread = Thread(
        tid=uuid4(),
        name=WORDS[1],
        owner=uuid4(),
        open=True,
        open_to_publish=True,
        channels=frozenset({Channel.APNS}),
        fallback=(Channel.SMS, Channel.EMAIL),
        child_channels=frozenset(),
        urgency=Urgency.HIGH,
    )
    versions = [thread, Thread(thread.tid), replace(thread, channels=frozenset(), fallback=(), archived=True)]
    for version in versions:
        await store.threads.put(version)
        await store.threads.put(version)
        assert await store.threads.get(thread.tid) == version
    met = [t for t in await gathered(store.threads.scan()) if t.tid == thread.tid]
    assert met == [versions[-1]]
    assert await store.threads.get(uuid4()) is None


def _subscriptions(tid: UUID, people: list[UUID]) -> list[Subscription]:
    choices = (None, frozenset[Channel](), frozenset({Channel.EMAIL}))
    return [Subscription(tid, uid, choices[n % 3]) for n, uid in enumerate(people)]


async def test_subscriptions(store: Store) -> None:
    """Each subscriber is met once, with their own preference; the later one wins; leaving twice is once."""
    tid, people = uuid4(), uids(700)
    wanted = _subscriptions(tid, people)
    for _ in range(2):
        await store.threads.subscribe(wanted[:500])
        await store.threads.subscribe(wanted[500:])
    met = await gathered(store.threads.subscribers(tid))
    assert len(met) == 700
    assert set(met) == set(people)
    assert await store.threads.subscriptions(tid, [*people, uuid4()]) == {s.uid: s for s in wanted}
    changed = Subscription(tid, people[0], frozenset({Channel.FCM, Channel.SMS}))
    await store.threads.subscribe([changed])
    assert await store.threads.subscriptions(tid, people[:1]) == {people[0]: changed}
    for _ in range(2):
        await store.threads.unsubscribe(tid, [people[0], uuid4()])
        assert await store.threads.subscriptions(tid, people[:2]) == {people[1]: wanted[1]}


async def test_threads_do_not_share_subscribers(store: Store) -> None:
    """A person may subscribe to two threads and leave one."""
    first, second, someone = uuid4(), uuid4(), uuid4()
    await store.threads.subscribe([Subscription(first, someone), Subscription(second, someone)])
    await store.threads.unsubscribe(first, [someone])
    assert await gathered(store.threads.subscribers(first)) == []
    assert await gathered(store.threads.subscribers(second)) == [someone]
    await store.threads.subscribe([])
    await store.threads.unsubscribe(first, [])
    assert await store.threads.subscriptions(first, []) == {}
