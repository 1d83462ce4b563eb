"""The pure half under anything at all: no end is missing or twice, nothing raises, memory is bounded."""

from __future__ import annotations

from http2_peer import ErrorCodes, Peer, StreamEnded, StreamReset, request
from hypothesis import given, settings
from hypothesis import strategies as st

from msgxc.http2 import Answer, Unanswered, frames
from msgxc.http2.connection import BODY_BYTES, HEADER_LIST_BYTES, Connection
from msgxc.http2.frames import Kind, Setting, frame

IN_DOUBT, NOT_PROCESSED = Unanswered.IN_DOUBT, Unanswered.NOT_PROCESSED

BLOCKS = st.sampled_from(
    [b"\x88", b"\x8c", b"\x88\x0f\x0d\x012", b"\x08\x03103", b"\x08\x03201", b"\x20\x88", b"\x88\x88", b""]
) | st.binary(max_size=20)
STREAMS = st.integers(0, 12) | st.integers(0, (1 << 32) - 1)
FRAMES = st.one_of(
    st.builds(frame, st.integers(0, 255), st.integers(0, 255), STREAMS, st.binary(max_size=40)),
    st.builds(frame, st.sampled_from(Kind), st.integers(0, 255), STREAMS, st.binary(max_size=40)),
    st.builds(frame, st.just(Kind.HEADERS), st.sampled_from([1, 4, 5, 12, 36]), STREAMS, BLOCKS),
    st.builds(frame, st.just(Kind.CONTINUATION), st.sampled_from([0, 4]), STREAMS, BLOCKS),
    st.builds(frame, st.just(Kind.DATA), st.sampled_from([0, 1, 8]), STREAMS, st.binary(max_size=60)),
    st.builds(frames.rst_stream, STREAMS, st.sampled_from(frames.Code)),
    st.builds(frames.goaway, STREAMS, st.sampled_from(frames.Code)),
    st.builds(frames.window_update, STREAMS, st.integers(0, (1 << 31) - 1)),
    st.builds(lambda name, value: frames.settings({name: value}), st.sampled_from(Setting), STREAMS),
)
PIECES = st.lists(FRAMES | st.binary(max_size=60), max_size=30)


def kept(connection: Connection[int]) -> int:
    """Bytes that a peer can make us keep, but for bodies and what is on its way out."""
    gathering = connection._gathering
    return len(connection._rest) + (len(gathering[2]) if gathering else 0)


@settings(max_examples=500)
@given(PIECES, st.lists(st.integers(0, 200), min_size=5, max_size=5), st.booleans())
def test_any_bytes_end_every_request_once(pieces, sizes, together):
    """Frames of any kind in any order, and rubbish between them: each request ends, once."""
    connection: Connection[int] = Connection()
    connection.receive(frames.settings({Setting.INITIAL_WINDOW_SIZE: 100}))
    begun = [n for n, size in enumerate(sizes) if connection.start(n, request(n, b"x" * size))]
    connection.take()
    for piece in [b"".join(pieces)] if together else pieces:
        connection.receive(piece)
        assert kept(connection) <= HEADER_LIST_BYTES + 3 * 16_384
        written = connection.take()
        assert len(written) <= 4 * len(piece) + 1000
        assert connection.room <= 1000
    connection.lost()
    assert sorted(token for token, _ in connection.ended) == begun
    assert all(not isinstance(end, Answer) or len(end.body) <= BODY_BYTES for _, end in connection.ended)
    assert connection.busy == 0


@settings(max_examples=200)
@given(PIECES)
def test_how_the_bytes_are_cut_makes_no_difference(pieces):
    """Byte by byte or in one piece: the same ends, the same words back."""
    whole, bytewise = Connection[int](), Connection[int]()
    said = frames.settings({}) + b"".join(pieces)
    for connection, step in ((whole, len(said)), (bytewise, 1)):
        connection.receive(frames.settings({}))
        for number in range(4):
            connection.start(number, request(number))
        connection.take()
        for at in range(0, len(said), step):
            connection.receive(said[at : at + step])
    assert whole.ended == bytewise.ended
    assert whole.closed == bytewise.closed
    assert whole.take() == bytewise.take()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 70_000)),
        st.tuples(
            st.just("answer"),
            st.integers(0, 20),
            st.sampled_from([200, 201, 400, 503]),
            st.integers(0, 40_000),
        ),
        st.tuples(st.just("padded"), st.integers(0, 20), st.integers(0, 255)),
        st.tuples(st.just("interim"), st.integers(0, 20)),
        st.tuples(st.just("reset"), st.integers(0, 20), st.sampled_from(ErrorCodes)),
        st.tuples(st.just("set"), st.integers(0, 100_000), st.integers(0, 5000), st.integers(0, 20)),
        st.tuples(st.just("widen"), st.integers(1, 70_000)),
        st.tuples(st.just("abandon"), st.integers(0, 20)),
        st.tuples(st.just("ping")),
        st.tuples(st.just("pass"), st.sampled_from([3, 1000, 1 << 20])),
    ),
    max_size=40,
)


