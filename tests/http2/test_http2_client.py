"""The I/O half over real TLS: connections, queues, time, and servers that leave, stall or vanish."""

from __future__ import annotations

import asyncio
import gc

import pytest
from http2_server import Door, ErrorCodes, Server
from listening import NEVER, PATIENCE
from waiting import until

from msgxc.http2 import Answer, Client, Limits, Pace, Patience, Request, Unanswered, post_head

NOT_PROCESSED, IN_DOUBT = Unanswered.NOT_PROCESSED, Unanswered.IN_DOUBT
OK = Answer(200, {}, b"")
HEAD = post_head("localhost", {"authorization": "bearer x"}, ())
#: Nobody is asked for a sign of life.
UNASKED = Pace(quiet=float("inf"), idle=float("inf"))


def requests(count: int, body: bytes = b"{}") -> list[Request]:
    return [Request(HEAD, b"/%d" % n, (), body) for n in range(count)]


def soon(seconds: float = PATIENCE) -> float:
    return asyncio.get_running_loop().time() + seconds


@pytest.fixture
async def connect(certificate):
    """Makes a client of a port, and closes it afterwards."""
    made: list[Client] = []

    def make(port: int, **limits: object) -> Client:
        made.append(Client("localhost", port, certificate.client("h2", "http/1.1"), Limits(**limits)))
        return made[-1]

    yield make
    for client in made:
        await client.close()
        assert client.lines == []
        assert not client.busy


async def test_no_requests_need_no_connection(listen, connect):
    """An empty call is over at once."""
    server = await listen(Server())
    assert await connect(server.port).send([], soon()) == []
    assert server.doors == []


async def test_the_requests_of_one_turn_leave_in_one_write(listen, connect):
    """Whether they come in one call or in two hundred."""
    server = await listen(Server())
    client = connect(server.port)
    await client.send(requests(1), soon())
    [line], written = client.lines, []
    write = line.transport.write
    line.transport.write = lambda data: (written.append(len(data)), write(data))
    await asyncio.gather(*(client.send(requests(2), soon()) for _ in range(200)))
    assert len(server.asked) == 401
    assert len(written) < 10


async def test_one_connection_is_opened_for_many_callers(listen, connect):
    """Single flight: fifty calls at once on a client without a connection."""
    server = await listen(Server())
    client = connect(server.port)
    ends = await asyncio.gather(*(client.send(requests(1), soon()) for _ in range(50)))
    assert ends == [[OK]] * 50
    assert len(server.doors) == 1


async def test_the_peers_limit_of_streams_holds_on_every_connection(listen, connect):
    """Five streams each, three connections: of a hundred and five requests fifteen are open before one is
    answered, never more than five on one."""
    held: list[tuple[Door, int]] = []

    def together(door: Door, stream: int) -> None:
        held.append((door, stream))
        if len(held) == 15:
            for one, its in held:
                one.ok(its)
            held.clear()

    server = await listen(Server(together, MAX_CONCURRENT_STREAMS=5))
    client = connect(server.port, connections=3, grow=0.01)
    assert await client.send(requests(105), soon()) == [OK] * 105
    assert len(server.doors) == 3
    assert {door.most_open for door in server.doors} == {5}


async def test_another_connection_only_when_requests_wait(listen, connect):
    """A short queue is not a reason; Apple allows one stream until it knows the token."""
    server = await listen(Server(MAX_CONCURRENT_STREAMS=1))
    client = connect(server.port, connections=4, grow=NEVER)
    assert await client.send(requests(20), soon()) == [OK] * 20
    assert len(server.doors) == 1


# -- goodbyes and breaks


def leaves_after(count: int, then: bool):
    """Answers so many on each connection, then GOAWAY with the last of them; `then` also closes."""

    def answer(door: Door, stream: int) -> None:
        if stream <= 2 * count - 1:
            door.ok(stream)
        if stream == 2 * count - 1:
            door.goaway(stream)
            if then:
                door.transport.close()

    return answer


@pytest.mark.parametrize("closes", [True, False])
async def test_what_was_not_processed_leaves_again_at_once(listen, connect, closes):
    """GOAWAY after three: the other seven go over the next connections, and nobody notices."""
    server = await listen(Server(leaves_after(3, closes)))
    client = connect(server.port)
    assert await client.send(requests(10), soon()) == [OK] * 10
    assert len(server.doors) == 4


