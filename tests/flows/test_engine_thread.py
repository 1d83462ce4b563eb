"""The engine's thread: whatever interrupts Prefect, what was under way is written down."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from msgxc.errors import WrongInput
from msgxc.settings import read_settings
from msgxc.wiring import Exchange, apply_schema
from tasks import engine


@pytest.fixture
def exchange_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An exchange that tasks find through the environment; afterwards garbage is looked for as before."""
    monkeypatch.setenv("MSGXC_HOME", str(tmp_path))
    asyncio.run(apply_schema(read_settings()))
    before = gc.get_threshold()
    yield tmp_path
    gc.set_threshold(*before)
    gc.unfreeze()


def test_the_answer_comes_back(exchange_at: Path) -> None:
    """So does an exception, as it was raised."""

    async def answer(exchange: Exchange, _: engine.Engine) -> Path:
        return exchange.settings.home

    async def fail(_: Exchange, __: engine.Engine) -> None:
        raise WrongInput("no")

    assert engine.call(answer) == exchange_at
    with pytest.raises(WrongInput, match="no"):
        engine.call(fail)


def test_an_interrupt_is_raised_after_the_engine_has_ended(exchange_at: Path) -> None:
    """SIGTERM, and another one while the engine ends: its last record is written all the same."""
    written: list[str] = []

    async def send(_: Exchange, running: engine.Engine) -> None:
        while not running.stop.is_set():
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)
        written.append("the last record")

    def interrupt(*_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            engine.call(send)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert written == ["the last record"]


def test_an_engine_that_hangs_is_left_behind(exchange_at: Path) -> None:
    """It gets its seconds and no more: the process has to end before the worker kills it."""

    ended = threading.Event()

    async def hang(_: Exchange, running: engine.Engine) -> None:
        await asyncio.sleep(10 * engine.GRACE_SECONDS)
        ended.set()

    def interrupt(_: engine.Engine) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.call(hang, interrupt)
    assert not ended.is_set()
