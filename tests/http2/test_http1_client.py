"""HTTP/1.1 over real TLS: connections, queues, time, and servers that leave, stall or talk rubbish."""

from __future__ import annotations

import asyncio
import gc
import select
import subprocess
import sys
from random import Random

import pytest
from http1_server import OK, Door, Server
from listening import NEVER, PATIENCE
from waiting import until

from msgxc import http1
from msgxc.http2 import Answer, Client, Limits, Pace, Request, Unanswered, post_head

NOT_PROCESSED, IN_DOUBT = Unanswered.NOT_PROCESSED, Unanswered.IN_DOUBT
HEAD = post_head("localhost", {"authorization": "Basic eA=="}, ())
FINE = Answer(201, {"content-length": "2"}, b"ok")


def requests(*names: bytes) -> list[Request]:
    return [Request(HEAD, b"/m.json", (), name) for name in names]


def many(count: int) -> list[Request]:
    return requests(*(b"%d" % n for n in range(count)))


def soon(seconds: float = PATIENCE) -> float:
    return asyncio.get_running_loop().time() + seconds


@pytest.fixture
async def connect(certificate):
    """Makes a client of a port, and closes it afterwards: nothing is left open."""
    made: list[Client] = []

    def make(port: int, connections: int = 10, **limits: object) -> Client:
        tls = certificate.client("http/1.1")
        if limits:
            more = Limits(connections=connections, opening=20, **limits)
            made.append(Client("localhost", port, tls, more, http1.Connection))
        else:
            made.append(http1.client("localhost", port, tls, connections=connections, connect=PATIENCE))
        return made[-1]

    yield make
    for client in made:
        await client.close()
        assert client.lines == []
        assert not client.busy


async def test_requests_follow_one_another_over_kept_connections(listen, connect):
    """A hundred requests, four connections: each is answered once, never two at a time on one connection."""
    server = await listen(Server())
    client = connect(server.port, connections=4)
    for _ in range(3):
        assert await client.send(many(100), soon()) == [FINE] * 100
    assert len(server.doors) <= 4
    assert sorted(server.asked) == sorted([b"%d" % n for n in range(100)] * 3)


async def test_as_many_connections_as_requests_wait(listen, connect):
    """One request needs one; fifty that are all asked before one is answered need fifty, and no more."""
    held: list[Door] = []

    def together(door: Door, _name: bytes) -> None:
        held.append(door)
        if len(held) == 50:
            for one in held:
                one.ok()
            held.clear()

    server = await listen(Server())
    client = connect(server.port, connections=80)
    assert await client.send(many(1), soon()) == [FINE]
    assert len(server.doors) == 1
    server.answer = together
    assert await client.send(many(50), soon()) == [FINE] * 50
    assert len(server.doors) == 50
    assert await client.send(many(200), soon()) == [FINE] * 200
    assert len(server.doors) <= 80


async def test_whoever_comes_after_a_slow_one_has_a_connection(listen, connect):
    """A spare one is opened while a request waits for its answer, no more than one beyond those in use."""
    held: list[Door] = []
    server = await listen(Server())
    client = connect(server.port, spare=True)
    assert await client.send(many(1), soon()) == [FINE]
    assert len(server.doors) == 1
    server.answer = lambda door, _name: held.append(door)
    slow = asyncio.create_task(client.send(many(1), soon()))
    await until(lambda: len(client.lines) == 2, slow)
    server.answer = Door.ok
    assert await client.send(many(1), soon()) == [FINE]
    assert server.doors[1].asked == [b"0"]
    await until(lambda: len(client.lines) == 3, slow)
    held[0].ok()
    assert await slow == [FINE]
    for _ in range(20):
        assert await client.send(many(1), soon()) == [FINE]
    assert len(server.doors) == 3


async def test_many_callers_at_once(listen, connect):
    """Two hundred calls of one request each."""
    server = await listen(Server())
    client = connect(server.port)
    ends = await asyncio.gather(*(client.send(requests(b"%d" % n), soon()) for n in range(200)))
    assert ends == [[FINE]] * 200
    assert len(server.doors) <= 10


# -- servers that leave


