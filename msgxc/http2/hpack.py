"""Header compression (RFC 7541). Pure.

Writing: what is the same in many requests (a Head) enters the peer's table once, and is one byte a field
afterwards. Reading: we announce a table of size 0, so a block stands alone and nothing has to be remembered.
Nothing is written in Huffman code: it would save bytes, which are cheap, and cost time, which is not.
"""

from __future__ import annotations

from collections import deque

from msgxc.http2 import huffman
from msgxc.http2.frames import Code, ProtocolError

Field = tuple[bytes, bytes]
#: Name, value, and whether the value is still in Huffman code: most values are never looked at.
Raw = tuple[bytes, bytes, bool]

TABLE_BYTES = 4096  # of the peer's table that we use, though it may offer more
OVERHEAD = 32  # bytes that an entry counts for beyond its text (section 4.1)
_HEADS = 256  # kept written at once
_NAMES_KEPT = 1024
_CODED_NAMES: dict[bytes, bytes] = {}

_LEADING = (
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    *((":status", status) for status in ("200", "204", "206", "304", "400", "404", "500")),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
)
_NAMES = """
accept-language accept-ranges accept access-control-allow-origin age allow authorization cache-control
content-disposition content-encoding content-language content-length content-location content-range
content-type cookie date etag expect expires from host if-match if-modified-since if-none-match if-range
if-unmodified-since last-modified link location max-forwards proxy-authenticate proxy-authorization range
referer refresh retry-after server set-cookie strict-transport-security transfer-encoding user-agent vary
via www-authenticate
"""
#: Appendix A; index 1 is the first.
STATIC: tuple[Field, ...] = tuple(
    (name.encode(), value.encode()) for name, value in (*_LEADING, *((name, "") for name in _NAMES.split()))
)
_STATIC_FIELDS = {field: number for number, field in reversed(list(enumerate(STATIC, 1)))}
_STATIC_NAMES = {name: number for number, (name, _) in reversed(list(enumerate(STATIC, 1)))}


def integer(number: int, bits: int, first: int = 0) -> bytes:
    """A number in the low `bits` of a byte and the bytes after it (section 5.1); `first`: the high bits."""
    most = (1 << bits) - 1
    if number < most:
        return bytes((first | number,))
    out, number = bytearray((first | most,)), number - most
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


_LENGTHS = tuple(integer(length, 7) for length in range(1024))


def _text(text: bytes) -> bytes:
    """A string literal (section 5.2)."""
    return (_LENGTHS[len(text)] if len(text) < 1024 else integer(len(text), 7)) + text


def _literal(field: Field, bits: int, first: int) -> bytes:
    """A literal field; `first` and `bits` say of which kind (section 6.2)."""
    if known := _STATIC_NAMES.get(field[0]):
        return integer(known, bits, first) + _text(field[1])
    return bytes((first,)) + _text(field[0]) + _text(field[1])


def named(name: bytes) -> bytes:
    """How a field begins that stands alone and enters no table; `_text(value)` follows (section 6.2.2)."""
    known = _STATIC_NAMES.get(name)
    return integer(known, 4) if known else b"\0" + _text(name)


def entry_bytes(field: Field) -> int:
    """What a field counts for, in a table or a header list."""
    return len(field[0]) + len(field[1]) + OVERHEAD


class Head:
    """What many requests have in common: `fields` with their values (the pseudo-fields first, but for
    `:path`), and the names of the fields whose values differ. Compared by identity: keep it, and share it.
    """

    __slots__ = ("bytes", "fields", "names", "starts")

    def __init__(self, fields: tuple[tuple[str, str], ...], names: tuple[str, ...] = ()) -> None:
        self.fields: tuple[Field, ...] = tuple((n.encode(), v.encode("latin-1")) for n, v in fields)
        self.names = names
        self.starts = tuple(named(name.encode()) for name in names)
        paths = OVERHEAD + len(":path")
        self.bytes = paths + sum(map(entry_bytes, self.fields)) + sum(len(n) + OVERHEAD for n in names)


