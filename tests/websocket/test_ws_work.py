"""What a websocket asks for is work: counted with all else that its person does, and one replay at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from socket_world import Client, Gateway, connected, serving, settings_of

from msgxc.messages.records import Message

START = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """With a quota that a test can use up."""
    async with serving(settings_of(tmp_path, rate_per_minute=120)) as running:
        yield running


async def _said(gateway: Gateway, tid: UUID, count: int, text: str = "x") -> list[Message]:
    return [await gateway.publish(tid, text) for _ in range(count)]


async def _replay(client: Client, tid: UUID, after: str = START) -> tuple[int, dict[str, object]]:
    """How many messages came, and the answer."""
    await client.say("/api/v2/subscribe/thread", tid=str(tid), after=after, ref="r")
    count = 0
    while (frame := await client.next()).get("ref") != "r":
        count += frame["slug"].startswith("/thread/")
    return count, frame


async def test_frames_and_requests_have_one_quota(gateway: Gateway) -> None:
    """Of all kinds, over two connections and by REST; past it each is refused with the time to come again,
    and check-ins are answered all the same."""
    uid, token = await gateway.person()
    tid = await gateway.thread()
    name = "/api/v2/publish/public-ephemeral/a-name-of-16-letters"
    async with connected(gateway.url, token) as one, connected(gateway.url, gateway.token(uid)) as two:
        for number in range(29):
            client = (one, two)[number % 2]
            for answer in (
                await client.listen(tid),
                await client.ask("/api/v2/unsubscribe/thread", tid=str(tid)),
                await client.ask(name, msg="x"),
                await client.ask("/api/v2/ack", id="nobody asked"),
            ):
                assert answer["ok"], number
        async with httpx.AsyncClient(base_url=f"http://{gateway.url}/api/v2") as rest:
            login = {"Authorization": f"Bearer {token}"}
            answers = [await rest.get("/unread", headers=login) for _ in range(5)]
            assert [answer.status_code for answer in answers] == [200] * 4 + [429]
        for client in (one, two):
            refused = await client.listen(tid)
            assert (refused["ok"], refused["code"]) == (False, "too_many_requests")
            assert 1 <= refused["retry_after"] <= 60
            assert (await client.ask("/ping"))["ok"]
    async with connected(gateway.url, (await gateway.person())[1]) as other:
        assert (await other.listen(tid))["ok"]


async def test_what_is_shown_again_is_paid_for(gateway: Gateway) -> None:
    """Ten messages, or 16 kB of them, are a unit: an old `after` again and again ends with the quota, in the
    middle of a replay, which says so; later it goes on there."""
    _, token = await gateway.person()
    small, large = await gateway.thread(), await gateway.thread()
    await _said(gateway, small, 200)
    await _said(gateway, large, 20, "x" * 15_900)
    async with connected(gateway.url, token) as client:
        assert await _replay(client, small) == (200, {**(await _answer(small, 200)), "ref": "r"})
        count, answer = await _replay(client, large)
        assert (count, answer.get("more")) == (20, None)
        shown = [await _replay(client, small) for _ in range(12)]
        assert sum(count for count, _ in shown) < 1_000
        assert shown[-1][1]["code"] == "too_many_requests"
        cut = next(answer for count, answer in shown if 0 < count < 200)
        assert cut["more"] is True


async def _answer(tid: UUID, count: int) -> dict[str, object]:
    return {"slug": "/api/v2/subscribe/thread", "ok": True, "tid": str(tid), "replayed": count}


async def test_one_replay_at_a_time_for_a_person(tmp_path: Path) -> None:
    """Twenty connections ask at once, each for all of it: their replays take turns, and all come to an end;
    whoever waits too long is told to come again, and is not stopped from checking in."""
    async with serving(settings_of(tmp_path, rate_per_minute=0)) as gateway:
        uid, token = await gateway.person()
        tid = await gateway.thread()
        await _said(gateway, tid, 300)
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connected(gateway.url, token)) for _ in range(20)]
            gateway.hub.replay_seconds = 600
            answers = await asyncio.gather(*(_replay(client, tid) for client in clients))
            assert {count for count, _ in answers} == {300}
            lock = gateway.hub.replaying(f"uid:{uid}")
            async with lock:
                gateway.hub.replay_seconds = 0.1
                refused = (await _replay(clients[0], tid))[1]
                assert (refused["code"], refused["retry_after"]) == ("too_many_requests", 1)
                assert (await clients[0].ask("/ping"))["ok"]
                _, other = await gateway.person()
                async with connected(gateway.url, other) as stranger:
                    assert (await _replay(stranger, tid))[0] == 300
            assert (await _replay(clients[0], tid))[0] == 300
