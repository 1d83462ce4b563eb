"""A lean HTTP/2 sender: many small requests to few servers (RFC 9113, RFC 7541).

frames, huffman, hpack, messages, outbound, connection: pure, bytes in and bytes out. line, client: the I/O,
which msgxc.http1 uses too.
"""

from __future__ import annotations

from msgxc.http2.client import Client, Limits
from msgxc.http2.hpack import Head
from msgxc.http2.line import Pace, Patience
from msgxc.http2.messages import Answer, Request, Result, Unanswered, post_head

__all__ = [
    "Answer",
    "Client",
    "Head",
    "Limits",
    "Pace",
    "Patience",
    "Request",
    "Result",
    "Unanswered",
    "post_head",
]
