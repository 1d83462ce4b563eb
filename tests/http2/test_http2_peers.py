"""The sender against three HTTP/2 servers that we did not write: Go's net/http, nghttpd, hypercorn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from listening import PATIENCE
from waiting import until

from msgxc.http2 import Answer, Client, Limits, Request, Unanswered, post_head

OWN = ("apns-id", "apns-collapse-id")
HEAD = post_head("localhost", {"authorization": "bearer " + "x" * 200, "apns-topic": "com.example"}, OWN)


def request(path: str = "/echo", body: bytes = b"", own: bytes = b"1", head=HEAD) -> Request:
    return Request(head, path.encode(), (own, b"collapse"), body)


Open = Callable[..., Client]


@pytest.fixture
async def open_client(certificate) -> AsyncIterator[Open]:
    """A client of a port, closed afterwards."""
    made: list[Client] = []

    def make(port: int, **limits: object) -> Client:
        made.append(Client("localhost", port, certificate.client(), Limits(**limits)))
        return made[-1]

    yield make
    for client in made:
        await client.close()


def soon(seconds: float = PATIENCE) -> float:
    return asyncio.get_running_loop().time() + seconds


#: How nghttpd is started.
NGHTTPD = {
    "nghttpd": (),
    "nghttpd, windows of 1 kB": ("-w", "10", "-W", "10"),
    "nghttpd, no header table": ("-c", "0"),
    "nghttpd, a small header table": ("-c", "300"),
    "nghttpd, padding and trailers": ("-b", "200", "--trailer", "x-last: yes"),
    "nghttpd, three streams": ("-m", "3"),
}
PEERS = ["go", "hypercorn", *NGHTTPD]


@pytest.fixture(scope="session", params=PEERS)
def port(request: pytest.FixtureRequest) -> int:
    """Each of the servers in turn."""
    if request.param in NGHTTPD:
        return request.getfixturevalue("nghttpd")(*NGHTTPD[request.param])
    return request.getfixturevalue(f"{request.param}_peer")


async def test_a_thousand_requests_have_their_own_answers(port, open_client):
    """Bodies from nothing to 30 kB, several heads, up to three connections: each comes back as it was."""
    client = open_client(port, connections=3)
    heads = [
        post_head("localhost", {"authorization": f"bearer {n}" * 40, "apns-priority": str(n)}, OWN)
        for n in range(3)
    ]
    sizes = [(n * n * 7) % 300 if n % 50 else n * 30 for n in range(1000)]
    asked = [
        request("/echo", b"%d " % n + b"x" * size, b"%d" % n, heads[n % 3]) for n, size in enumerate(sizes)
    ]
    ends = await client.send(asked, soon())
    assert [end.status for end in ends] == [200] * 1000
    assert [end.body for end in ends] == [one.body for one in asked]
    if "x-own" in ends[0].headers:  # nghttpd says nothing of its own
        assert [end.headers["x-own"] for end in ends] == [str(n) for n in range(1000)]


async def test_many_callers_at_once(port, open_client):
    """Two hundred calls of one request each."""
    client = open_client(port)
    ends = await asyncio.gather(*(client.send([request(body=b"%d" % n)], soon()) for n in range(200)))
    assert [end.body for [end] in ends] == [b"%d" % n for n in range(200)]


async def test_a_large_body_leaves_within_the_windows(port, open_client):
    """300 kB: larger than any window. Of as large an answer the first 65,535 bytes are kept."""
    [end] = await open_client(port).send([request(body=bytes(range(256)) * 1200)], soon())
    assert end.status == 200
    assert end.body == (bytes(range(256)) * 1200)[: len(end.body)]
    assert len(end.body) >= 60_000


async def test_a_connection_lives_on(port, open_client):
    """Batch after batch over the same connection."""
    client = open_client(port, connections=1)
    await client.send([request(body=b"first")], soon())
    [line] = client.lines
    for n in range(30):
        assert (await client.send([request(body=b"%d" % n)] * 5, soon()))[4].body == b"%d" % n
    assert client.lines == [line]


# -- what only some of them can be asked for


@pytest.mark.parametrize("status", [200, 204, 400, 404, 410, 429, 500, 503])
async def test_statuses(go_peer, hypercorn_peer, open_client, status):
    """Known to HPACK's static table or not."""
    for port in (go_peer, hypercorn_peer):
        [end] = await open_client(port).send([request(f"/status/{status}")], soon())
        assert end.status == status


async def test_interim_answers_and_trailers(go_peer, open_client):
    """103 before, a trailer after: neither is the answer."""
    ends = await open_client(go_peer).send([request("/interim", b"a"), request("/trailers", b"b")], soon())
    assert [(end.status, end.body) for end in ends] == [(200, b"a"), (200, b"b")]
    assert "x-last" not in ends[1].headers


async def test_a_handler_that_gives_up(go_peer, open_client):
    """Go resets the stream: in doubt when nothing was said, an answer when the status was."""
    ends = await open_client(go_peer).send(
        [request("/reset"), request("/half"), request("/echo", b"x")], soon()
    )
    assert ends[0] is Unanswered.IN_DOUBT
    assert (ends[1].status, ends[1].body) == (200, b"half")
    assert ends[2].body == b"x"


async def test_a_server_that_says_goodbye_loses_nothing(go_peer, open_client):
    """Go ends the connection after every "/bye", with 50 streams a connection: all requests are answered."""
    client = open_client(go_peer)
    for _ in range(3):
        paths = ["/bye" if n % 40 == 7 else "/echo" for n in range(300)]
        ends = await client.send([request(path, b"%d" % n) for n, path in enumerate(paths)], soon())
        assert [end.body for end in ends if isinstance(end, Answer)] == [b"%d" % n for n in range(300)]


async def test_the_late_ones_are_in_doubt_and_the_others_answered(
    go_peer, hypercorn_peer, open_client, clock
):
    """Each call ends in time, and the connection goes on."""
    for port in (go_peer, hypercorn_peer):
        client = open_client(port)
        asked = [request(path, b"x") for path in ("/slow/600000", "/echo", "/slow/600000", "/echo")]
        sent = asyncio.create_task(client.send(asked, soon(100)))
        await until(lambda: client.lines and not client._queue and client.lines[0].connection.busy == 2)  # noqa: B023
        assert not sent.done()
        clock.forward(100)
        await until(sent.done)
        ends = await sent
        assert [end is Unanswered.IN_DOUBT for end in ends] == [True, False, True, False]
        [end] = await client.send([request(body=b"y")], soon())
        assert end.body == b"y"
        assert len(client.lines) == 1


async def test_as_many_connections_as_the_streams_ask_for(go_peer, open_client):
    """50 streams a connection and answers after 200 ms: more connections are opened, up to the limit."""
    client = open_client(go_peer, connections=4)
    ends = await client.send([request("/slow/200", b"x")] * 600, soon())
    assert {end.body for end in ends} == {b"x"}
    assert len(client.lines) == 4
