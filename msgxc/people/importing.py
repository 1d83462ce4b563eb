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
from msgxc.online import Heard
from msgxc.people.fields import long_number
from msgxc.people.record import Draft, Reader, Refused, change_of, draft, merge, readers
from msgxc.people.refusals import Refusals
from msgxc.people.rows import Row, Rows
from msgxc.people.tombstones import erased
from msgxc.store.changes import Change
from msgxc.store.choices import Choices
from msgxc.store.ports import BATCH, Store, Suppression


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """How an import went, or how far it got. rows = imported + updated + unchanged + refused.

    `imported` people were new; `updated` and `unchanged` count rows about somebody who was already there,
    also from earlier in the same file. `kept`: consents of rows that their people have taken back by
    themselves, and that stay so. `reasons`: (column, reason) of refused rows -> how many.
    """

    rows: int = 0
    imported: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: int = 0
    suppressed: int = 0
    kept: int = 0
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
    exact: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def take(self, rows: list[Row]) -> None:
        """One batch, from rows to the store. The counts grow only when all of it is written."""
        batch = Batch(self.key, self.now)
        drafts = self._sure(list(self._drafts(rows, batch)), batch)
        await batch.read(self.store, {uid for _, _, uid in drafts})
        for row, made, uid in drafts:
            try:
                batch.apply(made, uid)
            except Refused as refused:
                batch.refuse(row, refused)
        if not self.dry_run:
            await batch.write(self.store)
        self._settle(batch, len(rows))

    def _drafts(self, rows: list[Row], batch: Batch) -> Iterator[tuple[Row, Draft, UUID]]:
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

    def _sure(self, drafts: list[tuple[Row, Draft, UUID]], batch: Batch) -> list[tuple[Row, Draft, UUID]]:
        """Without the rows whose id a spreadsheet may have rounded, which makes many people one. As soon as
        one long number of the file is none that was rounded, the file did not come out of a spreadsheet."""
        long = {uid: long_number(made.uid or made.xid) for _, made, uid in drafts}
        self.exact = self.exact or False in long.values()
        if self.exact or True not in long.values():
            return drafts
        rounded = Refused(
            "uid", "a number that a spreadsheet has rounded to 15 digits: format its column as text"
        )
        for row, _, uid in drafts:
            if long[uid]:
                batch.refuse(row, rounded)
        return [entry for entry in drafts if not long[entry[2]]]

    def _settle(self, batch: Batch, rows: int) -> None:
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
class Batch:
    """What one batch changes. `known` holds the records as they stand after each row."""

    key: bytes
    now: datetime
    known: dict[UUID, Recipient] = field(default_factory=dict)
    erased: set[UUID] = field(default_factory=set)
    own: dict[UUID, Choices] = field(default_factory=dict)
    changes: dict[UUID, Change] = field(default_factory=dict)
    suppressions: dict[bytes, Suppression] = field(default_factory=dict)
    cohorts: dict[str, set[UUID]] = field(default_factory=dict)
    online: dict[UUID, int] = field(default_factory=dict)  # who was online before, for how many milliseconds
    counts: Counter[str] = field(default_factory=Counter)
    refused: list[tuple[Row, Refused]] = field(default_factory=list)

    async def read(self, store: Store, uids: set[UUID]) -> None:
        """What is known of these people now."""
        self.erased = await erased(store, self.key, uids)
        self.known = await store.directory.get(uids)
        self.own = await store.directory.choices(uids)

    def refuse(self, row: Row, refused: Refused) -> None:
        """One more row that is not taken."""
        self.refused.append((row, refused))

    def apply(self, made: Draft, uid: UUID) -> None:
        """Merge one row. Raises Refused, and then has changed nothing."""
        if uid in self.erased:
            raise Refused("uid", "this person was erased; `msgxc people readmit` lets them come back")
        before, own = self.known.get(uid), self.own.get(uid) or Choices()
        change = change_of(before, made, uid, self.now, own)
        after, chosen, kept = merge(before, change, own)
        if made.suppressed:
            self._suppress(after, made.suppressed)
        for cohort in made.cohorts:
            self.cohorts.setdefault(cohort, set()).add(uid)
        if made.online:
            self.online[uid] = max(made.online, self.online.get(uid, 0))
        self.counts["kept"] += kept
        if before == after:
            self.counts["unchanged"] += 1
            if not change.agreed:  # what the row proves is written down, also where it changes nothing today
                return
        else:
            self.counts["updated" if before else "imported"] += 1
        self.known[uid], self.own[uid] = after, chosen
        if uid in self.changes:
            self.changes[uid].add(change)
        else:
            self.changes[uid] = change

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
        if self.changes:
            await store.directory.change(list(self.changes.values()))
        await store.directory.note_online({uid: Heard(least=total) for uid, total in self.online.items()})
        for cohort, uids in self.cohorts.items():
            await store.cohorts.add(cohort, uids)
        if meanwhile := await erased(store, self.key, self.known):
            await store.directory.erase(meanwhile)
