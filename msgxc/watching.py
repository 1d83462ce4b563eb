"""How far a campaign is, for somebody who looks on: its senders are heard over the bus, and added up.

The store is the record. It is read first, now and then (the bus may have lost something), and again and again
while nothing is heard: the bus is away, or nobody sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from math import inf

from msgxc import campaigns
from msgxc.bus import Subscription
from msgxc.ledger import Campaign, Control
from msgxc.progress import NOTHING, Tally, Told, subject
from msgxc.reports.funnel import End, Report
from msgxc.wiring import Exchange

LOOK_SECONDS = 1.0
QUIET_SECONDS = 2.5
CORRECT_SECONDS = 30.0
#: Reading the store takes at most this part of the time: it is a scan of the campaign's ledger.
READING_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a campaign is. `live`: heard from its senders; else read from the store a moment ago."""

    name: str
    audience: int
    done: Tally
    live: bool
    control: Control
    finished: bool


async def watch(exchange: Exchange, name: str, *, every: float = LOOK_SECONDS) -> AsyncIterator[Progress]:
    """How far the campaign is, every so many seconds; ends when it is over. Raises NotFound.

    While its senders are heard a look costs the store one small read. What is shown never goes back.
    """
    campaign = await campaigns.campaign_named(exchange, name)
    async with exchange.bus.subscribe(subject(campaign.id)) as heard:
        watcher = _Watcher(exchange, campaign.spec.name)
        listening = asyncio.create_task(watcher.listen(heard))
        try:
            while not campaign.finished:
                if watcher.due():
                    await watcher.read()
                yield watcher.progress(campaign)
                await asyncio.sleep(every)
                campaign = await campaigns.campaign_named(exchange, name)
            await watcher.read()
            yield watcher.progress(campaign)
        finally:
            listening.cancel()


@dataclass(slots=True)
class _Watcher:
    """What the store said when it was read, and what each sender has done since then."""

    exchange: Exchange
    name: str
    stored: Tally = NOTHING
    shown: Tally = NOTHING
    then: dict[str, Tally] = field(default_factory=dict)  # by sender, since the store was read
    now: dict[str, Tally] = field(default_factory=dict)
    heard_at: float = -inf
    read_at: float = -inf
    took: float = 0.0

    async def listen(self, heard: Subscription) -> None:
        async for message in heard:
            if told := Told.decode(message.payload):
                self.heard_at = _elapsed()
                began_later = self.heard_at - told.seconds > self.read_at
                self.then.setdefault(told.sender, NOTHING if began_later else told.done)
                self.now[told.sender] = told.done

    def live(self) -> bool:
        return _elapsed() - self.heard_at < QUIET_SECONDS

    def due(self) -> bool:
        pause = CORRECT_SECONDS if self.live() else 0.0
        return _elapsed() - self.read_at >= max(pause, self.took / READING_SHARE)

    async def read(self) -> None:
        """From here on senders are counted anew, each from what it tells next: never too much is shown."""
        begun = _elapsed()
        self.stored = _stored(await campaigns.report(self.exchange, self.name))
        self.then, self.now = {}, {}
        self.read_at = _elapsed()
        self.took = self.read_at - begun

    def progress(self, campaign: Campaign) -> Progress:
        audience, finished = campaign.seal.count if campaign.seal else 0, campaign.finished is not None
        done = self.stored
        for sender, now in self.now.items():
            done = done.plus(now.minus(self.then[sender]))
        self.shown = self.stored if finished else done.at_least(self.shown)
        return Progress(
            self.name, audience, self.shown, self.live() and not finished, campaign.control, finished
        )


def _stored(report: Report) -> Tally:
    lines = report.channels.values()
    return Tally(
        people=report.audience - report.ends[End.PENDING],
        accepted=sum(line.accepted for line in lines),
        failed=sum(line.failed for line in lines),
        skipped=report.ends[End.SKIPPED],
        reached=report.ends[End.REACHED],
    )


def _elapsed() -> float:
    return asyncio.get_running_loop().time()
