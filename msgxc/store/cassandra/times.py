"""Times as Cassandra keeps them: in UTC, in whole milliseconds. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import overload


@overload
def instant(time: datetime) -> datetime: ...
@overload
def instant(time: None) -> None: ...
def instant(time: datetime | None) -> datetime | None:
    """An aware time, without what is below a millisecond. Raises ValueError for a naive one."""
    if time is None:
        return None
    if time.tzinfo is None:
        raise ValueError("a time needs a time zone")
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


@overload
def time_of(stored: datetime) -> datetime: ...
@overload
def time_of(stored: None) -> None: ...
def time_of(stored: datetime | None) -> datetime | None:
    """The driver answers naive times, which are in UTC."""
    return None if stored is None else stored.replace(tzinfo=UTC)
