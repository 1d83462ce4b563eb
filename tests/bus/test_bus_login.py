"""Who may say and hear what on NATS: servers/nats.conf on a real server, with the passwords of both users."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from uuid import uuid4

import pytest
from nats_fixture import SCRIPT, NatsServer

from msgxc.bus.nats import NatsBus
from msgxc.settings import ROOT

#: What a person would make them with (`openssl rand -hex`), and what make up-real makes.
PASSWORDS = {"gateway": "12e45" + "0" * 27, "worker": "sA-_x9" + "y" * 27}
FRAMES = ["broadcast.system", f"thread.{uuid4()}", f"person.{uuid4()}"]
#: What each user is for.
SAYS = {
    "gateway": [*FRAMES, "ephemeral.abc", "triage.4", "gateway.revoked"],
    "worker": [*FRAMES, "triage.1", f"campaign.{uuid4()}", "gateway.revoked"],
}
HEARS = {
    "gateway": [*FRAMES, "ephemeral.abc", "gateway.revoked"],
    "worker": ["triage.>", f"campaign.{uuid4()}"],
}
SAYS_NOT = {
    "gateway": [f"campaign.{uuid4()}", "any", "$JS.API.INFO"],
    "worker": ["ephemeral.abc", "any", "$SYS.x"],
}
HEARS_NOT = {
    "gateway": ["campaign.*", "triage.>", ">", "_INBOX.>", "_INBOX_worker.>", "$SYS.>"],
    "worker": [*FRAMES, "thread.*", "person.>", "ephemeral.*", ">", "*.*", "_INBOX.>", "_INBOX_gateway.>"],
}


@pytest.fixture(scope="module")
def guarded(nats_program: str) -> Iterator[NatsServer]:
    """A server as make up-real starts it."""
    env = {f"MSGXC_NATS_{user.upper()}_PASSWORD": password for user, password in PASSWORDS.items()}
    server = NatsServer(nats_program, "-c", str(SCRIPT.with_name("nats.conf")), env=env)
    server.start()
    yield server
    server.kill()


async def told(server: NatsServer, login: Mapping[str, str], *lines: str) -> str:
    """What the server says to somebody who speaks its protocol: their login, some lines, and a PING."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    connect = json.dumps({"verbose": False, "pedantic": False, **login})
    writer.write("".join(f"{line}\r\n" for line in (f"CONNECT {connect}", *lines, "PING")).encode())
    said = ""
    async with asyncio.timeout(60):
        while "PONG" not in said and (more := await reader.read(4096)):
            said += more.decode()
    writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    return said.partition("\r\n")[2]  # after its INFO


def of(user: str) -> dict[str, str]:
    """A user's login."""
    return {"user": user, "pass": PASSWORDS[user]}


@pytest.fixture
async def users(guarded: NatsServer) -> AsyncIterator[dict[str, NatsBus]]:
    """Both, as the exchange connects."""
    buses = {user: await NatsBus.connect(guarded.url, user, password) for user, password in PASSWORDS.items()}
    yield buses
    for bus in buses.values():
        await bus.close()


@pytest.mark.parametrize(
    "login",
    [
        {},
        {"user": "gateway"},
        {"user": "gateway", "pass": ""},
        {"user": "gateway", "pass": PASSWORDS["worker"]},
        {"user": "admin", "pass": PASSWORDS["gateway"]},
        {"auth_token": PASSWORDS["gateway"]},
    ],
)
async def test_nobody_comes_in_without_a_login(guarded: NatsServer, login: dict[str, str]) -> None:
    """So a frame that is shown on every screen cannot be published by somebody who has none."""
    said = await told(guarded, login, "SUB thread.* 1", "PUB broadcast.system 1", "x")
    assert "Authorization Violation" in said
    assert "PONG" not in said


@pytest.mark.parametrize("user", PASSWORDS)
async def test_each_may_do_what_it_is_for(guarded: NatsServer, user: str) -> None:
    """All subjects that it publishes and hears in the code."""
    hears = [f"SUB {subject} {number}" for number, subject in enumerate(HEARS[user])]
    says = [word for subject in SAYS[user] for word in (f"PUB {subject} 1", "x")]
    said = await told(guarded, of(user), *hears, *says)
    assert "PONG" in said
    assert "-ERR" not in said


@pytest.mark.parametrize("user", PASSWORDS)
async def test_each_may_do_nothing_else(guarded: NatsServer, user: str) -> None:
    """A worker hears nothing of what is said to people, a gateway makes up no progress, nobody hears all."""
    tries = [[f"SUB {subject} 1"] for subject in HEARS_NOT[user]]
    tries += [[f"PUB {subject} 1", "x"] for subject in SAYS_NOT[user]]
    for lines in tries:
        assert "Permissions Violation" in await told(guarded, of(user), *lines), lines


async def test_the_exchange_works_with_them(users: dict[str, NatsBus]) -> None:
    """A worker's frame reaches a gateway, which answers it: the question whether somebody is there."""
    gateway, worker = users["gateway"], users["worker"]
    person = f"person.{uuid4()}"

    async def answering() -> None:
        async with gateway.subscribe(person) as asked:
            listening.set()
            async for message in asked:
                await message.answer(message.payload + b" here")

    listening = asyncio.Event()
    task = asyncio.create_task(answering())
    await listening.wait()
    for bus in (worker, gateway):
        assert await bus.request(person, b"who", 20) == b"who here"
    assert await worker.request(f"person.{uuid4()}", b"who", 20) is None  # nobody: told at once
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_no_subject_of_the_code_was_forgotten() -> None:
    """Each first word that the code uses as a subject stands in the file."""
    words = set()
    for file in (ROOT / "msgxc").rglob("*.py"):
        words |= set(
            re.findall(
                r'f?"(broadcast|thread|person|ephemeral|triage|campaign|gateway)\.[a-z{>*]', file.read_text()
            )
        )
    named = re.findall(r'"([a-z]+)\.', SCRIPT.with_name("nats.conf").read_text())
    assert words == set(named)