@pytest.mark.parametrize("cut", range(len(OK)))
@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_break_at_every_point_of_an_answer(listen, connect, cut, how):
    """Before the head is whole: in doubt; after: an answer, as far as it came. Nothing is sent twice."""

    def answer(door: Door, name: bytes) -> None:
        if name == b"1":
            door.say(OK[:cut])
            getattr(door.transport, how)()
        else:
            door.ok()

    server = await listen(Server(answer))
    ends = await connect(server.port, connections=2).send(many(4), soon())
    head = OK.index(b"\r\n\r\n") + 4
    broken = Answer(201, {"content-length": "2"}, OK[head:cut])
    if how == "abort":  # what was written may be lost with it
        assert ends[1] in (IN_DOUBT, broken)
    else:
        assert ends[1] == (broken if cut >= head else IN_DOUBT)
    assert [ends[0], *ends[2:]] == [FINE] * 3
    assert sorted(server.asked) == [b"0", b"1", b"2", b"3"]


async def test_a_server_that_says_goodbye_each_time(listen, connect):
    """Connection: close behind every answer: all are answered, over as many connections."""
    goodbye = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    server = await listen(Server(lambda door, name: (door.say(goodbye), door.transport.close())))
    ends = await connect(server.port, connections=3).send(many(20), soon())
    assert [end.status for end in ends] == [201] * 20
    assert len(server.doors) == 20


async def test_answers_that_end_with_their_connections(listen, connect):
    """Neither length nor chunks: that is no failure, and nobody waits before connecting again."""
    whole = b"HTTP/1.1 200 OK\r\n\r\nok"
    server = await listen(Server(lambda door, name: (door.say(whole), door.transport.close())))
    client = connect(server.port, connections=3)
    assert await client.send(many(20), soon()) == [Answer(200, {}, b"ok")] * 20
    assert client._failures == 0


async def test_a_connection_that_was_left_while_idle_is_not_used(listen, connect):
    """The server closes behind its answer without a word: the next request goes elsewhere, without doubt."""
    server = await listen(Server(lambda door, name: (door.ok(), door.transport.close())))
    client = connect(server.port, connections=1)
    for _ in range(5):
        assert await client.send(many(1), soon()) == [FINE]
        await until(lambda: server.doors[-1].gone)
    assert len(server.doors) == 5