async def test_below_the_last_id_an_answer_is_waited_for(listen, connect):
    """GOAWAY(5) and then the answers of 1, 3, 5: all ten are answered."""

    def answer(door: Door, stream: int) -> None:
        if len(server.doors) > 1 or stream > 5:
            door.ok(stream) if len(server.doors) > 1 else None
        else:
            door.ok_later(stream, 0.1)
            if stream == 5:
                door.goaway(5)

    server = await listen(Server(answer))
    assert await connect(server.port).send(requests(10), soon()) == [OK] * 10
    await until(lambda: server.doors[0].gone)  # closed when the last answer was there


async def test_below_the_last_id_and_then_a_break_is_in_doubt(listen, connect):
    """It may have been processed: not sent again."""

    def answer(door: Door, stream: int) -> None:
        if len(server.doors) > 1:
            door.ok(stream)
        elif stream == 9:
            door.goaway(5)
            door.transport.close()

    server = await listen(Server(answer))
    ends = await connect(server.port).send(requests(5), soon())
    assert ends == [IN_DOUBT] * 3 + [OK] * 2
    assert len(server.asked) == 7


async def test_a_break_leaves_doubt_and_the_next_call_connects_again(listen, connect):
    """Nothing is sent again by itself."""

    def answer(door: Door, stream: int) -> None:
        if stream == 3 and len(server.doors) == 1:
            door.transport.abort()
        else:
            door.ok(stream)

    server = await listen(Server(answer))
    client = connect(server.port)
    assert await client.send(requests(1), soon()) == [OK]
    assert await client.send(requests(1), soon()) == [IN_DOUBT]
    assert await client.send(requests(3), soon()) == [OK] * 3
    assert len(server.asked) == 5


async def test_a_refused_stream_is_told_and_not_repeated(listen, connect):
    """The caller decides when: a peer that refuses has too much already."""
    server = await listen(Server(lambda door, stream: door.reset(stream, ErrorCodes.REFUSED_STREAM)))
    assert await connect(server.port).send(requests(3), soon()) == [NOT_PROCESSED] * 3
    assert len(server.asked) == 3


async def test_a_peer_that_breaks_the_protocol_is_left(listen, connect):
    """In doubt, and the next call goes over a new connection."""

    def answer(door: Door, stream: int) -> None:
        if len(server.doors) == 1:
            door.transport.write(b"\xff" * 100)
        else:
            door.ok(stream)

    server = await listen(Server(answer))
    client = connect(server.port, first=0.0)
    assert await client.send(requests(2), soon()) == [IN_DOUBT] * 2
    assert await client.send(requests(2), soon()) == [OK] * 2


# -- time


async def test_each_call_ends_in_its_time(listen, connect, clock):
    """Silent streams are in doubt, reset, and their places are free; a call with more time goes on."""

    def answer(door: Door, stream: int) -> None:
        if stream % 4 == 1:
            door.ok(stream)

    server = await listen(Server(answer))
    client = connect(server.port, pace=UNASKED)
    short = asyncio.create_task(client.send(requests(4), soon(100)))
    longer = asyncio.create_task(client.send(requests(4), soon(200)))
    await until(lambda: len(server.asked) == 8 and client.lines[0].connection.busy == 4)
    clock.forward(100)
    await until(short.done)
    assert await short == [OK, IN_DOUBT, OK, IN_DOUBT]
    assert not longer.done()
    clock.forward(100)
    await until(longer.done)
    assert await longer == [OK, IN_DOUBT, OK, IN_DOUBT]
    await until(lambda: sorted(server.doors[0].resets) == [3, 7, 11, 15])
    assert client.lines[0].connection.busy == 0


async def test_what_waited_for_a_stream_in_vain_was_not_processed(listen, connect, clock):
    """One stream, never answered: the second request did not leave."""
    server = await listen(Server(lambda door, stream: None, MAX_CONCURRENT_STREAMS=1))
    client = connect(server.port, connections=1, pace=UNASKED)
    sent = asyncio.create_task(client.send(requests(3), soon(100)))
    await until(lambda: len(server.asked) == 1)
    clock.forward(100)
    await until(sent.done)
    assert await sent == [IN_DOUBT, NOT_PROCESSED, NOT_PROCESSED]


