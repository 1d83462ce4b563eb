"""One open connection of one caller: what it asks, and what it is shown."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic

from msgxc import ids
from msgxc.errors import Forbidden, MsgxcError, TooMuch, WrongInput
from msgxc.gateway import frames, hub, listening
from msgxc.gateway.frames import Heard, Wire
from msgxc.gateway.line import Line
from msgxc.gateway.rates import Rates, Replay
from msgxc.messages import reading
from msgxc.messages.records import Principal
from msgxc.providers.websocket import OK

#: What one connection may listen to.
SUBJECTS = 200
#: Frames that wait while the store is read; deliveries that wait for an acknowledgement; ids kept, so that
#: nothing is shown twice.
HELD, UNACKNOWLEDGED, REMEMBERED = 1_000, 200, 64
#: For how long a check-in says that somebody is at the screen.
ACTIVE_SECONDS = 60.0
#: Frames of a client: so many a second, and so many at once. Who sends more is read more slowly.
PER_SECOND, AT_ONCE = 20.0, 60.0


class Pace:
    """How fast a client is read: a bucket of AT_ONCE frames, PER_SECOND more each second."""

    def __init__(self, now: float) -> None:
        self._left = AT_ONCE
        self._at = now

    def wait(self, now: float) -> float:
        """Seconds to wait before the next frame."""
        self._left = min(self._left + (now - self._at) * PER_SECOND, AT_ONCE) - 1
        self._at = now
        return max(-self._left / PER_SECOND, 0.0)


class Session:
    """A Listener of the hub. `vid` is the visitor's device."""

    def __init__(self, at: hub.Hub, line: Line, principal: Principal, vid: str, rates: Rates) -> None:
        self.principal = principal
        self._spend = rates.purse(principal.account, monotonic)
        self._hub = at
        self._line = line
        self._vid = vid
        self._since = monotonic()
        self._there = False  # counted among who is online
        self._active = 0.0  # until when somebody counts as being at the screen
        self._subjects: set[str] = set()
        self._held: dict[str, list[Heard]] = {}
        self._shown: OrderedDict[str, None] = OrderedDict()
        self._remembered = REMEMBERED
        self._now = str(listening.beginning(at.exchange, None, None))
        self._past: dict[str, str] = {}  # after which message a subject's past is wanted
        self._asked: OrderedDict[str, Callable[[bytes], Awaitable[None]]] = OrderedDict()

    # -- what it is shown ----------------------------------------------------------------------------------

    async def begin(self, ref: str) -> None:
        """Listen to what concerns every connection of this person, then say that it works."""
        uid, key = self.principal.uid, self._hub.exchange.key
        if uid is not None:
            self._hub.come(uid)
            self._there = True
        exchange, everybody = self._hub.exchange, ids.broadcast_thread(key)
        await self._join(listening.BROADCAST, refill=listening.history(exchange, everybody))
        more = {"last": self._now, "broadcasts": str(everybody)}
        if uid is not None:
            own = ids.own_thread(key, uid)
            await self._join(f"thread.{own}", refill=listening.history(exchange, own))
            await self._join(listening.person(uid), take=listening.deliver)
            more |= {"uid": str(uid), "thread": str(own)}
        self.say(frames.answer("/api/v2/authenticate", ref, **more))

    def end(self) -> None:
        """Listen to nothing any more."""
        if self._there and self.principal.uid is not None:
            self._hub.go(self.principal.uid)
            self._there = False
        for subject in self._subjects:
            self._hub.leave(subject, self)
        self._subjects.clear()
        self._line.close()

    def say(self, wire: Wire) -> bool:
        """Write it. False: the client is too slow, and is gone."""
        return self._line.write(wire)

    def hear(self, subject: str, heard: Heard) -> None:
        """See Listener. While a thread's past is read, what is new waits."""
        if heard.again and heard.mid <= self._past.get(subject, self._now):
            return
        held = self._held.get(subject)
        if held is None:
            self._show(heard)
        elif len(held) < HELD:  # A full list is thrown away, and read from the store.
            held.append(heard)

    def deliver(self, delivery: str, wire: Wire, answer: Callable[[bytes], Awaitable[None]]) -> None:
        """Show a delivery; it counts as accepted when the client acknowledges it."""
        self._asked[delivery] = answer
        if len(self._asked) > UNACKNOWLEDGED:
            self._asked.popitem(last=False)
        self.say(wire)

    def presence(self) -> hub.Presence:
        """See Listener."""
        return hub.Presence(int(monotonic() - self._since), monotonic() < self._active)

    def dismiss(self, subject: str, tid: str) -> None:
        """The caller may not listen to this thread any more."""
        self._leave(subject)
        self.say(frames.answer("/api/v2/unsubscribe/thread", tid=tid))

    def _show(self, heard: Heard) -> bool:
        if heard.key:
            if heard.key in self._shown:
                return True
            self._shown[heard.key] = None
            if len(self._shown) > self._remembered:
                self._shown.popitem(last=False)
        return self.say(heard.wire)

    # -- what it asks --------------------------------------------------------------------------------------

    async def handle(self, text: str | bytes) -> None:
        """Do what a frame asks, and answer."""
        try:
            inbound = frames.read(text)
        except frames.Refused as refused:
            self._affords(1)
            self.say(frames.refusal(refused.slug, refused.ref, refused.code, str(refused)))
            return
        try:
            if not self._is_free(inbound.asked):
                self._spend(1)
            more = await self._do(inbound.asked)
        except TooMuch as error:
            again = {"retry_after": error.seconds}
            self.say(frames.refusal(inbound.slug, inbound.ref, error.code, str(error), **again))
        except MsgxcError as error:
            self.say(frames.refusal(inbound.slug, inbound.ref, error.code, str(error)))
        else:
            slug = "/pong" if inbound.slug == "/ping" else inbound.slug
            self.say(frames.answer(slug, inbound.ref, **more))

    def _is_free(self, asked: frames.Asked) -> bool:
        """A check-in, and an answer to what we have shown, are no work, and nobody's quota stops them."""
        return isinstance(asked, frames.Ping) or (isinstance(asked, frames.Ack) and asked.id in self._asked)

    async def _do(self, asked: frames.Asked) -> dict[str, object]:
        """What the answer says besides `ok`. Raises MsgxcError."""
        match asked:
            case frames.Ping():
                self._hub.see(self.principal.uid)
                self._active = monotonic() + ACTIVE_SECONDS if asked.active else 0.0
                return {"online": self.presence().online}
            case frames.Subscribe():
                return await self._subscribe(asked)
            case frames.Unsubscribe():
                self._leave(f"thread.{listening.named(self._hub.exchange, asked.tid)}")
            case frames.Tune():
                await self._tune(asked)
            case frames.Say():
                await self._publish(asked)
            case frames.Read():
                await self._read(asked)
            case frames.Ack():
                await self._acknowledge(asked.id)
            case frames.Authenticate():
                raise WrongInput("this connection has said already who it is")
        return {}

    async def _subscribe(self, asked: frames.Subscribe) -> dict[str, object]:
        """Listen first, then read what came before: nothing falls between. Past the caller's quota it ends
        where it is, with `more`."""
        exchange = self._hub.exchange
        tid = listening.named(exchange, asked.tid)
        source = await listening.source(exchange, self.principal, tid)
        subject = source.subject
        self._begin_after(subject, asked)
        held: list[Heard] = []
        self._held[subject] = held
        complete = False
        try:
            await self._join(subject, refill=source.refill, review=source.review)
            if not source.open:  # From here on we hear who is put out; who was meanwhile is found now.
                await listening.source(exchange, self.principal, tid)
            async with self._one_at_a_time():
                missed = listening.missed(exchange, tid, asked.after, asked.seen)
                replayed, whole = await self._replay(subject, missed)
            complete = whole and len(held) < HELD
            if subject not in self._subjects:
                raise Forbidden("you were put out of the thread meanwhile", "not_a_subscriber")
        finally:
            del self._held[subject]
            if not complete:  # What is live must not be shown after a gap.
                self._leave(subject)
        for heard in held if complete else ():
            if heard.key not in replayed:
                self._show(heard)
        return {"tid": str(tid), "replayed": len(replayed), **({} if complete else {"more": True})}

    def _begin_after(self, subject: str, asked: frames.Subscribe) -> None:
        self._past[subject] = str(listening.beginning(self._hub.exchange, asked.after, asked.seen))
        seen = {asked.after, *(asked.seen or ())} - {None}
        self._remembered = max(self._remembered, REMEMBERED + len(seen))
        self._shown.update((frames.key(str(mid)), None) for mid in seen)

    async def _replay(self, subject: str, missed: AsyncIterator[Heard]) -> tuple[set[str], bool]:
        """The keys of what was shown, and whether that is all."""
        shown, work = set[str](), Replay()
        async for heard in missed:
            may_go_on = subject in self._subjects and len(shown) < listening.REPLAYED
            if not may_go_on or not self._affords(work.cost(len(heard.wire.text))):
                return shown, False
            try:
                await self._line.room()
            except TimeoutError:
                raise WrongInput("the client reads too slowly") from None
            self._show(heard)
            shown.add(heard.key)
        return shown, True

    @asynccontextmanager
    async def _one_at_a_time(self) -> AsyncIterator[None]:
        """One replay for all connections of an account. Raises TooMuch when the other one takes its time."""
        lock = self._hub.replaying(self.principal.account)
        try:
            async with asyncio.timeout(self._hub.replay_seconds):
                await lock.acquire()
        except TimeoutError:
            raise TooMuch("another thread is being shown to you just now", 1) from None
        try:
            yield
        finally:
            lock.release()

    def _affords(self, units: int) -> bool:
        try:
            self._spend(units)
        except TooMuch:
            return False
        return True

    async def _tune(self, asked: frames.Tune) -> None:
        subject = listening.channel(asked.name)
        if asked.on:
            await self._join(subject)
        else:
            self._leave(subject)

    async def _publish(self, asked: frames.Say) -> None:
        payload = frames.ephemeral(asked.name, asked.msg, asked.opts, self.principal.uid)
        if not await self._hub.exchange.bus.publish(listening.channel(asked.name), payload):
            raise listening.BusAway("nobody can be reached just now: say it again later")

    async def _read(self, asked: frames.Read) -> None:
        if self.principal.uid is None:
            raise Forbidden("this is for persons: the token names none", "person_needed")
        tid = listening.named(self._hub.exchange, asked.tid)
        exchange, caller = self._hub.exchange, self.principal
        await reading.mark_read(exchange, self.principal.uid, tid, asked.mid, self._vid, caller)

    async def _acknowledge(self, delivery: str) -> None:
        answer = self._asked.pop(delivery, None)
        if answer is not None:
            await answer(OK)

    async def _join(
        self,
        subject: str,
        *,
        refill: hub.Refill | None = None,
        take: hub.Take | None = None,
        review: hub.Review | None = None,
    ) -> None:
        if subject not in self._subjects and len(self._subjects) >= SUBJECTS:
            raise WrongInput(f"one connection listens to at most {SUBJECTS} threads and channels")
        self._subjects.add(subject)
        await self._hub.join(subject, self, take=take, refill=refill, review=review)

    def _leave(self, subject: str) -> None:
        self._subjects.discard(subject)
        self._past.pop(subject, None)
        self._hub.leave(subject, self)


async def paced(session: Session, pace: Pace, text: str | bytes) -> None:
    """Handle a frame, no sooner than its turn: meanwhile nothing is read from the client."""
    wait = pace.wait(monotonic())
    if wait:
        await asyncio.sleep(wait)
    await session.handle(text)
