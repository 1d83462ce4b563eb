"""The pure half of HTTP/1.1: what leaves, what an answer means, and how each request ends."""

from __future__ import annotations

import weakref

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from msgxc.http1.connection import ANSWER_BYTES, BODY_BYTES, HEAD_BYTES, Connection
from msgxc.http2 import Answer, Head, Request, Unanswered, post_head

NOT_PROCESSED, IN_DOUBT = Unanswered.NOT_PROCESSED, Unanswered.IN_DOUBT
HEAD = post_head("api.example:8443", {"authorization": "Basic eA==", "accept": "application/json"}, ())
OK = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def request(body: bytes = b"To=1", path: bytes = b"/m.json", head: Head = HEAD, *values: bytes) -> Request:
    return Request(head, path, values, body)


def asked(number: int = 1) -> Connection[int]:
    """A connection whose request has left."""
    connection: Connection[int] = Connection()
    assert connection.start(number, request())
    assert connection.take()
    return connection


def after(*pieces: bytes) -> tuple[list[object], bool, bool]:
    """How a request ended that was answered so, and whether the connection is over."""
    connection = asked()
    for piece in pieces:
        connection.receive(piece)
    return [end for _, end in connection.ended], connection.going, connection.closed


# -- what leaves

VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1).map(str.encode)


@given(body=st.binary(max_size=2000), path=VALUES, own=st.lists(VALUES, min_size=2, max_size=2))
def test_another_library_reads_what_leaves(body, path, own):
    """h11, as a server: method, path, every field once, the length of the body, and the body."""
    head = post_head("api.example:8443", {"authorization": "Basic eA=="}, ("x-a", "content-length", "x-b"))
    connection: Connection[int] = Connection()
    connection.start(1, request(body, b"/" + path, head, own[0], b"999", own[1]))
    server = h11.Connection(h11.SERVER)
    server.receive_data(connection.take())
    seen = server.next_event()
    assert (seen.method, seen.target) == (b"POST", b"/" + path)
    assert dict(seen.headers) == {
        b"host": b"api.example:8443",
        b"authorization": b"Basic eA==",
        b"x-a": own[0],
        b"x-b": own[1],
        b"content-length": b"%d" % len(body),
    }
    said = b""
    while isinstance(event := server.next_event(), h11.Data):
        said += event.data
    assert said == body
    assert isinstance(event, h11.EndOfMessage)


@pytest.mark.parametrize(
    ("path", "value"),
    [(b"/a b", b"x"), (b"/a\r\nX: 1", b"x"), (b"/", b"x\r\nX: 1"), (b"/", b"x\n"), (b"/", b"a\rb")],
)
def test_a_head_that_breaks_out_of_its_lines_does_not_leave(path, value):
    """It was not processed; and the connection takes the next one."""
    connection: Connection[int] = Connection()
    connection.start(1, request(b"", path, post_head("x", {}, ("x-a",)), value))
    assert connection.ended == [(1, NOT_PROCESSED)]
    assert connection.take() == b""
    assert connection.room == 1


def test_one_request_at_a_time():
    """No room until the answer is there."""
    connection = asked()
    assert (connection.room, connection.busy) == (0, 1)
    connection.receive(OK)
    assert (connection.room, connection.busy) == (1, 0)


# -- what comes

ENDS = {
    "an answer": (OK, 201, b"ok", False),
    "chunks, and more": (CHUNKED + b"1;a=b\r\no\r\n1\r\nk\r\n0\r\nX: 1\r\n\r\n", 200, b"ok", False),
    "no body": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", False),
    "interim answers": (b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 H\r\nX: 1\r\n\r\n" + OK, 201, b"ok", False),
    "goodbye": (b"HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", 500, b"x", True),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, b"x", True),
    "more than was asked for": (OK + OK, 201, b"ok", True),
    "rubbish behind it": (OK + b"rubbish", 201, b"ok", True),
    "a broken chunk": (CHUNKED + b"2\r\nok\r\nzz\r\n", 200, b"ok", True),
}