LEAVER = """
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version, timeout = "HTTP/1.1", 0.2
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(201)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(*sys.argv[1:])
server.socket = tls.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


async def test_a_goodbye_that_nobody_has_read_yet(serve, certificate, connect):
    """Python's http.server leaves while this process is busy: asked before anything is written, so that
    nothing is in doubt.
    """
    command = (sys.executable, "-W", "ignore", "-c", LEAVER, certificate.cert, certificate.key)
    process = serve(*command, stdout=subprocess.PIPE)
    client = connect(int(await asyncio.to_thread(process.stdout.readline)), connections=1)
    for _ in range(3):
        [end] = await client.send(many(1), soon())
        assert (end.status, end.body) == (201, b"ok")
        left = client.lines[0].transport.get_extra_info("socket")
        assert select.select([left], [], [], PATIENCE)[0]  # it is the point: the event loop sees nothing


async def test_an_idle_connection_is_left_before_the_server_leaves_it(listen, connect, clock):
    """After `unused` seconds; or a second before the time that the server names."""
    short = OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: timeout=1\r\n\r\n")
    server = await listen(Server(lambda door, name: door.say(OK if name == b"0" else short)))
    client = connect(server.port, connections=1, pace=Pace(float("inf"), float("inf"), unused=200))
    await client.send(requests(b"0"), soon())
    clock.forward(100)
    await client.send(requests(b"0"), soon())
    clock.forward(100)
    await client.send(requests(b"0"), soon())
    assert len(server.doors) == 1
    clock.forward(200)
    await until(lambda: not client.lines and server.doors[0].gone)
    for _ in range(3):
        [end] = await client.send(requests(b"short"), soon())
        assert end.status == 201
    assert len(server.doors) == 4


async def test_words_out_of_turn_end_the_connection(listen, connect):
    """A 408 to nobody, while idle: it is not taken for the answer to the next request."""
    timeout = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    server = await listen(Server())
    client = connect(server.port, connections=1)
    for _ in range(3):
        assert await client.send(many(1), soon()) == [FINE]
        server.doors[-1].say(timeout)
        await until(lambda: server.doors[-1].gone)
    assert len(server.doors) == 3


# -- time


async def test_each_call_ends_in_its_time(listen, connect, clock):
    """Silent requests are in doubt, and their connections are not used again; what waited did not leave."""
    server = await listen(Server(lambda door, name: name == b"0" and door.ok()))
    client = connect(server.port, connections=2)
    longer = asyncio.create_task(client.send(requests(b"0", b"silent"), soon(200)))
    await asyncio.sleep(0)
    shorter = asyncio.create_task(client.send(requests(b"0", b"1", b"2", b"3"), soon(100)))
    await until(lambda: sorted(server.asked) == [b"0", b"0", b"1", b"silent"])
    clock.forward(100)
    await until(shorter.done)
    assert await shorter == [FINE, IN_DOUBT, NOT_PROCESSED, NOT_PROCESSED]
    assert not longer.done()
    clock.forward(100)
    await until(longer.done)
    assert await longer == [FINE, IN_DOUBT]
    clock.forward(100)  # whichever connection had the silent one: the pause after it is over
    assert await client.send(requests(b"0"), soon()) == [FINE]
    assert sorted(server.asked) == [b"0", b"0", b"0", b"1", b"silent"]


async def test_an_answer_that_comes_too_late_is_nobodys(listen, connect, clock):
    """It is not taken for the answer to the next request."""
    server = await listen(Server(lambda door, name: name == b"late" or door.ok()))
    client = connect(server.port, connections=1)
    assert await client.send(requests(b"0"), soon()) == [FINE]  # the connection has been good for something
    sent = asyncio.create_task(client.send(requests(b"late"), soon(100)))
    await until(lambda: server.asked == [b"0", b"late"])
    clock.forward(100)
    await until(sent.done)
    assert await sent == [IN_DOUBT]
    server.doors[0].say(OK.replace(b"ok", b"no"))
    for _ in range(5):
        assert await client.send(requests(b"0"), soon()) == [FINE]


async def test_whoever_stops_waiting_gives_the_place_back(listen, connect):
    """A cancelled call ends its connections and leaves the queue; the others have their answers."""
    server = await listen(Server(lambda door, name: name == b"good" and door.ok()))
    client = connect(server.port, connections=2)
    first = asyncio.create_task(client.send(many(5), soon()))
    await until(lambda: len(server.asked) == 2)
    second = asyncio.create_task(client.send(requests(b"good", b"good"), soon()))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == [FINE, FINE]
    with pytest.raises(asyncio.CancelledError):
        await first
    assert len(server.asked) == 4


# -- no connection


async def test_nobody_listens(connect, unused_tcp_port):
    """Not processed, at once; many connections that fail together are one failure."""
    client = connect(unused_tcp_port, connections=50, first=NEVER)
    async with asyncio.timeout(PATIENCE):
        for _ in range(5):
            assert await client.send(many(50), soon(NEVER)) == [NOT_PROCESSED] * 50
    assert client._failures == 1


async def test_it_comes_back_when_the_server_does(listen, connect, unused_tcp_port, clock):
    """After the wait the next call connects."""
    client = connect(unused_tcp_port)
    assert await client.send(many(3), soon()) == [NOT_PROCESSED] * 3
    await listen(Server(), port=unused_tcp_port)
    clock.forward(1)
    assert await client.send(many(3), soon()) == [FINE] * 3


async def test_a_server_that_hangs_up_at_once_is_not_hammered(listen, connect):
    """Connections that never answered count as failures."""
    server = await listen(Server(met=lambda door: door.transport.abort()))
    client = connect(server.port, connections=5, first=NEVER)
    for _ in range(10):
        assert set(await client.send(many(5), soon())) <= {NOT_PROCESSED, IN_DOUBT}
    assert len(server.doors) <= 10


async def test_closing_ends_everything(listen, connect):
    """Under way: in doubt; waiting: not processed. Closed twice, and used again afterwards."""
    server = await listen(Server(lambda door, name: None))
    client = connect(server.port, connections=2)
    sent = asyncio.create_task(client.send(many(4), soon()))
    await until(lambda: len(server.asked) == 2)
    await asyncio.gather(client.close(), client.close())
    assert await sent == [IN_DOUBT, IN_DOUBT, NOT_PROCESSED, NOT_PROCESSED]
    server.answer = Door.ok
    assert await client.send(many(3), soon()) == [FINE] * 3


async def test_closing_at_any_moment_of_connecting(listen, connect):
    """However far it has come, no connection is left open (an open one would warn, which fails the test)."""
    server = await listen(Server())
    for turns in [*range(10), *range(10, 60, 3)]:
        client = connect(server.port)
        sent = asyncio.create_task(client.send(many(3), soon()))
        for _ in range(turns):
            await asyncio.sleep(0)
        await client.close()
        assert all(end in (FINE, IN_DOUBT, NOT_PROCESSED) for end in await sent)
        assert await client.send(many(1), soon()) == [FINE]
        await client.close()
        del client, sent
    gc.collect()


# -- rubbish


def rubbish(chance: Random) -> bytes:
    """Pieces of answers, whole answers, or no HTTP at all."""
    pieces = [
        *(
            OK,
            OK[: chance.randrange(len(OK))],
            b"HTTP/1.1 100 Continue\r\n\r\n",
            chance.randbytes(20),
            b"\r\n",
        ),
        *(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", b"HTTP/1.1 101 X\r\n\r\n"),
        *(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"HTTP/1.1 503 No\r\nConnection: close\r\n\r\n"),
    ]
    return chance.choice(pieces)


@pytest.mark.parametrize("seed", range(20))
async def test_rubbish_at_any_moment_ends_every_request(listen, connect, seed):
    """Between the answers, in place of them, then perhaps a break: each of 30 requests ends, in time."""
    chance = Random(seed)

    def answer(door: Door, _name: bytes) -> None:
        if chance.random() < 0.4:
            door.say(rubbish(chance))
        if chance.random() < 0.1:
            door.transport.abort()
        elif chance.random() < 0.8:
            door.later(chance.choice((0, 0, 0.01)), OK if chance.random() < 0.8 else rubbish(chance))

    server = await listen(Server(answer))
    client = connect(server.port, connections=3)
    async with asyncio.timeout(PATIENCE):
        ends = await asyncio.gather(*(client.send(many(10), soon(0.5)) for _ in range(3)))
    assert all(isinstance(end, Answer | Unanswered) for some in ends for end in some)
    server.faults.clear()  # of answers to nothing come requests that it does not expect


async def test_a_flood_is_cut_off(listen, connect):
    """A body without end: an answer with its first 65,535 bytes, and the connection is over."""
    flood = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 20_000_000
    server = await listen(Server(lambda door, name: door.say(flood)))
    client = connect(server.port, connections=1)
    [end] = await client.send(many(1), soon())
    assert (end.status, len(end.body)) == (200, 65_535)
    await until(lambda: client.lines == [])


# -- servers that we did not write


@pytest.fixture(scope="session", params=["go", "hypercorn", "h11", "httptools"])
def port(request: pytest.FixtureRequest) -> int:
    """Go's net/http, hypercorn, and uvicorn with both of its parsers."""
    if request.param in ("go", "hypercorn"):
        return request.getfixturevalue(f"{request.param}_peer")
    return request.getfixturevalue("uvicorn_peer")(request.param)


