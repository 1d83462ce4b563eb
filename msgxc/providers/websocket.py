"""Websocket: a message for whoever has the app or the page open now, over the bus.

The message goes out as a request on `person.<uid>`. Every gateway process that holds a session of that person
hears it, shows it, and answers OK once the session has acknowledged it; one that cannot show it stays silent.
Accepted means acknowledged: a person with no open session is told at once (NOT_ACKNOWLEDGED, final), so that
the next channel or the fallback takes over.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from uuid import UUID

from msgxc.bus import PAYLOAD, Bus
from msgxc.http2 import Patience
from msgxc.model import Channel, Outcome, Outgoing, Push, Reason, Receipt
from msgxc.providers.late import Said, nearly
from msgxc.providers.wire import receipt_of

#: The answer that means: a session of this person has acknowledged the message.
OK = b"ok"
#: How long a session may take to acknowledge, in seconds.
ACKNOWLEDGE_SECONDS = 2.0
#: How many messages wait for their acknowledgement at once.
AT_ONCE = 500


# -- the wire -----------------------------------------------------------------------------------------------


def subject_of(uid: UUID) -> str:
    """The subject on which a person's sessions listen."""
    return f"person.{uid}"


def to_payload(outgoing: Outgoing) -> bytes | None:
    """The message as JSON, or None when its content is not a push.

    `id` is the delivery: the same for every repeat, so that a session shows it once. `collapse` is what it
    replaces on the screen.
    """
    content = outgoing.content
    if not isinstance(content, Push):
        return None
    message = {
        "id": str(outgoing.delivery),
        "collapse": outgoing.collapse,
        "title": content.title,
        "body": content.body,
        "url": content.url,
        "image": content.image,
        "data": dict(content.data),
        "urgency": int(outgoing.urgency),
        "ttl": outgoing.ttl,
        "campaign": outgoing.campaign,
        **receipt_of(outgoing),
    }
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def to_receipt(answer: bytes | None) -> Receipt:
    """What the sessions' answer means."""
    if answer == OK:
        return Receipt(Outcome.ACCEPTED)
    return Receipt(Outcome.REFUSED, Reason.NOT_ACKNOWLEDGED)


# -- the provider -------------------------------------------------------------------------------------------


class Websocket:
    """Carries Channel.WEBSOCKET. The bus is the exchange's own, and is closed by it."""

    channel = Channel.WEBSOCKET
    batch = 1

    def __init__(
        self, bus: Bus, *, acknowledge_seconds: float = ACKNOWLEDGE_SECONDS, at_once: int = AT_ONCE
    ) -> None:
        self._bus = bus
        self._seconds = acknowledge_seconds
        self._places = asyncio.Semaphore(at_once)

    async def send(self, batch: Sequence[Outgoing], patience: Patience | None = None) -> list[Said]:
        """See Provider.send. Those of a batch wait for their acknowledgement together."""
        return await nearly([self._send(outgoing) for outgoing in batch], patience)

    async def close(self) -> None:
        """Nothing to let go of."""

    async def _send(self, outgoing: Outgoing) -> Receipt:
        payload = to_payload(outgoing)
        if payload is None:
            return Receipt(Outcome.REFUSED, Reason.MALFORMED)
        if len(payload) > PAYLOAD:
            return Receipt(Outcome.REFUSED, Reason.TOO_LARGE)
        async with self._places:
            return to_receipt(await self._bus.request(subject_of(outgoing.uid), payload, self._seconds))