@pytest.mark.parametrize(("said", "status", "body", "over"), ENDS.values(), ids=ENDS)
def test_answers(said, status, body, over):
    """Status and body, and whether the connection can be used again."""
    [end], going, closed = after(said)
    assert (end.status, end.body) == (status, body)
    assert (going, closed) == (over, over)


BROKEN = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxx",
    "no status": b"HTTP/1.1 0 OK\r\n\r\n",
    "status 000": b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n",
    "status 2000": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "length and chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n",
    "a length below 0": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n",
    "a length above all numbers": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "a NUL": b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
    "a folded line": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
    "a head without end": b"HTTP/1.1 200 OK\r\nX: " + b"a" * HEAD_BYTES,
    "interim answers without end": b"HTTP/1.1 100 Continue\r\n\r\n" * (HEAD_BYTES // 25 + 1),
}


@pytest.mark.parametrize("said", BROKEN.values(), ids=BROKEN)
def test_what_is_no_answer_leaves_doubt(said):
    """In doubt, and the connection is over."""
    assert after(said) == ([IN_DOUBT], True, True)


def test_an_answer_that_ends_with_the_connection():
    """Neither length nor chunks: the body is what came until then."""
    connection = asked()
    for piece in (b"HTTP/1.1 200 OK\r\n\r\n", b"as much ", b"as came"):
        connection.receive(piece)
    assert connection.ended == []
    connection.lost()
    assert connection.ended == [(1, Answer(200, {}, b"as much as came"))]


def test_headers_are_known_by_their_names_in_lower_case():
    """Fields of one name are joined."""
    [end], *_ = after(b"HTTP/1.1 429 X\r\nRetry-After: 7\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n")
    assert dict(end.headers) == {"retry-after": "7", "x-a": "1, 2", "content-length": "0"}


@pytest.mark.parametrize("piece", [b"1\r\na\r\n", b"ffff\r\n" + b"a" * 65_535 + b"\r\n"])
def test_a_body_without_end_is_cut(piece):
    """The status is known: an answer with the first 65,535 bytes at most; the connection is over."""
    connection = asked()
    connection.receive(CHUNKED)
    fed = 0
    while not connection.closed:
        connection.receive(piece)
        fed += len(piece)
    assert fed <= ANSWER_BYTES + len(piece)
    [(_, end)] = connection.ended
    assert end.status == 200
    assert len(end.body) <= BODY_BYTES


