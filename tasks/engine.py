"""Runs a coroutine of the library in a thread of its own, with its own event loop.

The main thread waits, and is the one that Prefect interrupts: by SIGTERM, by a timeout, by an exception of
its client. None of these tears the sending apart: they set `stop`, and the engine gets a few seconds to write
down what it has done.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future, wait
from contextlib import suppress
from time import monotonic
from typing import Any, TypeVar

from msgxc.garbage import collect_rarely
from msgxc.wiring import Exchange, open_exchange
from tasks import orphan

orphan.start()
T = TypeVar("T")
BEAT_SECONDS = 0.7  # what the operator does has to arrive within two seconds
GRACE_SECONDS = 12.0  # a call under way ends by the provider's timeout, 10 s; a worker waits for longer


class Engine:
    """A running call: `stop` ends it in good order, `add` puts a further call into its event loop."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._exchange: Future[Exchange] = Future()
        self._loop = asyncio.new_event_loop()

    def add(self, work: Callable[[Exchange], Coroutine[Any, Any, T]]) -> Future[T]:
        """Make another call beside the running one. Raises RuntimeError once that has ended."""
        exchange = self._exchange.result(timeout=5.0)
        if self._loop.is_closed():
            raise RuntimeError("the call has ended")
        return asyncio.run_coroutine_threadsafe(work(exchange), self._loop)

    async def _run(self, work: Callable[[Exchange], Coroutine[Any, Any, T]]) -> T:
        async with open_exchange() as exchange:
            collect_rarely()
            self._exchange.set_result(exchange)
            return await work(exchange)

    def settle(self, work: Callable[[Exchange], Coroutine[Any, Any, T]], outcome: Future[T]) -> None:
        """Run to the end, in the thread that calls; the outcome holds what came of it."""
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                outcome.set_result(runner.run(self._run(work)))
        except BaseException as error:
            outcome.set_exception(error)


def call(
    work: Callable[[Exchange, Engine], Coroutine[Any, Any, T]],
    *beats: Callable[[Engine], None],
) -> T:
    """The answer of `work`. `beats` are called about once a second meanwhile, in the thread that waits.

    Whatever interrupts the wait is raised again, after the engine has had GRACE_SECONDS to end.
    """
    engine, outcome = Engine(), Future[T]()
    main = threading.Thread(
        target=engine.settle,
        args=(lambda exchange: work(exchange, engine), outcome),
        name="engine",
        daemon=True,
    )
    main.start()
    try:
        while not outcome.done():
            wait([outcome], timeout=BEAT_SECONDS)
            _beat(engine, beats)
        return outcome.result()
    except BaseException:
        with suppress(BaseException):
            _beat(engine, beats)  # If it is the operator who ends the run, that has to reach the store.
        engine.stop.set()
        _let_end(outcome)
        raise


def _beat(engine: Engine, beats: Iterable[Callable[[Engine], None]]) -> None:
    for beat in beats:
        beat(engine)


def _let_end(outcome: Future[Any]) -> None:
    """Wait for the end, whatever else comes meanwhile: a second SIGTERM is no reason to lose a record."""
    until = monotonic() + GRACE_SECONDS
    while not outcome.done() and monotonic() < until:
        with suppress(BaseException):
            wait([outcome], timeout=until - monotonic())
