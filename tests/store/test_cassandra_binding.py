"""Values are spelled as the driver itself spells them. No server is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from cassandra import cqltypes
from cassandra.protocol import ColumnMetadata
from cassandra.query import PreparedStatement
from hypothesis import given
from hypothesis import strategies as st

from msgxc.ledger import Mark
from msgxc.model import Channel
from msgxc.store.cassandra.binding import VERSION, Prepared

MILLISECONDS = st.integers(-(2**41), 2**47).map(
    lambda n: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(0, 0, n * 1000)
)
TEXT = st.text("a ä\0🌱")
#: Every type that our statements have markers of.
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    cqltypes.UUIDType: st.uuids(),
    cqltypes.UTF8Type: TEXT | st.sampled_from([*Mark, *Channel]),
    cqltypes.ShortType: st.integers(-(2**15), 2**15 - 1),
    cqltypes.Int32Type: st.integers(-(2**31), 2**31 - 1),
    cqltypes.LongType: st.integers(-(2**63), 2**63 - 1),
    cqltypes.IntegerType: st.integers(0, 2**64 - 1),
    cqltypes.DoubleType: st.floats(allow_nan=False) | st.integers(-(2**53), 2**53),
    cqltypes.BooleanType: st.booleans(),
    cqltypes.BytesType: st.binary(),
    cqltypes.DateType: MILLISECONDS,
    cqltypes.ListType.apply_parameters([cqltypes.UUIDType]): st.lists(st.uuids(), max_size=50),
    cqltypes.ListType.apply_parameters([cqltypes.BytesType]): st.lists(st.binary(), max_size=5),
    cqltypes.SetType.apply_parameters([cqltypes.UTF8Type]): st.frozensets(TEXT),
    cqltypes.MapType.apply_parameters([cqltypes.UTF8Type, cqltypes.UTF8Type]): st.dictionaries(TEXT, TEXT),
}


def _prepared(kinds: list[Any]) -> PreparedStatement:
    columns = [ColumnMetadata("ks", "table", f"column{n}", kind) for n, kind in enumerate(kinds)]
    return PreparedStatement(columns, b"id", [0], "INSERT …", "ks", VERSION, [], None)


@given(st.data())
def test_values_are_spelled_as_by_the_driver(data: st.DataObject) -> None:
    """Any values, null among them, of any of the types in any order; and the key that says which node."""
    kinds = data.draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=6))
    values = [data.draw(VALUES[kinds[0]]), *(data.draw(st.none() | VALUES[kind]) for kind in kinds[1:])]
    ours, theirs = Prepared.of(_prepared(kinds)).bind(values), _prepared(kinds).bind(values)
    assert ours.values == theirs.values
    assert ours.routing_key == theirs.routing_key
    assert ours.keyspace == theirs.keyspace


def test_a_wrong_number_of_values_is_refused() -> None:
    """Too few and too many: the driver would leave the rest unset, and what was there would stay."""
    prepared = Prepared.of(_prepared([cqltypes.UUIDType, cqltypes.UTF8Type]))
    for values in ([uuid4()], [uuid4(), "a", "b"]):
        with pytest.raises(ValueError, match="argument"):
            prepared.bind(values)


def test_a_bound_statement_shows_no_values() -> None:
    """Neither in its text nor in what is raised for a value of a wrong type."""
    prepared = Prepared.of(_prepared([cqltypes.UTF8Type, cqltypes.Int32Type]))
    assert "ada@" not in str(prepared.bind(["ada@example.com", 1]))
    with pytest.raises(Exception) as caught:  # noqa: PT011
        prepared.bind(["ada@example.com", "ben@example.com"])
    assert "@" not in str(caught.value)
