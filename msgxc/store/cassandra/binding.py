"""Values as Cassandra's protocol spells them, for the types that are written most.

The driver's own binding looks at each value several times over: this costs half as much. A type that is not
here is left to the driver.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from struct import Struct
from typing import Any

from cassandra.cqltypes import DateType, DoubleType, Int32Type, ListType, ShortType, UTF8Type, UUIDType
from cassandra.query import UNSET_VALUE, BoundStatement, PreparedStatement

Write = Callable[[Any], bytes]

VERSION = 4  # of the protocol
UNSET = UNSET_VALUE  # as a value: this column stays as it is
EPOCH, MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
_SHORT, _INT, _LONG, _DOUBLE = Struct(">h"), Struct(">i"), Struct(">q"), Struct(">d")


def _time(time: datetime) -> bytes:
    return _LONG.pack((time - EPOCH) // MILLISECOND)


_WRITE: dict[Any, Write] = {
    UUIDType: attrgetter("bytes"),
    UTF8Type: str.encode,
    ShortType: _SHORT.pack,
    Int32Type: _INT.pack,
    DoubleType: _DOUBLE.pack,
    DateType: _time,
}


@lru_cache(256)
def writer(kind: Any) -> Write:
    """What writes a value of one of the driver's types."""
    if known := _WRITE.get(kind):
        return known
    if issubclass(kind, ListType):
        (part,) = kind.subtypes
        return lambda values: _list([writer(part)(value) for value in values])
    return lambda value: bytes(kind.serialize(value, VERSION))


def _list(pieces: Sequence[bytes]) -> bytes:
    return _INT.pack(len(pieces)) + b"".join([_INT.pack(len(piece)) + piece for piece in pieces])


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement that the server knows, and what writes the values of its markers."""

    statement: PreparedStatement
    write: tuple[Write, ...]

    @classmethod
    def of(cls, statement: PreparedStatement) -> Prepared:
        return cls(statement, tuple(writer(column.type) for column in statement.column_metadata))

    def bind(self, values: Sequence[object]) -> BoundStatement:
        """The statement with all its values; None is null, UNSET leaves what is there. Raises ValueError when
        their number is wrong."""
        bound = BoundStatement(self.statement)
        bound.values = [
            None if value is None else value if value is UNSET else write(value)
            for write, value in zip(self.write, values, strict=True)
        ]
        bound.raw_values = ()  # the driver shows them when it is asked for the statement's text
        return bound
