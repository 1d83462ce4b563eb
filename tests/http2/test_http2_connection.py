"""The pure half: every rule of the protocol that we have to obey, against the h2 library as the server."""

from __future__ import annotations

import pytest
from http2_peer import ErrorCodes, Peer, PingReceived, RequestReceived, StreamEnded, StreamReset, request

from msgxc.http2 import Answer, Head, Unanswered, frames
from msgxc.http2.connection import BODY_BYTES, HEADER_LIST_BYTES, INBOUND_BYTES, Connection
from msgxc.http2.frames import ACK, END_HEADERS, END_STREAM, PADDED, Code, Kind, Setting, frame
from msgxc.http2.hpack import integer

NOT_PROCESSED, IN_DOUBT = Unanswered.NOT_PROCESSED, Unanswered.IN_DOUBT
SETTLED = frames.settings({})


def settled(count: int = 1, **settings: int) -> Connection[int]:
    """A connection whose peer has said its settings, with requests 1, 2, ... on streams 1, 3, ..."""
    made: Connection[int] = Connection()
    made.receive(frames.settings({Setting[name]: value for name, value in settings.items()}))
    for number in range(1, count + 1):
        assert made.start(number, request(number))
    made.take()
    return made


def results(connection: Connection[int]) -> dict[int, object]:
    assert len({token for token, _ in connection.ended}) == len(connection.ended)
    return dict(connection.ended)


# -- requests and answers


def test_answers_that_differ_in_their_last_header_alone() -> None:
    """Each is read as it came, coded or not; one that is cut short or holds a line end is refused."""
    plain, wrong = b"\x88\x00\x07apns-id\x04id-%d", b"\x88\x00\x07apns-id\x04id\r\n"
    coded = b"\x88\x00\x07apns-id\x84" + bytes.fromhex("ffffffff")
    blocks = [plain % 1, plain % 2, plain % 3, wrong, (plain % 4)[:-1], plain % 5]
    connection = settled(len(blocks))
    for number, block in enumerate(blocks[:4]):
        connection.receive(frame(Kind.HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, block))
    found = results(connection)
    for number in (1, 2, 3):
        answer = found[number]
        assert isinstance(answer, Answer)
        assert (answer.status, dict(answer.headers)) == (200, {"apns-id": f"id-{number}"})
    assert found[4] is IN_DOUBT
    connection.receive(frame(Kind.HEADERS, END_HEADERS | END_STREAM, 9, blocks[4]))
    assert connection.closed
    other = settled(2)
    other.receive(frame(Kind.HEADERS, END_HEADERS | END_STREAM, 1, plain % 1))
    other.receive(frame(Kind.HEADERS, END_HEADERS | END_STREAM, 3, coded))
    kept = results(other)[2]
    assert isinstance(kept, Answer)
    assert dict(kept.headers) == {}  # no Huffman code: left out, as everywhere


def test_a_request_and_its_answer():
    """Pseudo-fields, constant and own fields, body; the answer has status, headers and body."""
    peer = Peer()
    peer.ask(b"one", b"two")
    peer.answer(3, 400, b'{"reason":"x"}', retry_after=7)
    peer.answer(1)
    peer.pass_on()
    assert [(e.stream_id, dict(e.headers)[":path"]) for e in peer.of(RequestReceived)] == [
        (1, "/3/device/1"),
        (3, "/3/device/2"),
    ]
    assert dict(peer.of(RequestReceived)[1].headers)["apns-id"] == "v2"
    assert (peer.body(1), peer.body(3)) == (b"one", b"two")
    assert peer.ends == {
        1: [Answer(200, {}, b"")],
        2: [Answer(400, {"retry-after": "7"}, b'{"reason":"x"}')],
    }


def test_a_request_without_a_body_ends_with_its_headers():
    """END_STREAM stands on HEADERS, and there is no DATA."""
    peer = Peer()
    peer.ask(b"")
    assert len(peer.of(StreamEnded)) == 1


def test_nothing_starts_before_the_peers_settings():
    """The number of streams that it takes is not known yet."""
    connection: Connection[int] = Connection()
    assert connection.room == 0
    connection.receive(SETTLED)
    assert connection.room == 1000


