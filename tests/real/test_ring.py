"""Three Cassandra nodes, three replicas, LOCAL_QUORUM: one is killed in mid-campaign and nobody notices."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
import pytest_asyncio
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.policies import WhiteListRoundRobinPolicy
from conftest import Ring
from conftest_engine import Ground, crowd, enlist, ground, home, send, spec, start_process

from msgxc import campaigns
from msgxc.model import Recipient
from msgxc.operations.processes import lives
from msgxc.reports.funnel import End
from msgxc.settings import ROOT, Settings, read_settings
from msgxc.wiring import Exchange, apply_schema, open_exchange

__all__ = ["ground", "home"]

PEOPLE = 400


KEY = uuid4().hex  # of the one keyspace of these tests


@pytest.fixture(scope="module")
def nodes(ring: Ring) -> list[Any]:
    """Three nodes that see each other."""
    for node in ring.ready():
        _wait_for_peers(node)
    return ring.nodes


def _wait_for_peers(node: Any) -> None:
    """Before it sees both others, a keyspace that is made would not be known to all."""
    end = time.monotonic() + 300
    while _peers(node.place.address, node.port) < 2:
        assert time.monotonic() < end, f"{node.place.address} does not see the others"
        time.sleep(0.3)


def _peers(address: str, port: int) -> int:
    alone = ExecutionProfile(load_balancing_policy=WhiteListRoundRobinPolicy([address]), request_timeout=10)
    cluster = Cluster(
        [address],
        port=port,
        protocol_version=4,
        control_connection_timeout=10,
        execution_profiles={EXEC_PROFILE_DEFAULT: alone},
    )
    try:
        return len(cluster.connect().execute("SELECT peer FROM system.peers_v2").all())
    except NoHostAvailable:
        return 0
    finally:
        cluster.shutdown()


@pytest.fixture
def settings(nodes: list[Any], home: Path) -> Settings:
    """A lease that outlasts the moment in which the ring notices a death."""
    return read_settings(
        _env_file=None,
        home=home,
        templates=home.parent / "templates",
        store="cassandra",
        cassandra_hosts=",".join(node.place.address for node in nodes),
        cassandra_port=nodes[0].port,
        cassandra_replication=3,
        cassandra_keyspace="ring",
        secret_key=KEY,
        shard_size=50,
        window=20,
        in_flight=10,
        flush=5,
        lease_seconds=30,
        provider_timeout=5,
    )


@pytest_asyncio.fixture
async def exchange(settings: Settings) -> AsyncIterator[Exchange]:
    """The exchange, on all three nodes."""
    await apply_schema(settings)
    async with open_exchange(settings) as opened:
        yield opened


async def once_each(exchange: Exchange, ground: Ground, people: list[Recipient], name: str) -> None:
    """I1, I2, I3 and I6 from the journal; no sender was killed, so nobody is repeated."""
    accepted = ground.by_person()
    assert set(accepted) == {person.uid for person in people}
    assert set(accepted.values()) == {1}
    report = await campaigns.report(exchange, name)
    assert report.adds_up
    assert report.ends == {End.REACHED: len(people)}


async def test_a_node_killed_in_mid_campaign(
    exchange: Exchange, ground: Ground, settings: Settings, nodes: list[Any]
) -> None:
    """SIGKILL of one node of three while two processes send: both go on, all get it once. It comes back and
    another campaign goes out while it catches up."""
    people = crowd(PEOPLE)
    await enlist(exchange, ground, people)
    what = spec("ring", per_second=60)
    senders = [start_process(settings, what, secret_key=KEY) for _ in range(2)]
    try:
        while len(ground.accepted()) < PEOPLE // 4:
            assert all(sender.poll() is None for sender in senders)
            await asyncio.sleep(0.2)
        nodes[1].kill()
        before = len(ground.accepted())
        assert before < PEOPLE
        assert [await asyncio.to_thread(sender.wait, 300) for sender in senders] == [0, 0]
    finally:
        for sender in senders:
            sender.kill()
            sender.wait()
    await once_each(exchange, ground, people, what.name)
    nodes[1].launch()
    others = replace(ground, tokens={})
    more = crowd(60)
    await enlist(exchange, others, more)
    await send(exchange, spec("ring-again"))
    assert set(others.by_person().values()) == {1}
    assert set(others.by_person()) == {person.uid for person in more}


def test_the_ring_program_starts_a_node_again(tmp_path: Path) -> None:
    """`cassandra_node.py ring`: kill -9 of one node ends neither the others nor the program, which starts it
    again; SIGTERM, even twice, ends them all."""
    command = [sys.executable, str(ROOT / "servers" / "cassandra_node.py"), "ring", str(tmp_path)]
    command += ["--port", "0", "--small"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as program:
        try:
            assert program.stdout
            assert all("is ready" in program.stdout.readline() for _ in range(3))
            nodes = _children(program.pid)
            nodes[0].kill()
            assert "is started again" in program.stdout.readline()
            again = _children(program.pid)
            assert set(nodes[1:]) < set(again)
            program.send_signal(signal.SIGTERM)
            program.send_signal(signal.SIGTERM)
            assert program.wait(120) == 0
            psutil.wait_procs(again, 120)
            assert not any(lives(node) for node in again)
        finally:
            for left in psutil.Process(program.pid).children() if program.poll() is None else []:
                left.kill()
            program.kill()


def _children(pid: int) -> list[psutil.Process]:
    """The three nodes that a process runs, as soon as they are there."""
    end = time.monotonic() + 120
    while len(found := [it for it in psutil.Process(pid).children() if it.status() != "zombie"]) != 3:
        assert time.monotonic() < end
        time.sleep(0.1)
    return found
