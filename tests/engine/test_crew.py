"""Helper processes of a run: they send what there is, leave when told, and cost no more than any process."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading

import pytest
from conftest_engine import Ground, crowd, enlist, spec
from waiting import until

from msgxc import campaigns
from msgxc.crew import crew
from msgxc.ledger import Control
from msgxc.parts import Planned
from msgxc.settings import Settings
from msgxc.wiring import Exchange

PEOPLE = 600


@pytest.fixture(autouse=True)
def _environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The helpers read their settings from it."""
    for name, value in settings.model_dump(mode="json", exclude_defaults=True).items():
        monkeypatch.setenv(f"MSGXC_{name}".upper(), str(value))


async def planned(exchange: Exchange, ground: Ground, name: str) -> Planned:
    """A sealed campaign to PEOPLE people: three slices."""
    await enlist(exchange, ground, crowd(PEOPLE))
    plan = await campaigns.plan(exchange, spec(name))
    await campaigns.seal(exchange, plan.id)
    return plan


async def finished(exchange: Exchange, plan: Planned) -> None:
    """Wait until no shard is left."""

    async def none_left() -> bool:
        return not await exchange.store.ledger.unfinished(plan.id, 0, plan.shards)

    await until(none_left, look=0.1)


async def test_helpers_send_everybody_once(exchange: Exchange, ground: Ground) -> None:
    """Two helpers finish a campaign of which this process sends nothing; nobody gets two messages."""
    plan = await planned(exchange, ground, "crew")
    with crew(plan, 3):
        await finished(exchange, plan)
    assert set(ground.by_person().values()) == {1}
    assert len(ground.by_person()) == PEOPLE


def test_a_small_run_has_no_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more processes than slices: one slice is sent by the process that has it."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(subprocess, "Popen", never)
    plan = Planned(None, "small", 2, ((0, 2),), 80, None, (0, 2))  # type: ignore[arg-type]  # no id is needed
    with crew(plan, 4):
        pass


@pytest.mark.parametrize("end", ["goodbye", "SIGTERM"])
async def test_a_helper_leaves_politely(exchange: Exchange, ground: Ground, end: str) -> None:
    """Whoever started it is gone, or it is told to stop: nobody is in doubt, and its leases are free."""
    plan = await planned(exchange, ground, f"leaves-{end.lower()}")
    command = [sys.executable, "-m", "msgxc.crew", plan.name, "0", str(plan.shards), "1.0"]
    helper = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert helper.stdin
    await until(lambda: bool(ground.accepted()), helper)
    await exchange.store.ledger.set_control(plan.id, Control.PAUSE)
    if end == "SIGTERM":
        for _ in range(2):
            helper.send_signal(signal.SIGTERM)
    else:
        helper.stdin.close()
    assert await asyncio.to_thread(helper.wait, 120) == 0
    helper.stdin.close()
    free = await exchange.store.ledger.unfinished(plan.id, 0, plan.shards)
    assert all(until <= exchange.clock() for until in free.values())
    await exchange.store.ledger.set_control(plan.id, Control.RUN)
    await campaigns.send_rest(exchange, plan, stop=threading.Event())
    assert len(ground.by_person()) == PEOPLE
    assert set(ground.by_person().values()) == {1}