async def test_a_thousand_requests_have_their_own_answers(port, connect):
    """Bodies from nothing to 30 kB: each comes back as it was, with a length or in chunks."""
    bodies = [b"%d " % n + b"x" * ((n * n * 7) % 300 if n % 50 else n * 30) for n in range(1000)]
    client = connect(port, connections=8)
    ends = await client.send([Request(HEAD, b"/echo", (), body) for body in bodies], soon())
    assert [end.body for end in ends] == bodies
    assert len(client.lines) <= 8


@pytest.mark.parametrize("status", [200, 204, 400, 404, 429, 500, 503])
async def test_statuses(port, connect, status):
    """With a body and without one; the connection lives on."""
    client = connect(port, connections=1)
    for _ in range(2):
        [end] = await client.send([Request(HEAD, b"/status/%d" % status, (), b"x")], soon())
        assert end.status == status


async def test_what_only_go_can_be_asked_for(go_peer, connect):
    """103 before, trailers after, goodbyes, an answer that breaks off, and none at all."""
    client = connect(go_peer, connections=1)
    words = [b"interim", b"trailers", b"bye", b"half", b"echo", b"reset"]
    ends = await client.send([Request(HEAD, b"/" + word, (), word) for word in words], soon())
    assert [getattr(end, "body", end) for end in ends] == [
        *(b"interim", b"trailers", b"bye", b"half", b"echo"),
        IN_DOUBT,
    ]
