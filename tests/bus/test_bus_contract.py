"""What every bus does, asked of the in-process one, of the machine's own and of a real nats-server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from nats_fixture import NatsServer

from msgxc.bus import PAYLOAD, Bus, Message, Subscription
from msgxc.bus.local import LocalBus
from msgxc.bus.memory import MemoryBus
from msgxc.bus.nats import NatsBus
from msgxc.errors import WrongInput

#: What ends a test that hangs, and a time that must never be waited for, in seconds.
PATIENCE, NEVER = 60.0, 600.0


@pytest.fixture(params=["memory", "local", "nats"])
async def bus(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bus]:
    made: Bus
    if request.param == "memory":
        made = MemoryBus()
    elif request.param == "local":
        made = await LocalBus.open(tmp_path)
    else:
        server: NatsServer = request.getfixturevalue("nats_server")
        made = await NatsBus.connect(server.url)
    yield made
    await made.close()


async def next_of(subscription: Subscription) -> Message:
    async with asyncio.timeout(PATIENCE):
        async for message in subscription:
            return message
    raise AssertionError("the subscription ended")


@asynccontextmanager
async def answering(bus: Bus, subject: str, text: bytes, *, times: int = 1) -> AsyncIterator[list[Message]]:
    """Somebody who answers requests."""
    got: list[Message] = []

    async def serve(subscription: Subscription) -> None:
        async for message in subscription:
            got.append(message)
            for _ in range(times):
                await message.answer(text)

    async with bus.subscribe(subject) as subscription:
        task = asyncio.create_task(serve(subscription))
        yield got
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_published_reaches_each_subscriber_in_order(bus: Bus) -> None:
    """Every subscriber of a subject gets every message, in the order of publishing."""
    async with bus.subscribe("thread.1") as one, bus.subscribe("thread.1") as two:
        for number in range(100):
            assert await bus.publish("thread.1", str(number).encode())
        for subscription in (one, two):
            got = [await next_of(subscription) for _ in range(100)]
            assert [message.payload for message in got] == [str(n).encode() for n in range(100)]
            assert got[0].subject == "thread.1"


async def test_published_to_nobody_is_taken(bus: Bus) -> None:
    """Nobody listening is no failure: the bus is a wake-up."""
    assert await bus.publish("thread.none", b"x") is True


@pytest.mark.parametrize(
    ("pattern", "taken", "passed"),
    [
        ("person.*", ["person.1", "person.x-y_Z"], ["person", "person.1.2", "thread.1"]),
        ("person.>", ["person.1", "person.1.2"], ["person", "thread.1"]),
        (">", ["a", "a.b.c"], []),
        ("*.1", ["person.1", "thread.1"], ["person.2", "person.1.1"]),
        ("*.>", ["a.b", "a.b.c"], ["a"]),
        ("a.b", ["a.b"], ["a", "a.b.c", "a.bc"]),
    ],
)
async def test_wildcards_are_those_of_nats(
    bus: Bus, pattern: str, taken: list[str], passed: list[str]
) -> None:
    """`*` is one word and `>` is one or more, on both buses."""
    async with bus.subscribe(pattern) as subscription, bus.subscribe("end") as end:
        for subject in [*passed, *taken]:
            await bus.publish(subject, subject.encode())
        await bus.publish("end", b"")
        await next_of(end)
        await bus.close()
        assert [message.subject async for message in subscription] == [
            s for s in (*taken, "end") if s in taken or pattern == ">"
        ]


async def test_slow_subscriber_loses_the_oldest_and_is_told(bus: Bus) -> None:
    """A subscriber that does not read costs `waiting` messages at most: the oldest go, counted and told."""
    async with bus.subscribe("a", waiting=10) as slow, bus.subscribe("a", waiting=1000) as quick:
        for number in range(100):
            await bus.publish("a", str(number).encode())
        for _ in range(100):
            await next_of(quick)
        got = [await next_of(slow) for _ in range(10)]
        assert [message.payload for message in got] == [str(n).encode() for n in range(90, 100)]
        assert [message.dropped for message in got] == [90] + [0] * 9
        assert slow.dropped == 90
        assert quick.dropped == 0


async def test_request_is_answered(bus: Bus) -> None:
    """A request comes back with the answer, whoever gives it first."""
    async with answering(bus, "person.*", b"yes", times=2) as got:
        assert await bus.request("person.1", b"there?", 60) == b"yes"
        assert [(message.subject, message.payload) for message in got] == [("person.1", b"there?")]


async def test_many_requests_at_once_are_not_mixed_up(bus: Bus) -> None:
    """Each of 200 requests under way gets its own answer."""

    async def serve(subscription: Subscription) -> None:
        async for message in subscription:
            await message.answer(message.payload * 2)

    async with bus.subscribe("ask.*") as subscription:
        task = asyncio.create_task(serve(subscription))
        answers = await asyncio.gather(*(bus.request(f"ask.{n}", str(n).encode(), 60) for n in range(200)))
        assert answers == [str(n).encode() * 2 for n in range(200)]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_request_to_nobody_is_told_at_once(bus: Bus) -> None:
    """Nobody listens: None, without waiting for the timeout."""
    async with asyncio.timeout(PATIENCE):
        assert await bus.request("person.nobody", b"x", NEVER) is None


async def test_request_that_nobody_answers_ends_in_time(bus: Bus) -> None:
    """Somebody listens and stays silent: None after the timeout."""
    async with bus.subscribe("person.1"):
        started = time.monotonic()
        async with asyncio.timeout(PATIENCE):
            assert await bus.request("person.1", b"x", 0.2) is None
        assert time.monotonic() - started > 0.15


async def test_answer_to_a_published_message_does_nothing(bus: Bus) -> None:
    """Only requests have an answer; a subscriber need not know which it got."""
    async with bus.subscribe("a") as subscription:
        await bus.publish("a", b"x")
        await (await next_of(subscription)).answer(b"y")


async def test_nothing_arrives_after_the_context_is_left(bus: Bus) -> None:
    """Leaving the context unsubscribes: a request finds nobody."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(bus.subscribe("a"))
    async with asyncio.timeout(PATIENCE):
        assert await bus.request("a", b"x", NEVER) is None


