"""Faults 15 and 31: a bus that is away, and starts that cannot work."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from pathlib import Path

import pytest
from fault_process import command
from fault_world import PATIENCE, World, crowd, on_sqlite, person

from msgxc import campaigns
from msgxc.model import Channel
from msgxc.reports.funnel import End
from msgxc.wiring import open_exchange

SECRET = "hunter2-hunter2-hunter2"  # must never be seen


def dead_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


@on_sqlite
async def test_15_nats_is_away_for_a_whole_run(world: World) -> None:
    """Fault 15. The bus does not answer from the first to the last moment: campaigns go on, through kills
    too, people with a device are reached, and an open websocket is "not acknowledged", never "reached"."""
    nats = {"bus": "nats", "nats_url": f"nats://127.0.0.1:{dead_port()}"}
    people = crowd(60)
    both = (Channel.WEBSOCKET, Channel.APNS)
    what = await world.campaign("no-bus", people, channels=both, spread="every")
    assert await world.fleet.run(world.settings, what, "sent=kill@3", **nats) < 0
    assert await world.fleet.run(world.settings, what, **nats) == 0
    report = await world.judge(what, people, repeats=world.bound)
    assert report.channels[Channel.WEBSOCKET].accepted == 0
    assert report.channels[Channel.WEBSOCKET].failed == 60


@on_sqlite
async def test_15_websocket_alone_without_a_bus_fails_and_falls_back(world: World) -> None:
    """Fault 15. Only the websocket was asked for: nobody is reached by it, everybody is owed the fallback."""
    people = [person(email=f"n{n}@example.com") for n in range(5)]
    what = await world.campaign("socket", people, fallback=True, channels=(Channel.WEBSOCKET,))
    settings = world.settings.model_copy(
        update={"bus": "nats", "nats_url": f"nats://127.0.0.1:{dead_port()}"}
    )
    async with open_exchange(settings) as cut_off:
        await asyncio.wait_for(world.send(what, cut_off), PATIENCE)
        second = await campaigns.fallback_spec(cut_off, what.name)
        assert second
        await asyncio.wait_for(world.send(second, cut_off), PATIENCE)
        report = await campaigns.report(cut_off, what.name)
    assert report.ends == {End.FELL_BACK: 5}
    assert len(world.ground.by_person()) == 5


#: Settings that cannot work, and the name or the word that the one line must hold.
WRONG: dict[str, tuple[dict[str, str], str]] = {
    "a number that is none": ({"MSGXC_WINDOW": SECRET}, "MSGXC_WINDOW"),
    "out of range": ({"MSGXC_WINDOW": "5000"}, "MSGXC_WINDOW"),
    "an unknown store": ({"MSGXC_STORE": SECRET}, "MSGXC_STORE"),
    "a timeout beyond the lease": (
        {"MSGXC_LEASE_SECONDS": "5", "MSGXC_PROVIDER_TIMEOUT": "4"},
        "PROVIDER_TIMEOUT",
    ),
    "a short key": ({"MSGXC_SECRET_KEY": "hunter2"}, "SECRET_KEY"),
    "a shared store without a key": ({"MSGXC_STORE": "cassandra"}, "SECRET_KEY"),
    "half of the credentials": ({"MSGXC_TWILIO_AUTH_TOKEN": SECRET}, "MSGXC_TWILIO"),
    "a service account that is none": (
        {"MSGXC_FCM_SERVICE_ACCOUNT": f'{{"private_key": "{SECRET}"}}'},
        "MSGXC_FCM_SERVICE_ACCOUNT",
    ),
    "a push key that is none": (
        {
            "MSGXC_APNS_KEY": f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
            "MSGXC_APNS_KEY_ID": "A",
            "MSGXC_APNS_TEAM_ID": "B",
            "MSGXC_APNS_TOPIC": "C",
        },
        "MSGXC_APNS_KEY",
    ),
    "a store that is not there": (
        {"MSGXC_STORE": "cassandra", "MSGXC_SECRET_KEY": SECRET, "MSGXC_CASSANDRA_PORT": "1"},
        "store_unavailable",
    ),
    "a bus without an address": ({"MSGXC_BUS": "nats", "MSGXC_NATS_URL": f"://{SECRET}"}, "MSGXC_NATS_URL"),
}


#: What is looked at when a provider is first needed, and whenever the settings are shown.
OF_PROVIDERS = ("half of the credentials", "a service account that is none", "a push key that is none")


@pytest.mark.parametrize("case", WRONG)
def test_31_a_wrong_setting_is_one_clear_line(tmp_path: Path, case: str) -> None:
    """Fault 31. Whatever is wrong at the start ends in one line that names it, with a status that is not 0,
    without a traceback and without the secret."""
    env, word = WRONG[case]
    assert command(tmp_path, "schema", "apply").status == 0
    arguments = ("settings",) if case in OF_PROVIDERS else ("campaigns", "list")
    done = command(tmp_path, *arguments, **env)
    assert done.status != 0
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert word in done.err
    assert "hunter2" not in done.err + done.out


@pytest.mark.parametrize("state", ["none", "newer", "not a database", "a folder"])
def test_31_a_store_that_cannot_be_used_is_one_clear_line(tmp_path: Path, state: str) -> None:
    """Fault 31. No schema, a newer one, a file that is no store, no file at all: one line that says what to
    do, and nothing is changed."""
    file = tmp_path / "msgxc.sqlite3"
    if state == "newer":
        assert command(tmp_path, "schema", "apply").status == 0
        with sqlite3.connect(file) as db:
            db.execute("PRAGMA user_version = 999")
        db.close()
    if state == "not a database":
        file.write_bytes(b"This is a letter to my mother. " * 200)
    if state == "a folder":
        file.mkdir()
    before = file.read_bytes() if file.is_file() else b""
    done = command(tmp_path, "campaigns", "list")
    assert done.status != 0
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert "Traceback" not in done.err
    assert state in ("none", "newer") or file.is_dir() or file.read_bytes() == before
