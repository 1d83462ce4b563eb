"""Both stores keep messages, reads, what is owed, and requests, alike."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from uuid import UUID, uuid4

from store_samples import START, at, gathered, person, uids

from msgxc import ids
from msgxc.campaign import Audience, CampaignSpec, Everyone
from msgxc.ledger import Campaign, Seal
from msgxc.messages.records import Item, Join, JoinState, Kind, Message, To
from msgxc.model import Channel, Subscription, Thread, Urgency
from msgxc.store.ports import Store


def mid(seconds: float = 0) -> UUID:
    """A fresh message id, `seconds` after START."""
    return ids.message_id(at(seconds).timestamp(), uuid4().bytes[:8])


def message(tid: UUID, seconds: float = 0, **more: object) -> Message:
    """A message with something in it."""
    return Message(mid=mid(seconds), tid=tid, text="Hi 👩‍👩‍👧‍👦", **more)  # type: ignore[arg-type]


def item(due: float, urgency: Urgency = Urgency.NORMAL, **more: object) -> Item:
    """A place in the queue."""
    values: dict[str, object] = {"mid": mid(), "tid": uuid4(), "kind": Kind.NEARLINE, "since": due, **more}
    return Item(urgency, due, **values)  # type: ignore[arg-type]


async def test_a_thread_keeps_all_its_fields(store: Store) -> None:
    """What was added to threads is read back as it was written."""
    thread = Thread(
        uuid4(),
        "t",
        uuid4(),
        admins=frozenset(uids(2)),
        publishers=frozenset(uids(1)),
        system=True,
        ephemeral=True,
        template="welcome",
    )
    await store.threads.put(thread)
    assert await store.threads.get(thread.tid) == thread


async def test_a_message_comes_back_as_it_was_put(store: Store) -> None:
    """Every field survives; putting it twice is the same as once."""
    full = message(
        uuid4(),
        to=To.PEOPLE,
        uids=tuple(uids(3)),
        sender=uuid4(),
        subject="S",
        data={"a": "b"},
        url="https://example.org",
        parent=mid(),
        urgency=Urgency.HIGH,
        system=True,
        broadcast=True,
        scheduled=at(5),
    )
    for _ in range(2):
        await store.messages.put(full, item(0))
    assert await store.messages.get(full.tid, full.mid) == full
    assert await store.messages.get(uuid4(), full.mid) is None


async def test_what_changes_of_a_message_is_noted(store: Store) -> None:
    """Each note writes what is given and leaves the rest."""
    one = message(uuid4(), scheduled=at(9))
    await store.messages.put(one, None)
    await store.messages.note(one.tid, one.mid, canceled=at(1), unscheduled=True)
    await store.messages.note(one.tid, one.mid, completed=at(2), joined=one.mid)
    await store.messages.note(one.tid, one.mid, recalled=at(3))
    noted = replace(one, scheduled=None, canceled=at(1), completed=at(2), recalled=at(3), joined=one.mid)
    assert await store.messages.get(one.tid, one.mid) == noted


async def test_the_first_executor_seals(store: Store) -> None:
    """Of many at once one gets the message, all hear whose it is, and it stays so."""
    one = message(uuid4())
    await store.messages.put(one, None)
    names = [f"q{n}" for n in range(8)]
    answers = await asyncio.gather(*(store.messages.take(one.tid, one.mid, name) for name in names))
    assert len(set(answers)) == 1
    assert answers[0] in names
    assert await store.messages.take(one.tid, mid(), "q") is None


async def test_history_is_paged_from_either_end(store: Store) -> None:
    """Backwards newest first, forwards oldest first, over several buckets, each message once."""
    tid = uuid4()
    said = [message(tid, days * 86_400) for days in (0, 1, 30, 31, 95)]
    for one in said:
        await store.messages.put(one, None)
    newest = await store.messages.history(tid, limit=2)
    assert newest == [said[4], said[3]]
    assert await store.messages.history(tid, before=newest[-1].mid, limit=9) == said[2::-1]
    assert await store.messages.history(tid, after=said[0].mid, limit=3) == said[1:4]
    assert await store.messages.history(tid, after=said[4].mid) == []
    assert await store.messages.history(uuid4()) == []


async def test_a_page_of_what_people_see_passes_over_the_rest(store: Store) -> None:
    """Backwards and forwards, over buckets that are hidden altogether, in the middle and at the ends: each
    visible message once, in order; and they are counted alike."""
    tid = uuid4()
    said = [
        message(tid, number * 4_000, scheduled=at(9) if number % 7 == 6 else None) for number in range(700)
    ]
    for one in said:
        await store.messages.put(one, None)
    gone = [one for number, one in enumerate(said) if number % 7 in (1, 2, 3) or 230 < number < 520]
    for number, one in enumerate(gone):
        note = {"canceled": at(1)} if number % 2 else {"recalled": at(1)}
        await store.messages.note(tid, one.mid, **note)  # type: ignore[arg-type]
    await store.messages.note(tid, mid(5), completed=at(1))  # a message that never was
    seen = [one for one in said if one not in gone and not one.scheduled]
    for limit in (1, 3, 50, 500):
        forwards, after = list[Message](), UUID(int=0)
        while page := await store.messages.history(tid, after=after, limit=limit, shown=True):
            assert len(page) == limit or page[-1] == seen[-1]
            forwards += page
            after = page[-1].mid
        assert forwards == seen
        backwards, before = list[Message](), None
        while page := await store.messages.history(tid, before, limit=limit, shown=True):
            backwards += page
            before = page[-1].mid
        assert backwards == seen[::-1]
    assert await store.messages.count_after(tid, None, 10_000) == len(seen)
    assert await store.messages.count_after(tid, seen[20].mid, 100) == 100
    assert await store.messages.count_after(tid, said[231].mid, 10_000) == sum(
        m.mid > said[231].mid for m in seen
    )


async def test_what_waits_for_its_time_is_counted_by_sender(store: Store) -> None:
    """In a thread and in all; twice is once; what is past its time, and what waits no longer, is not
    counted."""
    sender, tid, other, now = uuid4(), uuid4(), uuid4(), time.time()
    first = mid()
    assert await store.messages.plan(sender, tid, first, now + 900, now) == (1, 1)
    assert await store.messages.plan(sender, tid, first, now + 900, now) == (1, 1)
    assert await store.messages.plan(sender, tid, mid(), now + 2, now) == (2, 2)
    assert await store.messages.plan(sender, other, mid(), now + 900, now) == (1, 3)
    assert await store.messages.plan(uuid4(), tid, mid(), now + 900, now) == (1, 1)
    await asyncio.sleep(3)
    assert await store.messages.plan(sender, other, mid(), now + 900, now + 3) == (2, 3)
    for _ in range(2):
        await store.messages.unplan(sender, tid, first)
    assert await store.messages.plan(sender, tid, mid(), now + 900, now + 3) == (1, 3)
    await store.directory.erase([sender])
    assert await store.messages.plan(sender, tid, mid(), now + 900, now + 3) == (1, 1)


async def test_names_of_devices_are_bounded(store: Store) -> None:
    """The first twenty of a person, over all threads; what others read is kept under one name, for all of
    them; erasing forgets the names."""
    uid, tids = uuid4(), [uuid4(), uuid4()]
    for number in range(25):
        await store.reads.mark(uid, tids[number % 2], mid(number), f"d{number}")
    marks = await store.reads.of(uid)
    assert sorted({name for devices in marks.values() for name in devices}) == [
        "",
        *sorted(f"d{n}" for n in range(20)),
    ]
    assert await store.reads.last([(tids[0], uid)]) == {uid: max(marks[tids[0]].values())}
    await store.directory.erase([uid])
    later = ids.message_id(time.time() + 60, uuid4().bytes[:8])  # a mark has the time of its message
    await store.reads.mark(uid, tids[0], later, "d24")
    assert set((await store.reads.of(uid))[tids[0]]) == {"d24"}


async def test_messages_are_counted_up_to_a_limit(store: Store) -> None:
    """From the beginning, from a message, and no further than asked."""
    tid = uuid4()
    said = [message(tid, days * 86_400) for days in (0, 40, 80)]
    for one in said:
        await store.messages.put(one, None)
    assert await store.messages.count_after(tid, None, 100) == 3
    assert await store.messages.count_after(tid, said[0].mid, 100) == 2
    assert await store.messages.count_after(tid, None, 2) == 2
    for days in (1, 2, 41):  # silent ones: for the app alone
        await store.messages.put(
            replace(message(tid, days * 86_400), text="", subject="", data={"a": "1"}), None
        )
    await store.messages.put(replace(message(tid, 81 * 86_400), text="", subject="s"), None)
    assert await store.messages.count_after(tid, None, 100) == 4
    assert await store.messages.count_after(tid, said[0].mid, 100) == 3


async def test_copies_stand_in_threads_of_their_own(store: Store) -> None:
    """A multicast is one message, and one in the thread of each person."""
    one = message(uuid4())
    copies = [replace(one, tid=uuid4()) for _ in range(60)]
    await store.messages.put(one, None, copies)
    for copy in (one, copies[0], copies[-1]):
        assert await store.messages.history(copy.tid) == [copy]


async def test_a_thread_can_be_forgotten(store: Store) -> None:
    """Everything in it, over all buckets, and nothing of another thread."""
    tid, other = uuid4(), message(uuid4())
    for one in (message(tid), message(tid, 90 * 86_400), other):
        await store.messages.put(one, None)
    for _ in range(2):
        await store.messages.forget(tid)
    assert await store.messages.history(tid) == []
    assert await store.messages.history(other.tid) == [other]


async def test_everybody_in_messages_is_told(store: Store) -> None:
    """Who said something, and whom something is for by name, in any thread."""
    sender, *several = uids(4)
    await store.messages.put(message(uuid4(), sender=sender), None)
    await store.messages.put(message(uuid4(), to=To.PEOPLE, uids=tuple(several)), None)
    await store.messages.put(message(uuid4()), None)
    found = {uid async for page in store.messages.people() for uid in page}
    assert {sender, *several} <= found


async def test_a_read_mark_only_moves_forward(store: Store) -> None:
    """Late and repeated marks change nothing; the furthest device counts."""
    tid, uid = uuid4(), uuid4()
    early, late, later = mid(1), mid(2), mid(3)
    for device, seen in (("web", late), ("web", early), ("phone", early), ("phone", later), ("web", late)):
        await store.reads.mark(uid, tid, seen, device)
    assert await store.reads.of(uid) == {tid: {"web": late, "phone": later}}
    assert await store.reads.last([(tid, uid), (tid, uuid4()), (uuid4(), uuid4())]) == {uid: later}
    assert await store.reads.last([]) == {}


async def test_marks_of_many_threads_are_looked_up_together(store: Store) -> None:
    """Each person in a thread of their own: the answer is by person."""
    places = [(uuid4(), uuid4()) for _ in range(120)]
    for tid, uid in places[:5]:
        await store.reads.mark(uid, tid, mid(1), "")
    assert (await store.reads.last(places)).keys() == {uid for _, uid in places[:5]}


async def test_the_queue_is_in_order_of_urgency_then_age(store: Store) -> None:
    """What is due comes highest urgency first, then the oldest; what is not due does not come."""
    base = 1_000_000.0 + uuid4().int % 10_000_000
    queue = [
        item(base + 90, Urgency.HIGH),
        item(base + 100, Urgency.HIGH),
        item(base + 20, Urgency.NORMAL),
        item(base + 30, Urgency.LOW),
        item(base + 3600, Urgency.HIGH),
    ]
    await store.triage.add([queue[n] for n in (2, 4, 0, 3, 1)])
    found = [i for i in await store.triage.due(base + 200, 1000) if i in queue]
    assert found == queue[:4]
    assert len(await store.triage.due(base + 200, 2)) == 2
    await store.triage.remove(queue[:2])
    await store.triage.remove(queue[:2])
    found = [i for i in await store.triage.due(base + 4000, 1000) if i in queue]
    assert found == [queue[4], queue[2], queue[3]]
    await store.triage.remove(queue)


async def test_the_whole_queue_can_be_looked_at(store: Store) -> None:
    """A scan yields each item once, also what is not due, in batches."""
    queue = [item(5e9 + n * 70, Urgency(1 + n % 4), tries=n, step="fallback", turn=uuid4()) for n in range(9)]
    await store.triage.add(queue)
    found = [i for i in await gathered(store.triage.scan()) if i in queue]
    assert sorted(found, key=lambda i: i.tries) == queue
    assert [i.urgency for i in found] == sorted((i.urgency for i in queue), reverse=True)
    await store.triage.remove(queue)
    assert not [i for i in await gathered(store.triage.scan()) if i in queue]


async def test_an_item_that_stands_for_a_message_goes_with_it(store: Store) -> None:
    """One call stores both."""
    one = message(uuid4())
    owed = item(1.0, mid=one.mid, tid=one.tid)
    await store.messages.put(one, owed)
    assert owed in await store.triage.due(2.0, 1000)
    await store.triage.remove([owed])


async def test_requests_are_found_from_both_sides(store: Store) -> None:
    """By thread and by person, oldest first; the later word of the same person holds."""
    tid, uid = uuid4(), uuid4()
    asked = Join(tid, uid, JoinState.ASKED, None, at(2))
    other = Join(tid, uuid4(), JoinState.INVITED, uuid4(), at(1))
    for join in (replace(asked, at=at(5)), asked, other):
        await store.joins.put(join)
    assert await store.joins.get(tid, uid) == asked
    assert await store.joins.of_thread(tid) == [other, asked]
    assert await store.joins.of_person(uid) == [asked]
    await store.joins.remove(tid, uid)
    await store.joins.remove(tid, uid)
    assert await store.joins.of_thread(tid) == [other]
    assert await store.joins.of_person(uid) == []


async def test_a_person_s_subscriptions_are_counted(store: Store) -> None:
    """As many as there are, and no further than asked."""
    uid = uuid4()
    await store.threads.subscribe([Subscription(uuid4(), uid) for _ in range(30)])
    assert await store.threads.count_of(uid, 100) == 30
    assert await store.threads.count_of(uid, 10) == 10
    assert await store.threads.count_of(uuid4(), 10) == 0


async def test_a_person_s_subscriptions_are_listed(store: Store) -> None:
    """With their channels, and without the threads that they left."""
    uid = uuid4()
    some = [Subscription(uuid4(), uid, frozenset({Channel.FCM})), Subscription(uuid4(), uid)]
    await store.threads.subscribe([*some, Subscription(some[0].tid, uuid4())])
    found = await store.threads.of(uid)
    assert sorted(found, key=lambda s: s.tid) == sorted(some, key=lambda s: s.tid)
    await store.threads.unsubscribe(some[0].tid, [uid])
    assert await store.threads.of(uid) == [some[1]]


async def test_the_size_of_a_thread_is_counted_up_to_a_limit(store: Store) -> None:
    """As many as subscribe, and no more than asked for, over all buckets."""
    tid = uuid4()
    people = uids(400)
    await store.threads.subscribe([Subscription(tid, uid) for uid in people])
    await store.threads.subscribe([Subscription(uuid4(), people[0])])
    assert await store.threads.size(tid, 1_000) == 400
    assert await store.threads.size(tid, 100) == 100
    assert await store.threads.size(uuid4(), 100) == 0
    await store.threads.unsubscribe(tid, people[:150])
    assert await store.threads.size(tid, 1_000) == 250


async def test_erasing_forgets_what_was_read_and_asked(store: Store) -> None:
    """Nothing under the uid is left in reads and joins."""
    uid, tid = uuid4(), uuid4()
    await store.directory.put([person(uid)])
    await store.reads.mark(uid, tid, mid(), "web")
    await store.joins.put(Join(tid, uid, JoinState.ASKED, None, at()))
    await store.directory.erase([uid])
    assert await store.reads.of(uid) == {}
    assert await store.reads.last([(tid, uid)]) == {}
    assert await store.joins.of_thread(tid) == []


def _campaign(identity: UUID, count: int) -> Campaign:
    spec = CampaignSpec(name=ids.message_name(identity), template="message", audience=Audience(to=Everyone()))
    return Campaign(identity, spec, 1, START, seal=Seal(count, 7))


async def test_a_small_campaign_is_stored_whole(store: Store) -> None:
    """Created, expanded and sealed in one call; the first one's stays; it is not among those with a name."""
    identity, people = mid(), uids(3)
    stored = await store.ledger.create_sealed(_campaign(identity, 3), [(0, uid) for uid in people])
    again = await store.ledger.create_sealed(_campaign(identity, 4), [(0, uid) for uid in people])
    assert stored == again == _campaign(identity, 3)
    assert await store.ledger.campaign(identity) == stored
    assert await store.ledger.members(identity, 0) == sorted(people)
    assert identity not in {c.id for c in await gathered(store.ledger.campaigns())}
    assert identity in {c.id for c in await gathered(store.ledger.campaigns(messages=True))}
    await store.ledger.finish_campaign(identity, at(9))
    assert (await store.ledger.campaign(identity)) == replace(stored, finished=at(9))
    await store.ledger.forget(identity)
    assert await store.ledger.campaign(identity) is None


async def test_holders_are_told(store: Store) -> None:
    """Who has the first shard of a campaign, and until when; nothing where nobody had it."""
    identity = mid()
    await store.ledger.claim(identity, 0, "me", 0.0, 60.0)
    assert await store.ledger.holders([identity, mid()]) == {identity: ("me", 60.0)}
    assert await store.ledger.holders([]) == {}
