"""How far a campaign is, told by its senders over NATS and looked at by others; and without NATS."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio
from conftest_engine import Ground, crowd, enlist, send, spec
from nats_fixture import NatsServer
from waiting import PATIENCE, lag, until

from msgxc import campaigns
from msgxc.bus.nats import NatsBus
from msgxc.delivery import Counts
from msgxc.errors import NotFound
from msgxc.ledger import Control
from msgxc.progress import Tally, Told, subject, telling
from msgxc.settings import Settings
from msgxc.watching import Progress, _Watcher, watch
from msgxc.wiring import Exchange, apply_schema, open_exchange

PEOPLE, FEW = 300, 120


@pytest.fixture
def nats_settings(settings: Settings, nats_server: NatsServer) -> Settings:
    """The exchange's processes have a bus between them."""
    return settings.model_copy(update={"bus": "nats", "nats_url": nats_server.url})


@pytest_asyncio.fixture
async def sending(nats_settings: Settings) -> AsyncIterator[Exchange]:
    """The exchange of whoever sends."""
    await apply_schema(nats_settings)
    async with open_exchange(nats_settings) as opened:
        yield opened


@asynccontextmanager
async def campaign(
    exchange: Exchange, ground: Ground, name: str, per_second: int, people: int = PEOPLE
) -> AsyncIterator[asyncio.Task[campaigns.Planned]]:
    """A campaign to so many people, sent meanwhile, and to its end."""
    await enlist(exchange, ground, crowd(people))
    what = spec(name, per_second=per_second)
    await campaigns.plan(exchange, what)
    running = asyncio.create_task(send(exchange, what))
    yield running
    await running
    assert set(ground.by_person().values()) == {1}
    assert len(ground.by_person()) == people


async def test_whoever_looks_on_sees_it_live(
    sending: Exchange, nats_settings: Settings, ground: Ground
) -> None:
    """Another process sees the counts grow while they are sent; the last look is the store's, and
    complete."""
    seen: list[Progress] = []
    async with campaign(sending, ground, "live", 30), open_exchange(nats_settings) as other:
        await campaigns.set_control(sending, "live", Control.PAUSE)
        async for progress in watch(other, "live", every=0.25):
            if not seen:  # Nothing is sent before somebody looks.
                await campaigns.set_control(sending, "live", Control.RUN)
            seen.append(progress)
    people = [progress.done.people for progress in seen]
    assert people == sorted(people)
    assert len({p.done.people for p in seen if p.live and 0 < p.done.people < PEOPLE}) >= 2
    assert all(progress.done.people <= PEOPLE for progress in seen)
    assert seen[-1].finished
    assert seen[-1].done == Tally(people=PEOPLE, accepted=PEOPLE, reached=PEOPLE)


async def test_what_is_told_is_counts_once_a_second(sending: Exchange, ground: Ground) -> None:
    """A sender tells at most once a second, and once at its end; nothing in it is about a person."""
    heard: dict[str, list[dict[str, float]]] = {}

    async def listen(campaign_id: UUID) -> None:
        async with sending.bus.subscribe(subject(campaign_id)) as told:
            async for message in told:
                found = json.loads(message.payload)
                heard.setdefault(found.pop("sender"), []).append(found)

    async with campaign(sending, ground, "told", 60):
        stored = await campaigns.campaign_named(sending, "told")
        listening = asyncio.create_task(listen(stored.id))
    await asyncio.sleep(0.2)
    listening.cancel()
    assert PEOPLE / 2 < sum(each[-1]["people"] for each in heard.values()) <= PEOPLE
    for each in heard.values():
        assert all(set(one) == {"seconds", *Tally._fields} for one in each)
        assert all(isinstance(one[field], int) for one in each for field in Tally._fields)
        assert all(later["seconds"] - one["seconds"] > 0.9 for one, later in pairwise(each[:-1]))