class Story:
    """A conversation with the h2 library, and what must come of it."""

    def __init__(self) -> None:
        self.peer = Peer()
        self.asked: list[int] = []
        self.meant: dict[int, object] = {}

    def stream(self, which: int) -> int | None:
        """One that the server knows and has not ended."""
        over = {*self.meant, *(e.stream_id for e in self.peer.of(StreamReset))}
        known = [e.stream_id for e in self.peer.of(StreamEnded) if e.stream_id not in over]
        return known[which % len(known)] if known else None

    def step(self, name: str, *args: int) -> None:
        getattr(self, name)(*args)

    def ask(self, size: int) -> None:
        ours = self.peer.ours
        if ours.room > 0 and ours.start(len(self.asked), request(len(self.asked), b"x" * size)):
            self.asked.append(size)

    def answer(self, which: int, status: int, size: int) -> None:
        stream = self.stream(which)
        if stream and size <= self.peer.h2.local_flow_control_window(stream):
            self.meant[stream] = Answer(status, {}, b"y" * size)
            self.peer.h2.send_headers(stream, [(":status", str(status))], end_stream=not size)
            for at in range(0, size, 16_000):
                self.peer.h2.send_data(stream, b"y" * min(16_000, size - at), end_stream=at + 16_000 >= size)

    def padded(self, which: int, pad: int) -> None:
        if stream := self.stream(which):
            self.meant[stream] = Answer(200, {}, b"z")
            self.peer.h2.send_headers(stream, [(":status", "200")])
            self.peer.h2.send_data(stream, b"z", pad_length=pad, end_stream=True)

    def interim(self, which: int) -> None:
        if stream := self.stream(which):
            self.peer.h2.send_headers(stream, [(":status", "103")])

    def reset(self, which: int, code: ErrorCodes) -> None:
        if stream := self.stream(which):
            self.meant[stream] = NOT_PROCESSED if code is ErrorCodes.REFUSED_STREAM else IN_DOUBT
            self.peer.h2.reset_stream(stream, code)

    def set(self, window: int, table: int, streams: int) -> None:
        self.peer.h2.update_settings({1: table, 3: streams, 4: window})

    def widen(self, by: int) -> None:
        self.peer.h2.increment_flow_control_window(by)
        for stream in range(1, 2 * len(self.asked), 2):
            if stream in self.peer.h2.streams and not self.peer.h2.streams[stream].closed:
                self.peer.h2.increment_flow_control_window(by, stream)

    def abandon(self, number: int) -> None:
        self.peer.ours.abandon(lambda token: token == number)
        self.peer.pass_on()

    def ping(self) -> None:
        self.peer.ours.ping()
        self.peer.h2.ping(b"12345678")

    def pass_on(self, step: int) -> None:
        self.peer.pass_on(step)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_any_story_keeps_the_rules(steps):
    """Requests, answers, resets, settings, windows in any order: h2 finds no fault with us, and each request
    ends as the server said.
    """
    story = Story()
    for name, *args in steps:
        story.step({"pass": "pass_on"}.get(name, name), *args)
    story.peer.pass_on()
    abandoned = {args[0] for name, *args in steps if name == "abandon"}
    for stream, end in story.meant.items():
        if stream // 2 not in abandoned:
            assert story.peer.ends[stream // 2] == [end]
    story.peer.ours.lost()
    story.peer.collect()
    assert sorted(story.peer.ends) == list(range(len(story.asked)))
    assert all(len(ends) == 1 for ends in story.peer.ends.values())
    assert not story.peer.h2.streams or story.peer.h2.state_machine.state.name != "CLOSED"


@given(st.integers(0, 40), st.integers(0, 12), st.sampled_from(["goaway", "reset", "refused", "lost"]))
def test_goaway_and_resets_at_every_point(point, stream, kind):
    """Five requests and their answers, cut by a GOAWAY, a reset or a break after any frame: what was answered
    stays answered, and the rest ends as RFC 9113 sections 6.8 and 8.7 say.
    """
    connection: Connection[int] = Connection()
    connection.receive(frames.settings({}))
    for number in range(5):
        connection.start(number, request(number))
    connection.take()
    answers = [
        frame(Kind.HEADERS, 4, 2 * n + 1, b"\x88") + b"|" + frame(Kind.DATA, 1, 2 * n + 1, b"ok")
        for n in range(5)
    ]
    said = b"|".join(answers).split(b"|")
    for piece in said[:point]:
        connection.receive(piece)
    cut = {
        "goaway": frames.goaway(stream, frames.Code.NO_ERROR),
        "reset": frames.rst_stream(min(stream | 1, 9), frames.Code.INTERNAL_ERROR),
        "refused": frames.rst_stream(min(stream | 1, 9), frames.Code.REFUSED_STREAM),
    }.get(kind)
    if cut:
        connection.receive(cut)
    connection.lost()
    ends = dict(connection.ended)
    assert len(connection.ended) == len(ends) == 5
    for number in range(5):
        answered = number < point // 2
        begun = number == point // 2 and point % 2
        hit = min(stream | 1, 9) == 2 * number + 1
        if answered or begun:
            assert ends[number] == Answer(200, {}, b"ok" if answered else b"")
        elif (kind == "goaway" and 2 * number + 1 > stream) or (kind == "refused" and hit):
            assert ends[number] is NOT_PROCESSED
        else:
            assert ends[number] is IN_DOUBT
