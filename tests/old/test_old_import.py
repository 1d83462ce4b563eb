"""The old system's tables, whole: what is in the store afterwards, what the report says, and again."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from old_rows import (
    ANN,
    BEGUN,
    BOB,
    CANCELED,
    CHILD,
    CLEO,
    DELETED,
    FOR_SOME,
    GONE,
    HIDDEN,
    LATER,
    MESSAGES,
    NEWS,
    NOBODY,
    OFF,
    PAST,
    SENT,
    USERS,
    WEEKLY,
    write,
)

from msgxc import ids
from msgxc.errors import NotFound, StoreUnavailable, WrongInput
from msgxc.messages import joining, publishing, reading
from msgxc.messages.records import Item, JoinState, Message, Principal, Role, To
from msgxc.model import Channel, Urgency
from msgxc.old.importing import import_old
from msgxc.old.reading import Folder
from msgxc.old.report import Report
from msgxc.privacy import erasure
from msgxc.wiring import Exchange

ANN_, BOB_, CLEO_ = map(UUID, (ANN, BOB, CLEO))
NEWS_ = UUID(NEWS)
AT_8 = datetime(2020, 3, 3, 8, 0, 1, tzinfo=UTC)
SERVICE = Principal(None, frozenset({Role.SERVICE}), service="s")


def mid(old: str) -> UUID:
    """What the message is called here."""
    return ids.message_of_timeuuid(UUID(old))


async def taken(exchange: Exchange, folder: Path, **how: object) -> Report:
    """One import; its report adds up."""
    made = await import_old(exchange, Folder(folder), report=folder.parent / "report.csv", **how)
    for told in made.tables.values():
        assert told.rows == told.taken + told.unchanged + told.left + told.refused
    return made


async def message(exchange: Exchange, old: str, tid: UUID = NEWS_) -> Message:
    """The stored message."""
    found = await exchange.store.messages.get(tid, mid(old))
    assert found
    return found


async def owed(exchange: Exchange) -> list[Item]:
    """What of these threads is owed."""
    tids = [UUID(tid) for tid in (NEWS, OFF, WEEKLY, GONE)]
    return [item async for page in exchange.store.triage.scan() for item in page if item.tid in tids]


async def everything(exchange: Exchange) -> object:
    """All that is stored, to be compared."""
    store = exchange.store
    people = await store.directory.get([ANN_, BOB_, CLEO_])
    tids = [UUID(tid) for tid in (NEWS, OFF, WEEKLY, GONE)]
    return (
        people,
        await store.directory.choices(list(people)),
        {name: n for name, n in (await store.cohorts.sizes()).items() if name in ("beta", "tone_b", "empty")},
        [await store.threads.get(tid) for tid in tids],
        [await store.threads.subscriptions(tid, list(people)) for tid in tids],
        [await store.joins.of_thread(tid) for tid in tids],
        [await store.messages.history(tid) for tid in tids],
        [await store.messages.history(ids.own_thread(exchange.key, uid)) for uid in people],
        await owed(exchange),
    )


async def check_people(exchange: Exchange) -> None:
    """The same uid, devices, addresses, preferences, cohorts; a wrong value costs that value alone."""
    people = await exchange.store.directory.get([ANN_, BOB_, CLEO_])
    ann, bob, cleo = people[ANN_], people[BOB_], people[CLEO_]
    assert (ann.name, ann.email, ann.cell, ann.lang) == ("Ann", "ann@example.com", "+14155550100", "en")
    assert [(d.channel, d.registered.day) for d in ann.devices] == [(Channel.WEBPUSH, 2), (Channel.APNS, 1)]
    assert (ann.channels, ann.attributes) == (None, {"plan": "pro", "owner": ANN})
    assert (ann.created, ann.last_seen) == (datetime(2020, 3, 1, 9, tzinfo=UTC),) * 2
    assert (bob.channels, bob.email, bob.attributes) == (
        frozenset(),
        "bob@example.org",
        {"split_welcome": "welcome_A"},
    )
    assert bob.created == ids.timeuuid_time(BOB_)
    assert (cleo.channels, cleo.email) == (frozenset({Channel.APNS}), "cleo@example.com")
    assert [person.consents for person in people.values()] == [frozenset()] * 3
    sizes = await exchange.store.cohorts.sizes()
    assert (sizes["beta"], sizes["tone_b"], "empty" in sizes) == (1, 1, False)


async def test_people_come_with_what_they_had(exchange: Exchange, tmp_path: Path) -> None:
    """See check_people; the report counts them."""
    made = await taken(exchange, write(tmp_path / "old"))
    await check_people(exchange)
    assert (made.of("users").taken, made.of("users").refused) == (3, 1)
    assert (made.of("user_emails").unchanged, made.of("user_emails").refused) == (1, 2)


async def check_threads(exchange: Exchange) -> None:
    """Rules, staff, subscribers with their preferences; who had left stays out."""
    threads = exchange.store.threads
    news, off, weekly = [await threads.get(UUID(tid)) for tid in (NEWS, OFF, WEEKLY)]
    assert news
    assert off
    assert weekly
    assert (news.owner, news.admins, news.publishers) == (ANN_, {ANN_}, {BOB_})
    assert (news.open, news.open_to_publish, news.system, news.urgency) == (True, False, True, Urgency.HIGH)
    assert news.channels == {Channel.APNS, Channel.EMAIL, Channel.WEBSOCKET}
    assert (off.channels, off.archived, off.urgency) == (frozenset(), True, Urgency.NORMAL)
    assert (weekly.name, weekly.channels, weekly.fallback) == (
        "weekly",
        {Channel.EMAIL},
        (Channel.EMAIL, Channel.SMS),
    )
    assert (weekly.child_channels, weekly.ephemeral, weekly.open_to_publish) == (
        {Channel.WEBSOCKET},
        True,
        True,
    )
    assert await threads.get(UUID(GONE)) is None
    inside = await threads.subscriptions(NEWS_, [ANN_, BOB_, CLEO_, UUID(NOBODY)])
    assert {uid: one.channels for uid, one in inside.items()} == {
        ANN_: {Channel.APNS, Channel.EMAIL},
        BOB_: frozenset(),
    }
    mine = await threads.subscriptions(UUID(WEEKLY), [ANN_])
    assert mine[ANN_].channels == frozenset()  # no channel that is known is not every channel
    (join,) = await exchange.store.joins.of_thread(UUID(OFF))
    assert (join.uid, join.state, join.by) == (ANN_, JoinState.ASKED, None)
    assert await exchange.store.joins.of_thread(NEWS_) == []


async def test_threads_come_with_their_members(exchange: Exchange, tmp_path: Path) -> None:
    """See check_threads; the report counts them."""
    made = await taken(exchange, write(tmp_path / "old"))
    await check_threads(exchange)
    assert (made.of("mthreads").taken, made.of("mthreads").refused) == (3, 1)


async def check_messages(exchange: Exchange) -> None:
    """What was said is there, in order; what waits for a time to come waits; nothing else is ever sent."""
    history = await reading.history(exchange, SERVICE, NEWS_)
    assert [one.text for one in history] == ["Morning!", "Good morning"]
    sent = await message(exchange, SENT)
    assert (sent.data, sent.channels, sent.sender) == (
        {"key": "whatever", "n": "3"},
        {Channel.APNS},
        ANN_,
    )
    assert (sent.urgency, sent.completed) == (Urgency.HIGH, AT_8)
    child = await message(exchange, CHILD)
    assert (child.parent, child.completed) == (sent.mid, child.created)
    later = await message(exchange, LATER)
    assert (later.scheduled, later.subject) == (datetime(2099, 1, 1, 8, tzinfo=UTC), "Soon")
    (item,) = await owed(exchange)
    assert (item.mid, item.urgency, item.due) == (
        later.mid,
        1,
        later.scheduled and later.scheduled.timestamp(),
    )
    for old in (CANCELED, PAST, BEGUN):
        one = await message(exchange, old)
        assert (one.canceled, one.scheduled) == (one.completed, None)
    assert (await message(exchange, HIDDEN)).recalled == AT_8
    assert await exchange.store.messages.get(NEWS_, mid(DELETED)) is None
    for uid in (ANN_, BOB_):
        own = ids.own_thread(exchange.key, uid)
        (only,) = await exchange.store.messages.history(own)
        assert (only.text, only.to, only.uids, only.is_shown) == ("For you two", To.PEOPLE, (uid,), True)
    assert (await message(exchange, FOR_SOME, mid(FOR_SOME))).uids == (ANN_, BOB_)


async def test_messages_are_history_or_still_to_come(exchange: Exchange, tmp_path: Path) -> None:
    """See check_messages; the report counts them."""
    made = await taken(exchange, write(tmp_path / "old"))
    await check_messages(exchange)
    assert (made.of("mstore").taken, made.of("mstore").refused) == (8, 2)


async def test_again_nothing_doubles(exchange: Exchange, tmp_path: Path) -> None:
    """A second import finds all of it as it is, and says so; a dry run before writes nothing at all."""
    folder = write(tmp_path / "old")
    empty = await everything(exchange)
    first = await taken(exchange, folder, dry_run=True)
    assert await everything(exchange) == empty
    real = await taken(exchange, folder)
    assert {n: t.refused for n, t in first.tables.items()} == {n: t.refused for n, t in real.tables.items()}
    before = await everything(exchange)
    again = await taken(exchange, folder)
    assert await everything(exchange) == before
    known = {name: told.taken for name, told in again.tables.items() if told.taken}
    assert known == {"cohorts": 1, "splits": 1}  # whose rows say nothing of their own
    assert {n: t.changed for n, t in again.tables.items()} == {n: t.changed for n, t in real.tables.items()}


async def test_what_happened_here_since_stays(exchange: Exchange, tmp_path: Path) -> None:
    """Left, preferred, erased, canceled: a second import brings nothing of it back."""
    folder = write(tmp_path / "old")
    await taken(exchange, folder)
    principal = Principal(ANN_)
    await joining.unsubscribe(exchange, principal, NEWS_)
    await joining.prefer(exchange, principal, UUID(WEEKLY), [Channel.EMAIL])
    await publishing.cancel(exchange, SERVICE, NEWS_, mid(LATER))
    await erasure.erase(exchange, BOB_)
    before = await everything(exchange)
    await taken(exchange, folder)
    assert await everything(exchange) == before
    assert await exchange.store.threads.subscriptions(NEWS_, [ANN_, BOB_]) == {}
    assert (await message(exchange, CHILD)).text == ""


async def test_the_old_system_went_on_meanwhile(exchange: Exchange, tmp_path: Path) -> None:
    """What waited here and was sent there is history with the next import, and is not sent again."""
    folder = write(tmp_path / "old")
    await taken(exchange, folder)
    rows = [dict(row) for row in MESSAGES]
    rows[1] |= {"scheduled": None, "completed": "2020-03-04 08:00:00.000Z"}
    write(folder, {"mstore": rows})
    await taken(exchange, folder)
    await check_sent_meanwhile(exchange)


async def check_sent_meanwhile(exchange: Exchange) -> None:
    """It is history, and nothing is owed."""
    later = await message(exchange, LATER)
    assert (later.is_shown, later.completed) == (True, datetime(2020, 3, 4, 8, tzinfo=UTC))
    assert await owed(exchange) == []


class _Breaks(Folder):
    """A folder whose disk ends in the middle of a table."""

    def __init__(self, folder: Path, after: int) -> None:
        super().__init__(folder)
        self.left = after

    async def rows(self, table: str):  # type: ignore[no-untyped-def]
        async for some in super().rows(table):
            for row in some:
                if not self.left:
                    raise StoreUnavailable("gone")
                self.left -= 1
                yield [row]


@pytest.mark.parametrize("after", [2, 7, 13, 20])
async def test_stopped_and_started_again(exchange: Exchange, tmp_path: Path, after: int) -> None:
    """It ends as if it had never been stopped, and the note says how far it was."""
    folder = write(tmp_path / "old")
    with pytest.raises(StoreUnavailable) as caught:
        await import_old(exchange, _Breaks(folder, after), report=tmp_path / "report.csv")
    assert caught.value.__notes__[0].startswith(f"stopped after {after} rows: ")
    await taken(exchange, folder)
    whole = await everything(exchange)
    await taken(exchange, folder)
    assert await everything(exchange) == whole
    assert (await message(exchange, LATER)).scheduled


def _report(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


async def test_the_report_says_where_and_why_and_nothing_personal(exchange: Exchange, tmp_path: Path) -> None:
    """File, line, column, reason; what has no place once a column; no value of any row."""
    made = await taken(exchange, write(tmp_path / "old"))
    text = (tmp_path / "report.csv").read_text()
    rows = _report(tmp_path / "report.csv")
    assert rows[0] == ["table", "file", "line", "column", "what", "reason"]
    where = {(row[1], row[2], row[3], row[4]) for row in rows}
    assert where >= {
        ("users.jsonl", "1", "mdevices", "refused"),
        ("users.jsonl", "2", "email", "refused"),
        ("users.jsonl", "4", "uid", "refused"),
        ("mthreads.jsonl", "2", "urgency", "refused"),
        ("mthreads.jsonl", "3", "ephemeral", "changed"),
        ("mstore.jsonl", "5", "scheduled", "changed"),
        ("mstore.jsonl", "7", "deleted", "refused"),
        ("users.jsonl line 1", "1 rows", "pwd", "left"),
        ("users.jsonl line 1", "1 rows", "shoe", "left"),
        ("users.jsonl line 1", "1 rows", "roles", "left"),
    }
    assert len([row for row in rows if row[3] == "pwd"]) == 1
    assert any("consent" in note for note in made.notes)
    for secret in ("never-to-be-seen", "example.com", "ABAB", "abab", "4155550100", "Ann", "pigeon", "Good"):
        assert secret not in text
        assert secret not in str(made)


CQLSH = """
 [json]
