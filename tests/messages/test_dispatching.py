"""Messages of threads through the real engine: stored, told, sent, in order, once."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from conftest_engine import Ground, crowd, device, enlist, person
from message_world import OPERATOR, SERVICE, Ears, drain, open_room, user

from msgxc import campaigns, helm, ids
from msgxc.errors import Conflict, Forbidden, NotFound, WrongInput
from msgxc.ledger import Control
from msgxc.messages import dispatching, publishing, reading, triage
from msgxc.messages.dispatching import Dispatcher, queue
from msgxc.messages.records import Draft, Kind, Principal, Role
from msgxc.model import Channel, Subscription, Urgency
from msgxc.reports.why import why
from msgxc.wiring import Exchange


async def test_a_message_reaches_every_subscriber_once(exchange: Exchange, ground: Ground) -> None:
    """Urgency 4: stored, sent to all at once, completed, and nothing is left in the queue."""
    room = await open_room(exchange, ground, 7, urgency=Urgency.HIGH)
    said = await publishing.publish(
        exchange, user(room.people[0].uid), Draft("Hi", room.tid, urgency=Urgency.HIGH)
    )
    assert await drain(exchange) == 1
    assert ground.by_person() == Counter(p.uid for p in room.people)
    stored = await exchange.store.messages.get(room.tid, said.mid)
    assert stored
    assert stored.completed
    assert await queue(exchange) == []
    assert await drain(exchange) == 0


async def test_a_message_has_a_report_and_reasons(exchange: Exchange, ground: Ground) -> None:
    """`why` and the report know it by the campaign's name, like any other campaign."""
    room = await open_room(exchange, ground, 3)
    await room.join([person()])
    said = await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid, urgency=Urgency.HIGH))
    await drain(exchange)
    found = await campaigns.report(exchange, ids.message_name(said.mid))
    assert found.adds_up
    assert (found.audience, found.skips) == (4, Counter(no_address=1))
    told = await why(exchange, ids.message_name(said.mid), room.people[0].uid)
    assert "reached by apns" in told.lines()[0]


async def test_a_large_thread_is_sent_by_shards(exchange: Exchange, ground: Ground) -> None:
    """More people than a shard holds go the way of a campaign."""
    room = await open_room(exchange, ground, 130)
    await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid, urgency=Urgency.HIGH))
    assert await drain(exchange) == 1
    assert ground.by_person() == Counter(p.uid for p in room.people)


async def test_send_multicast_and_broadcast_reach_whom_they_name(exchange: Exchange, ground: Ground) -> None:
    """One person, some people, everybody; unknown ones are skipped."""
    people = crowd(4)
    await enlist(exchange, ground, people)
    draft = Draft("Hi", urgency=Urgency.HIGH)
    await publishing.send(exchange, SERVICE, draft, people[0].uid)
    await publishing.multicast(exchange, SERVICE, draft, [people[1].uid, people[1].uid, uuid4()])
    await drain(exchange)
    assert ground.by_person() == Counter([people[0].uid, people[1].uid])
    await publishing.broadcast(exchange, SERVICE, draft)
    await drain(exchange)
    assert ground.by_person() == Counter({p.uid: 2 if p in people[:2] else 1 for p in people})
    with pytest.raises(NotFound):
        await publishing.send(exchange, SERVICE, draft, uuid4())
    for call in (publishing.broadcast(exchange, user(uuid4()), draft),):
        with pytest.raises(Forbidden):
            await call


async def test_open_connections_are_told(exchange: Exchange, ground: Ground) -> None:
    """One frame on the thread's subject, in the agreed form; direct messages on the person's own thread."""
    room = await open_room(exchange, ground, 1)
    someone = room.people[0].uid
    async with Ears(exchange, "*.>") as ears:
        said = await publishing.publish(
            exchange,
            Principal(someone, frozenset({Role.SERVICE})),
            Draft("Hi", room.tid, subject="S", data={"a": "b"}, broadcast=True),
        )
        await publishing.send(exchange, SERVICE, Draft("You"), someone)
        await publishing.broadcast(exchange, SERVICE, Draft("All"))
    frames = [(subject, told) for subject, told in ears.heard if not subject.startswith("triage")]
    own = ids.own_thread(exchange.key, someone)
    assert [subject for subject, _ in frames] == [
        f"thread.{room.tid}",
        "broadcast.system",
        f"thread.{own}",
        "broadcast.system",
    ]
    first = frames[0][1]
    assert first["slug"] == f"/thread/{room.tid}"
    assert (first["ok"], first["msg"], first["sender"]) == (True, "Hi", str(someone))
    assert first["opts"]["mid"] == str(said.mid)
    assert (first["opts"]["a"], first["opts"]["subject"], first["opts"]["pmid"]) == ("b", "S", None)
    assert [told["slug"] for _, told in frames[1:]] == [
        "/broadcast/system",
        f"/thread/{own}",
        "/broadcast/system",
    ]


