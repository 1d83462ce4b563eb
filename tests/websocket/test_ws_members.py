"""Whoever is put out of a thread hears nothing of it from that moment on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from socket_world import Gateway, clients, connected, serving, settings_of

from msgxc.messages import joining, publishing
from msgxc.messages.records import Draft, Principal, Role
from msgxc.model import Subscription
from msgxc.wiring import open_exchange

ADMIN = Principal(None, frozenset({Role.ADMIN}))


@pytest.mark.parametrize("bus", ["local", "nats"])
async def test_who_is_put_out_hears_nothing_that_is_said_afterwards(
    tmp_path: Path, bus: str, request: pytest.FixtureRequest
) -> None:
    """Another process removes them, and speaks in the next moment: ten times, no message reaches them, and
    all reach those who stay. No patrol is waited for."""
    url = request.getfixturevalue("nats_server").url if bus == "nats" else "nats://127.0.0.1:1"
    settings = settings_of(tmp_path, bus=bus, nats_url=url)
    async with serving(settings) as gateway, open_exchange(settings) as other:
        gateway.hub.patrol_seconds = 1e9
        tid = await gateway.thread(open=False)
        uid, token = await gateway.person()
        _, staying = await gateway.person(tid)
        async with clients(gateway.url, token, staying) as (gone, stays):
            assert (await stays.listen(tid))["ok"]
            for number in range(10):
                await gateway.exchange.store.threads.subscribe([Subscription(tid, uid)])
                assert (await gone.listen(tid))["ok"]
                await joining.unsubscribe(other, ADMIN, tid, uid)
                await publishing.publish(other, ADMIN, Draft(f"not for them {number}", tid=tid))
                assert (await stays.next("/thread/"))["msg"] == f"not for them {number}"
                frame = await gone.next()
                assert frame["slug"] == "/api/v2/unsubscribe/thread"
                assert frame["tid"] == str(tid)
            assert await gone.silent()


async def test_a_thread_that_is_closed_is_closed_at_once(gateway: Gateway) -> None:
    """Strangers who listened to an open thread are sent away, so are those of its staff who are it no longer;
    subscribers, and whoever is of the staff, hear on."""
    gateway.hub.patrol_seconds = 1e9
    tid, admin = uuid4(), uuid4()
    await joining.found(gateway.exchange, tid, {"open": True, "admins": frozenset({admin})})
    _, stranger = await gateway.person()
    _, member = await gateway.person(tid)
    async with clients(gateway.url, stranger, member, gateway.token(admin)) as (out, within, staff):
        for client in (out, within, staff):
            assert (await client.listen(tid))["ok"]
        await joining.found(gateway.exchange, tid, {"open": False, "archived": True})
        assert (await out.next())["slug"] == "/api/v2/unsubscribe/thread"
        await joining.found(gateway.exchange, tid, {"admins": frozenset(), "archived": False})
        assert (await staff.next())["slug"] == "/api/v2/unsubscribe/thread"
        await gateway.publish(tid, "for members")
        assert (await within.next("/thread/"))["msg"] == "for members"
        assert await out.silent()
        assert await staff.silent()


async def test_whoever_is_put_out_while_they_come_in_is_not_in(gateway: Gateway) -> None:
    """However the two fall together, nobody listens who may not."""
    gateway.hub.patrol_seconds = 1e9
    tid = await gateway.thread(open=False)
    uid, token = await gateway.person()
    async with connected(gateway.url, token) as client:
        for number in range(30):
            await gateway.exchange.store.threads.subscribe([Subscription(tid, uid)])

            async def put_out(wait: float = number / 10_000) -> None:
                await asyncio.sleep(wait)
                await joining.unsubscribe(gateway.exchange, ADMIN, tid, uid)

            await asyncio.gather(client.listen(tid), put_out())
            await gateway.publish(tid, "secret")
            await client.say("/ping")
            while (frame := await client.next())["slug"] != "/pong":
                assert not frame["slug"].startswith("/thread/")
        assert f"thread.{tid}" not in gateway.hub._feeds
        assert await client.silent()
