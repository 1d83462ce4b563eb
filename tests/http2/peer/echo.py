"""The same server as main.go, as far as ASGI goes, for hypercorn."""

from __future__ import annotations

import asyncio


async def app(scope, receive, send):
    """Echo, and misbehave as the path says."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    _, word, *rest = scope["path"].split("/")
    number = int(rest[0]) if rest and rest[0].isdigit() else 0
    if word == "slow":
        await asyncio.sleep(number / 1000)
    status, body = (number, b"") if word == "status" else (200, b"\0" * number if word == "large" else body)
    own = dict(scope["headers"]).get(b"apns-id", b"")
    await send({"type": "http.response.start", "status": status, "headers": [(b"x-own", own)]})
    await send({"type": "http.response.body", "body": body})
