"""The old system's tables into the exchange: table by table, batch by batch.

Every write may be repeated, and ids stay the same, so an import that was stopped at any moment is started
again and ends as if it had never been stopped. What has happened here since is not undone by it: a person's
own choices, a message that has left.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

import phonenumbers

from msgxc.errors import Forbidden, WrongInput
from msgxc.failpoints import failpoint
from msgxc.messages.records import Item, Message
from msgxc.messages.rights import may_come_out
from msgxc.messages.telling import copies
from msgxc.messages.triage import is_over, place
from msgxc.model import Subscription, Thread
from msgxc.old import messages as said
from msgxc.old import people
from msgxc.old import threads as topics
from msgxc.old.columns import PASSED, Cells, Kind, Remark
from msgxc.old.reading import OldRow, Source
from msgxc.old.report import Report
from msgxc.people.importing import Batch
from msgxc.people.record import Draft, Reader, Refused, readers
from msgxc.people.threads import take_in
from msgxc.people.tombstones import erased
from msgxc.store import choices
from msgxc.store.choices import Choice
from msgxc.store.ports import BATCH, Store
from msgxc.store.records import batches
from msgxc.urgency import levels
from msgxc.wiring import Exchange

#: So many rows of messages are written side by side; so many threads are remembered.
AT_ONCE, THREADS = 50, 20_000

NO_CONSENT = (
    "nobody was given a consent: the old system recorded none, and none is made up. Messages for marketing "
    "or product news reach nobody of these people until a consent of theirs is imported (docs/audience.md)"
)
TO_BE_SENT = "wait for their time here now: see that the old system's scheduler does not send them as well"

T = TypeVar("T")
Drafted: TypeAlias = tuple[OldRow, Cells, T]
Progress = Callable[[Report, float | None], None]
Taker = Callable[[list[OldRow]], Awaitable[None]]


async def import_old(
    exchange: Exchange,
    source: Source,
    *,
    report: Path,
    region: str | None = None,
    progress: Progress | None = None,
    dry_run: bool = False,
) -> Report:
    """Take the old system's rows; docs/coming-from-the-old-system.md says what becomes of them.

    What was taken, changed and refused, and why, goes to the file `report`. `progress` gets, after every
    batch, the report so far and how much is read (0 to 1; None: not known). `region` is where phone numbers
    without + are. `dry_run` writes nothing but the report. Raises NotFound or WrongInput for what cannot be
    read, and StoreUnavailable. After any exception all earlier batches are in, and a note on it says how far;
    the import may be started again: nothing doubles.
    """
    if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
        raise WrongInput("the region is two capital letters, for example DE")
    tables = await source.tables()
    made = Report(report)
    made.open()
    work = _Work(exchange, made, readers(region), dry_run)
    takers: dict[str, Taker] = {
        "users": work.users,
        "user_emails": work.emails,
        "cohorts": work.cohorts,
        "splits": work.splits,
        "mthreads": work.threads,
        "msec": work.joins,
        "mstore": work.messages,
    }
    try:
        for table in tables:
            made.of(table)
            async for rows in source.rows(table):
                await takers.get(table, work.passed(table))(rows)
                made.flush()
                if progress is not None:
                    progress(made, source.fraction())
        made.notes += work.notes(source.strange())
    except BaseException as error:
        error.add_note(f"stopped after {made.told()}; the same import may be started again")
        raise
    finally:
        made.close()
    return made


@dataclass(slots=True)
class _Work:
    exchange: Exchange
    report: Report
    readers: Mapping[str, Reader]
    dry_run: bool
    now: datetime = field(init=False)
    store: Store = field(init=False)
    key: bytes = field(init=False, repr=False)
    found: dict[UUID, Thread | None] = field(default_factory=dict)
    #: Of a dry run: who and what would be there now. Uid -> a mark of the email, 0 for none; who is in which
    #: thread; how many are in a cohort.
    would: dict[bytes, int] = field(default_factory=dict)
    inside: set[int] = field(default_factory=set)
    sizes: Counter[str] = field(default_factory=Counter)
    waiting: int = 0

    def __post_init__(self) -> None:
        self.store, self.key = self.exchange.store, self.exchange.key
        self.now = datetime.fromtimestamp(self.exchange.clock(), UTC)

    # -- people

    async def users(self, rows: list[OldRow]) -> None:
        """People, with their devices and cohorts."""
        drafts = self._drafts("users", rows, lambda cells: people.person(cells, self.readers, self.now))
        await self._people(drafts)
        if self.dry_run:
            for _, _, (uid, made) in drafts:
                self.would[uid.bytes] = hash(made.scalars.get("email", 0))
                self.sizes.update(made.cohorts)

    async def emails(self, rows: list[OldRow]) -> None:
        """Addresses of people whose own record has none."""
        drafts = self._drafts("user_emails", rows, people.email)
        known = await self.store.directory.get({uid for _, _, (uid, _) in drafts})
        given: list[Drafted[tuple[UUID, Draft]]] = []
        for row, cells, (uid, email) in drafts:
            if uid in known:
                there = hash(known[uid].email or 0)
            elif uid.bytes in self.would:
                there = self.would[uid.bytes]
            else:
                self._refused(row, cells, Refused("uid", "there is nobody of that uid"))
                continue
            if there and there != hash(email):
                self._refused(row, cells, Refused("email", "not the address of the person's own record"))
            else:
                given.append((row, cells, (uid, Draft(uid=str(uid), scalars={"email": email}))))
        await self._people(given)

    async def _people(self, drafts: Iterable[Drafted[tuple[UUID, Draft]]]) -> None:
        some = list(drafts)
        batch, done = Batch(self.key, self.now), list[tuple[OldRow, Cells, str]]()
        await batch.read(self.store, {uid for _, _, (uid, _) in some})
        for row, cells, (uid, made) in some:
            before = batch.counts["unchanged"]
            try:
                batch.apply(made, uid)
            except Refused as refused:
                self._refused(row, cells, refused)
            else:
                done.append((row, cells, "unchanged" if batch.counts["unchanged"] > before else "taken"))
        if not self.dry_run:
            await batch.write(self.store)
        failpoint("old_people")
        for row, cells, how in done:
            self._done(row, cells, how)

    async def _there(self, uids: Collection[UUID]) -> set[UUID]:
        """Who of these has a record."""
        found = {uid for uid in uids if uid.bytes in self.would}
        for some in batches([uid for uid in uids if uid not in found], BATCH):
            found |= set(await self.store.directory.get(some))
        return found

    # -- cohorts

    async def cohorts(self, rows: list[OldRow]) -> None:
        """Cohorts that have a row of their own: their members stand in users."""
        sizes = await self.store.cohorts.sizes()
        for row, cells, named in self._drafts("cohorts", rows, people.cohort):
            here = max(sizes.get(named.name, 0), self.sizes[named.name])
            if not here:
                nobody = (
                    "nobody of users is in it: fetch its list, then `msgxc cohorts create NAME --file FILE`"
                )
                self._refused(row, cells, Refused("uids_url", nobody))
                continue
            if named.imported is not None and named.imported != here:
                cells.changed("imported", "another number than are in it here: who is in it stands in users")
            self._done(row, cells, "taken")

    async def splits(self, rows: list[OldRow]) -> None:
        """Parts that list their people: a cohort each."""
        for row, cells, named in self._drafts("splits", rows, people.split):
            there = await self._there(named.members) - await erased(self.store, self.key, named.members)
            if len(there) < len(named.members):
                cells.refused("users", "somebody of whom there is no record")
            if there and not self.dry_run:
                await self.store.cohorts.add(named.name, there)
            cells.changed("users", "a cohort, called as the part")
            self._done(row, cells, "taken")

    # -- threads

    async def threads(self, rows: list[OldRow]) -> None:
        """Threads, with who is in them and who has left."""
        for row, cells, old in self._drafts("mthreads", rows, topics.thread):
            gone = await erased(self.store, self.key, old.staff)
            settings = {name: _without(value, gone) for name, value in old.settings.items()}
            before = await self.store.threads.get(old.tid)
            after = replace(before or Thread(old.tid), **settings)
            there = await self._there({one.uid for one in old.subscriptions})
            members = [one for one in old.subscriptions if one.uid in there]
            for _ in range(len(old.subscriptions) - len(members)):
                cells.refused("subs", "somebody of whom there is no record")
            fresh = await self._not_yet_in(old.tid, members)
            if self.dry_run:
                self.inside.update(hash((old.tid, one.uid)) for one in members)
            else:
                if before != after:
                    await self.store.threads.change(old.tid, settings)
                failpoint("old_thread")
                await self._put_out(old)
                await take_in(self.store, self.key, old.tid, fresh)
            self._remember(after)
            self._done(row, cells, "taken" if before != after or fresh else "unchanged")

    async def _not_yet_in(self, tid: UUID, members: Collection[Subscription]) -> list[Subscription]:
        """Whoever is in the thread already keeps the channels that they have for it here."""
        fresh: list[Subscription] = []
        for some in batches(members, BATCH):
            known = await self.store.threads.subscriptions(tid, [one.uid for one in some])
            fresh += [one for one in some if one.uid not in known]
        return fresh

    async def _put_out(self, old: topics.OldThread) -> None:
        """Whoever left there has left here, unless they have come in since."""
        left = Choice(old.left, "left", withdrawn=frozenset({choices.thread(old.tid)}))
        for some in batches(old.outs, BATCH):
            own = await self.store.directory.choices(some)
            for uid in some:
                if uid not in own or own[uid].holds(choices.thread(old.tid)) is None:
                    await self.store.directory.choose(uid, left)
            own = await self.store.directory.choices(some)
            out = [uid for uid in some if uid in own and not own[uid].holds(choices.thread(old.tid))]
            await self.store.threads.unsubscribe(old.tid, out)

    async def joins(self, rows: list[OldRow]) -> None:
        """Requests to join that nobody has answered."""
        for row, cells, join in self._drafts("msec", rows, topics.join):
            try:
                await self._thread(join.tid)
                if join.uid not in await self._there([join.uid]):
                    raise Refused("owner", "somebody of whom there is no record")
                known_there = await self.store.threads.subscriptions(join.tid, [join.uid])
                if known_there or hash((join.tid, join.uid)) in self.inside:
                    raise Refused("pending", "is in the thread already")
            except Refused as refused:
                self._refused(row, cells, refused)
                continue
            known = await self.store.joins.get(join.tid, join.uid)
            if known is None and not self.dry_run:
                await self.store.joins.put(join)
            self._done(row, cells, "taken" if known is None else "unchanged")

    def _remember(self, thread: Thread) -> None:
        if len(self.found) >= THREADS and not self.dry_run:
            self.found.clear()
        self.found[thread.tid] = thread

    async def _thread(self, tid: UUID) -> Thread:
        """Raises Refused when it is not there."""
        thread = self.found.get(tid) or await self.store.threads.get(tid)
        if thread is None:
            raise Refused("tid", "there is no such thread, or it was deleted there")
        self._remember(thread)
        return thread

    # -- messages

    async def messages(self, rows: list[OldRow]) -> None:
        """What was said, and what still waits for its time."""
        for some in batches(rows, AT_ONCE):
            await asyncio.gather(*(self._message(row) for row in some))

    async def _message(self, row: OldRow) -> None:
        cells = Cells("mstore", row.values)
        try:
            if row.problem:
                raise Refused("", row.problem)
            thread = await self._thread(cells.key("tid"))
            old = said.message(cells, thread, self.now)
            message = await self._without_erased(old.message)
            self._may_come_out(cells, message, thread)
        except Refused as refused:
            self._refused(row, cells, refused)
            return
        how = await self._say(replace(old, message=message))
        self.waiting += message.scheduled is not None and how == "taken"
        self._done(row, cells, how)

    async def _without_erased(self, message: Message) -> Message:
        """Raises Refused for one of, or only for, somebody who was erased."""
        gone = await erased(self.store, self.key, message.people) if message.people else set()
        uids = tuple(uid for uid in message.uids if uid not in gone)
        if message.sender in gone or (message.uids and not uids):
            raise Refused("owner", "this person was erased")
        return replace(message, uids=uids)

    def _may_come_out(self, cells: Cells, message: Message, thread: Thread) -> None:
        if message.scheduled is not None and message.tid == thread.tid:
            try:
                may_come_out(message, thread)
            except Forbidden as error:
                cells.changed("scheduled", f"it will be canceled at its time, as things are: {error}")

    async def _say(self, old: said.OldMessage) -> str:
        """Write it where it is not yet, so that no moment in between shows or sends what is not to be."""
        message, store = old.message, self.store.messages
        stored = await store.get(message.tid, message.mid)
        if self.dry_run:
            return "taken" if stored is None else "unchanged"
        if stored is not None and (is_over(stored) or stored.joined):
            return "unchanged"
        waits = stored is not None and stored.scheduled not in (None, stored.created)
        if stored is not None and waits and not old.ended:
            return "unchanged"  # it was written together with its place in triage
        if message.scheduled is not None:
            await self._plan(message, message.scheduled)
            await store.put(message, self._item(message))
            return "taken"
        hidden = bool(message.canceled or message.recalled)
        for one in (message, *copies(self.key, message)):
            await store.put(replace(one, scheduled=one.created) if hidden else one, None)
            failpoint("old_message")
            await store.note(
                one.tid,
                one.mid,
                canceled=message.canceled,
                completed=message.completed,
                recalled=message.recalled,
                unscheduled=hidden or waits,
            )
        if stored is not None and waits:
            await self.store.triage.remove([self._item(stored)])
            if stored.sender is not None:
                await store.unplan(stored.sender, stored.tid, stored.mid)
        return "taken"

    async def _plan(self, message: Message, at: datetime) -> None:
        """It counts among what its sender lets wait."""
        if message.sender is not None and not message.by_role:
            now = self.now.timestamp()
            await self.store.messages.plan(message.sender, message.tid, message.mid, at.timestamp(), now)

    def _item(self, message: Message) -> Item:
        """The same each time, so that it is found."""
        due = message.scheduled.timestamp() if message.scheduled else 0.0
        level = levels(self.exchange.settings)[message.urgency]
        return place(message, level, min(message.created.timestamp(), due))

    # -- all tables

    def passed(self, table: str) -> Taker:
        """Of such a table nothing is taken."""

        async def told(rows: list[OldRow]) -> None:
            for row in rows:
                if row.problem:
                    self.report.row(table, row, "refused", [Remark(Kind.REFUSED, "", row.problem)])
                else:
                    self.report.row(table, row, "left", [Remark(Kind.LEFT, "", PASSED[table])])

        return told

    def _drafts(self, table: str, rows: Iterable[OldRow], rule: Callable[[Cells], T]) -> list[Drafted[T]]:
        """The rows as the rule has them, without those that it refuses."""
        read = [(row, Cells(table, row.values)) for row in rows]
        found: list[Drafted[T]] = []
        for row, cells in read:
            try:
                if row.problem:
                    raise Refused("", row.problem)
                found.append((row, cells, rule(cells)))
            except Refused as refused:
                self._refused(row, cells, refused)
        return found

    def _refused(self, row: OldRow, cells: Cells, refused: Refused) -> None:
        self.report.row(cells.table, row, "refused", [Remark(Kind.REFUSED, refused.column, refused.reason)])

    def _done(self, row: OldRow, cells: Cells, how: str) -> None:
        self.report.row(cells.table, row, how, [*cells.remarks, *cells.left()])

    def notes(self, strange: Iterable[str]) -> list[str]:
        """What is said of the whole."""
        told = self.report.tables
        found = [NO_CONSENT] if "users" in told and told["users"].rows else []
        if self.waiting:
            found.append(f"{self.waiting:,} messages {TO_BE_SENT}")
        return found + [f"{name}: no table of the old system, not read" for name in strange]


def _without(value: Any, gone: set[UUID]) -> Any:
    if isinstance(value, frozenset):
        return frozenset(one for one in value if one not in gone)
    return None if isinstance(value, UUID) and value in gone else value