async def test_an_ephemeral_message_is_told_and_not_kept(exchange: Exchange, ground: Ground) -> None:
    """Nothing is stored and nothing is owed."""
    room = await open_room(exchange, ground, 1, ephemeral=True)
    async with Ears(exchange, "thread.>") as ears:
        await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid))
    assert len(ears.heard) == 1
    assert await exchange.store.messages.history(room.tid) == []
    assert await queue(exchange) == []


async def test_whoever_has_read_it_is_not_pushed(exchange: Exchange, ground: Ground) -> None:
    """Read within its grace: skipped with the reason `read`; a mark before it, or nothing, is no reason."""
    room = await open_room(exchange, ground, 3)
    first = await publishing.publish(exchange, SERVICE, Draft("First", room.tid, urgency=Urgency.HIGH))
    await drain(exchange)
    said = await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid))
    await reading.mark_read(exchange, room.people[0].uid, room.tid, said.mid, "web")
    await reading.mark_read(exchange, room.people[1].uid, room.tid, first.mid, "web")
    assert await drain(exchange) == 0  # Its grace is not over.
    await drain(exchange, seconds=2)
    again = Counter(ground.tokens[entry.address] for entry in ground.accepted()[3:])
    assert again == Counter([room.people[1].uid, room.people[2].uid])
    found = await campaigns.report(exchange, ids.message_name(said.mid))
    assert found.skips == Counter(read=1)
    assert found.adds_up


async def test_direct_messages_are_read_in_the_own_thread(exchange: Exchange, ground: Ground) -> None:
    """A multicast is skipped for whoever has read it where they see it."""
    people = crowd(2)
    await enlist(exchange, ground, people)
    said = await publishing.multicast(exchange, SERVICE, Draft("Hi"), [p.uid for p in people])
    own = ids.own_thread(exchange.key, people[0].uid)
    assert [m.mid for m in await reading.history(exchange, user(people[0].uid), own)] == [said.mid]
    await reading.mark_read(exchange, people[0].uid, own, said.mid)
    await drain(exchange, seconds=2)
    assert ground.by_person() == Counter([people[1].uid])


async def test_low_urgency_leaves_as_one(exchange: Exchange, ground: Ground) -> None:
    """Messages of one thread that may wait are joined: one push, the newest text, everybody accounted for."""
    room = await open_room(exchange, ground, 3, urgency=Urgency.LOW)
    said = [
        await publishing.publish(exchange, SERVICE, Draft(text, room.tid)) for text in ("One", "Two", "Three")
    ]
    await reading.mark_read(exchange, room.people[0].uid, room.tid, said[2].mid)
    await reading.mark_read(exchange, room.people[1].uid, room.tid, said[1].mid)
    assert await drain(exchange) == 0
    await drain(exchange, seconds=61)
    assert ground.by_person() == Counter([room.people[1].uid, room.people[2].uid])
    assert {entry.text for entry in ground.accepted()} == {"Three (+2)"}
    for one in said:
        found = await campaigns.report(exchange, ids.message_name(one.mid))
        assert found.adds_up
        assert found.audience == 3
    assert found.skips == Counter(joined=3)
    assert await queue(exchange) == []


async def test_the_most_urgent_goes_first(exchange: Exchange, ground: Ground) -> None:
    """With many waiting, urgency 4 is sent before those that came earlier."""
    room = await open_room(exchange, ground, 1)
    for number in range(12):
        urgency = Urgency.HIGH if number == 11 else Urgency.NORMAL
        await publishing.publish(exchange, SERVICE, Draft(f"m{number}", room.tid, urgency=urgency))
    now = exchange.clock() + 5
    items = await exchange.store.triage.due(now, 3)
    assert [item.urgency for item in items] == [Urgency.HIGH, Urgency.NORMAL, Urgency.NORMAL]
    assert items[1].due <= items[2].due