------------------------------------------
 {row}

---MORE---

 [json]
---------
 {{"uid": "{bob}", "lang": "de"}}

(2 rows)
"""


async def test_what_cqlsh_prints_and_copies_is_read(exchange: Exchange, tmp_path: Path) -> None:
    """The printed form of SELECT JSON, with its doubled backslashes; CSV of COPY TO; gzip."""
    folder = tmp_path / "old"
    folder.mkdir()
    printed = json.dumps(USERS[0]).replace("\\", "\\\\")
    (folder / "sfpl.users.txt").write_text(CQLSH.format(row=printed, bob=BOB))
    head = "tid,admins,name,prefs,sys,subs,urgency,updated"
    cells = [
        NEWS,
        f"{{{ANN}}}",
        "Ann''s, and \\\"more\\\"",
        f"{{{ANN}: {{'apn', 'em'}}}}",
        "True",
        f"{{{ANN}, {BOB}}}",
        "2",
        "2020-03-05 09:00:00.000+0000",
    ]
    with gzip.open(folder / "mthreads.csv.gz", "wt") as file:
        file.write(head + "\n" + ",".join(f'"{cell}"' for cell in cells) + "\n")
    (folder / "notes.md").write_text("not a table")
    made = await taken(exchange, folder)
    people = await exchange.store.directory.get([ANN_, BOB_])
    assert [(d.channel, d.registered.day) for d in people[ANN_].devices] == [
        (Channel.WEBPUSH, 2),
        (Channel.APNS, 1),
    ]
    assert people[BOB_].lang == "de"
    thread = await exchange.store.threads.get(NEWS_)
    assert thread
    assert (thread.admins, thread.name, thread.system, thread.urgency) == (
        {ANN_},
        "Ann''s, and \"more\"",
        True,
        Urgency.LOW,
    )
    inside = await exchange.store.threads.subscriptions(NEWS_, [ANN_, BOB_])
    assert {uid: one.channels for uid, one in inside.items()} == {
        ANN_: {Channel.APNS, Channel.EMAIL},
        BOB_: None,
    }
    assert made.notes[-1].startswith("notes.md: ")


async def test_lines_that_are_none(exchange: Exchange, tmp_path: Path) -> None:
    """Refused with their line; a file of another kind is named at once."""
    folder = write(tmp_path / "old", {"users": USERS[:1]})
    with (folder / "users.jsonl").open("a") as file:
        file.write('\n{"uid": \n[1]\n{"uid": NaN}\n' + json.dumps({"uid": BOB}) + "\n")
    made = await taken(exchange, folder)
    assert (made.of("users").taken, made.of("users").refused) == (2, 3)
    assert [row[2] for row in _report(tmp_path / "report.csv") if row[4] == "refused" and not row[3]] == [
        "3",
        "4",
        "5",
    ]
    (folder / "users.jsonl").write_bytes(b"PK\x03\x04 rows of another kind")
    with pytest.raises(WrongInput, match=r"users\.jsonl: line 1: neither"):
        await taken(exchange, folder)
    with pytest.raises(WrongInput, match="no table of the old system"):
        Folder(write(tmp_path / "empty", {}))
    with pytest.raises(NotFound):
        Folder(tmp_path / "nowhere")
