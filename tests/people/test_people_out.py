"""People out, cohorts and threads."""

from __future__ import annotations

import csv
import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from people_files import P256DH

from msgxc import ids
from msgxc.errors import NotFound, WrongInput
from msgxc.expression import parse
from msgxc.model import Channel, Device, Recipient, Subscription, Urgency
from msgxc.online import Heard
from msgxc.people import (
    cohort_from,
    cohort_where,
    count,
    export_people,
    import_people,
    import_threads,
    select,
)
from msgxc.people.record import change_of, draft, merge, readers
from msgxc.store.choices import Choice, Choices, channel, consent
from msgxc.store.ports import Suppression
from msgxc.store.sqlite import SqliteStore

KEY = b"k" * 32
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
A, B, C = (UUID(int=n) for n in (10, 11, 12))
KEYS = {"p256dh": P256DH, "auth": "A" * 22}
PEOPLE = [
    Recipient(
        uid=A,
        name='Anna "A", 🎉',
        email="anna@example.com",
        cell="+12025550123",
        lang="de",
        tz="Europe/Berlin",
        channels=frozenset({Channel.APNS, Channel.SMS}),
        devices=(
            Device(Channel.APNS, "aa", NOW),
            Device(Channel.WEBPUSH, "https://p.example.com/1", datetime(2026, 1, 1, tzinfo=UTC), **KEYS),
        ),
        consents=frozenset({"marketing", "product"}),
        attributes={"code": "12", "n": 12, "x": 0.5, "vip": True, "none": None, "s": 'a;b, "c"'},
        last_seen=NOW,
        created=NOW,
    ),
    Recipient(uid=B, channels=frozenset(), created=NOW),
    Recipient(uid=C, lang="de", created=NOW),
]


async def fill(store: SqliteStore) -> None:
    """Three people, one suppression, one cohort."""
    await store.directory.put(PEOPLE)
    address = ids.address_hash(KEY, Channel.SMS, "+12025550123")
    await store.directory.suppress([Suppression(address, Channel.SMS, "bounce", NOW)])
    await store.cohorts.add("vip", [A, C])


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.csv.gz", "out.jsonl.gz"])
async def test_what_goes_out_comes_back(store: SqliteStore, tmp_path: Path, name: str) -> None:
    """An export reads back to the same records, times online, suppressions, cohorts in an empty exchange."""
    await fill(store)
    await store.directory.note_online({A: Heard(least=4_321_000)})
    assert await export_people(select(store, NOW), store, KEY, tmp_path / name) == 3
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    other = SqliteStore(tmp_path / "other.sqlite3")
    await other.apply_schema()
    await other.open()
    summary = await import_people(tmp_path / name, other, KEY, now=NOW, refused=tmp_path / "refused.csv")
    assert (summary.imported, summary.refused, summary.suppressed) == (3, 0, 1)
    assert await other.directory.get([A, B, C]) == {person.uid: person for person in PEOPLE}
    assert await other.directory.online([A, B, C]) == {A: 4_321_000}
    assert await other.cohorts.sizes() == {"vip": 2}
    await other.close()


async def test_export_of_some(store: SqliteStore, tmp_path: Path) -> None:
    """A cohort and an expression narrow an export, together too; an unknown cohort is an error."""
    await fill(store)

    async def exported(**of: object) -> set[str]:
        file = tmp_path / "some.jsonl.gz"
        await export_people(select(store, NOW, **of), store, KEY, file)
        return {json.loads(line)["uid"] for line in gzip.open(file)}

    assert await exported(cohort="vip") == {str(A), str(C)}
    assert await exported(where=parse('lang = "de" and has email')) == {str(A)}
    assert await exported(cohort="vip", where=parse("email is missing")) == {str(C)}
    with pytest.raises(NotFound, match="no cohort 'nobody'; there are: "):
        await exported(cohort="nobody")


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\uff1d1", "a;=1+1", "a, @x", "a\n=1"]
)
async def test_a_spreadsheet_runs_nothing(store: SqliteStore, tmp_path: Path, name: str) -> None:
    """No cell begins with what a spreadsheet runs, whichever character it takes for the end of a cell; what
    is not a formula stays as it is."""
    await store.directory.put([Recipient(A, name=name, cell="+12025550123", email="a@example.com")])
    file = tmp_path / "people.csv"
    assert await export_people(select(store, NOW), store, KEY, file, spreadsheet=True) == 1
    (row,) = csv.DictReader(file.read_bytes().decode().splitlines(keepends=True))
    assert row["cell"] == "'+12025550123"
    assert row["email"] == "a@example.com"
    assert row["name"].replace("'", "") == name
    for part in re.split(r"[;,\n]\s*", row["name"]):
        assert part[0] not in "=+-@\t\uff1d"
    with pytest.raises(WrongInput, match=r"\.csv"):
        await export_people(select(store, NOW), store, KEY, tmp_path / "x.jsonl", spreadsheet=True)