async def test_a_scheduled_message_comes_out_at_its_time(exchange: Exchange, ground: Ground) -> None:
    """Nobody hears of it before; then it is told, sent once, and stands in the history at that place."""
    room = await open_room(exchange, ground, 2)
    at = datetime.fromtimestamp(exchange.clock() + 60, UTC)
    async with Ears(exchange, "thread.>") as ears:
        planned = await publishing.publish(exchange, SERVICE, Draft("Later", room.tid, scheduled=at))
        other = await publishing.publish(exchange, SERVICE, Draft("Now", room.tid, urgency=Urgency.HIGH))
        await drain(exchange)
        assert [m.mid for m in await reading.history(exchange, SERVICE, room.tid)] == [other.mid]
        await drain(exchange, seconds=61)
        await drain(exchange, seconds=5)
    assert [told["msg"] for _, told in ears.heard] == ["Now", "Later"]
    assert ground.by_person() == Counter({p.uid: 2 for p in room.people})
    texts = [m.text for m in await reading.history(exchange, SERVICE, room.tid)]
    assert texts == ["Later", "Now"]
    stored = await exchange.store.messages.get(room.tid, planned.mid)
    assert stored
    assert stored.joined
    assert [m.text for m in await reading.since(exchange, room.people[0].uid, other.mid)] == ["Later"]


async def test_two_executors_never_send_it_both(exchange: Exchange, ground: Ground) -> None:
    """The first seal holds; the same one may try again; dispatch at its time changes nothing."""
    room = await open_room(exchange, ground, 2)
    at = datetime.fromtimestamp(exchange.clock() + 60, UTC)
    planned = await publishing.publish(exchange, SERVICE, Draft("Later", room.tid, scheduled=at))
    outs = await asyncio.gather(
        *(publishing.execute(exchange, SERVICE, room.tid, planned.mid, qid) for qid in ("a", "b", "a", "b")),
        return_exceptions=True,
    )
    assert sum(isinstance(out, Conflict) for out in outs) == 2
    assert len({out.mid for out in outs if not isinstance(out, BaseException)}) == 1
    await drain(exchange, seconds=2)
    await drain(exchange, seconds=61)
    assert ground.by_person() == Counter(p.uid for p in room.people)


async def test_a_canceled_message_never_leaves(exchange: Exchange, ground: Ground) -> None:
    """Scheduled or waiting: nothing is accepted after it; execute says so; cancel again is the same."""
    room = await open_room(exchange, ground, 2)
    at = datetime.fromtimestamp(exchange.clock() + 60, UTC)
    planned = await publishing.publish(exchange, user(room.people[0].uid), Draft("L", room.tid, scheduled=at))
    waiting = await publishing.publish(exchange, SERVICE, Draft("W", room.tid))
    with pytest.raises(Forbidden):
        await publishing.cancel(exchange, user(room.people[1].uid), room.tid, planned.mid)
    stopped = await publishing.cancel(exchange, user(room.people[0].uid), room.tid, planned.mid)
    assert (stopped.scheduled, bool(stopped.canceled), bool(stopped.completed)) == (None, True, True)
    for _ in range(2):
        await publishing.cancel(exchange, OPERATOR, room.tid, waiting.mid)
    await drain(exchange, seconds=100)
    assert not ground.accepted()
    assert await queue(exchange) == []
    with pytest.raises(Conflict):
        await publishing.execute(exchange, SERVICE, room.tid, planned.mid, "q")


async def test_a_message_with_an_id_is_published_once(exchange: Exchange, ground: Ground) -> None:
    """A caller that repeats itself with the same id gets the stored message, and nobody gets two."""
    room = await open_room(exchange, ground, 1)
    mid = ids.message_id(exchange.clock(), b"12345678")
    draft = Draft("Hi", room.tid, mid=mid, urgency=Urgency.HIGH)
    first = await publishing.publish(exchange, SERVICE, draft)
    await drain(exchange)
    again = await publishing.publish(exchange, SERVICE, replace(draft, text="Other"))
    await drain(exchange)
    assert (first.mid, again.text) == (mid, "Hi")
    assert len(ground.accepted()) == 1
    with pytest.raises(WrongInput):
        await publishing.publish(exchange, SERVICE, replace(draft, mid=uuid4()))


