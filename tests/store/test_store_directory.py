"""The contract of ports.Directory."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import uuid4

import pytest
from msgspec import structs
from store_samples import WORDS, at, device, gathered, person, uids

from msgxc.expression import Condition
from msgxc.model import Channel, Device, Recipient, Subscription, Thread
from msgxc.online import Heard
from msgxc.store.ports import Store, Suppression, Wish

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_record_comes_back_whole(store: Store) -> None:
    """Every field is kept as it was, emoji and right-to-left text too, and writing twice is writing once."""
    someone = person()
    await store.directory.put([someone])
    await store.directory.put([someone])
    assert await store.directory.get([someone.uid]) == {someone.uid: someone}


@pytest.mark.parametrize("word", WORDS)
async def test_any_text_is_kept(store: Store, word: str) -> None:
    """Names, tokens and attributes keep any characters."""
    someone = Recipient(uuid4(), name=word, devices=(device(word),), attributes={word: word})
    await store.directory.put([someone])
    assert (await store.directory.get([someone.uid]))[someone.uid] == someone


async def test_an_empty_record_comes_back_empty(store: Store) -> None:
    """A uid and nothing else is a person too."""
    someone = Recipient(uuid4())
    await store.directory.put([someone])
    assert await store.directory.get([someone.uid]) == {someone.uid: someone}


async def test_last_seen_moves_forward_alone(store: Store) -> None:
    """To the newest time, in whatever order; nothing else changes, and nobody comes into being."""
    someone, nobody = structs.replace(person(), last_seen=None), uuid4()
    await store.directory.put([someone])
    times = [datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=n) for n in (60, 120, 90)]
    for time in times:
        await store.directory.seen({someone.uid: time, nobody: time})
    assert await store.directory.get([someone.uid, nobody]) == {
        someone.uid: structs.replace(someone, last_seen=times[1])
    }


async def test_whoever_is_erased_stays_so_when_they_were_seen_before(store: Store) -> None:
    """It is written a little later that somebody was here."""
    someone = person()
    await store.directory.put([someone])
    seen = datetime.now(UTC)
    await store.directory.erase([someone.uid])
    await store.directory.seen({someone.uid: seen})
    assert await store.directory.get([someone.uid]) == {}


async def test_time_online_of_many_gateways_counts_once(store: Store, other: Store) -> None:
    """20 people, each on two gateways that tell at the same moment, one of them twice: the union of what they
    tell, or what a file said if that is more; nobody comes into being."""
    people, nobody = uids(20), uuid4()
    await store.directory.put([Recipient(uid) for uid in people])
    now = 1_800_000_000_000
    told = [[(now, now + 5_000), (now + 9_000, now + 10_000)], [(now + 4_000, now + 9_500)]]
    first, second = (dict.fromkeys([*people, nobody], Heard(spans, now + 10_000)) for spans in told)
    await asyncio.gather(store.directory.note_online(first), other.directory.note_online(second))
    await other.directory.note_online(first)
    assert await store.directory.online([*people, nobody]) == dict.fromkeys(people, 10_000)
    await store.directory.note_online({people[0]: Heard(least=7_000), people[1]: Heard(least=12_000)})
    await other.directory.note_online({people[1]: Heard([(now, now + 11_000)], now + 11_000)})
    assert await store.directory.online(people[:2]) == {people[0]: 10_000, people[1]: 13_000}
    assert await store.directory.online([]) == {}
    await store.directory.note_online({})


async def test_time_online_goes_with_its_person(store: Store) -> None:
    """Erased, they leave nothing, and what a gateway tells afterwards is not kept; readmitted they begin
    anew."""
    someone, heard = Recipient(uuid4()), Heard([(1_000, 3_000)], 3_000)
    for _ in range(2):
        await store.directory.put([someone])
        await store.directory.note_online({someone.uid: heard})
        assert await store.directory.online([someone.uid]) == {someone.uid: 2_000}
        await store.directory.erase([someone.uid])
        await store.directory.note_online({someone.uid: heard})
        assert await store.directory.online([someone.uid]) == {}


async def test_the_later_write_replaces_everything(store: Store) -> None:
    """Devices, attributes and consents of the earlier record do not shine through."""
    first = person()
    later = [
        Recipient(first.uid, name="another"),
        structs.replace(first, channels=frozenset(), devices=first.devices[1:]),
        structs.replace(first, channels=None),
    ]
    await store.directory.put([first])
    for record in later:
        await store.directory.put([record])
        assert (await store.directory.get([first.uid]))[first.uid] == record


async def test_of_two_records_in_one_batch_the_later_wins(store: Store) -> None:
    """A uid that stands twice in a batch ends as its last record."""
    first = person()
    last = structs.replace(first, name="last", devices=(), last_seen=None)
    await store.directory.put([first, last])
    assert (await store.directory.get([first.uid]))[first.uid] == last


async def test_unknown_people_are_left_out(store: Store) -> None:
    """Asking for a stranger is no error, nor is asking for nobody or writing nobody."""
    someone = person()
    await store.directory.put([someone])
    assert set(await store.directory.get([uuid4(), someone.uid])) == {someone.uid}
    assert await store.directory.get([]) == {}
    await store.directory.put([])


async def test_a_naive_time_is_refused(store: Store) -> None:
    """A time without a zone is refused before anything is written."""
    someone = structs.replace(person(), last_seen=datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test
    with pytest.raises(ValueError, match="time zone"):
        await store.directory.put([someone])
    assert await store.directory.get([someone.uid]) == {}


async def test_scans_meet_everybody_exactly_once(store: Store) -> None:
    """1,500 people: both scans yield each of them once, in batches of at most 500; count counts them."""
    before = await store.directory.count()
    people = {uid: Recipient(uid, lang="de", devices=(device(str(uid)),)) for uid in uids(1500)}
    for start in range(0, 1500, 500):
        await store.directory.put(list(people.values())[start : start + 500])
    assert await store.directory.count() == before + 1500
    scanned = [someone for someone in await gathered(store.directory.scan()) if someone.uid in people]
    assert len(scanned) == 1500
    assert {someone.uid: someone for someone in scanned} == people
    seen = await gathered(store.directory.scan_uids())
    assert len(seen) == len(set(seen))
    assert people.keys() <= set(seen)
    assert len(await store.directory.get(people.keys())) == 1500


async def test_a_scan_may_be_left_early(store: Store) -> None:
    """Whoever stops reading leaves nothing behind that would trouble the next call."""
    await store.directory.put([person() for _ in range(20)])
    async for batch in store.directory.scan():
        assert batch
        break
    assert await store.directory.count() >= 20


@pytest.mark.parametrize(
    ("conditions", "matching"),
    [
        ([Condition("lang", "=", "sw")], {"a", "b", "c"}),
        ([Condition("tz", "=", "Africa/Nairobi")], {"a", "b"}),
        ([Condition("last_seen", "<", at(0))], {"a"}),
        ([Condition("last_seen", "<=", at(0))], {"a", "b"}),
        ([Condition("last_seen", ">", at(0))], {"c"}),
        ([Condition("last_seen", ">=", at(0))], {"b", "c"}),
        ([Condition("created", ">=", at(-50))], {"b"}),
        ([Condition("attr.plan", "=", "gold")], {"b", "c"}),
        ([Condition("attr.seats", ">=", 7)], {"a", "b"}),
        ([Condition("attr.seats", "=", 7)], {"b"}),
        ([Condition("attr.beta", "=", True)], {"c"}),
        ([Condition("lang", "=", "sw"), Condition("last_seen", "<", at(1))], {"a", "b"}),
        ([Condition("tz", "=", "Africa/Nairobi"), Condition("attr.plan", "=", "gold")], {"b"}),
    ],
)
async def test_a_narrowed_scan_loses_nobody(
    store: Store, conditions: list[Condition], matching: set[str]
) -> None:
    """Whoever fulfils the conditions is met, exactly once."""
    a, b, c, d = uids(4)
    await store.directory.put(
        [
            Recipient(a, lang="sw", tz="Africa/Nairobi", last_seen=at(-60), attributes={"seats": 9}),
            Recipient(
                b,
                lang="sw",
                tz="Africa/Nairobi",
                last_seen=at(0),
                created=at(-50),
                attributes={"plan": "gold", "seats": 7.0},
            ),
            Recipient(
                c, lang="sw", last_seen=at(60), created=at(-60), attributes={"plan": "gold", "beta": True}
            ),
            Recipient(d, lang="fi", attributes={"plan": "tin", "seats": "many", "beta": 1}),
        ]
    )
    names = {a: "a", b: "b", c: "c", d: "d"}
    met = [
        names[someone.uid]
        for someone in await gathered(store.directory.scan(conditions))
        if someone.uid in names
    ]
    assert len(met) == len(set(met))
    assert matching <= set(met)


async def test_erase_removes_record_memberships_and_subscriptions(store: Store) -> None:
    """After erase nothing names the person, others stay, and a second erase is nothing."""
    gone, stays = person(), person()
    thread, cohort = Thread(uuid4()), f"cohort-{uuid4()}"
    await store.directory.put([gone, stays])
    await store.threads.put(thread)
    await store.cohorts.add(cohort, [gone.uid, stays.uid])
    await store.threads.subscribe([Subscription(thread.tid, p.uid) for p in (gone, stays)])
    for _ in range(2):
        await store.directory.erase([gone.uid, uuid4()])
        assert set(await store.directory.get([gone.uid, stays.uid])) == {stays.uid}
        assert await store.cohorts.members(cohort, [gone.uid, stays.uid]) == {stays.uid}
        assert await gathered(store.threads.subscribers(thread.tid)) == [stays.uid]
    await store.directory.put([gone])
    assert (await store.directory.get([gone.uid]))[gone.uid] == gone


@pytest.mark.parametrize(
    ("dead_since", "removed"),
    [(None, True), (at(6), False), (at(7), True), (at(8), True)],
)
async def test_prune_spares_a_younger_registration(
    store: Store, dead_since: datetime | None, removed: bool
) -> None:
    """A token registered after the provider learnt of its death stays; the others keep their order."""
    someone = person()
    await store.directory.put([someone])
    assert await store.directory.prune(someone.uid, "token-b", dead_since) is removed
    assert await store.directory.prune(someone.uid, "token-b", dead_since) is False
    left = tuple(d for d in someone.devices if d.token != "token-b" or not removed)
    assert (await store.directory.get([someone.uid]))[someone.uid] == structs.replace(someone, devices=left)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (Device(Channel.EMAIL, "t", at(0)), "not by email"),
        (Device(Channel.APNS, "t", datetime(2026, 1, 1)), "time zone"),  # noqa: DTZ001 - the point of the test
    ],
)
async def test_a_device_that_is_none_is_refused(store: Store, wrong: Device, why: str) -> None:
    """A channel on which nobody registers, a time without a zone: nothing is written, also by enlisting."""
    someone = person()
    with pytest.raises(ValueError, match=why):
        await store.directory.put([structs.replace(someone, devices=(wrong,))])
    assert await store.directory.get([someone.uid]) == {}
    await store.directory.put([someone])
    with pytest.raises(ValueError, match=why):
        await store.directory.enlist(someone.uid, wrong, b"a" * 16)
    assert (await store.directory.get([someone.uid]))[someone.uid] == someone


async def test_prune_of_what_is_not_there(store: Store) -> None:
    """An unknown token and an unknown person are no error, and do not come into being."""
    someone, stranger = person(), uuid4()
    await store.directory.put([someone])
    assert await store.directory.prune(someone.uid, "no such token", None) is False
    assert await store.directory.prune(stranger, "token-b", None) is False
    assert await store.directory.get([stranger]) == {}


async def test_a_pruned_token_may_register_again(store: Store) -> None:
    """The same token with the same registration time is there again when the record is written again."""
    someone = person()
    await store.directory.put([someone])
    assert await store.directory.prune(someone.uid, "token-b", None)
    await store.directory.put([someone])
    assert (await store.directory.get([someone.uid]))[someone.uid] == someone


async def test_prune_never_wins_over_a_registration_at_the_same_time(store: Store) -> None:
    """Thirty races of old news against a younger registration: the younger one is there in the end."""
    old = [structs.replace(person(), devices=(device("t", 0),)) for _ in range(30)]
    young = [structs.replace(someone, devices=(device("t", 100, Channel.FCM),)) for someone in old]
    await store.directory.put(old)
    calls = [store.directory.prune(someone.uid, "t", at(50)) for someone in old]
    await asyncio.gather(*calls, *(store.directory.put([someone]) for someone in young))
    assert await store.directory.get([p.uid for p in old]) == {p.uid: p for p in young}


async def test_suppression_keeps_the_first_reason(store: Store) -> None:
    """The first reason of an address stays, whatever is wished there; others are not suppressed."""
    first, second, other = (uuid4().bytes for _ in range(3))
    await store.directory.suppress([Suppression(first, Channel.EMAIL, "bounce", at(0))])
    await store.directory.suppress(
        [
            Suppression(first, Channel.EMAIL, "complaint", at(9)),
            Suppression(second, Channel.SMS, "dead", at(9)),
        ]
    )
    expected = {first: "bounce", second: "dead"}
    assert await store.directory.suppressed([first, second, other]) == expected
    for stop, time in ((True, at(98)), (False, at(99))):
        await store.directory.wish([Wish(a, Channel.SMS, stop, time) for a in (first, other)])
    assert await store.directory.suppressed([first, second, other]) == expected


async def test_a_bounce_after_a_stop_outlives_a_start(store: Store) -> None:
    """A number that stopped and then died is not alive because of a START."""
    address = uuid4().bytes
    await store.directory.wish([Wish(address, Channel.SMS, True, at(1))])
    assert await store.directory.suppressed([address]) == {address: "stopped"}
    await store.directory.suppress([Suppression(address, Channel.SMS, "dead", at(2))])
    await store.directory.wish([Wish(address, Channel.SMS, False, at(3))])
    assert await store.directory.suppressed([address]) == {address: "dead"}


async def test_the_newest_wish_wins(store: Store) -> None:
    """60 addresses, each with up to six wishes in any order, some repeated, alone or together: what was said
    last holds, and of equal times the STOP."""
    chance, calls = Random(11), list[list[Wish]]()
    expected: dict[bytes, str] = {}
    addresses = [uuid4().bytes for _ in range(60)]
    for address in addresses:
        said = [
            Wish(address, Channel.SMS, chance.random() < 0.5, at(chance.randrange(5)))
            for _ in range(chance.randint(0, 6))
        ]
        last = max((wish.at for wish in said), default=None)
        if any(wish.stop and wish.at == last for wish in said):
            expected[address] = "stopped"
        again = said + chance.sample(said, len(said) // 2)
        chance.shuffle(again)
        half = chance.randint(0, len(again))
        calls += [again[:half], again[half:]]
    chance.shuffle(calls)
    for some in calls:
        await store.directory.wish(some)
    assert await store.directory.suppressed(addresses) == expected


async def test_suppression_of_many_and_of_none(store: Store) -> None:
    """A full batch goes in twice and comes out once; empty lists are nothing."""
    entries = [Suppression(uuid4().bytes, Channel.EMAIL, "unsubscribed", at(n)) for n in range(500)]
    await store.directory.suppress(entries)
    await store.directory.suppress(entries)
    assert len(await store.directory.suppressed([e.address for e in entries])) == 500
    await store.directory.suppress([])
    await store.directory.wish([])
    assert await store.directory.suppressed([]) == {}
