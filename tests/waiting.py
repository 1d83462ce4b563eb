"""Waiting in a test for what another process or task does: it has an end, and looks whether those live."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from inspect import isawaitable
from multiprocessing.process import BaseProcess
from typing import Any

#: Seconds after which a step hangs. So long, because a busy machine is no fault: only a failure waits for it.
PATIENCE = 120.0

Doer = subprocess.Popen[Any] | BaseProcess | asyncio.Task[Any]


async def until(
    true: Callable[[], bool | Awaitable[bool]], *doers: Doer, seconds: float = PATIENCE, look: float = 0.02
) -> None:
    """Wait for something to become true that these do; fails when one of them has ended before, and after so
    many seconds. Looked at every `look` seconds."""
    end = time.monotonic() + seconds
    while True:
        over = [doer for doer in doers if _has_ended(doer)]
        found = true()
        if await found if isawaitable(found) else found:
            return
        assert not over, f"{over} ended, and it had not happened"
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(look)


@dataclass
class Lag:
    """By how much this machine was late, all in all."""

    seconds: float = 0.0


@asynccontextmanager
async def lag() -> AsyncIterator[Lag]:
    """How late things are here meanwhile: a promise in seconds is one of a machine that has time."""
    found = Lag()

    async def look() -> None:
        while True:
            begun = time.monotonic()
            await asyncio.sleep(0.05)
            found.seconds += max(0.0, time.monotonic() - begun - 0.06)

    looking = asyncio.create_task(look())
    try:
        yield found
    finally:
        looking.cancel()


def _has_ended(doer: Doer) -> bool:
    if isinstance(doer, asyncio.Task):
        return doer.done()
    return doer.poll() is not None if isinstance(doer, subprocess.Popen) else doer.exitcode is not None