async def test_whoever_stops_waiting_gives_the_place_back(listen, connect):
    """A cancelled call resets its streams and leaves the queue; the others have their answers."""
    server = await listen(
        Server(lambda door, stream: stream > 3 and door.ok(stream), MAX_CONCURRENT_STREAMS=2)
    )
    client = connect(server.port, connections=1)
    first = asyncio.create_task(client.send(requests(5), soon()))
    await until(lambda: len(server.asked) == 2)
    second = asyncio.create_task(client.send(requests(2), soon()))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == [OK, OK]
    with pytest.raises(asyncio.CancelledError):
        await first
    assert server.doors[0].resets == [1, 3]
    assert len(server.asked) == 4


def asked_for_life(client: Client) -> bool:
    """The peer has to show a sign of life, and has shown none yet."""
    return bool(client.lines) and client.lines[0]._pinged > client.lines[0]._heard


async def test_a_connection_that_says_nothing_is_left(listen, connect, clock):
    """Requests under way, no sign of life, no answer to the ping: in doubt long before their time is over."""
    server = await listen(Server(lambda door, stream: None))
    client = connect(server.port, pace=Pace(quiet=100, answer=200))
    sent = asyncio.create_task(client.send(requests(2), soon(10_000)))
    await until(lambda: len(server.asked) == 2)
    server.deaf = True
    clock.forward(100)
    await until(lambda: asked_for_life(client))
    assert not sent.done()
    clock.forward(200)
    await until(sent.done)
    assert await sent == [IN_DOUBT] * 2


async def test_a_slow_peer_that_answers_pings_is_waited_for(listen, connect, clock):
    """Five times the time in which it has to say something, pinged each time: alive."""
    server = await listen(Server(lambda door, stream: None))
    client = connect(server.port, pace=Pace(quiet=100, answer=100))
    sent = asyncio.create_task(client.send(requests(2), soon(10_000)))
    await until(lambda: len(server.asked) == 2)
    [door] = server.doors
    for _ in range(5):
        heard = door.reads
        clock.forward(100)
        await until(lambda: door.reads > heard and not asked_for_life(client))  # noqa: B023
    for stream in (1, 3):
        door.ok(stream)
    assert await sent == [OK, OK]


async def test_an_idle_connection_is_kept_alive_and_an_unused_one_closed(listen, connect, clock):
    """Pings while idle; after `unused` seconds it goes, and comes back when needed."""
    server = await listen(Server())
    client = connect(server.port, pace=Pace(idle=100, answer=100, unused=1000))
    await client.send(requests(1), soon())
    for _ in range(3):
        heard = server.doors[0].reads
        clock.forward(100)
        await until(lambda: server.doors[0].reads > heard and not asked_for_life(client))  # noqa: B023
    assert len(client.lines) == 1
    clock.forward(700)
    await until(lambda: client.lines == [])
    assert await client.send(requests(1), soon()) == [OK]
    assert len(server.doors) == 2


async def test_an_idle_connection_that_is_dead_is_noticed(listen, connect, clock):
    """Nobody waits for anything: the next call finds a new connection."""
    server = await listen(Server())
    client = connect(server.port, pace=Pace(idle=100, answer=100))
    await client.send(requests(1), soon())
    server.deaf = True
    clock.forward(100)
    await until(lambda: asked_for_life(client))
    clock.forward(100)
    await until(lambda: client.lines == [])
    server.deaf = False
    assert await client.send(requests(1), soon()) == [OK]


# -- no connection


async def test_nobody_listens(connect, unused_tcp_port):
    """Not processed, at once; and nobody knocks again for a while."""
    client = connect(unused_tcp_port, first=NEVER)
    async with asyncio.timeout(PATIENCE):
        for _ in range(20):
            assert await client.send(requests(3), soon(NEVER)) == [NOT_PROCESSED] * 3
    assert client._failures == 1


async def test_the_waits_between_failures_grow_up_to_a_limit(connect, unused_tcp_port):
    """Doubled each time, with jitter, so that many senders do not come back together."""
    client = connect(unused_tcp_port, first=1_000.0, longest=20_000.0)
    waits = []
    for _ in range(7):
        client._not_before = 0.0
        await client.send(requests(1), soon())
        waits.append(client._not_before - asyncio.get_running_loop().time())
    most = [1_000 * times for times in (1, 2, 4, 8, 16, 20, 20)]
    assert all(0.4 * longest <= wait <= longest for wait, longest in zip(waits, most, strict=True))
    assert len(set(waits)) == 7


