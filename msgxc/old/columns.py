"""The old system's tables: their columns, and what becomes of those that have no place here. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from msgxc.model import MUTE, OLD_TYPES, Channel
from msgxc.people import fields
from msgxc.people.record import Refused

_STAMPS = ("created", "org", "owner", "updated", "updater")
_SAID = """tid mid pmid subject msg data urgency sys broadcast mtempl repl svc qid rid relation meta scheduled
    started completed mtypes users deliveries failures xid split perms deleted keep createdms"""

#: Every table that is known, in the order in which they are read: whom a row names has been read before.
COLUMNS: Mapping[str, frozenset[str]] = {
    name: frozenset((*words.split(), *_STAMPS))
    for name, words in {
        "users": """uid uname pwd uhash email ehash roles rights ref aff promo origin_url ip ips params
            cohorts splits lang mdevices mtypes mlast cell chash mcerts""",
        "user_emails": "email uid",
        "cohorts": "cohort uids_url imported started completed",
        "splits": "cohort sfam split seq users pct",
        "mthreads": """tid alias name ddata post mtempl mcert cats mtypes fmtypes cmtypes urgency sys
            ephemeral archived admins opens open openp perms app rel ver ptyp etyp ename auth xid cohorts
            splits source medium campaign term promo ref aff broadcast derive sent outs subs pubs prefs repl
            ftrack strack interest perf deleted updatedms""",
        "msec": "tid secid perm pending approver approved updatedms",
        "mstore": f"{_SAID} planned interest perf hide hidden",
        "mtriage": _SAID,
        "mfailures": "tid mid uid mtype mdevice failure retries died",
        "queues": "svc qid qtype sid skey ip host schedule started completed",
        "services": "svc secret roles rights expiry",
        "user_usernames": "uname uid",
        "sequences": "name seq",
    }.items()
}

_NEVER = "never taken: a password, a key, or made of one"
_ADDRESS = "not taken: whence somebody came is personal, and nothing here asks for it"
_HASH = "not taken: worked out anew, with the exchange's own key"
_LEDGER = "not taken: what became of old messages stays in the old system's reports"
_TRACKING = "not taken: nothing here measures by it"
_TOKENS = "not taken: roles come with tokens (`msgxc token`), and are given anew"
_NOWHERE = "no place here"

#: Columns that are not taken, and why. `*`: of every table. Who stands in none and is not read has no place.
LEFT: Mapping[str, Mapping[str, str]] = {
    "*": {"pwd": _NEVER, "uhash": _NEVER, "mcert": _NEVER, "mcerts": _NEVER, "secret": _NEVER}
    | {"ehash": _HASH, "chash": _HASH, "ip": _ADDRESS, "ips": _ADDRESS, "origin_url": _ADDRESS}
    | {"roles": _TOKENS, "rights": _TOKENS, "deliveries": _LEDGER, "failures": _LEDGER}
    | {"interest": _TRACKING, "perf": _TRACKING}
    | {"perms": "not taken: who may do what in a thread is said by owner, admins and publishers"},
    "mthreads": {
        "mtempl": "not taken: make a template of it and name it in the thread (docs/templates.md)",
        "cohorts": "not taken: a campaign names its cohort",
        "splits": "not taken: a campaign names its parts",
        "sent": _LEDGER,
    },
    "mstore": {
        "mtempl": "not taken: the message says its text as it is, or as the thread's template has it",
        "repl": "not taken: the message says its text as it is, or as the thread's template has it",
        "planned": "not taken: when it was once to be sent; what still waits has `scheduled`",
    },
    "cohorts": {"uids_url": "not fetched: `msgxc cohorts create NAME --file FILE` takes the list"},
    "splits": {"pct": "no place here: a campaign draws its parts by itself"},
}
#: Tables of which nothing is taken, and why.
PASSED: Mapping[str, str] = {
    "mtriage": "not taken: what was under way there is the old system's to end",
    "mfailures": _LEDGER,
    "queues": "not taken: schedules are made anew in the console; a stored message keeps its own time",
    "services": "not taken: services get new tokens (`msgxc token`)",
    "user_usernames": "not taken: a look-up; the name itself is the person's",
    "sequences": "not taken: the version of the old schema",
}
#: Columns that every table has, and that say nothing here where a rule does not read them.
_QUIET = frozenset({"created", "org", "owner", "updated", "updater", "updatedms", "createdms", "keep", "seq"})


class Kind(StrEnum):
    """What a remark says of a row, a value or a column."""

    CHANGED = "changed"  # taken, and means something else now
    REFUSED = "refused"  # cannot be used; of a whole row where the column is its key
    LEFT = "left"  # has no place here; told once for each column


@dataclass(frozen=True, slots=True)
class Remark:
    """What became of something of a row. `reason` repeats nothing of it."""

    kind: Kind
    column: str
    reason: str


@dataclass(slots=True)
class Cells:
    """One row of a table: its values by column, and what is remarked of them while they are read.

    `read` says which columns a rule has asked for; the others have no place here.
    """

    table: str
    values: Mapping[str, Any] = field(repr=False)
    remarks: list[Remark] = field(default_factory=list)
    read: set[str] = field(default_factory=set)

    def get(self, column: str) -> Any:
        """The value; None where it is unset, an empty collection or an empty text: in Cassandra all one."""
        self.read.add(column)
        value = self.values.get(column)
        return None if value in ("", [], {}) else value

    def changed(self, column: str, reason: str) -> None:
        """It is taken, and means something else now."""
        self.remarks.append(Remark(Kind.CHANGED, column, reason))

    def refused(self, column: str, reason: str) -> None:
        """It cannot be used; the row is taken without it."""
        self.remarks.append(Remark(Kind.REFUSED, column, reason))

    def one(self, column: str, reader: Any) -> Any:
        """The value as `reader` has it, or None: unset, or refused (the reader raises ValueError)."""
        value = self.get(column)
        if value is None:
            return None
        try:
            return reader(value)
        except ValueError as error:
            self.refused(column, str(error))
            return None

    def each(self, column: str, reader: Any) -> list[Any]:
        """The items of a set or list as `reader` has them, without those that it refuses."""
        items = self.get(column)
        if items is None:
            return []
        if not isinstance(items, list):
            self.refused(column, "not a list")
            return []
        found = []
        for item in items:
            try:
                found.append(reader(item))
            except ValueError as error:
                self.refused(column, str(error))
        return found

    def pairs(self, column: str) -> list[tuple[str, Any]]:
        """The entries of a map."""
        entries = self.get(column)
        if entries is None:
            return []
        if not isinstance(entries, dict):
            self.refused(column, "not a map")
            return []
        return list(entries.items())

    def key(self, column: str) -> UUID:
        """An id without which there is no row. Raises Refused."""
        value = self.get(column)
        if value is None:
            raise Refused(column, "missing")
        try:
            return uuid(value)
        except ValueError as error:
            raise Refused(column, str(error)) from None

    def left(self) -> Iterator[Remark]:
        """What of the row nobody has read: columns without a place, and those that no old table had."""
        for column, value in self.values.items():
            if value is None or value in ("", [], {}, False) or column in self.read:
                continue
            if column not in COLUMNS[self.table]:
                yield Remark(Kind.LEFT, column, "no column of the old system")
            elif column not in _QUIET:
                yield Remark(Kind.LEFT, column, why_left(self.table, column))


def why_left(table: str, column: str) -> str:
    """Why nothing is taken of a column."""
    return LEFT.get(table, {}).get(column) or LEFT["*"].get(column, _NOWHERE)


def uuid(value: Any) -> UUID:
    """An id. Raises ValueError."""
    try:
        return UUID(value)
    except (AttributeError, TypeError, ValueError):
        raise ValueError("not a UUID") from None


def flag(value: Any) -> bool:
    """True or false. Raises ValueError."""
    if not isinstance(value, bool):
        raise ValueError("not true or false")
    return value


def whole(value: Any) -> int:
    """A whole number. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("not a whole number")
    return value