def test_the_second_request_of_many_is_small():
    """Constant headers are one byte each once the peer's table has them."""
    connection = settled(1)
    connection.start(2, request(2))
    assert len(connection.take()) < 100


def test_an_interim_answer_is_not_the_answer():
    """1xx come before, any number of times."""
    peer = Peer()
    peer.ask(b"x")
    for _ in range(3):
        peer.h2.send_headers(1, [(":status", "103"), ("link", "x")])
    peer.pass_on()
    assert peer.ends == {}
    peer.answer(1, 201)
    peer.pass_on()
    assert peer.ends == {1: [Answer(201, {}, b"")]}


def test_trailers_end_an_answer():
    """Their fields are read and dropped."""
    peer = Peer()
    peer.ask(b"x")
    peer.h2.send_headers(1, [(":status", "200")])
    peer.h2.send_data(1, b"body")
    peer.h2.send_headers(1, [("grpc-status", "0")], end_stream=True)
    peer.pass_on()
    assert peer.ends == {1: [Answer(200, {}, b"body")]}


def test_padding_is_not_content():
    """DATA and HEADERS may be padded, with priority in front."""
    connection = settled(2)
    block = b"\x02" + b"\0\0\0\0\x10" + b"\x88" + b"\0\0"
    connection.receive(frame(Kind.HEADERS, END_HEADERS | PADDED | 0x20, 1, block))
    connection.receive(frame(Kind.DATA, END_STREAM | PADDED, 1, b"\x03abc\0\0\0"))
    assert results(connection) == {1: Answer(200, {}, b"abc")}


def test_a_block_may_come_in_pieces():
    """HEADERS, CONTINUATION, CONTINUATION; END_STREAM stands on the first."""
    connection = settled()
    connection.receive(frame(Kind.HEADERS, END_STREAM, 1, b"\x88\x0f"))
    connection.receive(frame(Kind.CONTINUATION, 0, 1, b"\x26\x01"))
    connection.receive(frame(Kind.CONTINUATION, END_HEADERS, 1, b"9"))
    assert results(connection) == {1: Answer(200, {"retry-after": "9"}, b"")}


def test_a_name_twice_is_joined():
    """Two fields of one name are a list (RFC 9110 section 5.3)."""
    connection = settled()
    block = b"\x88" + b"\x00\x01a\x011" + b"\x00\x01a\x012"
    connection.receive(frame(Kind.HEADERS, END_HEADERS | END_STREAM, 1, block))
    assert results(connection) == {1: Answer(200, {"a": "1, 2"}, b"")}


@pytest.mark.parametrize("step", [1, 2, 7, 100])
def test_bytes_may_come_one_by_one(step):
    """Frames are read wherever the pieces of the stream begin and end."""
    peer = Peer()
    for number in range(1, 6):
        peer.ours.start(number, request(number))
    peer.pass_on(step)
    for stream in (1, 3, 5, 7, 9):
        peer.answer(stream, 200, b"x" * stream)
    peer.pass_on(step)
    assert {n: [a.body for a in ends] for n, ends in peer.ends.items()} == {
        n: [b"x" * (2 * n - 1)] for n in range(1, 6)
    }


MALFORMED = [
    b"\x00\x01a\x01b",  # no status
    b"\x88\x88",  # two of them
    b"\x00\x01a\x01b\x88",  # not the first
    b"\x08\x0220",  # two digits
    b"\x08\x03abc",
    b"\x08\x03099",
    b"\x88\x00\x01A\x01b",  # upper case
    b"\x88\x00\x01a\x02\r\n",
    b"\x88\x00\x00\x01b",  # no name
    b"\x88\x82",  # a pseudo-field of requests
    b"\x88\x00\x0aconnection\x05close",
]


@pytest.mark.parametrize("block", MALFORMED)
def test_a_malformed_answer_resets_its_stream_alone(block):
    """RFC 9113 section 8.1.1: a stream error; nobody knows what became of that request."""
    connection = settled(2)
    connection.receive(frame(Kind.HEADERS, END_HEADERS | END_STREAM, 1, block))
    assert results(connection) == {1: IN_DOUBT}
    assert connection.take().endswith(frames.rst_stream(1, Code.PROTOCOL_ERROR))
    connection.receive(frame(Kind.HEADERS, END_HEADERS | END_STREAM, 3, b"\x88"))
    assert results(connection) == {1: IN_DOUBT, 2: Answer(200, {}, b"")}


