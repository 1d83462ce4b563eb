"""Whether a sender may go on: what the operator wants, what its process was told, what a provider said."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Protocol
from uuid import UUID

from msgxc.errors import StoreUnavailable
from msgxc.holding import insist
from msgxc.ledger import Control
from msgxc.store.ports import Ledger

CONTROL_SECONDS = 0.5  # how often the operator's wish is looked at, whatever else goes on
FRESH_SECONDS = 0.1  # a window that is about to open looks again when the last look is older


class Stop(Protocol):
    """Set from another thread or a signal handler: finish what is under way, put off the rest."""

    def is_set(self) -> bool: ...


class Helm:
    """The operator's wish for one campaign, and the other reasons to stop. For one event loop."""

    def __init__(self, ledger: Ledger, campaign: UUID, stop: Stop) -> None:
        self._ledger, self._campaign, self._stop = ledger, campaign, stop
        self.control = Control.RUN
        self._looked = float("-inf")
        self.halted = False

    async def watch(self, after: float = 0.0) -> None:
        """Look every so often, for ever; `after`: seconds until the first look."""
        await asyncio.sleep(after)
        while True:
            with suppress(StoreUnavailable):
                await self._look(self._ledger.control(self._campaign))
            await asyncio.sleep(CONTROL_SECONDS)

    async def look(self) -> None:
        """Know the operator's wish as it was a moment ago, however long the store takes."""
        if elapsed() - self._looked > FRESH_SECONDS:
            await self._look(insist(self._ledger.control, self._campaign))

    def halt(self) -> None:
        """Every provider refuses us: nothing more is sent."""
        self.halted = True

    @property
    def ended(self) -> bool:
        """Nothing more will be sent by this sender."""
        return self.halted or self._stop.is_set() or self.control is Control.CANCEL

    @property
    def resting(self) -> bool:
        """Nothing is to be sent now."""
        return self.ended or self.control is not Control.RUN

    async def _look(self, said: Coroutine[Any, Any, Control]) -> None:
        asked = elapsed()
        self.control = await said
        self._looked = max(self._looked, asked)


def elapsed() -> float:
    """Seconds that pass whatever is done to the wall clock: for pacing, which no other machine looks at."""
    return asyncio.get_running_loop().time()
