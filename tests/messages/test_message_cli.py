"""The command line of messages: the queue, recall, cancel, dispatch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from msgxc.cli import app
from msgxc.messages import publishing
from msgxc.messages.records import Draft, Principal, Role
from msgxc.model import Recipient, Subscription, Thread, Urgency
from msgxc.settings import read_settings
from msgxc.wiring import Exchange, open_exchange

T = TypeVar("T")
SERVICE = Principal(None, frozenset({Role.SERVICE}))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh exchange, in a folder without .env."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MSGXC_HOME", str(tmp_path / "var"))
    monkeypatch.setenv("COLUMNS", "160")
    _run("schema", "apply")


def _run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    return result.output


def _with(work: Callable[[Exchange], Awaitable[T]]) -> T:
    async def opened() -> T:
        async with open_exchange(read_settings()) as exchange:
            return await work(exchange)

    return asyncio.run(opened())


def test_what_is_owed_is_shown_sent_and_taken_back() -> None:
    """A message waits, is canceled or recalled, and the queue says so at every step."""
    thread = Thread(uuid4(), "Room")
    person = Recipient(uuid4())

    async def say(exchange: Exchange) -> tuple[str, str]:
        await exchange.store.threads.put(thread)
        await exchange.store.directory.put([person])
        await exchange.store.threads.subscribe([Subscription(thread.tid, person.uid)])
        said = [await publishing.publish(exchange, SERVICE, Draft("Hi", thread.tid)) for _ in range(2)]
        return str(said[0].mid), str(said[1].mid)

    assert _run("messages", "queue") == "nothing is owed\n"
    first, second = _with(say)
    shown = _run("messages", "queue")
    assert "nearline" in shown
    assert first in shown
    assert _run("messages", "cancel", thread.tid, first) == "canceled\n"
    assert _run("messages", "recall", thread.tid, second).startswith("1 unsent, 0 withdrawn")
    assert "no message" in _run("messages", "recall", thread.tid, uuid4(), status=1)
    assert _run("messages", "dispatch").endswith("messages\n")
    assert "no message" in _run("messages", "recall", uuid4(), status=1)


def test_what_leaves_is_taken_back_by_its_id_alone() -> None:
    """No other id is needed once it leaves."""
    thread, person = Thread(uuid4(), "Room"), Recipient(uuid4())

    async def say(exchange: Exchange) -> str:
        await exchange.store.threads.put(thread)
        await exchange.store.directory.put([person])
        await exchange.store.threads.subscribe([Subscription(thread.tid, person.uid)])
        draft = Draft("Hi", thread.tid, urgency=Urgency.HIGH)
        return str((await publishing.publish(exchange, SERVICE, draft)).mid)

    said = _with(say)
    assert _run("messages", "dispatch") == "1 messages\n"
    assert said in _run("messages", "list"), "what has left is listed, too"
    assert "0 beyond recall" in _run("messages", "recall", said)


def test_what_waits_is_taken_back_by_its_id_alone() -> None:
    """Nobody has begun to send it, so that only the queue knows its thread."""
    thread, person = Thread(uuid4(), "Room"), Recipient(uuid4())

    async def say(exchange: Exchange) -> str:
        await exchange.store.threads.put(thread)
        await exchange.store.directory.put([person])
        await exchange.store.threads.subscribe([Subscription(thread.tid, person.uid)])
        return str((await publishing.publish(exchange, SERVICE, Draft("Hi", thread.tid))).mid)

    said = _with(say)
    assert said in _run("messages", "list")
    assert _run("messages", "recall", said).startswith("1 unsent, 0 withdrawn")
