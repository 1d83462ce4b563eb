"""The Huffman code of HPACK, decoding only (RFC 7541 section 5.2 and appendix B). Pure.

The code is canonical: the lengths of the 257 codes, in the order of their symbols, tell all of it.
"""

from __future__ import annotations

from msgxc.http2.frames import Code, ProtocolError

_LENGTHS = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c060a0a0c0d06080b0a0a080b0806060605"
    "05050606060606060607080f060c0a0d06070707070707070707070707070707070707070707070807080d130d0e060f05"
    "060506050606060507070606060506070605050607070707070f0b0e0d1c14161414161616171617171717171817181816"
    "1718171717171516171617171816151416161717151716161815161717151516151716171714161616171616171a1a1413"
    "161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b14181415161515171616191918181a171a1b1a1a1b"
    "1b1b1b1b1c1b1b1b1b1b1a1e"
)
_END = 256  # its symbol never stands in a string


def _tree() -> list[list[int]]:
    """Inner nodes with their two children: another node, or -1 - symbol. The root is node 0."""
    nodes, code, before = [[0, 0]], 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(_LENGTHS)):
        code <<= length - before
        before, at = length, 0
        for bit in range(length - 1, 0, -1):
            side = code >> bit & 1
            if not nodes[at][side]:
                nodes[at][side] = len(nodes)
                nodes.append([0, 0])
            at = nodes[at][side]
        nodes[at][code & 1] = -1 - symbol
        code += 1
    return nodes


def _padding() -> frozenset[int]:
    """The nodes where a string may end: up to seven bits of the end's code, which are all ones."""
    nodes = [0]
    for _ in range(7):
        nodes.append(_TREE[nodes[-1]][1])
    return frozenset(nodes)


_TREE = _tree()
_MAY_END = _padding()
#: (node << 8 | byte) to (next node, symbols): filled as bytes are met, at most 65,536 entries.
_STEPS: dict[int, tuple[int, bytes]] = {}


def _step(key: int) -> tuple[int, bytes]:
    """Walk one byte down the tree."""
    at, symbols = key >> 8, bytearray()
    for bit in range(7, -1, -1):
        at = _TREE[at][key >> bit & 1]
        if at < 0:
            if at == -1 - _END:
                raise ProtocolError(Code.COMPRESSION_ERROR)
            symbols.append(-1 - at)
            at = 0
    _STEPS[key] = at, bytes(symbols)
    return at, bytes(symbols)


def decode(text: bytes) -> bytes:
    """The string. Raises ProtocolError when it is none."""
    at, pieces = 0, []
    for byte in text:
        key = at << 8 | byte
        at, symbols = _STEPS.get(key) or _step(key)
        pieces.append(symbols)
    if at not in _MAY_END:
        raise ProtocolError(Code.COMPRESSION_ERROR)
    return b"".join(pieces)
