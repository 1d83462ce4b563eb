"""How a connection is lost: at once, and with a TCP reset, as when a machine on the way gives up."""

from __future__ import annotations

import asyncio
import socket
import struct


def abort(transport: asyncio.Transport) -> None:
    """Drop the connection without a goodbye; the peer reads "connection reset"."""
    peer: socket.socket | None = transport.get_extra_info("socket")
    if peer is not None:
        # No lingering: closing then sends RST instead of FIN (socket(7)).
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
