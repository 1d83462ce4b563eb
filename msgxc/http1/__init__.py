"""HTTP/1.1 for servers that speak nothing newer (RFC 9110, RFC 9112): many small requests, many connections.

connection: pure, bytes in and bytes out; httptools (llhttp) reads. The I/O half is that of msgxc.http2.
"""

from __future__ import annotations

import ssl

from msgxc.http1.connection import Connection
from msgxc.http2 import Client, Limits, Pace

__all__ = ["Connection", "client"]

#: Nobody can be asked for a sign of life here, so an idle connection is left before most servers leave it:
#: a request that crosses with their goodbye is in doubt.
_PACE = Pace(quiet=float("inf"), idle=float("inf"), unused=15.0)


def client(
    host: str, port: int, tls: ssl.SSLContext, *, connections: int, connect: float, spare: bool = False
) -> Client:
    """Sends to one host: as many connections as requests wait, at most `connections`; `connect` in seconds
    for one to be ready. `spare`: and one that is idle.
    """
    tls.set_alpn_protocols(["http/1.1"])
    limits = Limits(connections=connections, opening=20, spare=spare, connect=connect, grow=0.005, pace=_PACE)
    return Client(host, port, tls, limits, Connection)
