"""The rules of mapping alone: whatever a row holds, nothing is made up, and only what is to come is sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from old_rows import ANN, NEWS, SENT

from msgxc import ids
from msgxc.model import OLD_TYPES, Thread
from msgxc.old import messages, people, threads
from msgxc.old.columns import COLUMNS, LEFT, PASSED, Cells, Kind, types
from msgxc.old.literals import literal
from msgxc.people.record import Refused, readers

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
READERS = readers(None)
#: 100 ns since 1582, from 1970 to 2100, as a timeuuid has them.
TICKS = st.integers(0x01B21DD213814000, 0x01B21DD213814000 + 4_102_444_800 * 10**7 - 1)
SEQUENCES, NODES = st.integers(0, 2**14 - 1), st.integers(0, 2**48 - 1)


def timeuuid(ticks: int, sequence: int, node: int) -> UUID:
    """A UUIDv1 (RFC 9562, section 5.1)."""
    low, middle, high = ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48
    return UUID(fields=(low, middle, high, sequence >> 8, sequence & 0xFF, node), version=1)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.sampled_from([ANN, NEWS, "apn", "emw", "~", "2099-01-01 08:00:00.000Z", "2020-01-01 08:00:00.000Z"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | SCALARS.map(str), inner)
    ),
    max_leaves=6,
)


def rows(table: str, **sure: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Rows with these columns as they are, and anything in any other."""
    columns = sorted(COLUMNS[table] - set(sure))
    free = st.dictionaries(st.sampled_from(columns) | st.text(max_size=6), VALUES, max_size=10)
    return free.map(lambda row: {**row, **sure})


@given(TICKS, SEQUENCES, NODES)
def test_a_message_keeps_its_moment(ticks: int, sequence: int, node: int) -> None:
    """The same millisecond; always the same id; a UUIDv7, which stays itself."""
    old = timeuuid(ticks, sequence, node)
    new = ids.message_of_timeuuid(old)
    assert (new.version, new.variant) == (7, old.variant)
    assert new.int >> 80 == (ticks - 0x01B21DD213814000) // 10_000
    assert ids.message_of_timeuuid(UUID(str(old))) == new == ids.message_of_timeuuid(new)


@given(TICKS, TICKS, SEQUENCES, NODES)
def test_messages_keep_their_order(one: int, other: int, sequence: int, node: int) -> None:
    """Ids of one clock sort as they were made, to 100 ns; another clock has other ids."""
    first, second = (ids.message_of_timeuuid(timeuuid(t, sequence, node)) for t in (one, other))
    assert (first < second) == (one < other)
    assert ids.message_of_timeuuid(timeuuid(one, sequence ^ 1, node)) != first


@pytest.mark.parametrize("text", [str(UUID(int=0)), "14fb0860-b4bf-41e9-8971-7b80435315ac"])
def test_an_id_without_a_time_is_refused(text: str) -> None:
    """Neither nil nor chance says when a message was made."""
    with pytest.raises(ValueError, match="timeuuid"):
        ids.message_of_timeuuid(UUID(text))


@given(st.lists(st.sampled_from([*OLD_TYPES, "~", "pigeon", "", " APN "]), min_size=1))
def test_never_more_channels_than_were_said(words: list[str]) -> None:
    """No code that is not known, and no `~`, opens a channel; unset alone means every one."""
    found = types(Cells("users", {"mtypes": words}), "mtypes")
    said = {OLD_TYPES[word.strip().lower()] for word in words if word.strip().lower() in OLD_TYPES}
    assert found == (frozenset() if "~" in words else frozenset(said))
    assert types(Cells("users", {}), "mtypes") is None


@given(rows("users", uid=ANN, pwd="a secret", mcerts={"a": {"opriv": "a secret"}}))
def test_any_person_is_taken_and_nothing_is_made_up(row: dict[str, Any]) -> None:
    """No consent, no suppression, no key; remarks repeat nothing of the row; twice is the same."""
    cells = Cells("users", row)
    uid, made = people.person(cells, READERS, NOW)
    assert uid == UUID(ANN)
    assert not made.suppressed
    assert set(made.scalars) <= {"name", "email", "cell", "lang", "channels", "last_seen", "created"}
    assert "a secret" not in str([made, cells.remarks, *cells.left()])
    assert {"pwd", "mcerts"} <= {remark.column for remark in cells.left()}
    again = Cells("users", row)
    assert (people.person(again, READERS, NOW), again.remarks) == ((uid, made), cells.remarks)