def test_trailers_without_end_are_cut():
    """Also those."""
    connection = asked()
    connection.receive(CHUNKED + b"1\r\na\r\n0\r\nX: ")
    for _ in range(ANSWER_BYTES // 1000 + 1):
        connection.receive(b"a" * 1000)
    assert [end.body for _, end in connection.ended] == [b"a"]
    assert connection.closed


def test_how_long_the_peer_keeps_an_idle_connection():
    """Keep-Alive says it; nothing is expected of a peer that does not."""
    connection = asked()
    assert connection.lasts == float("inf")
    connection.receive(b"HTTP/1.1 204 OK\r\nKeep-Alive: timeout=5, max=1000\r\n\r\n")
    assert connection.lasts == 5


# -- how it ends without an answer


def test_what_has_not_left_was_not_processed():
    """The connection is gone before anything was written."""
    connection: Connection[int] = Connection()
    connection.start(1, request())
    connection.lost()
    assert connection.ended == [(1, NOT_PROCESSED)]
    assert connection.take() == b""


def test_what_has_left_is_in_doubt():
    """Also when it has left in part: nobody knows how much of it arrived."""
    connection = asked()
    connection.lost()
    connection.lost()
    assert connection.ended == [(1, IN_DOUBT)]


def test_an_answer_to_nothing_ends_the_connection():
    """While idle, and before the request has left: that one goes over another connection."""
    idle, waiting = Connection[int](), Connection[int]()
    waiting.start(1, request())
    for connection in (idle, waiting):
        connection.receive(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        assert connection.closed
    assert idle.ended == []
    assert waiting.ended == [(1, NOT_PROCESSED)]


def test_whoever_stops_waiting_ends_the_connection():
    """Its answer would be taken for that of the next request. Others are left alone."""
    connection = asked()
    connection.abandon(lambda token: token == 2)
    assert not connection.closed
    connection.abandon(lambda token: token == 1)
    assert connection.closed
    assert connection.ended == [(1, IN_DOUBT)]


def test_goodbye_before_a_request_has_left():
    """It does not leave any more."""
    connection: Connection[int] = Connection()
    connection.start(1, request())
    connection.close()
    assert connection.take() == b""
    assert connection.room == 0
    connection.lost()
    assert connection.ended == [(1, NOT_PROCESSED)]


def test_a_connection_that_is_over_leaves_nothing_behind():
    """It and its parser refer to each other until then."""
    connection = asked()
    connection.receive(OK + b"rubbish")
    connection.lost()
    kept = weakref.ref(connection)
    del connection
    assert kept() is None


# -- anything at all

LINES = st.sampled_from(
    [OK, CHUNKED, b"HTTP/1.1 100 C\r\n\r\n", b"HTTP/1.1 204 x\r\n\r\n"]
) | st.sampled_from(
    [
        *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 500 No\r\n", b"Content-Length: 3\r\n", b"Connection: close\r\n"),
        *(b"Content-Length: 0\r\n\r\n", b"Transfer-Encoding: chunked\r\n", b"X: y\r\n", b"3\r\nabc\r\n"),
        *(b"0\r\n\r\n", b"\r\n", b"\n", b"\r", b"abc"),
    ]
)
PIECES = st.lists(LINES | st.binary(max_size=30), max_size=15)


def run(said: bytes, step: int) -> tuple[list[tuple[int, object]], bool]:
    """Three requests, each as soon as there is room, against these bytes; and whether it was over."""
    connection: Connection[int] = Connection()
    begun = 0
    for at in range(0, len(said) or 1, step):
        if connection.room and begun < 3:
            connection.start(begun, request())
            connection.take()
            begun += 1
        connection.receive(said[at : at + step])
    over = connection.closed
    connection.lost()
    assert sorted(token for token, _ in connection.ended) == list(range(begun))
    assert connection.busy == 0
    return connection.ended, over


@given(PIECES, st.integers(1, 40))
def test_any_bytes_end_every_request_once(pieces, step):
    """Whatever comes, in pieces of any size: each request ends, once, and nothing raises."""
    ended, _ = run(b"".join(pieces), step)
    assert all(isinstance(end, Unanswered) or 200 <= end.status <= 999 for _, end in ended)


@example([b"HTTP/1.1 204 x\r\n\r\n", b"\n"])
@given(PIECES)
def test_how_the_bytes_are_cut_makes_no_difference(pieces):
    """Byte by byte or in one piece: one request ends the same way, and so does its connection."""
    ends = []
    for step in (1, 7, 1 << 20):
        connection, said = asked(), b"".join(pieces)
        for at in range(0, len(said), step):
            connection.receive(said[at : at + step])
        over = connection.closed
        connection.lost()
        ends.append((connection.ended, over))
    assert ends[0] == ends[1] == ends[2]


ANSWERS = st.lists(
    st.tuples(st.integers(200, 599), st.lists(st.binary(min_size=1, max_size=50), max_size=4), st.booleans()),
    min_size=1,
    max_size=6,
)


@given(ANSWERS, st.integers(1, 60))
def test_another_library_writes_answers(answers, step):
    """h11, as a server: with a length or in chunks, one after another over one connection."""
    ours, server = Connection[int](), h11.Connection(h11.SERVER)
    for number, (status, parts, by_length) in enumerate(answers):
        ours.start(number, request())
        server.receive_data(ours.take())
        while not isinstance(server.next_event(), h11.EndOfMessage):
            pass
        body = b"" if status in (204, 304) else b"".join(parts)
        headers = [("content-length", str(len(body)))] if by_length and body else []
        said = server.send(h11.Response(status_code=status, headers=headers))
        for part in parts if body else []:
            said += server.send(h11.Data(data=part))
        said += server.send(h11.EndOfMessage())
        for at in range(0, len(said), step):
            ours.receive(said[at : at + step])
        assert [(end.status, end.body) for token, end in ours.ended if token == number] == [(status, body)]
        assert not ours.going
        server.start_next_cycle()