def test_an_interim_answer_that_ends_the_stream_is_none():
    """A request is never over with a 1xx."""
    connection = settled()
    connection.receive(frame(Kind.HEADERS, END_HEADERS | END_STREAM, 1, b"\x08\x03103"))
    assert results(connection) == {1: IN_DOUBT}


def test_a_body_is_cut_where_the_stream_window_ends():
    """65,535 bytes are kept; then the stream is reset, and the answer stands."""
    connection = settled()
    connection.receive(frame(Kind.HEADERS, END_HEADERS, 1, b"\x88"))
    for _ in range(4):
        connection.receive(frame(Kind.DATA, 0, 1, b"x" * 16_384))
    [(_, answer)] = connection.ended
    assert (answer.status, len(answer.body)) == (200, BODY_BYTES)
    assert connection.take().endswith(frames.rst_stream(1, Code.CANCEL))


def test_what_breaks_off_after_the_status_is_an_answer():
    """The status says what became of the request, whether or not its body is whole."""
    connection = settled(2)
    for stream in (1, 3):
        connection.receive(frame(Kind.HEADERS, END_HEADERS, stream, b"\x8e"))
        connection.receive(frame(Kind.DATA, 0, stream, b"half"))
    connection.receive(frames.rst_stream(1, Code.INTERNAL_ERROR))
    connection.lost()
    assert results(connection) == dict.fromkeys((1, 2), Answer(500, {}, b"half"))


# -- settings and windows


def test_the_number_of_streams_is_obeyed_at_any_time():
    """Fewer than are under way: no new ones until enough have ended."""
    peer = Peer(MAX_CONCURRENT_STREAMS=3)
    peer.ask(b"1", b"2", b"3")
    assert peer.ours.room == 0
    peer.h2.update_settings({3: 1})
    peer.pass_on()
    assert peer.ours.room == -2
    for stream in (1, 3, 5):
        peer.answer(stream)
    peer.pass_on()
    assert peer.ours.room == 1


def test_a_body_waits_for_the_streams_window():
    """It leaves as far as the window takes it, and goes on when the window widens."""
    peer = Peer(INITIAL_WINDOW_SIZE=10)
    peer.ask(b"x" * 25)
    assert len(peer.body(1)) == 10
    peer.h2.increment_flow_control_window(10, 1)
    peer.pass_on()
    assert len(peer.body(1)) == 20
    peer.h2.increment_flow_control_window(10, 1)
    peer.pass_on()
    assert len(peer.body(1)) == 25
    assert len(peer.of(StreamEnded)) == 1


def test_a_change_of_the_initial_window_holds_for_open_streams():
    """RFC 9113 section 6.9.2: it may make a window negative, and must be waited for then."""
    peer = Peer(INITIAL_WINDOW_SIZE=10)
    peer.ask(b"x" * 40)
    peer.h2.update_settings({4: 4})
    peer.pass_on()
    peer.h2.increment_flow_control_window(6, 1)  # from -6 to 0
    peer.pass_on()
    assert len(peer.body(1)) == 10
    peer.h2.update_settings({4: 34})
    peer.pass_on()
    assert len(peer.body(1)) == 40


def test_requests_wait_for_the_connections_window():
    """A request starts when its whole body may leave, so that none is half sent for long."""
    peer = Peer()
    bodies = [b"x" * 20_000] * 3
    peer.ask(*bodies)
    assert not peer.ours.start(4, request(4, bodies[0]))
    assert peer.ours.start(4, request(4, b"x" * 5_535))
    assert peer.ours.room == 0
    peer.pass_on()
    peer.h2.increment_flow_control_window(30_000)
    peer.pass_on()
    assert peer.ours.start(5, request(5, bodies[0]))
    peer.pass_on()
    assert len(peer.of(StreamEnded)) == 5


def test_a_body_larger_than_the_whole_window_goes_alone():
    """Nothing else is under way: it leaves bit by bit."""
    peer = Peer()
    peer.ask(b"x" * 150_000)
    while len(peer.body(1)) < 150_000:
        before = len(peer.body(1))
        peer.h2.increment_flow_control_window(40_000)
        peer.h2.increment_flow_control_window(40_000, 1)
        peer.pass_on()
        assert before < len(peer.body(1))
    assert len(peer.of(StreamEnded)) == 1


