"""What people choose by themselves, and what files change: at the same time, nothing of it is lost."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

import pytest
from msgspec import structs
from store_samples import at, device, person, uids

from msgxc.model import Channel, Recipient, Subscription, Thread
from msgxc.store import migrations
from msgxc.store.changes import Change
from msgxc.store.choices import Choice, Said, channel, consent
from msgxc.store.ports import Store, Wish
from msgxc.store.sqlite import SqliteStore

pytestmark = pytest.mark.asyncio(loop_scope="session")
MARKETING, PRODUCT, EMAIL, SMS = (
    consent("marketing"),
    consent("product"),
    channel(Channel.EMAIL),
    channel(Channel.SMS),
)


STOPPED, DEAD = b"s" * 16, b"d" * 16


def takes(*items: str, seconds: float = 0) -> Choice:
    """Somebody takes these back."""
    return Choice(at(seconds), "page", withdrawn=frozenset(items))


def gives(*items: str, seconds: float = 0) -> Choice:
    """Somebody gives these."""
    return Choice(at(seconds), "page", given=frozenset(items))


def agreeing() -> Recipient:
    """Somebody who agrees to two purposes, on every channel."""
    return structs.replace(person(), consents=frozenset({"marketing", "product"}), channels=None)


async def one(store: Store, uid: UUID) -> Recipient:
    """The record as it holds."""
    return (await store.directory.get([uid]))[uid]


async def scanned(store: Store, uids: Iterable[UUID]) -> dict[UUID, Recipient]:
    """The same by the scan, which other code reads by."""
    return {p.uid: p async for page in store.directory.scan() for p in page if p.uid in set(uids)}


# -- choosing


async def test_choosing_changes_nothing_else(store: Store) -> None:
    """What is given and taken back holds, in `get` and in the scan; all else stays as it was."""
    someone = agreeing()
    await store.directory.put([someone])
    both = Choice(at(1), "page", frozenset({consent("tracking")}), frozenset({MARKETING, SMS}))
    for _ in range(2):
        assert await store.directory.choose(someone.uid, both)
        expected = structs.replace(
            someone,
            consents=frozenset({"product", "tracking"}),
            channels=frozenset(Channel) - {Channel.SMS},
        )
        assert await one(store, someone.uid) == expected
        assert await scanned(store, [someone.uid]) == {someone.uid: expected}
    assert await store.directory.choose(someone.uid, gives(MARKETING, SMS, seconds=2))
    back = await one(store, someone.uid)
    assert (back.consents, back.channels) == ({"marketing", "product", "tracking"}, None)


async def test_whoever_is_not_there_does_not_come_into_being(store: Store) -> None:
    """A link of an erased person brings nothing back, and leaves no line in the log."""
    nobody = uuid4()
    assert not await store.directory.choose(nobody, takes(MARKETING))
    assert await store.directory.get([nobody]) == {}
    assert await store.directory.said(nobody) == []
    assert await store.directory.choices([nobody]) == {}


async def test_every_channel_taken_back_is_none(store: Store) -> None:
    """Muted, as `~` is; a channel that was never among them can be given."""
    someone = structs.replace(person(), channels=frozenset({Channel.EMAIL}))
    await store.directory.put([someone])
    await store.directory.choose(someone.uid, takes(EMAIL))
    assert (await one(store, someone.uid)).channels == frozenset()
    await store.directory.choose(someone.uid, gives(SMS))
    assert (await one(store, someone.uid)).channels == {Channel.SMS}


async def test_the_log_only_grows(store: Store) -> None:
    """One line for each item, once however often the call is made; what was asked for changes nothing; a
    whole record that is written later takes nothing away; erasing does."""
    someone, campaign = agreeing(), uuid4()
    await store.directory.put([someone])
    taken = replace(takes(MARKETING), link=campaign, how="one_click")
    for _ in range(2):
        await store.directory.choose(someone.uid, taken)
        await store.directory.ask(someone.uid, gives(MARKETING, seconds=1))
    await store.directory.put([someone])
    assert await store.directory.said(someone.uid) == [
        Said(at(0), MARKETING, "withdrawn", "one_click", campaign),
        Said(at(1), MARKETING, "asked", "page"),
    ]
    assert (await one(store, someone.uid)).consents == {"product"}
    await store.directory.erase([someone.uid])
    assert await store.directory.said(someone.uid) == []
    await store.directory.put([someone])
    assert (await one(store, someone.uid)).consents == {"marketing", "product"}


# -- changing


async def test_a_change_sets_what_it_names(store: Store) -> None:
    """Absent keeps, present sets; attributes and devices are added; last seen only moves forward; again is
    once."""
    someone = structs.replace(person(), devices=(device("token-b", 7), device("token-a", -3)))
    await store.directory.put([someone])
    change = Change(
        someone.uid,
        at(9),
        {"name": "New", "channels": None, "consents": frozenset({"x"}), "last_seen": at(-99_999)},
        {"plan": "free", "age": 7},
        [device("token-c", 6), device("token-b", 1)],
    )
    for _ in range(2):
        await store.directory.change([change])
        found = await one(store, someone.uid)
        assert found == structs.replace(
            someone,
            name="New",
            channels=None,
            consents=frozenset({"x"}),
            attributes={**someone.attributes, "plan": "free", "age": 7},
            devices=found.devices,
        )
        assert found.devices == (someone.devices[0], change.devices[0], someone.devices[1])


async def test_a_change_makes_who_is_not_there(store: Store) -> None:
    """With the time it brings along, devices the youngest first; also one that says nothing."""
    new, bare = uids(2)
    devices = [device("old", -50), device("new", 50), device("mid", 0)]
    await store.directory.change([Change(new, at(1), {"lang": "de"}, {}, devices), Change(bare, at(2))])
    await store.directory.change([])
    assert await one(store, new) == Recipient(
        new, lang="de", devices=(devices[1], devices[2], devices[0]), created=at(1)
    )
    assert await one(store, bare) == Recipient(bare, created=at(2))


async def test_a_file_gives_back_nothing_without_a_proof(store: Store) -> None:
    """The record that a row sets does not outweigh the person's own word, and one that says when they agreed
    does, if that was later; what the row takes away of what they gave is gone."""
    someone = agreeing()
    await store.directory.put([someone])
    await store.directory.choose(someone.uid, takes(MARKETING, EMAIL, seconds=10))
    await store.directory.choose(someone.uid, gives(consent("tracking"), seconds=10))
    both = {MARKETING, consent("tracking")}
    row = Change(someone.uid, at(0), {"consents": frozenset({"marketing", "tracking"}), "channels": None})
    older, newer = ({MARKETING: at(when)} for when in (9, 11))
    for change, held in (
        (row, {"tracking"}),
        (replace(row, agreed=older), {"tracking"}),
        (replace(row, agreed=newer), {"marketing", "tracking"}),
        (replace(row, agreed=older), {"marketing", "tracking"}),
        (
            Change(someone.uid, at(0), {"consents": frozenset()}, dropped=both),
            set(),
        ),
    ):
        await store.directory.change([change])
        found = await one(store, someone.uid)
        assert found.consents == held
        assert found.channels == frozenset(Channel) - {Channel.EMAIL}


# -- at the same time


async def test_no_withdrawal_is_lost(store: Store, other: Store) -> None:
    """40 people each take back two purposes and a channel by three clicks at the same moment, while files are
    imported that say nothing of it, or say that they agree, and devices come and go: nobody consents again,
    every device is there that was not pruned, every field that a file named."""
    people = [structs.replace(agreeing(), devices=(device(f"old-{n}"),)) for n in range(40)]
    await store.directory.put(people)
    chance, calls = Random(7), []
    for n, p in enumerate(people):
        here = (store, other)
        calls += [
            here[0].directory.choose(p.uid, takes(MARKETING)),
            here[1].directory.choose(p.uid, takes(PRODUCT)),
            here[n % 2].directory.choose(p.uid, takes(EMAIL)),
            here[0].directory.change([Change(p.uid, at(0), {"name": "file"}, {"k": n})]),
            here[1].directory.change([Change(p.uid, at(0), {"consents": p.consents, "lang": "fi"})]),
            here[0].directory.enlist(p.uid, device(f"new-{n}", 5), uuid4().bytes),
            here[1].directory.enlist(p.uid, device(f"more-{n}", 6), uuid4().bytes),
            here[0].directory.prune(p.uid, f"old-{n}", None),
            here[1].directory.change([Change(p.uid, at(0), devices=[device(f"filed-{n}", -5)])]),
        ]
    chance.shuffle(calls)
    await asyncio.gather(*calls)
    found = await store.directory.get([p.uid for p in people])
    assert [p.uid for p in found.values() if p.consents] == []
    assert {p.channels for p in found.values()} == {frozenset(Channel) - {Channel.EMAIL}}
    for n, p in enumerate(people):
        now = found[p.uid]
        assert {d.token for d in now.devices} == {f"new-{n}", f"more-{n}", f"filed-{n}"}
        assert (now.name, now.lang, now.attributes["k"]) == ("file", "fi", n)
        assert len(await store.directory.said(p.uid)) == 3


async def test_many_clicks_of_one_person_add_up(store: Store, other: Store) -> None:
    """Twelve items taken back in twelve calls at once: all of them."""
    someone, items = agreeing(), [consent(f"purpose-{n}") for n in range(12)]
    await store.directory.put(
        [structs.replace(someone, consents=frozenset(i.removeprefix("consent:") for i in items))]
    )
    calls = [(store, other)[n % 2].directory.choose(someone.uid, takes(item)) for n, item in enumerate(items)]
    assert all(await asyncio.gather(*calls))
    assert (await one(store, someone.uid)).consents == frozenset()


# -- threads


async def test_a_subscriber_takes_channels_back(store: Store) -> None:
    """From all, or from some; whoever is no subscriber stays none. Somebody else's word keeps that, their own
    replaces it."""
    thread, someone, some, nobody = Thread(uuid4()), *uids(3)
    mine = [Subscription(thread.tid, someone), Subscription(thread.tid, some, frozenset({Channel.EMAIL}))]
    await store.threads.subscribe(mine)
    for _ in range(2):
        assert await store.threads.leave(thread.tid, someone, [Channel.EMAIL])
        assert await store.threads.leave(thread.tid, some, [Channel.EMAIL])
        assert not await store.threads.leave(thread.tid, nobody, [Channel.EMAIL])
    without = frozenset(Channel) - {Channel.EMAIL}
    expected = {
        someone: Subscription(thread.tid, someone, without),
        some: Subscription(thread.tid, some, frozenset()),
    }
    assert await store.threads.subscriptions(thread.tid, [someone, some, nobody]) == expected
    await store.threads.enter([*mine, Subscription(thread.tid, nobody)])
    expected[nobody] = Subscription(thread.tid, nobody)
    assert await store.threads.subscriptions(thread.tid, expected) == expected
    told = frozenset({Channel.EMAIL, Channel.SMS})
    await store.threads.enter([Subscription(thread.tid, uid, told) for uid in expected])
    held = await store.threads.subscriptions(thread.tid, expected)
    assert [held[uid].channels for uid in expected] == [{Channel.SMS}, {Channel.SMS}, told]
    assert await store.threads.of(someone) == [held[someone]]
    await store.threads.subscribe([Subscription(thread.tid, someone, told)])
    assert (await store.threads.subscriptions(thread.tid, [someone]))[someone].channels == told


async def test_changes_of_a_thread_at_once_are_all_kept(store: Store, other: Store) -> None:
    """Ten threads, each changed in five fields by five callers at the same moment: every field is as somebody
    set it, what nobody named is as it was, and one that was not there is there."""
    threads = [Thread(uuid4(), "old", child_channels=frozenset({Channel.SMS})) for _ in range(10)]
    for thread in threads[1:]:
        await store.threads.put(thread)
    staff, owner = frozenset(uids(2)), uuid4()
    fields = {
        "name": "new",
        "owner": owner,
        "admins": staff,
        "publishers": staff,
        "fallback": (Channel.SMS, Channel.EMAIL),
    }
    calls = [
        (store, other)[n % 2].threads.change(thread.tid, {name: value})
        for thread in threads
        for n, (name, value) in enumerate(fields.items())
    ]
    await asyncio.gather(*calls)
    for thread in threads[1:]:
        assert await store.threads.get(thread.tid) == replace(thread, **fields)
    assert await store.threads.get(threads[0].tid) == replace(Thread(threads[0].tid), **fields)
    await store.threads.change(threads[1].tid, {"publishers": frozenset(), "owner": None})
    cleared = replace(threads[1], **{**fields, "publishers": frozenset(), "owner": None})
    assert await store.threads.get(threads[1].tid) == cleared


async def test_leaving_by_two_channels_at_once(store: Store, other: Store) -> None:
    """20 people take two channels of a thread back at the same moment, while a file names them: neither is
    lost."""
    thread, people = Thread(uuid4()), uids(20)
    named = [Subscription(thread.tid, uid) for uid in people]
    await store.threads.subscribe(named)
    calls = [store.threads.leave(thread.tid, uid, [Channel.EMAIL]) for uid in people]
    calls += [other.threads.leave(thread.tid, uid, [Channel.SMS]) for uid in people]
    await asyncio.gather(*calls, *(other.threads.enter([one]) for one in named))
    held = await store.threads.subscriptions(thread.tid, people)
    assert {one.channels for one in held.values()} == {frozenset(Channel) - {Channel.EMAIL, Channel.SMS}}
    assert len(held) == 20


async def test_an_older_store_goes_on(tmp_path: Path) -> None:
    """After `schema apply` on an older file its people, subscribers and suppressions are as they were,
    people can take back what they agreed to, and a STOP ends with a START that is newer."""
    path, someone, thread = tmp_path / "old.db", uuid4(), uuid4()
    with closing(sqlite3.connect(path)) as db:
        for step in migrations.read_steps(migrations.schema_folder() / "sqlite", ".sql")[:3]:
            for statement in step.statements:
                db.execute(statement)
        db.execute("PRAGMA user_version = 3")
        row = (someone.bytes, "Ann", "a@example.com", "", "", "", "apns email", "[]", "marketing own", "{}")
        db.execute(f"INSERT INTO recipients VALUES ({','.join('?' * 10)}, NULL, NULL)", row)
        db.execute("INSERT INTO subscriptions VALUES (?,?,?)", (thread.bytes, someone.bytes, "email"))
        for address, reason in ((STOPPED, "stopped"), (DEAD, "bounced")):
            row = (address, "sms", reason, at(0).timestamp())
            db.execute("INSERT INTO suppressions VALUES (?,?,?,?)", row)
        db.commit()
    store = SqliteStore(path)
    await store.apply_schema()
    await store.open()
    try:
        before = await one(store, someone)
        assert (before.consents, before.channels) == ({"marketing", "own"}, {Channel.APNS, Channel.EMAIL})
        assert await store.directory.choose(someone, takes(MARKETING, EMAIL))
        assert await store.threads.leave(thread, someone, [Channel.EMAIL])
        after = await one(store, someone)
        assert (after.consents, after.channels) == ({"own"}, {Channel.APNS})
        assert (await store.threads.of(someone))[0].channels == frozenset()
        for seconds, held in ((-1, {STOPPED: "stopped", DEAD: "bounced"}), (1, {DEAD: "bounced"})):
            await store.directory.wish([Wish(a, Channel.SMS, False, at(seconds)) for a in (STOPPED, DEAD)])
            assert await store.directory.suppressed([STOPPED, DEAD]) == held
    finally:
        await store.close()
