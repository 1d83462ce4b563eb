"""People in: rows are read, checked, merged with what is stored and written, batch by batch.

A batch is written whole before the next one is read, and every write may be repeated: an import that was
stopped at any moment can be started again and ends as if it had never been stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from uuid import UUID

import phonenumbers

from msgxc import ids
from msgxc.errors import WrongInput
from msgxc.model import Channel, Recipient
from msgxc.people.record import Draft, Reader, Refused, draft, merge, readers
from msgxc.people.refusals import Refusals
from msgxc.people.rows import Row, Rows
from msgxc.store.ports import BATCH, Store, Suppression


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """How an import went, or how far it got. rows = imported + updated + unchanged + refused.

    `imported` people were new; `updated` and `unchanged` count rows about somebody who was already there,
    also from earlier in the same file. `reasons`: (column, reason) of refused rows -> how many.
    """

    rows: int = 0
    imported: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: int = 0
    suppressed: int = 0
    reasons: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def told(self) -> str:
        """One line for people."""
        counts = f"{self.imported:,} imported, {self.updated:,} updated, {self.unchanged:,} unchanged"
        return f"{self.rows:,} rows: {counts}, {self.refused:,} refused"


Progress = Callable[[ImportSummary, float], None]


async def import_people(
    file: Path,
    store: Store,
    key: bytes,
    *,
    now: datetime,
    refused: Path,
    region: str | None = None,
    progress: Progress | None = None,
    dry_run: bool = False,
) -> ImportSummary:
    """Import a CSV or JSON Lines file; docs/audience.md has its columns.

    Refused rows go to the file `refused`. `progress` gets, after every batch, the summary so far and how much
    of the file is read (0 to 1). `dry_run` writes nothing to the store. `region` is where phone numbers
    without + are. Raises NotFound or WrongInput for a file that cannot be read on, and StoreUnavailable.
    After any exception all earlier batches are in, and a note on it says how far; the import may be repeated.
    """
    if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
        raise WrongInput("the region is two capital letters, for example DE")
    with Rows(file) as rows:
        work = _Import(store, key, now, Refusals(refused, file), readers(region), rows.typed, dry_run)
        try:
            for batch in _batches(iter(rows)):
                await work.take(batch)
                if progress is not None:
                    progress(work.summary(), rows.fraction())
        except BaseException as error:
            error.add_note(f"stopped after {work.summary().told()}; the same import may be started again")
            raise
        finally:
            work.refusals.close()
    return work.summary()


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Lists of at most BATCH; when reading on fails, what was read before comes out first."""
    failure: WrongInput | None = None
    while failure is None:
        batch: list[Row] = []
        try:
            batch.extend(islice(rows, BATCH))  # extend keeps what came before an exception
        except WrongInput as error:
            failure = error
        if batch:
            yield batch
        elif failure is None:
            return
    raise failure


@dataclass(slots=True)
class _Import:
    store: Store
    key: bytes
    now: datetime
    refusals: Refusals
    scalars: Mapping[str, Reader]
    typed: bool
    dry_run: bool
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def take(self, rows: list[Row]) -> None:
        """One batch, from rows to the store. The counts grow only when all of it is written."""
        batch = _Batch(self.key, self.now)
        drafts = list(self._drafts(rows, batch))
        batch.known = await self.store.directory.get({uid for _, _, uid in drafts})
        for row, made, uid in drafts:
            try:
                batch.apply(made, uid)
            except Refused as refused:
                batch.refuse(row, refused)
        if not self.dry_run:
            await batch.write(self.store)
        self._settle(batch, len(rows))

    def _drafts(self, rows: list[Row], batch: _Batch) -> Iterator[tuple[Row, Draft, UUID]]:
        for row in rows:
            try:
                if row.problem:
                    raise Refused("", row.problem)
                made = draft(row.cells, self.scalars, typed=self.typed)
                uid = made.identify(self.key)
            except Refused as refused:
                batch.refuse(row, refused)
            else:
                yield row, made, uid

    def _settle(self, batch: _Batch, rows: int) -> None:
        batch.refused.sort(key=lambda entry: entry[0].line)
        for row, refused in batch.refused:
            self.refusals.add(row.line, refused, row.raw)
            self.reasons[refused.column, refused.reason] += 1
        self.refusals.flush()
        self.counts.update(batch.counts)
        self.counts.update(rows=rows, refused=len(batch.refused), suppressed=len(batch.suppressions))

    def summary(self) -> ImportSummary:
        return ImportSummary(**self.counts, reasons=dict(self.reasons))


@dataclass(slots=True)
class _Batch:
    """What one batch changes. `known` holds the records as they stand after each row."""

    key: bytes
    now: datetime
    known: dict[UUID, Recipient] = field(default_factory=dict)
    changed: set[UUID] = field(default_factory=set)
    suppressions: dict[bytes, Suppression] = field(default_factory=dict)
    cohorts: dict[str, set[UUID]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    refused: list[tuple[Row, Refused]] = field(default_factory=list)

    def refuse(self, row: Row, refused: Refused) -> None:
        self.refused.append((row, refused))

    def apply(self, made: Draft, uid: UUID) -> None:
        """Merge one row. Raises Refused, and then has changed nothing."""
        before = self.known.get(uid)
        after = merge(before, made, uid, self.now)
        if made.suppressed:
            self._suppress(after, made.suppressed)
        for cohort in made.cohorts:
            self.cohorts.setdefault(cohort, set()).add(uid)
        if before == after:
            self.counts["unchanged"] += 1
            return
        self.counts["updated" if before else "imported"] += 1
        self.known[uid] = after
        self.changed.add(uid)

    def _suppress(self, person: Recipient, channels: frozenset[Channel]) -> None:
        addresses = {Channel.EMAIL: person.email, Channel.SMS: person.cell}
        missing = [channel for channel in channels if not addresses[channel]]
        if missing:
            raise Refused("suppressed", f"there is no {missing[0]} address to suppress")
        for channel in channels:
            address = ids.address_hash(self.key, channel, addresses[channel])
            self.suppressions[address] = Suppression(address, channel, "import", self.now)

    async def write(self, store: Store) -> None:
        """Suppressions first: nobody is ever stored without theirs."""
        if self.suppressions:
            await store.directory.suppress(list(self.suppressions.values()))
        if self.changed:
            await store.directory.put([self.known[uid] for uid in self.changed])
        for cohort, uids in self.cohorts.items():
            await store.cohorts.add(cohort, uids)