async def test_a_failed_export_leaves_no_file(store: SqliteStore, tmp_path: Path) -> None:
    """A file that is not whole never appears, and an older one stays."""
    (tmp_path / "out.csv").write_text("older")
    with pytest.raises(NotFound):
        await export_people(select(store, NOW, cohort="no"), store, KEY, tmp_path / "out.csv")
    with pytest.raises(WrongInput, match=r"\.csv or \.jsonl"):
        await export_people(select(store, NOW), store, KEY, tmp_path / "out.xls")
    with pytest.raises(WrongInput, match="No such file"):
        await export_people(select(store, NOW), store, KEY, tmp_path / "no" / "out.csv")
    assert {path.name for path in tmp_path.glob("*out*")} == {"out.csv"}
    assert (tmp_path / "out.csv").read_text() == "older"


async def test_cohorts_from_an_expression_and_from_a_file(store: SqliteStore, tmp_path: Path) -> None:
    """Both add, also twice; a line that names nobody is counted."""
    await fill(store)
    assert (await cohort_where(store, "German", parse('lang = "de"'), NOW)).added == 2
    assert (await cohort_where(store, "german", parse('lang = "de"'), NOW)).added == 2
    await store.directory.put([Recipient(uid=ids.uid_of(KEY, "x1"))])
    (tmp_path / "who.txt").write_text(f"# who\n{A}\n\nx1\nx2\n")
    summary = await cohort_from(store, KEY, "listed", tmp_path / "who.txt")
    assert (summary.added, summary.unknown) == (2, 1)
    assert await store.cohorts.sizes() == {"vip": 2, "german": 2, "listed": 2}
    assert await count(store, parse('lang = "de"'), NOW) == 2
    assert [len(some) async for some in select(store, NOW, cohort="German ")] == [2]
    for wrong in ("!?", "Привет", "~", "a;b", ""):
        with pytest.raises(WrongInput, match="cohort's name"):
            await cohort_where(store, wrong, parse("has email"), NOW)
    with pytest.raises(NotFound):
        await cohort_from(store, KEY, "x", tmp_path / "no.txt")


async def test_threads_with_both_kinds_of_names(store: SqliteStore, tmp_path: Path) -> None:
    """Our names and those of mthreads are read; subscribers carry their own channels; twice is once."""
    t1, t2 = UUID(int=1), UUID(int=2)
    ours = {
        "tid": str(t1),
        "name": "News",
        "channels": ["email", "apns"],
        "fallback": ["sms", "email"],
        "urgency": 2,
    }
    ours["subscribers"] = [str(A), {"uid": str(B), "channels": "~"}, "x1"]
    old = {
        "tid": str(t2),
        "openp": True,
        "mtypes": ["~"],
        "fmtypes": ["~"],
        "cmtypes": ["apn"],
        "owner": str(A),
    }
    old |= {"subs": [str(A)], "prefs": {str(A): ["apn"]}, "archived": True}
    file = tmp_path / "threads.jsonl"
    file.write_text(json.dumps(ours) + "\n\n" + json.dumps(old) + "\n")
    for _ in range(2):
        summary = await import_threads(file, store, KEY)
        assert (summary.threads, summary.subscriptions) == (2, 4)
    news, off = await store.threads.get(t1), await store.threads.get(t2)
    assert news is not None
    assert (news.name, news.fallback, news.urgency) == ("News", (Channel.SMS, Channel.EMAIL), Urgency.LOW)
    assert news.channels == {Channel.EMAIL, Channel.APNS}
    assert off is not None
    assert (off.channels, off.fallback, off.child_channels) == (frozenset(), (), {Channel.APNS})
    assert (off.open, off.open_to_publish, off.owner, off.archived) == (False, True, A, True)
    assert await store.threads.subscriptions(t1, [A, B]) == {
        A: Subscription(t1, A),
        B: Subscription(t1, B, frozenset()),
    }
    assert await store.threads.subscriptions(t2, [A]) == {A: Subscription(t2, A, frozenset({Channel.APNS}))}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "tid is missing"),
        ('{"tid": "1", "urgency": 9}', "9 is not a valid Urgency"),
        ('{"tid": "1", "open": "yes"}', "true or false"),
        ('{"tid": "1", "chanels": []}', "did you mean channels"),
        ('{"tid": "1", "subscribers": {}}', "a list"),
        ('{"tid": "1", "subscribers": [{"name": 1}]}', "uid is missing"),
        ('{"tid": "1", "channels": "pigeon"}', "not a channel"),
    ],
)
async def test_a_wrong_line_of_threads_writes_nothing(
    store: SqliteStore, tmp_path: Path, line: str, says: str
) -> None:
    """The file is checked before anything is written, and the error names the line."""
    (tmp_path / "threads.jsonl").write_text('{"tid": "first"}\n' + line)
    with pytest.raises(WrongInput) as caught:
        await import_threads(tmp_path / "threads.jsonl", store, KEY)
    assert str(caught.value).startswith("line 2: ")
    assert says in str(caught.value)
    assert [page async for page in store.threads.scan()] == []


