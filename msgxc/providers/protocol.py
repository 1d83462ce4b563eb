"""The one contract of every provider. It fits a postcard: batch in, one receipt each, same order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgxc.http2 import Patience
from msgxc.model import Channel, Outgoing
from msgxc.providers.late import Said


class Provider(Protocol):
    """Carries one channel.

    `batch` is how many deliveries leave in one request (1 for push and SMS, up to 1,000 for SendGrid).

    send: answers one receipt for each delivery, in order, and never raises for one of them: a provider that
    is down answers LATER for all, a refused credential BLOCKED, a lost answer DOUBT. It makes no retries of
    its own except the ones that cannot repeat a message (a refreshed token, a stream that the peer says it
    never processed). It may be called again while an earlier call is under way, from the same event loop.
    Every request ends within the timeout that the provider was built with. With `patience`, one that is later
    than the others of its batch is not waited for: a future of its receipt stands in its place.

    close: lets go of connections; may be called twice.
    """

    channel: Channel
    batch: int

    async def send(self, batch: Sequence[Outgoing], patience: Patience | None = None) -> list[Said]: ...

    async def close(self) -> None: ...