async def test_without_nats_it_goes_on_and_is_still_seen(
    sending: Exchange, nats_settings: Settings, ground: Ground, nats_server: NatsServer, tmp_path: Path
) -> None:
    """NATS is killed in mid-campaign and comes back: nobody is lost or repeated. The command shows it live,
    then from the store, then live again, and ends with everybody. Ten people at a time, with a pause after
    them until the command has seen that: so the campaign is not over before, however slow the machine is."""
    shown = tmp_path / "shown"

    def says(word: str) -> bool:
        return shown.read_text().rstrip().endswith(word)

    async def sends(wish: Control) -> int:
        await campaigns.set_control(sending, "deaf", wish)
        return len(ground.accepted())

    async def is_shown(word: str) -> None:
        while True:
            before = await sends(Control.RUN)
            enough = before + 10
            await until(
                lambda enough=enough: says(word) or len(ground.accepted()) >= enough, command, running
            )
            if says(word):
                return
            await sends(Control.PAUSE)
            await until(lambda: says("paused"), command, running)

    async with campaign(sending, ground, "deaf", 5, FEW) as running:
        await sends(Control.PAUSE)
        with shown.open("w") as out:
            command = start_command(nats_settings, "campaigns", "watch", "deaf", stdout=out)
        await until(lambda: says("paused"), command, running)
        await is_shown("live")
        nats_server.kill()
        before = len(ground.accepted())
        await until(lambda: len(ground.accepted()) > before, running)
        await is_shown("from the store")
        nats_server.start()
        await is_shown("live")
    assert await asyncio.to_thread(command.wait, PATIENCE) == 0
    lines = shown.read_text().splitlines()
    people = [int(line.split()[1]) for line in lines]
    assert people == sorted(people)
    whole = f"{FEW} of {FEW} people (100 %), {FEW} reached, 0 skipped; {FEW} deliveries accepted, 0 failed"
    assert lines[-1] == f"deaf: {whole}; finished"


def start_command(settings: Settings, *words: str, **more: object) -> subprocess.Popen[str]:
    """A command of msgxc in a process of its own, with these settings."""
    chosen = settings.model_dump(mode="json", exclude_defaults=True)
    env = {**os.environ, **{f"MSGXC_{name}".upper(): str(value) for name, value in chosen.items()}}
    env["PYTHONUNBUFFERED"] = "1"
    command = [Path(sys.executable).with_name("msgxc"), *words]
    return subprocess.Popen(command, env=env, text=True, **more)  # type: ignore[call-overload,no-any-return]


async def test_a_late_look_and_two_senders(sending: Exchange, ground: Ground) -> None:
    """What was done before somebody looked comes from the store, and is not counted twice when its sender is
    heard; a sender that begins later is counted whole."""
    await enlist(sending, ground, crowd(PEOPLE))
    stored = (await send(sending, spec("late"))).id
    fresh = replace(await campaigns.campaign_named(sending, "late"), finished=None)
    watcher = _Watcher(sending, "late")
    await watcher.read()
    async with sending.bus.subscribe(subject(stored)) as heard:
        listening = asyncio.create_task(watcher.listen(heard))
        await sending.bus.publish(subject(stored), b"not ours")
        for told in (
            Told("old", 60.0, Tally(200, 200)),
            Told("old", 61.0, Tally(210, 210)),
            Told("new", 0.0, Tally(7, 7)),
        ):
            await sending.bus.publish(subject(stored), told.encode())
        await until(lambda: watcher.progress(fresh).done.people == PEOPLE + 10 + 7, listening)
        listening.cancel()
    assert watcher.progress(fresh).done.people == PEOPLE + 10 + 7


async def test_a_bus_that_is_away_delays_nobody(nats_program: str) -> None:
    """A sender whose bus never was there tells nobody, and is not held up."""
    bus = NatsBus([NatsServer(nats_program).url])
    async with lag() as late:
        begun = time.monotonic()
        async with telling(bus, UUID(int=1), lambda _: None) as take:
            counts = Counts(5)
            take(counts)
            await asyncio.sleep(1.2)
            counts.recipients = 9
            take(counts)
        assert time.monotonic() - begun < 2 + late.seconds


async def test_there_is_no_such_campaign(exchange: Exchange) -> None:
    """A name that nobody has started is one clear error."""
    with pytest.raises(NotFound, match="nobody-knows"):
        await anext(watch(exchange, "nobody-knows"))


def test_progress_needs_no_more_than_this() -> None:
    """What is no message of a sender is not taken for one."""
    for text in (b"", b"[]", b"3", b'{"sender": "x"}', b"\xff", b'{"sender": "x", "people": null}'):
        assert Told.decode(text) is None
    told = Told("a", 1.5, Tally(1, 2, 3, 4, 5))
    assert Told.decode(told.encode()) == told