async def test_it_comes_back_when_the_server_does(listen, connect, unused_tcp_port, clock):
    """After the wait the next call connects."""
    client = connect(unused_tcp_port, first=100)
    assert await client.send(requests(1), soon()) == [NOT_PROCESSED]
    await listen(Server(), port=unused_tcp_port)
    assert await client.send(requests(1), soon()) == [NOT_PROCESSED]
    clock.forward(100)
    assert await client.send(requests(1), soon()) == [OK]
    assert client._failures == 0


async def test_a_server_that_hangs_up_at_once_is_not_hammered(listen, connect):
    """Connections that never answered count as failures."""

    def answer(door: Door, stream: int) -> None:
        door.goaway(0)
        door.transport.abort()

    server = await listen(Server(answer))
    client = connect(server.port, first=NEVER)
    for _ in range(10):
        assert await client.send(requests(5), soon()) == [NOT_PROCESSED] * 5
    assert len(server.doors) <= 3


async def test_a_server_that_never_says_its_settings(listen, connect):
    """TLS is there and nothing follows: not processed within `connect` seconds."""
    server = Server()
    server.speaks = False
    await listen(server)
    client = connect(server.port, connect=0.3)
    async with asyncio.timeout(PATIENCE):
        assert await client.send(requests(2), soon(NEVER)) == [NOT_PROCESSED] * 2


async def test_a_time_that_is_over_while_connecting(listen, connect):
    """The call's own time counts, whatever the connection does."""
    server = Server()
    server.speaks = False
    await listen(server)
    client = connect(server.port, connect=NEVER)
    async with asyncio.timeout(PATIENCE):
        assert await client.send(requests(2), soon(0.2)) == [NOT_PROCESSED] * 2


async def test_a_certificate_for_another_host_is_refused(listen, foreign):
    """Trusted, but not for this name: nothing is sent."""
    server = await listen(Server(), of=foreign)
    client = Client("localhost", server.port, foreign.client())
    assert await client.send(requests(1), soon()) == [NOT_PROCESSED]
    await client.close()
    assert server.asked == []


async def test_a_server_without_http2_is_told_apart(listen, connect):
    """It chose HTTP/1.1: not processed, and the caller knows why."""
    server = await listen(Server(), "http/1.1")
    client = connect(server.port)
    assert await client.send(requests(1), soon()) == [NOT_PROCESSED]
    assert client.speaks_other


async def test_a_host_that_is_no_name(certificate):
    """Labels above 63 characters raise in the resolver: not processed."""
    client = Client("x" * 100 + ".invalid", 443, certificate.client())
    assert await client.send(requests(1), soon()) == [NOT_PROCESSED]
    await client.close()


# -- bounds


async def test_the_queue_is_bounded(listen, connect):
    """What does not fit is not processed, and says so at once."""
    server = await listen(Server())
    client = connect(server.port, queue=7)
    assert await client.send(requests(10), soon()) == [OK] * 7 + [NOT_PROCESSED] * 3


async def test_a_peer_that_does_not_read_gets_no_more(listen, connect, clock):
    """Its windows are wide, its socket is full: what has not left waits, and memory stays bounded."""
    server = await listen(Server(lambda door, stream: None, INITIAL_WINDOW_SIZE=1 << 30))
    client = connect(server.port, connections=1, pace=UNASKED)
    first = asyncio.create_task(client.send(requests(1), soon(100)))
    await until(lambda: server.asked)
    clock.forward(100)
    await until(first.done)
    assert await first == [IN_DOUBT]
    [door], [line] = server.doors, client.lines
    door.h2.increment_flow_control_window(1 << 30)
    door.flush()
    door.transport.pause_reading()
    await until(lambda: line.connection._outbound.window > 1 << 29)
    ends = [asyncio.create_task(client.send(requests(50, b"x" * 60_000), soon(100))) for _ in range(100)]
    await until(lambda: client._queue and not line.connection.room)
    assert line.transport.get_write_buffer_size() < 20_000_000
    clock.forward(100)
    kinds = {end for task in ends for end in await task}
    assert kinds == {IN_DOUBT, NOT_PROCESSED}


