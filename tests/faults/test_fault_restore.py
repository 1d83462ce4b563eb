"""Fault 35: a backup that is brought back. What was under way asks first; nobody is sent to by itself."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from fault_process import Done, Fleet, command
from fault_world import Ground, Opened, World, crowd, on_sqlite, until

from msgxc import campaigns, ids
from msgxc.errors import Conflict
from msgxc.ledger import Control
from msgxc.messages.records import Item, Kind, Message, To
from msgxc.model import Channel, Recipient, Subscription, Thread, Urgency
from msgxc.operations.restoring import may_repeat, restored
from msgxc.privacy.erasure import erase
from msgxc.receipts.merging import Merger
from msgxc.revocation import revoke
from msgxc.settings import Settings
from msgxc.store import choices
from msgxc.store.choices import Choice
from msgxc.store.gateway import News, Received
from msgxc.store.ports import Suppression, Wish
from msgxc.store.sqlite import schema


@on_sqlite
async def test_35_a_backup_made_while_sending_and_brought_back(
    opened: Opened, settings: Settings, ground: Ground, fleet: Fleet, tmp_path: Path
) -> None:
    """Fault 35. Made in mid-campaign, which goes on unharmed; brought back, the same name is refused with one
    sentence and sends to nobody, until a person resumes it: then everybody has it, and only whoever had it
    since the backup has it twice."""
    people, file, home = crowd(200), tmp_path / "backup", settings.home
    async with opened() as world:
        what = await world.campaign("brought-back", people, per_second=20)
        await world.prepare(what)
    sender = fleet.start(settings, what)
    await until(lambda: len(ground.accepted()) >= 40, sender)
    made = await asyncio.to_thread(command, home, "backup", str(file))
    assert (made.status, made.err) == (0, "")
    assert await fleet.wait(sender) == 0
    assert ground.repeats(people) == 0
    assert len(ground.accepted()) == len(people)
    for each in (file, Path(f"{file}.key")):
        assert each.stat().st_mode & 0o777 == 0o600

    async with opened():
        in_use = await asyncio.to_thread(command, home, "restore", "--force", str(file))
        assert "in use" in in_use.err
    back = await asyncio.to_thread(command, home, "restore", "--force", str(file))
    assert back.status == 0, back.err
    assert "brought-back" in back.out
    assert await fleet.run(settings, what) == 1
    listed = await asyncio.to_thread(command, home, "campaigns", "list")
    assert "restored" in listed.out
    async with opened() as world:
        for control in (Control.RUN, Control.PAUSE):  # by the console, or by anybody who does not know
            assert await campaigns.set_control(world.exchange, what.name, control) is Control.RESTORED
        with pytest.raises(Conflict, match="msgxc campaigns resume brought-back"):
            await campaigns.plan(world.exchange, what)
        assert len(ground.accepted()) == len(people), "nobody was asked, and somebody was sent to"
    resumed = await asyncio.to_thread(command, home, "campaigns", "resume", what.name)
    assert "had not been sent to when the backup was made" in resumed.out
    assert await fleet.run(settings, what) == 0
    async with opened() as world:
        await world.judge(what, people, repeats=len(people) - 40 + world.bound)


async def test_35_what_stands_still_in_a_restored_store(world: World) -> None:
    """Fault 35, both stores. A campaign under way, a paused one and a fallback that was due stand still; what
    is over, canceled, or not yet to be sent stays as it is. Told again, it says nothing new."""
    people, exchange = crowd(3), world.exchange
    now = datetime.now(UTC)
    names = {
        name: await world.campaign(f"{name}-{world.mark}", people) for name in ("going", "paused", "over")
    }
    names["gone"] = await world.campaign(f"gone-{world.mark}", people)
    later = now + timedelta(hours=1)
    names["later"] = await world.campaign(f"later-{world.mark}", people, not_before=later)
    names["parent"] = await world.campaign(f"parent-{world.mark}", people, fallback=True)
    for name, what in names.items():
        planned = await campaigns.plan(exchange, what)
        if name != "going":
            await campaigns.seal(exchange, planned.id)
        if name in ("over", "parent"):
            await exchange.store.ledger.finish_campaign(planned.id, now - timedelta(hours=2))
    await campaigns.set_control(exchange, names["paused"].name, Control.PAUSE)
    await campaigns.set_control(exchange, names["gone"].name, Control.CANCEL)

    async def state(name: str) -> Control:
        return (await campaigns.campaign_named(exchange, f"{name}-{world.mark}")).control

    done = await restored(exchange)
    mine = {held.name.partition(f"-{world.mark}")[0]: held for held in done.held if world.mark in held.name}
    assert set(mine) == {"going", "paused", "parent"}
    assert (mine["going"].left, mine["paused"].left, mine["paused"].people) == (None, 3, 3)
    assert not [held for held in (await restored(exchange)).held if world.mark in held.name]
    held = {name: await state(name) for name in names}
    assert held == {
        "going": Control.RESTORED,
        "paused": Control.RESTORED,
        "over": Control.RUN,
        "gone": Control.CANCEL,
        "later": Control.RUN,
        "parent": Control.RUN,
    }
    follows = await exchange.store.ledger.campaign(
        ids.campaign_id(exchange.key, f"parent-{world.mark}.fallback")
    )
    assert follows is not None
    assert follows.control is Control.RESTORED
    assert "3 of 3 people" in await may_repeat(exchange, names["paused"].name)
    assert await campaigns.resume(exchange, names["paused"].name) is Control.RUN
    assert await may_repeat(exchange, names["paused"].name) == ""
    assert await campaigns.set_control(exchange, names["going"].name, Control.CANCEL) is Control.CANCEL
    assert await campaigns.resume(exchange, names["going"].name) is Control.CANCEL


async def test_35_what_was_owed_is_not_sent_late(world: World) -> None:
    """Fault 35, both stores. Urgent messages of the past, what a provider had put off, and a message whose
    time has passed are not sent; one that is to come comes; what is taken back is taken back."""
    exchange, now = world.exchange, world.exchange.clock()
    tid = uuid4()
    wanted = {
        "urgent": (Kind.REALTIME, now - 3600, "send", None),
        "put off": (Kind.FAILED, now + 300, "send", None),
        "missed": (Kind.SCHEDULED, now - 60, "send", now - 60),
        "to come": (Kind.SCHEDULED, now + 3600, "send", now + 3600),
        "taken back": (Kind.REALTIME, now - 60, "withdraw", None),
    }
    mids: dict[str, UUID] = {}
    for number, (name, (kind, due, step, scheduled)) in enumerate(wanted.items()):
        mid = mids[name] = ids.message_id(now + number / 100, uuid4().bytes[:8])
        time = datetime.fromtimestamp(scheduled, UTC) if scheduled else None
        message = Message(mid, tid, name, To.THREAD, urgency=Urgency.HIGH, scheduled=time)
        await exchange.store.messages.put(message, Item(Urgency.HIGH, due, mid, tid, kind, now, step=step))
    done = await restored(exchange)
    assert done.owed["send"] >= 3
    left = {item.mid async for page in exchange.store.triage.scan() for item in page if item.tid == tid}
    assert left == {mids["to come"], mids["taken back"]}
    urgent, missed, to_come = [
        await exchange.store.messages.get(tid, mids[name]) for name in ("urgent", "missed", "to come")
    ]
    assert urgent is not None
    assert urgent.completed
    assert not urgent.canceled
    assert missed is not None
    assert missed.canceled
    assert to_come is not None
    assert not to_come.canceled


@on_sqlite
async def test_35_what_people_said_since_is_carried_over(
    opened: Opened, settings: Settings, tmp_path: Path
) -> None:
    """Fault 35. Since the backup people have said STOP, bounced, withdrawn, left a thread, were erased and
    signed out, a campaign and a message were called off: a restore over that store forgets none of it. What
    they gave anew counts too; what the backup knows better stays."""
    home, file, now = settings.home, tmp_path / "backup", datetime.now(UTC)
    at = [now + timedelta(seconds=n) for n in range(4)]
    ann, bob, cyd, dan, new = (Recipient(uid=uuid4(), email="a@example.com") for _ in range(5))
    stopped, again, bounced, tid = b"s" * 16, b"a" * 16, b"b" * 16, uuid4()
    marketing = choices.consent("marketing")
    mid = ids.message_id(now.timestamp(), b"12345678")

    def wish(address: bytes, stop: bool, number: int) -> Wish:
        return Wish(address, Channel.SMS, stop, at[number])

    async with opened() as world:
        store = world.exchange.store
        await store.directory.put([ann, bob, cyd, dan])
        await store.directory.choose(bob.uid, Choice(at[0], "page", withdrawn=frozenset({marketing})))
        await store.directory.choose(cyd.uid, Choice(at[3], "page", given=frozenset({marketing})))
        await store.directory.wish([wish(again, True, 0)])
        await store.threads.put(Thread(tid, owner=dan.uid))
        await store.threads.subscribe([Subscription(tid, one.uid) for one in (ann, bob, dan)])
        what = await world.campaign("called-off", [bob], not_before=now + timedelta(hours=1))
        await world.prepare(what)
        said = Message(mid, tid, "by dan", To.THREAD, urgency=Urgency.HIGH, sender=dan.uid)
        await store.messages.put(said, None)
    assert (await asyncio.to_thread(command, home, "backup", str(file))).status == 0
    async with opened() as world:
        store = world.exchange.store
        left = frozenset({marketing, choices.thread(tid)})
        await store.directory.choose(ann.uid, Choice(at[1], "left", withdrawn=left))
        await store.threads.unsubscribe(tid, [ann.uid])
        await store.threads.leave(tid, bob.uid, [Channel.EMAIL])
        await store.directory.choose(bob.uid, Choice(at[1], "page", given=frozenset({marketing})))
        await store.directory.choose(cyd.uid, Choice(at[2], "page", withdrawn=frozenset({marketing})))
        await store.directory.put([new])
        await store.directory.choose(new.uid, Choice(at[1], "page", withdrawn=frozenset({marketing})))
        await store.directory.wish([wish(stopped, True, 1), wish(again, False, 1)])
        await store.directory.suppress([Suppression(bounced, Channel.EMAIL, "bounced", at[1])])
        received = Received(uuid4(), News.STOPPED, Channel.SMS, at[1], address=b"i" * 16)
        await store.gateway.receive([received])
        await revoke(world.exchange, "jti:stolen", now)
        await erase(world.exchange, dan.uid)
        await campaigns.set_control(world.exchange, "called-off", Control.CANCEL)

    back = await asyncio.to_thread(command, home, "restore", "--force", str(file))
    assert back.status == 0, back.err
    assert (
        "3 suppressed addresses, what 4 people gave or took back, 1 erasures, 2 revocations, 2 canceled"
        in back.out
    )
    assert "1 people were in it who have been erased" in back.out
    assert "is not known here" not in back.out
    async with opened() as world:
        store, gone = world.exchange.store, ids.tombstone(world.exchange.key, dan.uid)
        await Merger(world.exchange).merge_all()
        found = await store.directory.get([one.uid for one in (ann, bob, cyd, dan, new)])
        assert {uid: marketing.partition(":")[2] in one.consents for uid, one in found.items()} == {
            ann.uid: False,
            bob.uid: True,
            cyd.uid: True,
            new.uid: False,
        }
        assert found[new.uid].email == ""
        assert await store.directory.suppressed([stopped, again, bounced, b"i" * 16]) == {
            stopped: "stopped",
            bounced: "bounced",
            b"i" * 16: "stopped",
        }
        assert await store.directory.buried([gone]) == {gone}
        there = await store.threads.subscriptions(tid, [ann.uid, bob.uid, dan.uid])
        assert {uid: Channel.EMAIL in (one.channels or ()) for uid, one in there.items()} == {bob.uid: False}
        thread = await store.threads.get(tid)
        assert thread is not None
        assert thread.owner is None
        message = await store.messages.get(tid, mid)
        assert message is not None
        assert (message.text, message.sender) == ("", None)
        assert set(await store.gateway.revoked(["jti:stolen", f"uid:{dan.uid}"])) == {
            "jti:stolen",
            f"uid:{dan.uid}",
        }
        called_off = await campaigns.campaign_named(world.exchange, "called-off")
        assert called_off.control is Control.CANCEL
        assert [one.how for one in await store.directory.said(ann.uid)] == ["left", "left"]
    assert not list(home.glob("*.part*")) + list(home.glob("*.carried"))


@on_sqlite
async def test_35_a_store_that_cannot_tell_is_no_hindrance(
    opened: Opened, settings: Settings, tmp_path: Path
) -> None:
    """Fault 35. What is there is damaged, of another exchange, or gone: the backup comes back all the same,
    and it is said that nothing is carried over. One of an older schema is read as far as it goes."""
    home, file, store = settings.home, tmp_path / "backup", settings.home / "msgxc.sqlite3"

    async def back() -> str:
        done = await asyncio.to_thread(command, home, "restore", "--force", str(file))
        assert done.status == 0, done.err
        assert ("is not known here" in done.out) == ("Carried over" not in done.out)
        return done.out

    async with opened() as world:
        await revoke(world.exchange, "jti:before", datetime.now(UTC))
    assert (await asyncio.to_thread(command, home, "backup", str(file))).status == 0
    store.write_bytes(b"no store" * 1000)
    assert "Nothing of that is carried over: it cannot be read" in await back()
    with closing(sqlite3.connect(store, isolation_level=None)) as db:
        db.execute("UPDATE identity SET value = x'00' WHERE name = 'key'")
    assert "Nothing of that is carried over: it has another key" in await back()
    store.unlink()
    with closing(sqlite3.connect(store, isolation_level=None)) as db:
        for step in schema.steps()[:5]:
            db.executescript(";".join(step.statements))
        db.execute("INSERT INTO suppressions VALUES (x'01', 'sms', 'stopped', 1.0)")
        db.execute("PRAGMA user_version = 5")
    assert "over from that: 1 suppressed addresses" in await back()
    store.unlink()
    assert "carried over" not in await back()
    async with opened() as world:
        assert set(await world.exchange.store.gateway.revoked(["jti:before"])) == {"jti:before"}


@on_sqlite
async def test_35_a_backup_that_cannot_be_used_is_one_line(
    opened: Opened, settings: Settings, tmp_path: Path
) -> None:
    """Fault 35. Cut off, no store, another key, a store that is there, a file that is there: one line each,
    and what is there stays as it is."""
    home, file = settings.home, tmp_path / "backup"
    async with opened() as world:
        await world.enlist("some", crowd(2000))

    async def run(*arguments: str) -> Done:
        return await asyncio.to_thread(command, home, *arguments)

    assert (await run("backup", str(file))).status == 0
    assert "cannot be written" in (await run("backup", str(tmp_path / "nowhere" / "backup"))).err
    before = (home / "msgxc.sqlite3").read_bytes()
    whole = file.read_bytes()
    assert "backup.key would be replaced" in (await run("backup", str(file))).err
    assert "--force" in (await run("restore", str(file))).err
    for name, content in {"half": whole[: len(whole) // 2], "text": b"no store", "none": None}.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        refused = await run("restore", "--force", str(tmp_path / name))
        assert refused.status == 2
        assert refused.err.count("\n") == 1
    key = (home / "secret.key").read_bytes()
    (home / "secret.key").write_bytes(b"another key of thirty-two bytes!")
    Path(f"{file}.key").rename(tmp_path / "elsewhere")
    assert "key is needed" in (await run("restore", "--force", str(file))).err
    assert (home / "msgxc.sqlite3").read_bytes() == before
    (tmp_path / "elsewhere").rename(f"{file}.key")
    back = await run("restore", "--force", str(file))
    assert back.status == 0, back.err
    assert (home / "secret.key").read_bytes() == key
    assert sorted(path.name.split(".2")[0] for path in home.glob("*.2*")) == ["msgxc.sqlite3", "secret.key"]
    async with opened() as world:
        assert await world.exchange.store.directory.count() == 2000
