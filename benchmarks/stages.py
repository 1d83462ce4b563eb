"""Where a sender's CPU goes, told apart by stage, without a line of it in the engine.

Three things are wrapped from outside, for one measured campaign: the ports that the engine was given (the
store's, the providers'), its two pure seams (Preparer.prepare and the render it was given), and the turns of
the event loop. Each switch reads the thread's CPU clock, so what others do on the machine does not count; the
reading itself costs a few percent, which is why speeds are taken from campaigns without it.

A turn of the loop belongs to the stage in which it was asked for: a task, a timer and a socket's reader carry
their maker's context. So what a provider's connection does when an answer comes counts as sending.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextvars import ContextVar
from dataclasses import replace
from time import process_time, thread_time
from typing import Any

from msgxc.model import Channel
from msgxc.store.sqlite.connection import Call, Worker
from msgxc.window import Look, Prepared, Preparer
from msgxc.wiring import Exchange

LOOK, ROUTE, RENDER, RECORD = "look again", "route", "render", "record"
ENGINE, LOOP, THREADS = "engine", "event loop", "between threads"
STAGE: ContextVar[str] = ContextVar("stage", default=ENGINE)


class Meter:
    """Adds up CPU seconds by stage: of the event loop's thread, and of the threads that it hands work to."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._handed: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._stage, self._since, self._begun = LOOP, thread_time(), process_time()

    def switch(self, stage: str) -> str:
        """What follows belongs to this stage; answers which one it was before. In the loop's thread only."""
        now, before = thread_time(), self._stage
        self.seconds[before] += now - self._since
        self._stage, self._since = stage, now
        return before

    def begin(self) -> None:
        """Forget what was before."""
        self.switch(self._stage)
        self.seconds.clear()
        self._handed.clear()
        self._begun = process_time()

    def end(self) -> dict[str, float]:
        """CPU seconds by stage since `begin`; what no stage explains is the work between threads.

        Raises ValueError when a stage has nothing: the engine has moved, and what is wrapped is not used.
        """
        self.switch(self._stage)
        total = process_time() - self._begun
        found = dict(self.seconds)
        for stage, seconds in self._handed.items():
            found[stage] = found.get(stage, 0.0) + seconds
        if missing := {LOOK, ROUTE, RENDER, RECORD} - found.keys():
            raise ValueError(f"nothing was measured for {', '.join(sorted(missing))}: see meter_exchange")
        return {**found, THREADS: max(0.0, total - sum(found.values()))}

    def in_thread(self, stage: str, call: Callable[..., Any], *args: Any) -> Any:
        """A call in another thread, on a stage's account."""
        begun = thread_time()
        try:
            return call(*args)
        finally:
            with self._lock:
                self._handed[stage] += thread_time() - begun

    def whole(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """A plain function, on a stage's account."""

        def metered(*args: Any, **kwargs: Any) -> Any:
            before = self.switch(stage)
            try:
                return call(*args, **kwargs)
            finally:
                self.switch(before)

        return metered

    def steps(self, stage: str, call: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        """A coroutine function, each of its steps on a stage's account, and the tasks that it starts."""

        async def metered(*args: Any, **kwargs: Any) -> Any:
            return await _Steps(self, stage, call(*args, **kwargs))

        return metered


class _Steps:
    """Awaits a coroutine step by step."""

    def __init__(self, meter: Meter, stage: str, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._meter, self._stage, self._coroutine = meter, stage, coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = lambda: self._coroutine.send(None)  # noqa: E731
        while True:
            token, before = STAGE.set(self._stage), self._meter.switch(self._stage)
            try:
                waits_for = step()
            except StopIteration as end:
                return end.value
            finally:
                self._meter.switch(before)
                STAGE.reset(token)
            try:
                yield waits_for
            except BaseException as error:
                step = lambda thrown=error: self._coroutine.throw(thrown)  # type: ignore[misc]  # noqa: E731
            else:
                step = lambda: self._coroutine.send(None)  # noqa: E731


class _Port:
    """A port of the store or a provider, with some of its coroutine functions metered."""

    def __init__(self, meter: Meter, port: Any, stages: dict[str, str], other: str = "") -> None:
        self._port = port
        for name in dir(port):
            stage, call = stages.get(name, other), getattr(port, name)
            if stage and asyncio.iscoroutinefunction(call):
                setattr(self, name, meter.steps(stage, call))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


class _Store:
    """The store, its ports metered."""

    def __init__(self, meter: Meter, store: Any) -> None:
        self._store = store
        self.ledger = _Port(meter, store.ledger, {}, RECORD)
        self.directory = _Port(meter, store.directory, {"get": LOOK, "suppressed": LOOK}, RECORD)
        self.threads = _Port(meter, store.threads, {"subscriptions": LOOK})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose work in other threads is metered too."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    def run_in_executor(self, executor: Any, call: Any, *args: Any) -> Any:  # type: ignore[override]
        """As always, on the account of the stage that asks for it."""
        return super().run_in_executor(executor, self._meter.in_thread, STAGE.get(), call, *args)


def meter_turns(meter: Meter) -> None:
    """Have every turn of the event loop switch to the stage of its context, and back to the loop's own."""
    run = asyncio.Handle._run

    def metered(handle: Any) -> None:
        meter.switch(handle._context.get(STAGE, ENGINE))
        run(handle)
        meter.switch(LOOP)

    asyncio.Handle._run = metered  # type: ignore[method-assign, assignment]


def _meter_thread(meter: Meter) -> None:
    """The embedded store's thread: what it does for several calls at once counts for the first writer."""
    do, made = Worker._do, Call.__init__

    def noted(call: Call, *args: Any, **kwargs: Any) -> None:
        made(call, *args, **kwargs)
        stages[call] = STAGE.get()

    def metered(worker: Worker, calls: Sequence[Call]) -> None:
        some = [stages.pop(call, RECORD) for call in sorted(calls, key=lambda call: not call.writes)]
        meter.in_thread(some[0], do, worker, calls)

    stages: dict[Call, str] = {}
    Call.__init__ = noted  # type: ignore[method-assign, assignment]
    Worker._do = metered  # type: ignore[method-assign, assignment]


def meter_exchange(meter: Meter, exchange: Exchange) -> None:
    """Meter an open exchange's sending, for the rest of this process."""
    _meter_thread(meter)
    exchange.store = _Store(meter, exchange.store)
    prepare = meter.whole(ROUTE, Preparer.prepare)

    def prepared(preparer: Preparer, look: Look) -> Prepared:
        window: Prepared = prepare(replace(preparer, render=meter.whole(RENDER, preparer.render)), look)
        return window

    Preparer.prepare = prepared  # type: ignore[method-assign, assignment]
    plain, made = exchange.provider, {}

    def provider(channel: Channel) -> Any:
        if channel not in made:
            made[channel] = _Port(meter, plain(channel), {"send": f"send {channel}"})
        return made[channel]

    exchange.provider = provider  # type: ignore[method-assign]