def milliseconds(value: Any) -> datetime:
    """A time in milliseconds since 1970. Raises ValueError."""
    try:
        return fields.moment(datetime.fromtimestamp(whole(value) / 1000, fields.UNKNOWN.tzinfo).isoformat())
    except (OverflowError, OSError):
        raise ValueError("not a time in milliseconds") from None


#: Codes of summaries that would come once a day, a week, a month.
_DIGESTS = frozenset({"emd", "emw", "emm"})


def types(cells: Cells, column: str, words: Sequence[Any] | None = None) -> frozenset[Channel] | None:
    """Type codes as channels: None where none is said (every channel), empty for `~` anywhere (none).

    A code that is not known is refused and the others stay: **never more channels than were said**, so
    where no known one is left there are none. `words`: instead of the column's own.
    """
    said = cells.get(column) if words is None else words
    if said is None or said == []:
        return None
    if not isinstance(said, list) or not all(isinstance(word, str) for word in said):
        cells.refused(column, "not a list of type codes: nothing is sent on any channel")
        return frozenset()
    codes = {word.strip().lower() for word in said}
    if MUTE in codes:
        return frozenset()
    for _ in sorted(codes - set(OLD_TYPES)):
        cells.refused(column, f"not a type code ({', '.join(OLD_TYPES)}, {MUTE})")
    if codes & _DIGESTS:
        cells.changed(column, "a summary by email is email here: each message comes by itself")
    return frozenset(OLD_TYPES[code] for code in codes & set(OLD_TYPES))
