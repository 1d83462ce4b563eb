"""Dispatch as a run of the console: always alive, seen by the operator, replaced when it is killed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from flow_console import PrefectConsole, until

from msgxc import ids
from msgxc.messages import publishing
from msgxc.messages.records import Draft, Message, Principal, Role
from msgxc.messages.succession import vacant
from msgxc.model import Subscription, Thread, Urgency
from msgxc.owners import read_owner
from msgxc.wiring import Exchange, open_exchange

T = TypeVar("T")
SERVICE = Principal(None, frozenset({Role.SERVICE}))


def _with(console: PrefectConsole, work: Callable[[Exchange], Awaitable[T]]) -> T:
    async def opened() -> T:
        async with open_exchange(console.system.settings) as exchange:
            return await work(exchange)

    return asyncio.run(opened())


@pytest.fixture(scope="module")
def thread(console: PrefectConsole) -> Thread:
    """A thread with one subscriber."""
    made = Thread(uuid4(), "Room", open=True)

    async def work(exchange: Exchange) -> None:
        await exchange.store.threads.put(made)
        someone = ids.uid_of(exchange.key, "quick-7")
        await exchange.store.threads.subscribe([Subscription(made.tid, someone)])

    _with(console, work)
    return made


def _say(console: PrefectConsole, thread: Thread) -> Message:
    """Publish at urgency 4; answers the message once a provider has accepted it."""
    before = len(console.accepted("quick"))
    draft = Draft("Hi", thread.tid, urgency=Urgency.HIGH)
    said = _with(console, lambda exchange: publishing.publish(exchange, SERVICE, draft))
    until(lambda: len(console.accepted("quick")) > before, 120)
    return said


def _dispatcher(console: PrefectConsole) -> int:
    """The process that dispatches, as soon as there is one."""

    def look() -> Any:
        async def work(exchange: Exchange) -> Any:
            key = ids.dispatch_seats(exchange.key)
            held = await exchange.store.ledger.holders([key])
            return held.get(key) if await vacant(exchange) is None else None

        return _with(console, work)

    owner = read_owner(until(look, 120)[0])
    assert owner
    return owner.pid


def test_a_run_is_alive_and_urgent_messages_leave(console: PrefectConsole, thread: Thread) -> None:
    """Nobody has started it: it is there, takes what is published in another process, and shows the queue."""
    _dispatcher(console)
    for _ in range(3):
        _say(console, thread)
    wanted = {
        "flows": {"name": {"any_": ["dispatch"]}},
        "flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}},
    }
    run = until(lambda: console.json("POST", "/flow_runs/filter", wanted), 120)[0]["id"]
    until(lambda: "triage" in console.artifacts(run), 120)


def test_a_message_is_recalled_from_the_console(console: PrefectConsole, thread: Thread) -> None:
    """A small run with a line of its drop-down, stored as a dialog of Prefect stores it; its message and its
    artifact hold the four numbers."""
    said = _say(console, thread)
    path = f"/deployments/{console.deployment('recall/recall')['id']}/create_flow_run"
    parameters = {"message": f"2026-11-30 14:05:10 UTC, thread, 1 people: {said.mid}", "thread": None}
    run = console.json("POST", path, {"parameters": parameters})["id"]
    assert console.end(run)["message"] == "0 unsent, 1 withdrawn, 0 seen, 0 beyond recall"
    assert "recall" in console.artifacts(run)


def test_a_killed_run_is_replaced(console: PrefectConsole, thread: Thread) -> None:
    """kill -9: another process dispatches soon, and what was published meanwhile is sent."""
    killed = _dispatcher(console)
    os.kill(killed, signal.SIGKILL)
    _say(console, thread)
    until(lambda: _dispatcher(console) != killed, 240)


def test_the_runs_hold_nothing_personal(console: PrefectConsole) -> None:
    """Artifacts of the runs hold ids and counts: no name, no address, no text of a message."""
    shown = console.json("POST", "/artifacts/filter", {"artifacts": {"key": {"any_": ["triage", "recall"]}}})
    assert shown
    for artifact in shown:
        assert "token" not in str(artifact)
        assert "Zebediah" not in str(artifact)
        assert "Hi" not in str(artifact["data"])
