"""Faults 8, 9 and 10 below HTTP: streams, connections and certificates that misbehave."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from fault_apns import HostileApns, Line, Push
from fault_certificates import server_context
from fault_front import raw, send_to
from fault_proxy import proxy
from fault_world import PATIENCE, World, brief, crowd, on_sqlite, person

from msgxc import campaigns
from msgxc.model import Channel, Reason
from msgxc.reports.funnel import End

pytestmark = on_sqlite


async def test_9_goaway_in_mid_stream(world: World) -> None:
    """Fault 9. Every 20th push is answered by GOAWAY: streams up to its last id were taken, those above were
    not looked at. Those above are not in doubt, so with `hold` nobody is repeated and only the few whose
    answer was cut off are unknown."""
    people = crowd(80)
    cut: set[str] = set()

    def handle(server: HostileApns, line: Line, push: Push) -> None:
        if push.number % 20:
            server.accept(line, push)
        else:
            server.accept(line, push, answer=False)
            cut.add(push.headers["apns-id"])
            server.go_away(line, push.stream)

    what = await world.campaign("goaway", people, in_doubt="hold")
    async with raw(world, Channel.APNS, HostileApns(world.ground, handle).serve):
        await asyncio.wait_for(world.send(what), PATIENCE)
        report = await world.judge(what, people, lost=len(cut))
    assert world.ground.repeats() == 0
    assert len(world.ground.by_person()) == 80
    assert 1 <= report.ends[End.UNKNOWN] <= len(cut)


async def test_9_refused_streams(world: World) -> None:
    """Fault 9. A third of the streams is refused (never looked at): sent again, everybody once (I1, I2)."""
    people, chance = crowd(60), random.Random(9)
    tries: Counter[str] = Counter()

    def handle(server: HostileApns, line: Line, push: Push) -> None:
        tries[push.headers["apns-id"]] += 1
        refused = chance.random() < 0.33 and tries[push.headers["apns-id"]] < 3
        (server.refuse if refused else server.accept)(line, push)

    what = await world.campaign("refused-streams", people)
    async with raw(world, Channel.APNS, HostileApns(world.ground, handle).serve):
        await asyncio.wait_for(world.send(what), PATIENCE)
        await world.judge(what, people)


async def test_9_one_stream_at_a_time(world: World) -> None:
    """Fault 9. SETTINGS_MAX_CONCURRENT_STREAMS 1: no connection ever carries two, and everybody gets it,
    once."""
    people = crowd(30)
    what = await world.campaign("one-stream", people)
    server = HostileApns(world.ground, streams=1)
    async with raw(world, Channel.APNS, server.serve):
        await asyncio.wait_for(world.send(what), PATIENCE)
        await world.judge(what, people)
    assert server.most_at_once == 1


@brief
async def test_9_a_connection_that_dies_in_silence(world: World) -> None:
    """Fault 9. The way to the provider swallows everything for a while: calls end by their timeout, in doubt;
    when it is back everybody is reached, and only those in doubt may have it twice, under one identity."""
    people = crowd(60)
    what = await world.campaign("silence", people, per_second=40)
    async with proxy(world.sandbox.endpoints.apns.port) as way:
        send_to(world, Channel.APNS, way.port)
        sending = asyncio.create_task(world.send(what))
        await asyncio.sleep(0.6)
        way.blackhole()
        await asyncio.sleep(world.settings.provider_timeout + 1)
        assert not sending.done()
        way.reset()
        way.heal()
        await asyncio.wait_for(sending, PATIENCE)
        await world.judge(what, people, repeats=2 * world.settings.in_flight)
        await world.exchange.provider(Channel.APNS).close()


@pytest.mark.parametrize("fault", ["drop", "half_close", "throttle", "delay"])
async def test_9_a_bad_line(world: World, fault: str) -> None:
    """Faults 8 and 9. Connections that are reset after some bytes, closed on one side, slow or late: all are
    reached; only a call whose answer was cut off may be repeated."""
    people = crowd(60)
    what = await world.campaign(f"line-{fault.replace('_', '-')}", people, per_second=60)
    async with proxy(world.sandbox.endpoints.apns.port) as way:
        send_to(world, Channel.APNS, way.port)
        sending = asyncio.create_task(world.send(what))
        await asyncio.sleep(0.4)
        {
            "drop": lambda: way.drop_after(300),
            "half_close": way.half_close,
            "throttle": lambda: way.throttle(6000),
            "delay": lambda: way.delay(0.3),
        }[fault]()
        await asyncio.wait_for(sending, PATIENCE)
        broken = fault in ("drop", "half_close")
        await world.judge(what, people, repeats=world.settings.in_flight if broken else 0)
        await world.exchange.provider(Channel.APNS).close()


WRONG = ["expired", "not yet", "other host", "self-signed", "other authority"]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("channel", [Channel.APNS, Channel.EMAIL])
async def test_10_a_wrong_certificate(world: World, channel: Channel, wrong: str) -> None:
    """Fault 10. A certificate that is expired, for another host, self-signed or from a stranger: not one
    request is sent over it; the people are put off, and given up after the last try, never called reached."""
    people = crowd(3) if channel is Channel.APNS else [person(email=f"n{n}@example.com") for n in range(3)]
    what = await world.campaign(f"wrong-{channel}", people, channels=(channel,))
    tls, ca = server_context(
        world.settings.home / "tls", wrong, "h2" if channel is Channel.APNS else "http/1.1"
    )
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(100))

    async with raw(world, channel, serve, tls, ca):
        planned = await world.prepare(what)
        await campaigns.send_slice(
            world.exchange, planned.id, 0, planned.shards, stop=asyncio.Event(), patient=False
        )
    assert not any(heard)
    report = await campaigns.report(world.exchange, what.name)
    assert report.ends == {End.PENDING: 3}
    assert {row.reason for row in await world.rows(what)} == {Reason.UNAVAILABLE}


async def test_10_the_right_certificate(world: World) -> None:
    """Fault 10, the other way round: the same server with a certificate that is right is talked to."""
    people = crowd(3)
    what = await world.campaign("right", people)
    tls, ca = server_context(world.settings.home / "tls", "", "h2")
    async with raw(world, Channel.APNS, HostileApns(world.ground).serve, tls, ca):
        await asyncio.wait_for(world.send(what), PATIENCE)
        await world.judge(what, people)