TOKENS = st.lists(st.sampled_from(["a", "b", "a@2026-01-01", "b@2026-02-01", "c@2026-03-01"]), max_size=3)
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["", "Anna"]),
        "lang": st.sampled_from(["", "de", "fr"]),
        "consents": st.sampled_from(["", "~", "marketing", "marketing;product"]),
        "channels": st.sampled_from(["", "~", "all", "apns;email"]),
        "last_seen": st.sampled_from(["", "2026-01-01", "2026-02-01"]),
        "apns": TOKENS.map(";".join),
        "attr.n": st.sampled_from(["", "1", "x"]),
    },
)


@given(st.lists(ROWS, max_size=4), ROWS)
def test_a_row_applied_twice_is_applied_once(before: list[dict[str, str]], row: dict[str, str]) -> None:
    """Merging is idempotent whatever was there, so an import may be repeated."""
    person, own = None, Choices()
    for one in [*before, row]:
        person, own = applied(person, own, one)
    assert applied(person, own, row) == (person, own)


def applied(person: Recipient | None, own: Choices, row: dict[str, str]) -> tuple[Recipient, Choices]:
    """Somebody after a row."""
    made = draft(row.items(), readers(None), typed=False)
    return merge(person, change_of(person, made, A, NOW, own), own)[:2]


ITEMS = st.frozensets(st.sampled_from([consent("marketing"), consent("product"), channel(Channel.EMAIL)]))
TIMES = st.integers(0, 9).map(lambda seconds: NOW + timedelta(seconds=seconds))
ACTS = st.lists(st.builds(Choice, at=TIMES, how=st.just("page"), given=ITEMS, withdrawn=ITEMS), max_size=6)


@given(ACTS, st.randoms(use_true_random=False))
def test_choices_hold_whatever_their_order(acts: list[Choice], chance: Random) -> None:
    """In any order, each twice: the newest word about an item holds, and of equal times the withdrawal."""
    shuffled = acts * 2
    chance.shuffle(shuffled)
    own = Choices()
    for act in shuffled:
        own = own.after(act)
    for item in {i for act in acts for i in (*act.given, *act.withdrawn)}:
        last = max(act.at for act in acts if item in act.given | act.withdrawn)
        taken = any(act.at == last and item in act.withdrawn for act in acts)
        assert own.holds(item) is (not taken)


@given(ACTS, st.lists(ROWS, max_size=3))
def test_no_row_gives_back_what_was_withdrawn(acts: list[Choice], rows: list[dict[str, str]]) -> None:
    """Whatever files say afterwards without a proof: what the person took back, they do not have again."""
    own = Choices()
    for act in acts:
        own = own.after(act)
    taken = {item for act in acts for item in act.withdrawn if own.holds(item) is False}
    person = None
    for row in [{}, *rows]:
        person, own = applied(person, own, row)
    assert person is not None
    held = frozenset(Channel) if person.channels is None else person.channels
    assert not {consent(one) for one in person.consents} & taken
    assert not {channel(one) for one in held} & taken
