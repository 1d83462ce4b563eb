"""What every fault test speaks of: people, a campaign to just them, and what the provider really accepted."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from conftest_engine import NEVER, crowd, device, person, rows_of
from conftest_engine import spec as to_everyone
from fault_process import Fleet
from fault_store import Around, plainly, with_faults
from waiting import PATIENCE, until

from msgxc import campaigns
from msgxc.campaign import Audience, CampaignSpec, Cohort
from msgxc.campaigns import Planned
from msgxc.ledger import Mark, Row
from msgxc.model import Reason, Recipient
from msgxc.reports.funnel import End, Report
from msgxc.sandbox.launch import Sandbox
from msgxc.sandbox.wire import Accepted
from msgxc.settings import Settings
from msgxc.store.records import batches
from msgxc.wiring import Exchange

__all__ = [
    "NEVER",
    "PATIENCE",
    "Ground",
    "World",
    "brief",
    "brief_call",
    "crowd",
    "device",
    "on_sqlite",
    "person",
    "until",
]

Job = Callable[[], Awaitable[None]]
AT_ONCE = 12
#: Opens the world for a while: in between nobody of this process has the store open.
Opened = Callable[[], AbstractAsyncContextManager["World"]]

#: For tests in which the store has no say.
on_sqlite = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
#: For tests in which a lease runs out, or a call: in 4 and 2 seconds; in 12 and 6 where other calls must not.
brief = pytest.mark.parametrize("lease", [4.0])
brief_call = pytest.mark.parametrize("lease", [12.0])


@dataclass
class Ground:
    """What the providers have accepted for our people: journals, each read from an offset on."""

    journals: dict[Path, int]
    tokens: dict[str, UUID] = field(default_factory=dict)
    _entries: list[Accepted] = field(default_factory=list)

    def add(self, people: Iterable[Recipient]) -> None:
        """These are ours."""
        for someone in people:
            own = [each.token for each in someone.devices] + [someone.email, someone.cell]
            self.tokens.update((address, someone.uid) for address in own if address)

    def accepted(self, of: Iterable[Recipient] = ()) -> list[Accepted]:
        """What was accepted so far; for all of ours, or for some."""
        for journal in self.journals:
            self._read(journal)
        uids = {someone.uid for someone in of}
        return [entry for entry in self._entries if not uids or self.tokens[entry.address] in uids]

    def _read(self, journal: Path) -> None:
        with journal.open("rb") as file:
            file.seek(self.journals[journal])
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.journals[journal] += len(line)
                self.note(Accepted(**json.loads(line)))

    def note(self, entry: Accepted) -> None:
        """One more was accepted."""
        if entry.address in self.tokens:
            self._entries.append(entry)

    def forget(self) -> None:
        """These people are no longer ours: for runs that go on for long."""
        self._entries.clear()
        self.tokens.clear()

    def by_person(self, of: Iterable[Recipient] = ()) -> Counter[UUID]:
        """How many messages each person was sent."""
        return Counter(self.tokens[entry.address] for entry in self.accepted(of))

    def repeats(self, of: Iterable[Recipient] = ()) -> int:
        """How many messages came more than once to their address."""
        addresses = Counter(entry.address for entry in self.accepted(of))
        return sum(addresses.values()) - len(addresses)


@dataclass
class World:
    """One exchange, and the processes that send for it."""

    settings: Settings
    exchange: Exchange
    ground: Ground
    fleet: Fleet
    sandbox: Sandbox
    others: list[Exchange] = field(default_factory=list)
    mark: str = field(default_factory=lambda: uuid4().hex[:8])  # of this test's cohorts: stores are shared

    def through(self, around: Around = plainly, **more: Any) -> Exchange:
        """Another exchange over the same store, whose calls go through `around`; closed with this one.
        `more`: other fields of it, a clock for example."""
        other = with_faults(self.exchange, around, **more)
        self.others.append(other)
        return other

    async def close(self) -> None:
        """Let go of the other exchanges and end the processes."""
        for other in self.others:
            await other.close()
        await asyncio.to_thread(self.fleet.end)

    @property
    def bound(self) -> int:
        """How many deliveries one killed process may repeat: what the exchange promises."""
        return campaigns.bound(self.exchange)

    async def campaign(
        self, name: str, people: Sequence[Recipient], *, fallback: bool = False, **sending: object
    ) -> CampaignSpec:
        """A campaign to these people, who are put into the directory and into a cohort of the same name."""
        await self.enlist(name, people)
        what = to_everyone(name, fallback=fallback, **sending)
        return what.model_copy(update={"audience": self.everybody_in(name)})

    def everybody_in(self, cohort: str) -> Audience:
        """The audience of those who were enlisted under a name."""
        return Audience(to=Cohort(cohort=f"{cohort}-{self.mark}"))

    async def enlist(self, cohort: str, people: Sequence[Recipient]) -> None:
        """Put people into the directory and a cohort."""
        for some in batches(people, 500):
            await self.exchange.store.directory.put(some)
            await self.exchange.store.cohorts.add(f"{cohort}-{self.mark}", [someone.uid for someone in some])
        self.ground.add(people)

    async def prepare(self, what: CampaignSpec) -> Planned:
        """Plan and seal."""
        planned = await campaigns.plan(self.exchange, what)
        await campaigns.seal(self.exchange, planned.id)
        return planned

    async def send(self, what: CampaignSpec, exchange: Exchange | None = None) -> Planned:
        """The whole campaign in this process; through another exchange if one is given."""
        through = exchange or self.exchange
        planned = await campaigns.plan(through, what)
        await campaigns.seal(through, planned.id)
        await campaigns.send_slice(through, planned.id, 0, planned.shards, stop=NEVER)
        await campaigns.finish(through, planned.id)
        return planned

    async def rows(self, what: CampaignSpec) -> list[Row]:
        """All rows of a campaign."""
        return await rows_of(self.exchange, what.name)

    async def judge(
        self, what: CampaignSpec, people: Sequence[Recipient], *, repeats: int = 0, lost: int = 0
    ) -> Report:
        """I1, I2, I3 and I6: everybody has it (but for `lost`, who must be known as unknown), at most
        `repeats` messages came twice, each under its first identity, and the report says what the journal
        says. A call that this machine did not answer in time is allowed for, if the ledger knows of it."""
        late = [row for row in await self.rows(what) if row.reason == Reason.TIMEOUT]
        repeats += sum(row.doubts for row in late)
        lost += sum(row.state is Mark.UNKNOWN for row in late)
        entries = self.ground.accepted(people)
        reached = {self.ground.tokens[entry.address] for entry in entries}
        report = await campaigns.report(self.exchange, what.name)
        assert report.adds_up
        assert report.audience == len({someone.uid for someone in people})
        assert len(reached) >= len(people) - lost, f"I1: {len(people) - len(reached)} were lost"
        assert self.ground.repeats(people) <= repeats, "I2, I3: more repeats than the bound"
        identities = {(entry.address, entry.delivery, entry.collapse) for entry in entries}
        assert len(identities) == len({entry.address for entry in entries}), "a repeat has another identity"
        assert report.ends[End.REACHED] <= len(reached), "I6: the report says more than the journal"
        assert report.ends[End.REACHED] + report.ends[End.UNKNOWN] == len(people), f"I6: {report.ends}"
        assert report.ends[End.UNKNOWN] <= lost
        return report


async def together(jobs: Sequence[tuple[str, Job]], subtests: pytest.Subtests) -> None:
    """Do all of them, a dozen at a time, and report each by its name."""
    places = asyncio.Semaphore(AT_ONCE)

    async def do(job: Job) -> None:
        async with places:
            await job()

    ended = await asyncio.gather(*(do(job) for _, job in jobs), return_exceptions=True)
    for (name, _), error in zip(jobs, ended, strict=True):
        with subtests.test(name):
            if error is not None:
                raise error


def fresh(word: str) -> str:
    """A token of its own that begins with a word."""
    return f"{word}-{uuid4().hex}"