def test_frames_are_as_long_as_the_peer_takes():
    """Headers and bodies are parted at MAX_FRAME_SIZE, which may change."""
    connection = settled(INITIAL_WINDOW_SIZE=100_000)
    connection.receive(frames.window_update(0, 100_000))
    head = Head(((":method", "POST"), ("x", "y" * 20_000)))
    connection.start(1, request(1, b"z" * 40_000, head))
    lengths = _lengths(connection.take())
    assert lengths[0] == lengths[2] == lengths[3] == 16_384
    assert (len(lengths), sum(lengths[2:])) == (5, 40_000)
    connection.receive(frames.settings({Setting.MAX_FRAME_SIZE: 50_000}))
    connection.take()
    connection.start(2, request(2, b"z" * 40_000, head))
    assert len(_lengths(connection.take())) == 2


def _lengths(out: bytes) -> list[int]:
    lengths = []
    while out:
        lengths.append(int.from_bytes(out[:3], "big"))
        out = out[9 + lengths[-1] :]
    return lengths


def test_the_inbound_window_is_given_back():
    """Thousands of answers with bodies do not use it up, and a stream's part comes back when it ends."""
    peer = Peer()
    for number in range(1, 1001):
        peer.ours.start(number, request(number))
        peer.pass_on()
        peer.answer(2 * number - 1, 400, b"x" * 16_000)
        peer.pass_on()
    assert len(peer.ends) == 1000


def test_a_peer_that_overruns_the_connections_window_is_hung_up_on():
    """What it may make us keep is bounded by the window that we announced."""
    connection = settled(200)
    for stream in range(1, 400, 2):
        connection.receive(frame(Kind.HEADERS, END_HEADERS, stream, b"\x88"))
        for _ in range(3):
            connection.receive(frame(Kind.DATA, 0, stream, b"x" * 16_000))
    assert connection.closed
    assert connection.take() == frames.goaway(0, Code.FLOW_CONTROL_ERROR)
    bodies = [end.body for _, end in connection.ended if isinstance(end, Answer)]
    assert INBOUND_BYTES - 16_000 <= sum(map(len, bodies)) <= INBOUND_BYTES


def test_a_header_list_that_is_too_long_for_the_peer_is_not_sent():
    """SETTINGS_MAX_HEADER_LIST_SIZE: it would be refused, so it does not leave."""
    peer = Peer(MAX_HEADER_LIST_SIZE=300)
    peer.ask(b"x")
    assert peer.ends == {1: [NOT_PROCESSED]}
    assert peer.of(RequestReceived) == []


def test_settings_are_acknowledged_and_pings_answered():
    """At any time."""
    peer = Peer()
    peer.h2.update_settings({1: 0})
    peer.h2.ping(b"12345678")
    peer.pass_on()
    assert peer.h2.remote_settings is not None
    connection = settled()
    connection.receive(frames.ping(b"12345678"))
    assert connection.take() == frames.ping(b"12345678", ACK)
    connection.receive(frames.ping(b"12345678", ACK))
    assert connection.take() == b""


def test_we_ping():
    """The peer answers, and we take that for what it is."""
    peer = Peer()
    peer.ours.ping()
    peer.pass_on()
    assert len(peer.of(PingReceived)) == 1
    assert not peer.ours.closed


# -- ends


def test_a_refused_stream_was_not_processed_and_any_other_reset_is_in_doubt():
    """RFC 9113 section 8.7."""
    peer = Peer()
    peer.ask(b"1", b"2")
    peer.reset(1, ErrorCodes.REFUSED_STREAM)
    peer.reset(3, ErrorCodes.INTERNAL_ERROR)
    peer.pass_on()
    assert peer.ends == {1: [NOT_PROCESSED], 2: [IN_DOUBT]}


