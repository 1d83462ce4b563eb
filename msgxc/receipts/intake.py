"""The way into the inbox for one process: many requests share one write, and none is answered before it.

Beside it, a task that merges what came in.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from msgxc.errors import StoreUnavailable
from msgxc.receipts.merging import Merger
from msgxc.store.gateway import Received
from msgxc.wiring import Exchange

WAITING = 50_000  # receipts that may wait for the store; then the sender is asked to come again
TOGETHER = 1_000  # receipts of one write
LOOK_SECONDS = 30.0  # how often the inbox is looked at when nothing came in here: others may have died
AGAIN_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Intake:
    """Made by `taking`. `take` returns when the receipts are durable."""

    exchange: Exchange
    _waiting: list[tuple[Received, asyncio.Future[None]]] = field(default_factory=list)
    _came: asyncio.Event = field(default_factory=asyncio.Event)
    merge: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, receipts: Sequence[Received]) -> None:
        """Put them into the inbox. Raises StoreUnavailable, also when too many wait already."""
        if not receipts:
            return
        if len(self._waiting) + len(receipts) > WAITING:
            raise StoreUnavailable("too many receipts wait for the store: come again")
        written = asyncio.get_running_loop().create_future()
        self._waiting += [(receipt, written) for receipt in receipts]
        self._came.set()
        await asyncio.shield(written)

    async def write(self) -> None:
        """Write what waits, for ever."""
        while True:
            await self._came.wait()
            some, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
            if not self._waiting:
                self._came.clear()
            await self._write(some)
            self.merge.set()

    async def _write(self, some: Sequence[tuple[Received, asyncio.Future[None]]]) -> None:
        """A request's receipts may be parted over two writes: it is answered when the last one is there."""
        still = {id(written) for _, written in self._waiting}
        failed: Exception | None = None
        try:
            await self.exchange.store.gateway.receive([receipt for receipt, _ in some])
        except Exception as error:  # whatever it is, those who wait are told, and the next ones are written
            failed = error
        for written in {id(written): written for _, written in some}.values():
            if failed is not None and not written.done():
                written.set_exception(failed)
            elif id(written) not in still and not written.done():
                written.set_result(None)

    async def keep_merging(self) -> None:
        """Merge what is in the inbox whenever something came in, for ever."""
        merger = Merger(self.exchange)
        while True:
            try:
                await merger.merge_all()
            except Exception as error:  # they stay in the inbox, and are tried again
                _log.warning("receipts wait: %s", getattr(error, "code", type(error).__name__))
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self.merge.wait()
            self.merge.clear()


@asynccontextmanager
async def taking(exchange: Exchange) -> AsyncIterator[Intake]:
    """An intake at work; what is not written at the end has not been answered either."""
    intake = Intake(exchange)
    tasks = [asyncio.create_task(intake.write()), asyncio.create_task(intake.keep_merging())]
    try:
        yield intake
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
