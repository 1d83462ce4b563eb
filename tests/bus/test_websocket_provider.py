"""The websocket provider, against sessions that really listen on the bus."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID, uuid4

import pytest
from nats_fixture import NatsServer

from msgxc.bus import Bus
from msgxc.bus.memory import MemoryBus
from msgxc.bus.nats import NatsBus
from msgxc.model import Channel, Email, Outcome, Outgoing, Push, Reason, Receipt, Target, Urgency
from msgxc.providers.websocket import OK, Websocket, subject_of

REFUSED = Receipt(Outcome.REFUSED, Reason.NOT_ACKNOWLEDGED)
ACCEPTED = Receipt(Outcome.ACCEPTED)
#: What ends a test that hangs, and a time that must never be waited for, in seconds.
PATIENCE, NEVER = 60.0, 600.0


def outgoing(uid: UUID, content: Push | Email | None = None) -> Outgoing:
    return Outgoing(
        delivery=uuid4(),
        uid=uid,
        target=Target(Channel.WEBSOCKET, str(uid)),
        content=content
        or Push(
            "Sale \U0001f468‍\U0001f469‍\U0001f467", "Käse „billig“", "https://x.example/", data={"a": "b"}
        ),
        urgency=Urgency.NORMAL,
        ttl=60,
        collapse="c",
        campaign="spring",
    )


@asynccontextmanager
async def session(
    bus: Bus, uid: UUID, answer: bytes | None = OK, after: Callable[[], Awaitable[object]] | None = None
) -> AsyncIterator[list[dict[str, object]]]:
    """A person's open session: shows what comes, and acknowledges it, after what it waits for."""
    shown: list[dict[str, object]] = []
    async with bus.subscribe(subject_of(uid)) as subscription:

        async def show() -> None:
            async for message in subscription:
                shown.append(json.loads(message.payload))
                if after is not None:
                    await after()
                if answer is not None:
                    await message.answer(answer)

        task = asyncio.create_task(show())
        yield shown
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(params=["memory", "nats"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    made: Bus = MemoryBus()
    if request.param == "nats":
        server: NatsServer = request.getfixturevalue("nats_server")
        made = await NatsBus.connect(server.url)
    yield made
    await made.close()


async def test_acknowledged_is_accepted(bus: Bus) -> None:
    """What a session acknowledges is accepted, and the session saw the whole message."""
    uid = uuid4()
    sent = outgoing(uid)
    async with session(bus, uid) as shown:
        assert await Websocket(bus, acknowledge_seconds=PATIENCE).send([sent]) == [ACCEPTED]
    assert isinstance(sent.content, Push)
    assert shown == [
        {
            "id": str(sent.delivery),
            "collapse": "c",
            "title": sent.content.title,
            "body": sent.content.body,
            "url": "https://x.example/",
            "image": "",
            "data": {"a": "b"},
            "urgency": 3,
            "ttl": 60,
            "campaign": "spring",
        }
    ]


async def test_nobody_there_is_refused_at_once(bus: Bus) -> None:
    """Without a session the delivery is over, at once, so that the fallback can take over."""
    async with asyncio.timeout(PATIENCE):
        assert await Websocket(bus, acknowledge_seconds=NEVER).send([outgoing(uuid4())]) == [REFUSED]


@pytest.mark.parametrize("answer", [None, b"", b"no"])
async def test_silent_or_unwilling_session_is_no_acknowledgement(bus: Bus, answer: bytes | None) -> None:
    """Reaching a session is not enough: it must say OK, and in time."""
    uid = uuid4()
    async with session(bus, uid, answer):
        assert await Websocket(bus, acknowledge_seconds=0.1).send([outgoing(uid)]) == [REFUSED]


async def test_one_of_several_sessions_is_enough(bus: Bus) -> None:
    """Two tabs open, one asleep: the other's acknowledgement counts."""
    uid = uuid4()
    async with session(bus, uid, None) as asleep, session(bus, uid) as awake:
        assert await Websocket(bus, acknowledge_seconds=PATIENCE).send([outgoing(uid)]) == [ACCEPTED]
        await asyncio.sleep(0)
        assert len(awake) == 1
        assert len(asleep) <= 1


async def test_batch_waits_together_and_answers_in_order(bus: Bus) -> None:
    """No session answers before all of them have the message, and each receipt is the right person's."""
    people, all_have_it = [uuid4() for _ in range(50)], asyncio.Barrier(25)
    async with AsyncExitStack() as sessions:
        for uid in people[::2]:
            await sessions.enter_async_context(session(bus, uid, after=all_have_it.wait))
        async with asyncio.timeout(PATIENCE):
            provider = Websocket(bus, acknowledge_seconds=NEVER)
            receipts = await provider.send([outgoing(uid) for uid in people])
    assert receipts == [ACCEPTED, REFUSED] * 25


async def test_waiting_is_bounded() -> None:
    """At most `at_once` messages wait for their acknowledgement, over all calls."""
    bus, uid = MemoryBus(), uuid4()
    async with session(bus, uid, None):
        provider = Websocket(bus, acknowledge_seconds=0.1, at_once=2)
        started = time.monotonic()
        assert await provider.send([outgoing(uid) for _ in range(6)]) == [REFUSED] * 6
        assert time.monotonic() - started >= 0.29


async def test_wrong_content_is_our_bug_and_fails_alone() -> None:
    """An email, or a push beyond the bus's limit, is refused; its neighbours are sent."""
    bus, uid = MemoryBus(), uuid4()
    async with session(bus, uid) as shown:
        receipts = await Websocket(bus, acknowledge_seconds=PATIENCE).send(
            [outgoing(uid, Email("s", "h", "t")), outgoing(uid, Push("x" * 1_100_000, "")), outgoing(uid)]
        )
    assert [receipt.reason for receipt in receipts] == [Reason.MALFORMED, Reason.TOO_LARGE, None]
    assert len(shown) == 1


async def test_closed_bus_is_refused_not_raised() -> None:
    """A bus that is away raises for nobody."""
    bus = MemoryBus()
    await bus.close()
    assert await Websocket(bus).send([outgoing(uuid4())]) == [REFUSED]
