"""Connections that have not said who they are keep nobody out."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from socket_world import Gateway, connected
from test_ws_deadlines import end
from websockets.exceptions import InvalidStatus

from msgxc.errors import WrongSettings
from msgxc.gateway.doorstep import Doorstep
from msgxc.gateway.misses import Misses
from msgxc.gateway.peers import networks, peer_of
from msgxc.settings import read_settings


async def test_a_flood_without_tokens_keeps_nobody_out(gateway: Gateway) -> None:
    """Three times as many as there are places, from one address, and again and again: one with a token in its
    header gets in, one that says it in its first frame too; the oldest are sent away."""
    gateway.hub.doorstep = Doorstep(places=20, share=10)
    _, token = await gateway.person()
    async with AsyncExitStack() as stack:
        waiting = [await stack.enter_async_context(connected(gateway.url)) for _ in range(60)]
        assert len(gateway.hub.doorstep) == 10
        header = {"Authorization": f"Bearer {token}"}
        async with connected(gateway.url, additional_headers=header) as client:
            assert (await client.ask("/ping"))["ok"]
        async with connected(gateway.url, token) as client:
            assert (await client.ask("/ping"))["ok"]
        gone = await asyncio.gather(*(end(client) for client in waiting[:50]))
        assert set(gone) == {("too_many_connections", 4429)}
        await waiting[-1].say("/api/v2/authenticate", token=token)
        assert (await waiting[-1].next())["ok"]


async def test_forged_tokens_are_counted(gateway: Gateway) -> None:
    """In the header: 401, then 429; in the first frame: 4401, then 4429. A good one comes in meanwhile."""
    state = gateway.app.state
    _, token = await gateway.person()
    for header in (True, False):
        state.misses, seen = Misses(3), list[int]()
        for _ in range(5):
            if header:
                with pytest.raises(InvalidStatus) as refused:
                    async with connected(gateway.url, additional_headers={"Authorization": "Bearer a.b.c"}):
                        pass
                seen.append(refused.value.response.status_code)
            else:
                async with connected(gateway.url) as client:
                    await client.say("/api/v2/authenticate", token="a.b.c")
                    seen.append((await end(client))[1])
        assert seen == ([401] * 3 + [429] * 2 if header else [4401] * 3 + [4429] * 2)
        async with connected(gateway.url, token):
            pass


def test_the_oldest_of_the_address_that_has_most_leaves_first() -> None:
    """One address has its share; when all places are taken, whoever has most gives one."""
    step, gone = Doorstep(places=6, share=4), list[str]()

    def enter(peer: str, name: str) -> None:
        step.enter(peer, lambda: gone.append(name))

    for number in range(5):
        enter("a", f"a{number}")
    assert gone == ["a0"]  # its share
    enter("b", "b0")
    enter("c", "c0")
    assert len(step) == 6
    enter("d", "d0")
    assert gone == ["a0", "a1"]  # all places
    assert len(step) == 6


def test_whoever_leaves_is_not_counted_any_more() -> None:
    """Twice is the same as once, and no address is remembered that has nobody here."""
    step = Doorstep(2, 1)

    def leave() -> None: ...

    step.enter("a", leave)
    for _ in range(2):
        step.left("a", leave)
    step.left("b", leave)
    assert len(step) == 0
    assert step._waiting == {}


@pytest.mark.parametrize(
    ("client", "header", "peer"),
    [
        ("203.0.113.9", "1.2.3.4", "203.0.113.9"),  # no proxy of ours: whatever it says
        ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),  # the client has made up the first
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.9.9.9", "1.2.3.4"),  # two proxies of ours
        ("10.0.0.1", "1.2.3.4:5678", "1.2.3.4"),
        ("10.0.0.1", "[2001:db8:1:2:3::4]:5678", "2001:db8:1:2::/64"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4, unknown", "10.0.0.1"),
        ("10.0.0.1", ",".join(["10.0.0.2"] * 1000), "10.0.0.2"),
        ("::ffff:10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("::ffff:1.2.3.4", "", "1.2.3.4"),
        ("2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "", "fe80::/64"),
        ("/run/socket", "1.2.3.4", ""),
    ],
)
def test_a_proxy_that_is_trusted_says_where_a_request_comes_from(client: str, header: str, peer: str) -> None:
    """The last address that is none of our proxies; nobody else is believed."""
    settings = read_settings(_env_file=None, trusted_proxies="10.0.0.0/8, 192.168.1.1")
    scope = {"client": (client, 1), "headers": [(b"x-forwarded-for", header.encode())]}
    assert peer_of(scope, settings) == peer
    assert peer_of({"client": None, "headers": []}, settings) == ""


def test_proxies_that_cannot_be_read_stop_the_start() -> None:
    """One line that names the setting."""
    with pytest.raises(WrongSettings, match="MSGXC_TRUSTED_PROXIES"):
        networks("10.0.0.0/8, proxy.example")
