"""Whom an operator means: everybody, a cohort or an expression; and the making of cohorts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from uuid import UUID

from msgxc import ids
from msgxc.errors import NotFound, WrongInput, none_such
from msgxc.expression import Expression, matches, narrow
from msgxc.model import Recipient
from msgxc.people import fields
from msgxc.store.ports import BATCH, Store


@dataclass(frozen=True, slots=True)
class CohortSummary:
    """`added` uids of people in the directory; `unknown` lines of a file that name nobody in it."""

    added: int = 0
    unknown: int = 0


async def select(
    store: Store, now: datetime, *, cohort: str = "", where: Expression | None = None
) -> AsyncIterator[list[Recipient]]:
    """The people of a cohort, or everybody, for whom the expression holds, if there is one.

    Raises NotFound when there is no such cohort, WrongInput when none can be called so.
    """
    people = _members(store, cohort) if cohort else store.directory.scan(narrow(where, now) if where else ())
    async for page in people:
        chosen = [one for one in page if where is None or matches(where, one, now)]
        if chosen:
            yield chosen


async def _members(store: Store, cohort: str) -> AsyncIterator[list[Recipient]]:
    cohort = cohort_name(cohort)
    await require_cohort(store, cohort)
    async for uids in store.cohorts.scan(cohort):
        yield list((await store.directory.get(uids)).values())


async def require_cohort(store: Store, cohort: str) -> None:
    """Raises NotFound when there is no such cohort."""
    if cohort not in (known := await store.cohorts.sizes()):
        raise none_such("cohort", cohort, known)


async def count(store: Store, where: Expression, now: datetime) -> int:
    """How many people the expression means."""
    return sum([len(page) async for page in select(store, now, where=where)])


async def cohort_where(store: Store, cohort: str, where: Expression, now: datetime) -> CohortSummary:
    """Add to a cohort everybody whom the expression means now. Repeating it adds nobody twice."""
    name, added = cohort_name(cohort), 0
    async for page in select(store, now, where=where):
        await store.cohorts.add(name, [person.uid for person in page])
        added += len(page)
    return CohortSummary(added)


async def cohort_from(store: Store, key: bytes, cohort: str, file: Path) -> CohortSummary:
    """Add to a cohort the people that a text file names: a uid or a foreign id on each line.

    Empty lines and lines with # are passed over. Raises NotFound or WrongInput with the line.
    """
    name, added, unknown = cohort_name(cohort), 0, 0
    for uids in _uids(file, key):
        known = set(await store.directory.get(uids))
        await store.cohorts.add(name, known)
        added += len(known)
        unknown += len(uids) - len(known)
    return CohortSummary(added, unknown)


def cohort_name(text: str) -> str:
    """The name as a cohort has it. Raises WrongInput."""
    try:
        (name,) = fields.cohorts(text)
    except ValueError:
        raise WrongInput("a cohort's name has a letter from a to z or a digit, and no ;") from None
    return name


def _uids(file: Path, key: bytes) -> Iterator[set[UUID]]:
    try:
        with file.open(encoding="utf-8-sig") as lines:
            found = (ids.uid_of(key, text) for text in _names(lines))
            while some := set(islice(found, BATCH)):
                yield some
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f"{file}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None


def _names(lines: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            yield fields.identity(text)
        except ValueError as error:
            raise WrongInput(f"line {number}: not a uid or a foreign id: {error}") from None