@given(rows("mthreads", tid=NEWS))
def test_any_thread_is_taken_or_refused(row: dict[str, Any]) -> None:
    """Whoever is out is not subscribed; a channel is open only where the row says so."""
    cells = Cells("mthreads", row)
    try:
        found = threads.thread(cells)
    except Refused:
        assert row.get("deleted") not in (None, "", [], {})
        return
    assert {one.uid for one in found.subscriptions}.isdisjoint(found.outs)
    if row.get("mtypes") not in (None, "", [], {}):
        assert found.settings["channels"] is not None
    assert all(remark.column in COLUMNS["mthreads"] for remark in cells.remarks)


@given(rows("msec", tid=NEWS))
def test_a_request_is_open_or_none(row: dict[str, Any]) -> None:
    """Only one that is pending, by somebody, and no permission."""
    try:
        found = threads.join(Cells("msec", row))
    except Refused:
        return
    assert (row["pending"], UUID(row["owner"])) == (True, found.uid)


@given(rows("mstore", tid=NEWS, mid=SENT, msg="Hello"))
def test_only_what_is_to_come_is_ever_sent(row: dict[str, Any]) -> None:
    """Scheduled is what waits there for a time to come, untouched; all else is over, here as there."""
    cells = Cells("mstore", row)
    try:
        made = messages.message(cells, Thread(UUID(NEWS)), NOW).message
    except Refused:
        return
    if made.scheduled is None:
        assert made.completed is not None
    else:
        assert made.scheduled > NOW
        assert (made.canceled, made.completed, made.recalled) == (None, None, None)
        assert all(row.get(column) in (None, "", [], {}, False) for column in ("qid", "started", "hidden"))
    assert "Hello" not in str([cells.remarks, *cells.left()])


@pytest.mark.parametrize(
    ("more", "standing"),
    [
        ({"completed": "2020-03-03 09:00:00.000Z"}, "shown"),
        ({"scheduled": "2026-11-22 12:00:00.001Z"}, "waits"),
        ({"scheduled": "2026-11-22 12:00:00.000Z"}, "canceled"),
        ({"scheduled": "2099-01-01 08:00:00.000Z", "started": "2026-11-22 11:59:00.000Z"}, "canceled"),
        ({"scheduled": "2099-01-01 08:00:00.000Z", "meta": {"canceled": "true"}}, "canceled"),
        ({"scheduled": "2099-01-01 08:00:00.000Z", "completed": "2020-03-03 09:00:00.000Z"}, "shown"),
        ({"scheduled": "2099-01-01 08:00:00.000Z", "hidden": True}, "canceled"),
        ({"scheduled": "at noon"}, "canceled"),
        ({"meta": {"canceled": "false"}}, "shown"),
        ({}, "shown"),
        ({"hide": "2020-03-04 09:00:00.000Z"}, "recalled"),
        ({"hide": "2099-03-04 09:00:00.000Z"}, "shown"),
    ],
)
def test_where_a_message_stands(more: dict[str, Any], standing: str) -> None:
    """One row for each case of the page."""
    row = {"tid": NEWS, "mid": SENT, "msg": "Hello", **more}
    made = messages.message(Cells("mstore", row), Thread(UUID(NEWS)), NOW).message
    found = (
        "canceled"
        if made.canceled
        else "recalled"
        if made.recalled
        else "waits"
        if made.scheduled
        else "shown"
    )
    assert found == standing


QUOTED = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(QUOTED, min_size=1), st.dictionaries(QUOTED, QUOTED, min_size=1))
def test_literals_are_read_as_they_were_written(items: list[str], pairs: dict[str, str]) -> None:
    """Sets, lists and maps of text, with quotes and commas in it."""

    def quoted(text: str) -> str:
        return "'" + text.replace("'", "''") + "'"

    assert literal("subs", "{" + ", ".join(map(quoted, items)) + "}") == items
    assert literal("cohorts", "[" + ", ".join(map(quoted, items)) + "]") == items
    assert (
        literal("params", "{" + ", ".join(f"{quoted(k)}: {quoted(v)}" for k, v in pairs.items()) + "}")
        == pairs
    )


@pytest.mark.parametrize("cell", ["{", "{'a'", "{'a' 'b'}", "['a']]", "{a: }", "", "}", "'"])
def test_what_is_no_literal_is_refused(cell: str) -> None:
    """Never half of it."""
    with pytest.raises(ValueError, match="literal"):
        literal("subs", cell)


def test_every_column_has_a_place_or_a_reason() -> None:
    """Columns that are not taken stand in their table; every table is taken or passed over."""
    for table, reasons in LEFT.items():
        assert table == "*" or set(reasons) <= COLUMNS[table]
    taken = {"users", "user_emails", "cohorts", "splits", "mthreads", "msec", "mstore"}
    assert taken | set(PASSED) == set(COLUMNS)
    assert {kind.value for kind in Kind} == {"changed", "refused", "left"}
