"""Frames: whatever a client sends is read or refused, and what is written is what RFC 6455 says."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from msgxc.gateway import frames
from msgxc.gateway.frames import FRAME, Refused, Wire

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
SLUGS = st.sampled_from(
    [
        "/ping",
        "/api/v2/authenticate",
        "/api/v2/subscribe/thread",
        "/api/v2/unsubscribe/thread",
        "/api/v2/read",
        "/api/v2/ack",
        "/api/v2/subscribe/public-ephemeral/" + "x" * 16,
        "/api/v2/publish/public-ephemeral/" + "x" * 16,
        "/api/v2/publish/public-ephemeral/",
    ]
)
FIELDS = st.sampled_from(["tid", "mid", "after", "seen", "id", "token", "msg", "opts", "ref", "active"])


@given(st.text() | st.binary())
def test_any_text_is_read_or_refused(text: str | bytes) -> None:
    """Nonsense is one clear error, never another one."""
    with pytest.raises(Refused):
        frames.read(text)


@given(SLUGS, st.dictionaries(FIELDS, JSON))
def test_any_object_is_read_or_refused(slug: str, fields: dict[str, object]) -> None:
    """So is any JSON object under a slug that exists; `ref` comes back when it is usable."""
    text = json.dumps({"slug": slug, **fields})
    try:
        inbound = frames.read(text)
    except Refused:
        return
    assert inbound.slug == slug
    assert inbound.ref == fields.get("ref", "")


@given(st.uuids(), st.uuids(), st.lists(st.uuids(), max_size=5), st.text("ab-_", min_size=1, max_size=20))
def test_what_is_well_formed_is_read_as_it_was_said(
    tid: UUID, after: UUID, seen: list[UUID], ref: str
) -> None:
    """Ids come out as they went in."""
    said = {"tid": str(tid), "after": str(after), "seen": [str(one) for one in seen], "ref": ref}
    inbound = frames.read(json.dumps({"slug": "/api/v2/subscribe/thread", **said}))
    assert inbound == frames.Inbound(
        "/api/v2/subscribe/thread", ref, frames.Subscribe(str(tid), after, frozenset(seen))
    )


@pytest.mark.parametrize("name", ["x" * 15, "x" * 128, "x" * 10 + "/" + "x" * 10, "x" * 20 + "\n", ""])
def test_names_of_channels_have_16_to_127_characters(name: str) -> None:
    """Shorter and longer ones, a slash and control characters are refused."""
    with pytest.raises(Refused):
        frames.read(json.dumps({"slug": f"/api/v2/subscribe/public-ephemeral/{name}"}))


def test_too_large_a_frame_is_refused() -> None:
    """64 kB is the limit, before anything is parsed."""
    with pytest.raises(Refused, match="at most"):
        frames.read("[" * (FRAME + 1))
    with pytest.raises(Refused):
        frames.read("[" * FRAME)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 100_000])
def test_frame_on_the_wire_is_what_another_library_reads(size: int) -> None:
    """The bytes that are shared by all receivers are one whole text frame (RFC 6455), at every length."""
    reader = StreamReader()
    reader.feed_data(Wire(b"x" * size).framed)
    parsing = Frame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as done:
        next(parsing)
    frame = done.value.value
    assert (frame.opcode, frame.fin, len(frame.data)) == (Opcode.TEXT, True, size)
    assert reader.buffer == b""


@given(st.binary(max_size=50))
def test_any_payload_of_the_bus_is_heard_or_passed_over(payload: bytes) -> None:
    """A foreign message on the bus harms no gateway."""
    frames.heard(payload)
    frames.delivery(payload)


def test_token_is_not_shown() -> None:
    """A frame in a log or a traceback does not hold the token."""
    inbound = frames.read(json.dumps({"slug": "/api/v2/authenticate", "token": "secret-token"}))
    assert "secret-token" not in repr(inbound)


def test_withdrawal_is_not_taken_for_its_message() -> None:
    """A message and its withdrawal have the same mid and different keys."""
    mid = str(uuid4())
    keys = {
        heard.key
        for slug in ("/thread/1", "/withdraw")
        if (heard := frames.heard(json.dumps({"slug": slug, "opts": {"mid": mid}}).encode()))
    }
    assert len(keys) == 2