async def test_child_messages_have_channels_of_their_own(exchange: Exchange, ground: Ground) -> None:
    """A message with a parent goes where the thread lets its children go."""
    room = await open_room(exchange, ground, 1, child_channels=frozenset({Channel.WEBSOCKET}))
    parent = await publishing.publish(exchange, SERVICE, Draft("P", room.tid, urgency=Urgency.HIGH))
    child = await publishing.publish(
        exchange, SERVICE, Draft("C", room.tid, parent=parent.mid, urgency=Urgency.HIGH)
    )
    await drain(exchange)
    assert len(ground.accepted()) == 1
    found = await campaigns.report(exchange, ids.message_name(child.mid))
    assert found.skips == Counter(channel_off=1)


async def test_a_subscriber_s_own_channels_hold(exchange: Exchange, ground: Ground) -> None:
    """A thread is muted by whoever wants that, for themselves."""
    room = await open_room(exchange, ground, 2)
    muted = Subscription(room.tid, room.people[0].uid, frozenset())
    await exchange.store.threads.subscribe([muted])
    await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid, urgency=Urgency.HIGH))
    await drain(exchange)
    assert ground.by_person() == Counter([room.people[1].uid])


async def test_a_thread_falls_back(exchange: Exchange, ground: Ground) -> None:
    """Whoever has no device gets it on the thread's fallback channels, the others do not."""
    room = await open_room(exchange, ground, 1, fallback=(Channel.EMAIL,))
    await room.join([person(email=f"ok-{uuid4().hex}@example.org")])
    said = await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid, urgency=Urgency.HIGH))
    await drain(exchange)
    assert ground.by_person() == Counter(p.uid for p in room.people)
    found = await campaigns.report(exchange, ids.message_name(said.mid))
    assert {str(end): n for end, n in found.ends.items()} == {"reached": 1, "fell back": 1}


async def test_a_provider_that_is_down_costs_nobody_the_message(exchange: Exchange, ground: Ground) -> None:
    """Put off: it stays in the queue as failed, and goes at the next try."""
    room = await open_room(exchange, ground, 1)
    await room.join([person(device(Channel.APNS, f"down1-{uuid4().hex}"))])
    await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid, urgency=Urgency.HIGH))
    for _ in range(40):
        await drain(exchange)
        items = await queue(exchange)
        if not items:
            break
        assert items[0].kind is Kind.FAILED
        await asyncio.sleep(0.25)
    assert not await queue(exchange)


async def test_the_bus_wakes_a_dispatcher(
    exchange: Exchange, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Urgency 4 through a running dispatcher that looks by itself every ten minutes: accepted at once."""
    room = await open_room(exchange, ground, 1)
    stop = Event()
    dispatcher = Dispatcher(exchange, stop)
    running = asyncio.create_task(dispatcher.run())
    async with asyncio.timeout(60):
        for number in range(6):
            await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid, urgency=Urgency.HIGH))
            while len(ground.accepted()) <= number or await queue(exchange):
                await asyncio.sleep(0.01)
            monkeypatch.setattr(dispatching, "POLL_SECONDS", 600.0)  # it listens now
        stop.set()
        await exchange.bus.publish("triage.stop", b"")
        await running


async def test_a_message_costs_few_round_trips(
    exchange: Exchange, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted at the store's connection, from publish to settled: a bound that a change must not raise. Looks
    that come with time are not counted: on a busy machine there are more of them."""
    monkeypatch.setattr(dispatching, "POLL_SECONDS", 600.0)
    monkeypatch.setattr(helm, "CONTROL_SECONDS", 600.0)
    room = await open_room(exchange, ground, 1)
    calls = 0
    connection: Any = exchange.store.messages._db  # type: ignore[attr-defined]  # the embedded store's seam
    asked = connection._asked

    def counted(work: Any, **how: Any) -> Any:
        nonlocal calls
        calls += 1
        return asked(work, **how)

    connection._asked = counted
    await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid, urgency=Urgency.HIGH))
    published, calls = calls, 0
    assert published <= 2
    await drain(exchange)
    assert len(ground.accepted()) == 1
    assert calls <= 26