@pytest.mark.parametrize("last", range(8))
def test_goaway_parts_the_streams(last):
    """Above the last id: not processed. Up to it: the answer is waited for; in doubt if none comes."""
    connection = settled(3)
    connection.receive(frames.goaway(last, Code.NO_ERROR))
    above = [number for number in (1, 2, 3) if 2 * number - 1 > last]
    assert results(connection) == dict.fromkeys(above, NOT_PROCESSED)
    assert connection.going
    assert connection.room == 0
    connection.ended.clear()
    if last >= 1:
        connection.receive(frame(Kind.HEADERS, END_HEADERS | END_STREAM, 1, b"\x88"))
        assert results(connection) == {1: Answer(200, {}, b"")}
        connection.ended.clear()
    connection.lost()
    assert results(connection) == {n: IN_DOUBT for n in (2, 3) if n not in above}


def test_a_second_goaway_may_name_an_earlier_stream():
    """As servers do that stop gracefully: first all, then the real last one."""
    connection = settled(3)
    connection.receive(frames.goaway((1 << 31) - 1, Code.NO_ERROR))
    assert results(connection) == {}
    connection.receive(frames.goaway(3, Code.NO_ERROR) + frames.goaway(1, Code.NO_ERROR))
    assert results(connection) == {3: NOT_PROCESSED, 2: NOT_PROCESSED}


def test_what_has_not_left_when_the_transport_breaks_was_not_processed():
    """Written by `take`: in doubt. Still here: not processed."""
    connection = settled(2)
    connection.start(3, request(3))
    connection.lost()
    assert results(connection) == {1: IN_DOUBT, 2: IN_DOUBT, 3: NOT_PROCESSED}


def test_abandoned_requests_are_reset_and_late_answers_harm_nobody():
    """The peer is told, the place is free, and what it still says about the stream is ignored."""
    connection = settled(3)
    connection.receive(frame(Kind.HEADERS, END_HEADERS, 3, b"\x88"))
    connection.abandon(lambda token: token < 3)
    assert results(connection) == {1: IN_DOUBT, 2: Answer(200, {}, b"")}
    assert connection.take() == frames.rst_stream(1, Code.CANCEL) + frames.rst_stream(3, Code.CANCEL)
    connection.receive(frame(Kind.HEADERS, END_HEADERS, 1, b"\x88") + frame(Kind.DATA, 1, 1, b"late"))
    connection.receive(frames.rst_stream(3, Code.NO_ERROR) + frames.window_update(1, 5))
    assert not connection.closed
    assert connection.room == 999


def test_an_answer_before_the_body_has_left_ends_the_body():
    """A 413 without waiting for the rest: the rest is not sent."""
    peer = Peer(INITIAL_WINDOW_SIZE=10)
    peer.ask(b"x" * 100)
    peer.answer(1, 413)
    peer.pass_on()
    assert peer.ends == {1: [Answer(413, {}, b"")]}
    assert peer.of(StreamReset)
    assert not peer.ours.closed


def test_stream_ids_end():
    """After the last id nothing starts any more, and what is under way ends well."""
    connection = settled()
    connection._next = (1 << 31) - 1
    assert connection.start(2, request(2))
    assert connection.going
    assert connection.room == 0
    connection.receive(frame(Kind.HEADERS, END_HEADERS | END_STREAM, (1 << 31) - 1, b"\x88"))
    assert results(connection) == {2: Answer(200, {}, b"")}


def test_goodbye():
    """We say GOAWAY, start nothing new, and wait for what is under way."""
    peer = Peer()
    peer.ask(b"1")
    peer.ours.close()
    assert peer.ours.room == 0
    peer.answer(1)
    peer.pass_on()
    assert peer.ends == {1: [Answer(200, {}, b"")]}


# -- peers that break the rules