async def test_closing_ends_everything(listen, connect):
    """Waiting: not processed. Under way: in doubt. Closed twice, and used again afterwards."""
    server = await listen(Server(lambda door, stream: None, MAX_CONCURRENT_STREAMS=2))
    client = connect(server.port, connections=1)
    sent = asyncio.create_task(client.send(requests(3), soon()))
    await until(lambda: len(server.asked) == 2)
    await asyncio.gather(client.close(), client.close())
    assert await sent == [IN_DOUBT, IN_DOUBT, NOT_PROCESSED]
    server.answer = Door.ok
    assert await client.send(requests(3), soon()) == [OK] * 3


async def test_closing_at_any_moment_of_connecting(listen, connect):
    """However far it has come, no connection is left open (an open one would warn, which fails the test)."""
    server = await listen(Server())
    for turns in range(40):
        client = connect(server.port)
        sent = asyncio.create_task(client.send(requests(1), soon()))
        for _ in range(turns):
            await asyncio.sleep(0)
        await client.close()
        assert await sent in ([OK], [IN_DOUBT], [NOT_PROCESSED])
        del client, sent
    gc.collect()


async def test_closing_while_connecting(listen, connect):
    """The connection is not finished, and nothing is left behind."""
    server = Server()
    server.speaks = False
    await listen(server)
    client = connect(server.port)
    sent = asyncio.create_task(client.send(requests(3), soon()))
    await until(lambda: server.doors)
    await client.close()
    assert await sent == [NOT_PROCESSED] * 3


class Late(Server):
    """Answers these paths when it is told to, and all others at once."""

    def __init__(self, *paths: str) -> None:
        super().__init__(self._say)
        self._paths = paths
        self.held: list[tuple[Door, int]] = []

    def _say(self, door: Door, stream: int) -> None:
        if door.paths[stream] in self._paths:
            self.held.append((door, stream))
        else:
            door.ok(stream)

    def let_go(self) -> None:
        for door, stream in self.held:
            door.ok(stream)
        self.held = []


async def test_the_late_ones_are_not_waited_for(listen, connect):
    """Three of thirty are late: the call ends with the others, and these three end by themselves."""
    server = await listen(Late("/3", "/17", "/20"))
    client = connect(server.port)
    ends = await client.send_some(requests(30), soon(), Patience(0.05))
    late = [at for at, end in enumerate(ends) if isinstance(end, asyncio.Future)]
    assert late == [3, 17, 20]
    assert [end for end in ends if end == OK] == [OK] * 27
    assert client.busy
    server.let_go()
    assert [await ends[at] for at in late] == [OK] * 3
    assert not client.busy


async def test_many_late_ones_are_waited_for(listen, connect):
    """When more than one in ten is late it is no matter of a few: the call ends with the last but these."""
    server = await listen(Late(*(f"/{n}" for n in range(12))))
    sent = asyncio.create_task(connect(server.port).send_some(requests(30), soon(), Patience(0.01)))
    await until(lambda: len(server.held) == 12)
    await asyncio.sleep(0.2)
    assert not sent.done()
    server.let_go()
    assert await sent == [OK] * 30


async def test_a_late_one_ends_in_time(listen, connect, clock):
    """Two that are never answered are in doubt when their time is over; nothing is left of them."""
    server = await listen(Late("/0", "/1"))
    client = connect(server.port, pace=UNASKED)
    ends = await client.send_some(requests(20), soon(100), Patience(0.05))
    assert ends[2:] == [OK] * 18
    clock.forward(100)
    assert [await end for end in ends[:2]] == [IN_DOUBT] * 2
    assert not client.busy


async def test_one_alone_is_given_the_usual_time(listen, connect):
    """There is nobody to compare it with: quick, it is answered; slow, it goes on by itself. Without patience
    it is waited for."""
    server = await listen(Late("/0"))
    client = connect(server.port)
    [end] = await client.send_some(requests(1), soon(), Patience(0.1))
    await until(lambda: server.held)
    server.let_go()
    assert await end == OK
    sent = asyncio.create_task(client.send_some(requests(1), soon(), None))
    await until(lambda: server.held)
    await asyncio.sleep(0.1)
    assert not sent.done()
    server.let_go()
    assert await sent == [OK]
    assert await client.send_some(requests(2)[1:], soon(), Patience(NEVER)) == [OK]


async def test_late_ones_end_when_the_client_closes(listen, connect):
    """They are in doubt then, as everything that is under way."""
    server = await listen(Late("/0"))
    client = connect(server.port)
    ends = await client.send_some(requests(20), soon(), Patience(0.05))
    await client.close()
    assert await ends[0] is IN_DOUBT
