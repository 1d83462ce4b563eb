"""Fault 33: the power goes. What no fsync had brought to the disk by then is taken back (power_cut.py), which
is the worst that a disk may do."""

from __future__ import annotations

import asyncio
import pickle
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from fault_power import ANN, BEN, BLOCKED, EVE, HERE, THREAD, started
from fault_process import Job, chosen
from fault_world import Ground, Opened, crowd, on_sqlite
from msgspec import structs
from power_cut import Plug, plug
from waiting import PATIENCE, Doer, until

from msgxc.deploying import PREFECT_SETTINGS
from msgxc.gateway.auth import make_token
from msgxc.ledger import Control
from msgxc.messages.records import Role
from msgxc.model import Subscription, Thread
from msgxc.settings import Settings
from msgxc.system import one_connection


@pytest.fixture
def power(home: Path, tmp_path: Path) -> Plug:
    """What the processes in this home run on."""
    built = tmp_path / "power"
    built.mkdir()
    return plug(home, built)


CUTS = 3


@on_sqlite
@pytest.mark.parametrize("policy", ["resend", "hold"])
async def test_33_the_power_goes_while_a_campaign_is_sent(
    policy: str, opened: Opened, power: Plug, settings: Settings, ground: Ground, tmp_path: Path
) -> None:
    """Fault 33. The power goes three times in mid-campaign: nobody is lost, each time at most a window is
    repeated; with `hold` nobody is repeated, and at most a window each time is unknown."""
    people = crowd(300)
    async with opened() as world:
        what = await world.campaign(f"power-{policy}", people, in_doubt=policy, per_second=150)
        await world.prepare(what)
    job = tmp_path / "job"
    job.write_bytes(pickle.dumps(Job(chosen(settings), what)))
    for _ in range(CUTS):
        before = len(ground.accepted())
        sender = started(power.env, str(HERE / "fault_power.py"), str(job))
        try:
            await until(lambda before=before: len(ground.accepted()) >= before + 45, sender)
        finally:
            sender.kill()
            sender.communicate()
        power.pull()
    async with opened() as world:
        await world.send(what)
        most = CUTS * settings.window
        if policy == "hold":
            await world.judge(what, people, repeats=0, lost=most)
        else:
            await world.judge(what, people, repeats=most)


@on_sqlite
async def test_33_what_was_answered_is_there(opened: Opened, power: Plug, settings: Settings) -> None:
    """Fault 33. 200 publishes with a key, a dozen at a time, then the power goes: each that was answered
    with 200 is in the history, once, and its key is answered as before."""
    async with opened() as world:
        thread = Thread(uuid4(), open=True, open_to_publish=True)
        await world.exchange.store.threads.put(thread)
        token = make_token(world.exchange, None, frozenset({Role.SERVICE}), 3600)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {f"MSGXC_{name.upper()}": str(value) for name, value in chosen(settings, gateway_port=port).items()}
    own |= {"MSGXC_BUS": "memory", "MSGXC_RATE_PER_MINUTE": "0"}

    async def publish(client: httpx.AsyncClient, number: int) -> str:
        body = {"tid": str(thread.tid), "msg": f"number {number}"}
        answer = await client.post("/api/v2/publish", json=body, headers={"Idempotency-Key": str(number)})
        assert answer.status_code == 200, answer.text
        return answer.headers["Msgxc-Message"]

    @asynccontextmanager
    async def gateway() -> AsyncIterator[httpx.AsyncClient]:
        running = started(power.env | own, "-m", "msgxc.gateway")
        login = {"Authorization": f"Bearer {token}"}
        try:
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", headers=login, timeout=60
            ) as client:
                await _answers(client, running)
                yield client
        finally:
            running.kill()
            running.communicate()
        power.pull()

    async with gateway() as client:
        told = [
            mid
            for at in range(0, 200, 12)
            for mid in await asyncio.gather(*(publish(client, n) for n in range(at, min(at + 12, 200))))
        ]
    async with gateway() as client:
        assert [await publish(client, n) for n in range(0, 200, 20)] == told[::20]
    async with opened() as world:
        history = await world.exchange.store.messages.history(thread.tid, limit=500)
        assert sorted(str(message.mid) for message in history) == sorted(told)
        owed = [item async for page in world.exchange.store.triage.scan() for item in page]
        assert {str(item.mid) for item in owed} == set(told)


async def _answers(
    client: httpx.AsyncClient, server: Doer, path: str = "/healthz", seconds: float = PATIENCE
) -> None:
    async def answers() -> bool:
        try:
            await client.get(path)
        except httpx.TransportError:
            return False
        return True

    await until(answers, server, seconds=seconds, look=0.1)


@on_sqlite
async def test_33_what_was_withdrawn_stays_so(opened: Opened, power: Plug, home: Path) -> None:
    """Fault 33. Consents, a subscription, a STOP, an erasure, a device, a revocation, a cancel: each is on
    the disk when it is answered. What is told to nobody (that the campaign is over) is gone."""
    async with opened() as world:
        store = world.exchange.store
        ann, ben = (structs.replace(one, uid=uid) for one, uid in zip(crowd(2), (ANN, BEN), strict=True))
        await store.directory.put([ann, ben])
        await store.threads.put(Thread(THREAD, name="news"))
        await store.threads.subscribe([Subscription(THREAD, ANN)])
        await world.prepare(await world.campaign("withdrawn", [ann]))
    process = started(power.env, str(HERE / "fault_power.py"), str(home))
    try:
        assert process.stdout is not None
        while (line := await asyncio.to_thread(process.stdout.readline)) != b"finished\n":
            assert line, "the story has ended too early"
    finally:
        process.kill()
        process.communicate()
    assert power.pull() > 0, "everything was synced: this test shows nothing"
    async with opened() as world:
        store = world.exchange.store
        found = await store.directory.get([ANN, BEN, EVE])
        assert set(found) == {ANN, EVE}
        assert found[ANN].consents == frozenset()
        assert [device.token for device in found[EVE].devices] == ["eve"]
        assert set(await store.threads.subscriptions(THREAD, [ANN, EVE])) == {EVE}
        assert await store.directory.suppressed([BLOCKED]) == {BLOCKED: "stop"}
        assert await store.gateway.revoked([f"uid:{BEN}"])
        (campaign,) = [one async for page in store.ledger.campaigns() for one in page]
        assert campaign.control is Control.CANCEL
        assert campaign.finished is None
    with sqlite3.connect(home / "msgxc.sqlite3") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


async def test_33_what_the_console_has_answered_is_there(power: Plug, home: Path) -> None:
    """Fault 33. Prefect's own file: a flow that was made is there when its server had answered, as a run that
    is asked for would be."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder, login = home / "prefect", ("msgxc", "a password of some length")
    folder.mkdir()
    env = {
        **{name: value for name, value in power.env.items() if not name.startswith("PREFECT_")},
        **PREFECT_SETTINGS,
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": one_connection(folder),
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_API_AUTH_STRING": ":".join(login),
    }
    server = started(env, "-m", "msgxc.console_server", "--no-services")
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api", auth=login) as client:
            await _answers(client, server, "/health", 240)
            names = {f"flow-{number}" for number in range(20)}
            for name in names:
                (await client.post("/flows/", json={"name": name}, timeout=60)).raise_for_status()
    finally:
        server.kill()
        server.communicate()
    power.pull()
    with sqlite3.connect(folder / "prefect.db") as db:
        assert {name for (name,) in db.execute("SELECT name FROM flow")} >= names
    db.close()
