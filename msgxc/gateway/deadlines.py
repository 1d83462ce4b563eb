"""When an open connection ends: with its token, with its token's revocation, with its person.

Each connection has one deadline, the earlier of its token's end and AGAIN_SECONDS after the last look at it,
and a timer of its own keeps it: what a client sends moves nothing. A revocation that the bus tells is a look
at once; one that the bus has lost is found in the store's list of what is new, which is read for all
connections together.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping

from msgxc.bus import Subscription
from msgxc.errors import MsgxcError, Unauthorized
from msgxc.gateway.auth import LEEWAY, authenticate
from msgxc.messages.records import Principal
from msgxc.wiring import Exchange

#: How often a token is looked at again; how soon after the store did not answer. Seconds.
AGAIN_SECONDS, AWAY_SECONDS = 300.0, 10.0
#: How often the list of new revocations is read, and by how much clocks may differ. Seconds.
PATROL_SECONDS, OVERLAP_SECONDS = 15.0, 60.0
#: Looks under way at once: the store has others to answer as well.
LOOKS = 16
#: When the bus has lost something all connections are looked at, over so many seconds.
ALL_SECONDS = 15.0
#: Revocations that are remembered: one may be told while a connection is let in that did not know of it.
LATEST, LONGEST_NAME = 1_000, 4_096  # bytes of a name

_log = logging.getLogger(__name__)


class Deadline:
    """That of one connection. `end` is called once, with the reason, when it may not go on."""

    def __init__(
        self, deadlines: Deadlines, principal: Principal, token: str, end: Callable[[Unauthorized], None]
    ) -> None:
        self.principal = principal
        self._deadlines = deadlines
        self._token = token
        self._end = end
        self._timer: asyncio.TimerHandle | None = None
        self._look: asyncio.Task[None] | None = None
        self._again = False  # somebody asked for a look while one was under way
        self._wait(deadlines.again_seconds)

    def look(self, seconds: float = 0.0) -> None:
        """Look at the token again, so soon. Of a look that is under way nobody knows what it has seen."""
        self._again = self._look is not None
        if self._look is None:
            self._wait(seconds)

    def stop(self) -> None:
        """The connection has ended."""
        for waiting in (self._timer, self._look):
            if waiting is not None:
                waiting.cancel()
        self._deadlines.forget(self)

    def _wait(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait = seconds
        if self.principal.expires:
            left = self.principal.expires + LEEWAY - self._deadlines.exchange.clock()
            wait = min(wait, max(left, 0.0))
        self._timer = asyncio.get_running_loop().call_later(wait, self._due)

    def _due(self) -> None:
        """Its time is over, which needs no look; or it is looked at."""
        clock, expires = self._deadlines.exchange.clock, self.principal.expires
        if expires and clock() >= expires + LEEWAY:
            self._over(Unauthorized("the token has expired", "token_expired"))
        else:
            self._look = asyncio.create_task(self._looked(), name="look")

    async def _looked(self) -> None:
        """While the store is away nobody can have revoked anything there: the connection stays."""
        wait = self._deadlines.again_seconds
        try:
            async with self._deadlines.looks:
                self._again = False
                await authenticate(self._deadlines.exchange, self._token)
        except Unauthorized as error:
            self._over(error)
            return
        except Exception as error:
            wait = AWAY_SECONDS
            if not isinstance(error, MsgxcError):
                _log.error("a token could not be looked at: %s", type(error).__name__)
        self._look = None
        self._wait(0.0 if self._again else wait)

    def _over(self, error: Unauthorized) -> None:
        self._look = None
        self.stop()
        self._end(error)


class Deadlines:
    """Those of all connections of a process, by the account whose they are."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.looks = asyncio.Semaphore(LOOKS)
        self.again_seconds = AGAIN_SECONDS
        self._of_account: dict[str, set[Deadline]] = {}
        self._count = 0
        self._latest: deque[str] = deque(maxlen=LATEST)
        self._known: Mapping[str, float] = {}  # of the list: what was looked at already
        self._since = exchange.clock()  # what is older than that, the list has told

    def begin(self, principal: Principal, token: str, end: Callable[[Unauthorized], None]) -> Deadline:
        """One more connection. `end` is called when it has to end, outside of its own task."""
        deadline = Deadline(self, principal, token, end)
        self._of_account.setdefault(principal.account, set()).add(deadline)
        self._count += 1
        if principal.account in self._latest or f"jti:{principal.token_id}" in self._latest:
            deadline.look()
        return deadline

    def __len__(self) -> int:
        """All connections."""
        return self._count

    def count(self, account: str) -> int:
        """How many connections an account has here."""
        return len(self._of_account.get(account, ()))

    def forget(self, deadline: Deadline) -> None:
        """It has ended; twice is the same as once."""
        there = self._of_account.get(deadline.principal.account, set())
        self._count -= deadline in there
        there.discard(deadline)
        if not there:
            self._of_account.pop(deadline.principal.account, None)

    def revoked(self, name: str) -> None:
        """Look at all that this revocation may be about."""
        self._latest.append(name)
        kind, _, named = name.partition(":")
        if kind == "jti":
            about = [one for one in self._all() if one.principal.token_id == named]
        else:
            about = list(self._of_account.get(name, ()))
        for deadline in about:
            deadline.look()

    def missed(self) -> None:
        """The bus has lost revocations: look at everybody, one after the other."""
        everybody = self._all()
        for number, deadline in enumerate(everybody):
            deadline.look(ALL_SECONDS * number / len(everybody))

    async def catch_up(self) -> None:
        """Look at all that revocations are about which are new in the store. Raises StoreUnavailable."""
        begun, new = self.exchange.clock(), self._known
        if len(self):  # whoever comes later is looked at when they come
            new = await self.exchange.store.gateway.revoked_since(self._since - OVERLAP_SECONDS)
        for name in [name for name, at in new.items() if self._known.get(name) != at]:
            self.revoked(name)
        self._known, self._since = new, begun

    async def patrol(self) -> None:
        """Catch up, again and again, for ever."""
        while True:
            await asyncio.sleep(PATROL_SECONDS)
            try:
                await self.catch_up()
            except Exception as error:
                code = error.code if isinstance(error, MsgxcError) else type(error).__name__
                _log.warning("new revocations could not be read: %s", code)

    async def listen(self, told: Subscription) -> None:
        """Hear of revocations until the bus is closed."""
        async for message in told:
            if message.dropped:
                self.missed()
            self.revoked(message.payload[:LONGEST_NAME].decode("utf-8", "replace"))

    def _all(self) -> list[Deadline]:
        return [deadline for there in self._of_account.values() for deadline in there]