class Encoder:
    """Writes header blocks for one peer, and knows what its table holds."""

    def __init__(self) -> None:
        self._room = TABLE_BYTES
        self._entries: deque[Field] = deque()  # the oldest first
        self._numbers: dict[Field, int] = {}
        self._added = self._used = 0
        self._sizes: list[int] = []  # to be said at the start of the next block
        self._written: dict[Head, bytes] = {}

    def resize(self, size: int) -> None:
        """The peer's table has this many bytes from now on (its SETTINGS_HEADER_TABLE_SIZE)."""
        size = min(size, TABLE_BYTES)
        if size == self._room:
            return
        self._room = size
        self._evict(0)
        self._written.clear()
        # Section 4.2: the smallest size of several changes, and the last one.
        self._sizes = [*([low] if (low := min([*self._sizes, size])) < size else []), size]

    def encode(self, head: Head, path: bytes, values: tuple[bytes, ...]) -> bytes:
        """The block of one request; `values` belong to the names of the head, in their order."""
        fields = self._written.get(head)
        parts = [b"\x04", _text(path), self._learn(head) if fields is None else fields]
        for start, value in zip(head.starts, values, strict=True):
            parts += (start, _text(value))
        if self._sizes:
            parts[:0] = [integer(size, 5, 0x20) for size in self._sizes]
            self._sizes = []
        return b"".join(parts)

    def _learn(self, head: Head) -> bytes:
        """The head's fields, and what is new of them into the peer's table, as far as it takes them all."""
        added, taken, out = self._added, 0, []
        for field in head.fields:
            if known := self._index(field):
                out.append(integer(known, 7, 0x80))
                taken += entry_bytes(field) * (known > len(STATIC))
            elif (taken := taken + entry_bytes(field)) <= self._room:
                out.append(_literal(field, 6, 0x40))
                self._add(field)
            else:
                taken -= entry_bytes(field)
                out.append(_literal(field, 4, 0))
        if self._added != added or len(self._written) >= _HEADS:
            self._written.clear()  # every index has moved
        if self._added == added:
            self._written[head] = b"".join(out)
        return b"".join(out)

    def _index(self, field: Field) -> int:
        if number := self._numbers.get(field):
            return len(STATIC) + 1 + self._added - number
        return _STATIC_FIELDS.get(field, 0)

    def _add(self, field: Field) -> None:
        self._evict(entry_bytes(field))
        self._entries.append(field)
        self._added += 1
        self._numbers[field] = self._added
        self._used += entry_bytes(field)

    def _evict(self, needed: int) -> None:
        if self._used + needed > self._room:
            self._written.clear()
        while self._used + needed > self._room:
            field = self._entries.popleft()
            del self._numbers[field]
            self._used -= entry_bytes(field)


def split(block: bytes, limit: int) -> list[Raw]:
    """The fields of a block, at most `limit` bytes as they count in a header list; values as they came.

    Raises ProtocolError when it is no block, refers to a table that we do not have, or is larger.
    """
    fields: list[Raw] = []
    at, end, room = 0, len(block), limit
    while at < end:
        first = block[at]
        if first & 0x80:
            index, at = _integer(block, at, 7)
            name, value = _static(index)
            coded = False
        elif first & 0xE0 == 0x20:
            size, at = _integer(block, at, 5)
            if fields or size:
                raise ProtocolError(Code.COMPRESSION_ERROR)
            continue
        else:  # a literal of any kind: without a table they all mean the same
            index, at = _integer(block, at, 6 if first & 0x40 else 4)
            name, at = (_static(index)[0], at) if index else _name(block, at)
            value, coded, at = _string(block, at)
        room -= len(name) + len(value) + OVERHEAD
        if room < 0:
            raise ProtocolError(Code.ENHANCE_YOUR_CALM)
        fields.append((name, value, coded))
    return fields


def plain(value: bytes, coded: bool) -> bytes:
    """A value of `split`. Raises ProtocolError when it is no Huffman code."""
    return huffman.decode(value) if coded else value


def _static(index: int) -> Field:
    if not 0 < index <= len(STATIC):
        raise ProtocolError(Code.COMPRESSION_ERROR)
    return STATIC[index - 1]


def _name(block: bytes, at: int) -> tuple[bytes, int]:
    """A literal name. There are few of them, so what their code means is kept."""
    name, coded, at = _string(block, at)
    if not coded:
        return name, at
    if (known := _CODED_NAMES.get(name)) is None:
        if len(_CODED_NAMES) >= _NAMES_KEPT:
            _CODED_NAMES.clear()
        known = _CODED_NAMES[name] = huffman.decode(name)
    return known, at


def _string(block: bytes, at: int) -> tuple[bytes, bool, int]:
    """The text as it came, whether it is in Huffman code, and where it ends."""
    if at >= len(block):
        raise ProtocolError(Code.COMPRESSION_ERROR)
    coded = block[at] >= 0x80
    length, at = _integer(block, at, 7)
    text = block[at : at + length]
    if len(text) != length:
        raise ProtocolError(Code.COMPRESSION_ERROR)
    return text, coded, at + length


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """A number and where it ends; one of more than four further bytes is an attack."""
    most = (1 << bits) - 1
    number = block[at] & most
    at += 1
    if number < most:
        return number, at
    for shift in range(0, 28, 7):
        if at >= len(block):
            break
        number += (block[at] & 127) << shift
        at += 1
        if block[at - 1] < 128:
            return number, at
    raise ProtocolError(Code.COMPRESSION_ERROR)
