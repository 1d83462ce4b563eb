"""HPACK against the `hpack` library as the oracle."""

from __future__ import annotations

import hpack
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from msgxc.http2 import huffman
from msgxc.http2.frames import Code, ProtocolError
from msgxc.http2.hpack import STATIC, Encoder, Field, Head, entry_bytes, integer, plain, split

HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
LIMIT = 32_768

NAME = st.sampled_from([name.decode() for name, _ in STATIC if name[0] != 58]) | st.from_regex(
    r"[a-z0-9-]{1,30}", fullmatch=True
)
VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300)
HEADS = st.builds(
    lambda fields, names: Head(
        ((":method", "POST"), (":scheme", "https"), (":authority", "a.example"), *fields), tuple(names)
    ),
    st.lists(st.tuples(NAME, VALUE), max_size=6),
    st.lists(NAME, max_size=3),
)


def decode(block: bytes, limit: int) -> list[Field]:
    """All of a block."""
    return [(name, plain(value, coded)) for name, value, coded in split(block, limit)]


def unhuffman(text: bytes) -> bytes | None:
    try:
        return huffman.decode(text)
    except ProtocolError:
        return None


def oracle_unhuffman(text: bytes) -> bytes | None:
    try:
        return hpack.huffman_table.decode_huffman(text)
    except hpack.HPACKDecodingError:
        return None


@given(st.binary(max_size=300))
def test_huffman_reads_what_the_library_writes(text):
    """Every string comes back."""
    assert huffman.decode(HUFFMAN.encode(text)) == text


@given(st.binary(max_size=40))
def test_huffman_reads_and_refuses_what_the_library_does(text):
    """Any bytes: the same string, or refused by both (padding, the end's code)."""
    assert unhuffman(text) == oracle_unhuffman(text)


@given(st.integers(0, (1 << 28) - 1), st.integers(1, 8))
def test_integers_are_written_like_the_library_does(number, bits):
    """Section 5.1, for every prefix."""
    assert integer(number, bits) == bytes(hpack.hpack.encode_integer(number, bits))


@given(
    st.lists(HEADS, min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5000) | st.none(), VALUE), min_size=1, max_size=40),
)
def test_every_block_means_what_was_asked(heads, steps):
    """Any requests in any order, the peer's table resized between them: the library reads the same fields."""
    encoder, reader = Encoder(), hpack.Decoder()
    reader.max_allowed_table_size = 4096
    for which, size, text in steps:
        if size is not None:
            encoder.resize(size)
            reader.max_allowed_table_size = size
        head = heads[which % len(heads)]
        values = tuple(text.encode() for _ in head.starts)
        block = encoder.encode(head, text.encode(), values)
        fields = [(bytes(n), bytes(v)) for n, v in reader.decode(block, raw=True)]
        assert fields[0] == (b":path", text.encode())
        assert tuple(fields[1 : 1 + len(head.fields)]) == head.fields
        assert [value for _, value in fields[1 + len(head.fields) :]] == list(values)
        assert reader.header_table_size <= 4096


def test_what_many_requests_share_is_one_byte_a_field():
    """The first block carries the constant fields, the second one their numbers in the peer's table."""
    head = Head(((":method", "POST"), (":scheme", "https"), ("authorization", "x" * 200), ("a", "b")))
    encoder = Encoder()
    first, second, third = (encoder.encode(head, b"/1", ()) for _ in range(3))
    assert len(first) > 200
    assert second == third
    assert len(second) == len(b"\x04\x02/1") + 4


def test_a_table_of_size_0_is_obeyed():
    """A peer without a table is told the size, and gets literals that enter nothing."""
    head, encoder, reader = Head(((":method", "POST"), ("a", "b"))), Encoder(), hpack.Decoder()
    reader.decode(encoder.encode(head, b"/", ()))
    encoder.resize(0)
    reader.max_allowed_table_size = 0
    for _ in range(3):
        assert ("a", "b") in [tuple(field) for field in reader.decode(encoder.encode(head, b"/", ()))]
        assert reader.header_table_size == 0


def test_a_size_that_went_down_and_up_is_said_twice():
    """RFC 7541 section 4.2: the smallest size in between, and the last one."""
    encoder = Encoder()
    encoder.resize(100)
    encoder.resize(50)
    encoder.resize(2000)
    block = encoder.encode(Head(()), b"/", ())
    assert block.startswith(integer(50, 5, 0x20) + integer(2000, 5, 0x20))


@given(
    st.lists(st.tuples(NAME, VALUE, st.booleans()), max_size=12),
    st.booleans(),
)
def test_blocks_of_a_peer_without_a_table_are_read(fields, coded):
    """What the library writes for a table of size 0, Huffman or not, is read; each block stands alone."""
    writer = hpack.Encoder()
    writer.header_table_size = 0
    for _ in range(2):
        asked = [
            hpack.NeverIndexedHeaderTuple(n, v) if never else hpack.HeaderTuple(n, v)
            for n, v, never in fields
        ]
        block = writer.encode(asked, huffman=coded)
        assert decode(block, LIMIT) == [(n.encode(), v.encode()) for n, v, _ in fields]


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_as_the_library_does(block):
    """Never anything but fields or a ProtocolError; the fields are the library's."""
    reader = hpack.Decoder()
    reader.max_allowed_table_size = reader.header_table_size = 0
    try:
        ours = decode(block, LIMIT)
    except ProtocolError:
        return
    theirs = [(bytes(n), bytes(v)) for n, v in reader.decode(block, raw=True)]
    assert ours == theirs


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # index 0
        b"\xbe",  # the first entry of a table that we do not have
        b"\xff\xff\xff\xff\xff\xff\xff\x7f",  # a number without end
        b"\x21",  # a table size that we did not offer
        b"\x88\x20",  # a table size after a field
        b"\x08",  # a value that is missing
        b"\x08\x05abc",  # a string that is cut off
        b"\x00\x81\xfe\x00",  # Huffman padding that is not ones
    ],
)
def test_wrong_blocks_are_refused(block):
    """Each is the end of the connection: COMPRESSION_ERROR."""
    with pytest.raises(ProtocolError) as raised:
        decode(block, LIMIT)
    assert raised.value.code is Code.COMPRESSION_ERROR


def test_a_header_list_is_bounded():
    """One byte on the wire may mean sixty in a list: counted as a list, and cut off at the limit."""
    with pytest.raises(ProtocolError) as raised:
        decode(b"\x90" * 2000, LIMIT)
    assert raised.value.code is Code.ENHANCE_YOUR_CALM
    assert sum(map(entry_bytes, decode(b"\x90" * 500, LIMIT))) <= LIMIT


def test_huffman_memory_is_bounded():
    """What is kept of the code has at most one entry for each node and byte."""
    for first in range(256):
        for second in range(256):
            unhuffman(bytes((first, second)))
    assert len(huffman._STEPS) <= 65_536
