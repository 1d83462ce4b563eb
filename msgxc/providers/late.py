"""Answers that are late: what an adapter gives back of those that nobody waits for any longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from msgxc.http2 import Patience
from msgxc.model import Receipt

#: What a provider says of one delivery: its receipt, or a future of it that ends by the provider's timeout.
Said = Receipt | asyncio.Future[Receipt]
T = TypeVar("T")
U = TypeVar("U")


def then(end: asyncio.Future[T], read: Callable[[T], U]) -> asyncio.Future[U]:
    """What an answer means that is still to come."""
    found: asyncio.Future[U] = asyncio.get_running_loop().create_future()

    def told(done: asyncio.Future[T]) -> None:
        if found.cancelled():
            return
        if done.cancelled():
            found.cancel()
        elif error := done.exception():
            found.set_exception(error)
        else:
            found.set_result(read(done.result()))

    end.add_done_callback(told)
    return found


async def nearly(
    work: Sequence[Coroutine[Any, Any, T]], patience: Patience | None
) -> list[T | asyncio.Future[T]]:
    """What came of all of them, in order; with `patience`, a future of each that is later than the others."""
    tasks = [asyncio.ensure_future(one) for one in work]
    begun, pending = asyncio.get_running_loop().time(), set(tasks)
    few = patience.few(len(tasks)) if patience else 0
    try:
        while len(pending) > few:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if pending and patience:
            elapsed = asyncio.get_running_loop().time() - begun if len(tasks) > few else 0.0
            await asyncio.wait(pending, timeout=patience.grace(elapsed))
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        raise
    return [task.result() if task.done() else task for task in tasks]