BREAKS = {
    "headers before settings": (None, frame(Kind.HEADERS, 5, 1, b"\x88"), Code.PROTOCOL_ERROR),
    "an acknowledgement first": (None, frames.SETTINGS_ACK, Code.PROTOCOL_ERROR),
    "a frame that is too long": (1, frame(Kind.DATA, 0, 1, b"x" * 16_385), Code.FRAME_SIZE_ERROR),
    "data on the connection": (1, frame(Kind.DATA, 0, 0, b"x"), Code.PROTOCOL_ERROR),
    "data on an idle stream": (1, frame(Kind.DATA, 0, 9, b"x"), Code.PROTOCOL_ERROR),
    "headers on an idle stream": (1, frame(Kind.HEADERS, 5, 3, b"\x88"), Code.PROTOCOL_ERROR),
    "a stream of the peer's": (1, frame(Kind.HEADERS, 5, 2, b"\x88"), Code.PROTOCOL_ERROR),
    "padding without a length": (1, frame(Kind.DATA, PADDED, 1, b""), Code.FRAME_SIZE_ERROR),
    "more padding than payload": (1, frame(Kind.HEADERS, 5 | PADDED, 1, b"\x09\x88"), Code.PROTOCOL_ERROR),
    "priority that is cut off": (1, frame(Kind.HEADERS, 5 | 0x20, 1, b"\0\0"), Code.PROTOCOL_ERROR),
    "a table that we do not have": (1, frame(Kind.HEADERS, 5, 1, b"\xbe"), Code.COMPRESSION_ERROR),
    "continuation of nothing": (1, frame(Kind.CONTINUATION, 4, 1, b""), Code.PROTOCOL_ERROR),
    "a frame within a block": (
        1,
        frame(Kind.HEADERS, 1, 1, b"\x88") + frames.ping(b"12345678"),
        Code.PROTOCOL_ERROR,
    ),
    "continuation of another stream": (
        2,
        frame(Kind.HEADERS, 1, 1, b"\x88") + frame(Kind.CONTINUATION, 4, 3, b""),
        Code.PROTOCOL_ERROR,
    ),
    "empty continuations": (
        1,
        frame(Kind.HEADERS, 1, 1, b"\x88") + frame(Kind.CONTINUATION, 0, 1, b"") * 3,
        Code.ENHANCE_YOUR_CALM,
    ),
    "continuations without end": (
        1,
        frame(Kind.HEADERS, 1, 1, b"\x88") + frame(Kind.CONTINUATION, 0, 1, b"x" * 16_000) * 3,
        Code.ENHANCE_YOUR_CALM,
    ),
    "a bomb of headers": (1, frame(Kind.HEADERS, 5, 1, b"\x88" + b"\x90" * 10_000), Code.ENHANCE_YOUR_CALM),
    "a promise": (1, frame(Kind.PUSH_PROMISE, 4, 1, b"\0\0\0\x02\x82"), Code.PROTOCOL_ERROR),
    "reset of nothing": (1, frames.rst_stream(0, Code.CANCEL), Code.PROTOCOL_ERROR),
    "reset of an idle stream": (1, frames.rst_stream(9, Code.CANCEL), Code.PROTOCOL_ERROR),
    "a reset of three bytes": (1, frame(Kind.RST_STREAM, 0, 1, b"\0\0\0"), Code.FRAME_SIZE_ERROR),
    "settings on a stream": (1, frame(Kind.SETTINGS, 0, 1, b""), Code.PROTOCOL_ERROR),
    "settings of five bytes": (1, frame(Kind.SETTINGS, 0, 0, b"12345"), Code.FRAME_SIZE_ERROR),
    "an acknowledgement with settings": (1, frame(Kind.SETTINGS, 1, 0, b"123456"), Code.FRAME_SIZE_ERROR),
    "push enabled": (1, frames.settings({Setting.ENABLE_PUSH: 1}), Code.PROTOCOL_ERROR),
    "a window of 2^31": (1, frames.settings({Setting.INITIAL_WINDOW_SIZE: 1 << 31}), Code.FLOW_CONTROL_ERROR),
    "frames of 100 bytes": (1, frames.settings({Setting.MAX_FRAME_SIZE: 100}), Code.PROTOCOL_ERROR),
    "frames of 16 MB": (1, frames.settings({Setting.MAX_FRAME_SIZE: 1 << 24}), Code.PROTOCOL_ERROR),
    "a ping on a stream": (1, frame(Kind.PING, 0, 1, b"12345678"), Code.PROTOCOL_ERROR),
    "a ping of seven bytes": (1, frame(Kind.PING, 0, 0, b"1234567"), Code.FRAME_SIZE_ERROR),
    "a goodbye on a stream": (1, frame(Kind.GOAWAY, 0, 1, b"\0" * 8), Code.PROTOCOL_ERROR),
    "a goodbye that is cut off": (1, frame(Kind.GOAWAY, 0, 0, b"\0" * 7), Code.FRAME_SIZE_ERROR),
    "a window that grows by nothing": (1, frames.window_update(0, 0), Code.PROTOCOL_ERROR),
    "a window above 2^31": (1, frames.window_update(0, (1 << 31) - 1), Code.FLOW_CONTROL_ERROR),
    "a window of an idle stream": (1, frames.window_update(9, 1), Code.PROTOCOL_ERROR),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_peer_that_breaks_a_rule_is_hung_up_on(what):
    """GOAWAY says which rule; what was under way is in doubt; nothing raises, nothing is read any more."""
    count, said, code = BREAKS[what]
    connection: Connection[int] = Connection() if count is None else settled(count)
    connection.take()
    connection.receive(said)
    assert connection.closed
    assert connection.take() == frames.goaway(0, code)
    assert results(connection) == dict.fromkeys(range(1, (count or 0) + 1), IN_DOUBT)
    connection.receive(SETTLED)
    connection.lost()
    assert connection.take() == b""


def test_a_break_ends_no_request_that_had_its_answer():
    """An answer and then rubbish in one piece: the answer counts."""
    connection = settled(2)
    connection.receive(frame(Kind.HEADERS, 5, 1, b"\x88") + b"\xff" * 50)
    assert results(connection) == {1: Answer(200, {}, b""), 2: IN_DOUBT}


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (frames.window_update(1, 0), Code.PROTOCOL_ERROR),
        (frame(Kind.DATA, 0, 1, b"x"), Code.PROTOCOL_ERROR),
    ],
)
def test_some_breaks_concern_one_stream(said, code):
    """The stream is reset, the others go on."""
    connection = settled(2)
    connection.receive(said)
    assert results(connection) == {1: IN_DOUBT}
    assert connection.take() == frames.rst_stream(1, code)
    assert not connection.closed