async def test_dispatchers_share_the_queue(exchange: Exchange, ground: Ground) -> None:
    """Two at once: every message is sent once, and each person gets each of them once."""
    room = await open_room(exchange, ground, 2)
    for number in range(20):
        await publishing.publish(exchange, SERVICE, Draft(f"m{number}", room.tid, urgency=Urgency.HIGH))
    both = [Dispatcher(exchange, Event()) for _ in range(2)]
    await asyncio.gather(*(one.drain() for one in both))
    await drain(exchange)
    assert ground.by_person() == Counter({p.uid: 20 for p in room.people})
    assert await queue(exchange) == []


async def test_the_table_shows_who_works_on_what(exchange: Exchange, ground: Ground) -> None:
    """Counts by urgency and class, the oldest's age, and the owner while somebody has it."""
    room = await open_room(exchange, ground, 1)
    said = await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid, urgency=Urgency.HIGH))
    await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid))
    now = exchange.clock()
    await exchange.store.ledger.claim(said.mid, 0, "me", now, now + 9)
    items = await queue(exchange)
    holders = await exchange.store.ledger.holders([item.mid for item in items])
    rows = triage.table(items, holders, now + 3)
    assert [(row["urgency"], row["class"], row["waiting"]) for row in rows] == [
        (4, "realtime", 1),
        (3, "nearline", 1),
    ]
    assert (rows[0]["owners"], rows[0]["oldest"], rows[1]["owners"]) == ("me (1)", "3 s", "")


async def test_a_canceled_campaign_stays_canceled(exchange: Exchange, ground: Ground) -> None:
    """An operator may also cancel by the campaign's name, as for any campaign."""
    room = await open_room(exchange, ground, 1)
    said = await publishing.publish(exchange, SERVICE, Draft("Hi", room.tid, urgency=Urgency.HIGH))
    await publishing.cancel(exchange, OPERATOR, room.tid, said.mid)
    stored = await exchange.store.ledger.campaign(said.mid)
    assert stored
    assert stored.control is Control.CANCEL
    await drain(exchange)
    assert not ground.accepted()


async def test_wrong_drafts_are_refused(exchange: Exchange, ground: Ground) -> None:
    """Each with one clear error, before anything is stored."""
    room = await open_room(exchange, ground, 1)
    good = Draft("Hi", room.tid)
    for wrong in (
        replace(good, text=" "),
        replace(good, text="x" * 20_000),
        replace(good, subject="x" * 300),
        replace(good, data={"a": "x" * 5_000}),
        replace(good, url="javascript:alert(1)"),
        replace(good, scheduled=datetime(2030, 1, 1)),  # noqa: DTZ001 - the point
        replace(good, tid=None),
    ):
        with pytest.raises(WrongInput):
            await publishing.publish(exchange, SERVICE, wrong)
    with pytest.raises(NotFound):
        await publishing.publish(exchange, SERVICE, replace(good, tid=uuid4()))
    assert await exchange.store.messages.history(room.tid) == []
    odd = await publishing.publish(
        exchange, SERVICE, replace(good, text="a\ud83d\x00b", urgency=Urgency.HIGH)
    )
    assert "\ud83d" not in odd.text
    await drain(exchange)
    assert len(ground.accepted()) == 1


def test_times_are_ids() -> None:
    """An id says when it was made; ids of one clock sort by time, also within a millisecond."""
    now = datetime(2026, 11, 22, tzinfo=UTC)
    made = [ids.message_id((now + timedelta(microseconds=5 * n)).timestamp(), b"\xff" * 8) for n in range(9)]
    assert sorted(made) == made
    assert ids.message_time(made[0]) == now
    assert all(ids.is_message(mid) for mid in made)


async def test_a_silent_message_goes_to_apps_alone(exchange: Exchange, ground: Ground) -> None:
    """Data without words: nobody sees it; who has but a browser is skipped, and told why."""
    app, browser = person(device(Channel.APNS, "ok1")), person(device(Channel.WEBPUSH, "ok2"))
    await enlist(exchange, ground, [app, browser])
    for one in (app, browser):
        said = await publishing.send(
            exchange, SERVICE, Draft("", data={"sync": "1"}, urgency=Urgency.HIGH), one.uid
        )
        await drain(exchange)
        told = await why(exchange, ids.message_name(said.mid), one.uid)
        assert ("reached by apns" if one is app else "skipped (no_address)") in told.lines()[0]
    assert ground.by_person() == Counter([app.uid])
    with pytest.raises(WrongInput, match="empty"):
        await publishing.send(exchange, SERVICE, Draft(""), app.uid)
