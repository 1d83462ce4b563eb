"""Fault 27: people who withdraw, mute, unsubscribe, are erased or suppressed while a campaign runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from fault_world import NEVER, PATIENCE, World, crowd, device, fresh, on_sqlite, person, together, until
from msgspec import structs

from msgxc import campaigns, ids
from msgxc.campaign import Audience, Subscribers
from msgxc.ledger import Mark
from msgxc.model import Channel, Recipient, Skip, Subscription, Thread
from msgxc.reports.funnel import End
from msgxc.store.ports import Suppression

Withdraw = Callable[[World, Recipient], Awaitable[None]]


async def no_consent(world: World, who: Recipient) -> None:
    await world.exchange.store.directory.put([structs.replace(who, consents=frozenset())])


async def muted(world: World, who: Recipient) -> None:
    await world.exchange.store.directory.put([structs.replace(who, channels=frozenset())])


async def erased(world: World, who: Recipient) -> None:
    await world.exchange.store.directory.erase([who.uid])


async def suppressed(world: World, who: Recipient) -> None:
    address = ids.address_hash(world.exchange.key, Channel.EMAIL, who.email)
    await world.exchange.store.directory.suppress(
        [Suppression(address, Channel.EMAIL, "unsubscribed", datetime.now(UTC))]
    )


WAYS: dict[Skip, Withdraw] = {
    Skip.NO_CONSENT: no_consent,
    Skip.MUTED: muted,
    Skip.ERASED: erased,
    Skip.SUPPRESSED: suppressed,
}


class Looking:
    """A directory that notes when each person was last looked at; everything else is the real one's."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.looked: dict[UUID, float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def get(self, uids: Collection[UUID]) -> dict[UUID, Recipient]:
        """See ports.Directory."""
        self.looked.update(dict.fromkeys(uids, time.monotonic()))
        found: dict[UUID, Recipient] = await self._inner.get(uids)
        return found


async def withdrawn_during_the_run(skip: Skip, world: World) -> None:
    """People withdraw one after the other while their campaign is sent: nothing is accepted for anybody who
    had withdrawn when their window was looked at (I5), and the report counts each once, with that reason
    (I1, I6)."""
    mail = skip is Skip.SUPPRESSED
    people = [person(email=f"{fresh('p')}@example.com") for _ in range(90)] if mail else crowd(90)
    channel = Channel.EMAIL if mail else Channel.APNS
    what = await world.campaign(f"leave-{skip.replace('_', '-')}", people, channels=(channel,), per_second=20)
    planned = await world.prepare(what)
    through = world.through()
    noting = Looking(through.store.directory)
    through.store.directory = noting  # type: ignore[misc]  # a FaultyStore, whose parts are its own
    sending = asyncio.create_task(campaigns.send_slice(through, planned.id, 0, planned.shards, stop=NEVER))
    acknowledged: dict[UUID, float] = {}
    await until(lambda: bool(world.ground.accepted(people)), sending)
    for who in people[::3]:
        await WAYS[skip](world, who)
        acknowledged[who.uid] = time.monotonic()
        await asyncio.sleep(0.01)
    await asyncio.wait_for(sending, PATIENCE)
    reached = set(world.ground.by_person(people))
    assert all(at > noting.looked[uid] for uid, at in acknowledged.items() if uid in reached)
    assert {p.uid for p in people} - set(acknowledged) <= reached
    report = await campaigns.report(world.exchange, what.name)
    assert report.ends == {End.REACHED: len(reached), End.SKIPPED: 90 - len(reached)}
    assert report.skips == {skip: 90 - len(reached)}
    assert world.ground.repeats(people) == 0
    assert len(reached) < 90


async def test_27_withdrawn_during_the_run(world: World, subtests: pytest.Subtests) -> None:
    """Fault 27. Consent, channels, the address, the person: whatever goes away, in four campaigns at once."""
    jobs = [(str(skip), partial(withdrawn_during_the_run, skip, world)) for skip in WAYS]
    await together(jobs, subtests)


@on_sqlite
async def test_27_withdrawn_between_a_crash_and_the_next_run(world: World) -> None:
    """Fault 27. In doubt after a kill, and the consent is gone when the next run looks: nobody of them is
    sent to again, and the report does not say "skipped" of anybody who has it: these are unknown (I6)."""
    people = crowd(40)
    what = await world.campaign("gone-meanwhile", people)
    assert await world.fleet.run(world.settings, what, "sent=kill@2") < 0
    had = dict(world.ground.by_person())
    for who in people:
        await no_consent(world, who)
    assert await world.fleet.run(world.settings, what) == 0
    assert dict(world.ground.by_person()) == had
    report = await campaigns.report(world.exchange, what.name)
    assert report.adds_up
    assert report.ends[End.REACHED] <= len(had) <= report.ends[End.REACHED] + report.ends[End.UNKNOWN]
    assert set(report.skips) == {Skip.NO_CONSENT}


async def test_27_unsubscribed_from_the_thread(world: World) -> None:
    """Fault 27. Subscribers of a thread are its audience; one who mutes the thread after the seal gets
    nothing of it."""
    people, thread = crowd(10), Thread(uuid4(), "news")
    what = await world.campaign("thread", people)
    store = world.exchange.store
    await store.threads.put(thread)
    await store.threads.subscribe([Subscription(thread.tid, who.uid) for who in people])
    what = what.model_copy(update={"audience": Audience(to=Subscribers(thread=thread.tid))})
    planned = await world.prepare(what)
    await store.threads.subscribe([Subscription(thread.tid, people[0].uid, frozenset())])
    await campaigns.send_slice(world.exchange, planned.id, 0, planned.shards, stop=NEVER)
    assert set(world.ground.by_person()) == {who.uid for who in people[1:]}
    report = await campaigns.report(world.exchange, what.name)
    assert report.skips == {Skip.THREAD_MUTED: 1}


@on_sqlite
async def test_27_a_device_goes_away_while_it_is_put_off(world: World) -> None:
    """Fault 27. Put off by the provider, and pruned meanwhile by another campaign (or replaced by a new one):
    the old device is dropped with a reason, the new one gets it, and the report adds up."""
    stays = [person(device(Channel.APNS, fresh("throttled2"))) for _ in range(3)]
    moves = [person(device(Channel.APNS, fresh("throttled2"))) for _ in range(3)]
    leaves = [person(device(Channel.APNS, fresh("throttled2"))) for _ in range(3)]
    what = await world.campaign("put-off-gone", [*stays, *moves, *leaves])
    planned = await world.prepare(what)
    now = time.time()
    stopped = world.through(clock=lambda: now)  # nobody who is put off is due again
    await campaigns.send_slice(stopped, planned.id, 0, planned.shards, stop=NEVER, patient=False)
    moved = [structs.replace(who, devices=(device(Channel.APNS, fresh("ok")),)) for who in moves]
    await world.enlist("put-off-gone", moved)
    for who in leaves:
        assert await world.exchange.store.directory.prune(who.uid, who.devices[0].token, None)
    await asyncio.wait_for(world.send(what), PATIENCE)
    assert world.ground.by_person() == dict.fromkeys([p.uid for p in [*stays, *moves]], 1)
    assert {e.address for e in world.ground.accepted(moves)} == {p.devices[0].token for p in moved}
    report = await campaigns.report(world.exchange, what.name)
    assert report.adds_up
    assert report.ends == {End.REACHED: 6, End.SKIPPED: 3}
    assert report.channels[Channel.APNS].pending == 0
    superseded = [row for row in await world.rows(what) if row.state is Mark.SKIPPED]
    assert len(superseded) == 6