def test_a_streams_window_above_2_31_resets_it():
    """While its body waits."""
    connection = settled(0, INITIAL_WINDOW_SIZE=100_000)
    connection.start(1, request(1, b"x" * 90_000))  # 65,535 leave: that is the connection's window
    connection.receive(frames.window_update(1, (1 << 31) - 1))
    assert results(connection) == {1: IN_DOUBT}
    assert connection.take().endswith(frames.rst_stream(1, Code.FLOW_CONTROL_ERROR))


def test_trailers_that_do_not_end_the_stream_are_none():
    """The status is known, so it is an answer; the stream is reset."""
    connection = settled()
    connection.receive(frame(Kind.HEADERS, END_HEADERS, 1, b"\x88"))
    connection.receive(frame(Kind.HEADERS, END_HEADERS, 1, b"\x00\x01a\x01b"))
    assert results(connection) == {1: Answer(200, {}, b"")}
    assert connection.take() == frames.rst_stream(1, Code.PROTOCOL_ERROR)


def test_what_we_do_not_know_is_ignored():
    """Unknown frames, settings and flags, and priorities (RFC 9113 sections 4.1, 5.3 and 6.5.2)."""
    connection = settled()
    connection.receive(frame(0xFA, 0xFF, 7, b"anything") + frame(Kind.PRIORITY, 0, 1, b"\0\0\0\0\x10"))
    connection.receive(frame(Kind.SETTINGS, 0, 0, b"\x12\x34\0\0\0\x01"))
    connection.receive(frame(Kind.HEADERS, 0xC0 | END_HEADERS | END_STREAM, 1, b"\x88"))
    assert results(connection) == {1: Answer(200, {}, b"")}


def test_a_header_list_may_be_as_long_as_we_said():
    """Up to the announced limit it is read, in as many frames as it takes."""
    value = b"y" * (HEADER_LIST_BYTES - 32 - len(":status200") - 32 - 1)
    block = b"\x88" + b"\x00\x01x" + integer(len(value), 7) + value
    connection = settled()
    connection.receive(frame(Kind.HEADERS, END_STREAM, 1, block[:16_000]))
    connection.receive(frame(Kind.CONTINUATION, 0, 1, block[16_000:32_000]))
    connection.receive(frame(Kind.CONTINUATION, END_HEADERS, 1, block[32_000:]))
    assert results(connection) == {1: Answer(200, {"x": value.decode()}, b"")}