async def test_close_hands_out_what_has_arrived(bus: Bus) -> None:
    """Closing ends the iteration, after the last message that arrived."""
    async with bus.subscribe("a") as subscription:
        for number in range(50):
            await bus.publish("a", str(number).encode())
        await bus.close()
        assert len([message async for message in subscription]) == 50
    await bus.close()
    assert await bus.publish("a", b"late") is False
    async with asyncio.timeout(PATIENCE):
        assert await bus.request("a", b"late", NEVER) is None


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB b 1", "a..b", ".a", "a.", "a.*", "person.ä", "a.>"])
async def test_wrong_subjects_are_refused(bus: Bus, subject: str) -> None:
    """A subject that could inject a command, or match something else, is one clear error."""
    with pytest.raises(WrongInput):
        await bus.publish(subject, b"")
    with pytest.raises(WrongInput):
        await bus.request(subject, b"", 1)


@pytest.mark.parametrize("pattern", ["", "a b", "a.>.b", "a.b*", "a.\n"])
async def test_wrong_subscriptions_are_refused(bus: Bus, pattern: str) -> None:
    """So is a subscription that NATS would not take."""
    with pytest.raises(WrongInput):
        async with bus.subscribe(pattern):
            pass


async def test_too_large_a_payload_is_refused(bus: Bus) -> None:
    """1 MB goes through, one byte more is one clear error."""
    async with bus.subscribe("a") as subscription:
        assert await bus.publish("a", b"x" * PAYLOAD)
        assert len((await next_of(subscription)).payload) == PAYLOAD
    with pytest.raises(WrongInput):
        await bus.publish("a", b"x" * (PAYLOAD + 1))
