"""The bus between the processes of one machine: Unix domain sockets, and nothing but Python.

There is no hub. Every process listens on a socket of its own in one folder, and is connected with every
other: a killed process costs the others nothing. A message goes to all of them, and each hands it to its own
subscribers. A process that reads too slowly loses messages, is told how many, and holds up nobody. The folder
is looked through again every SECONDS, so that a connection that was lost comes back.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import cast

from msgxc.bus import checked_payload, checked_subject
from msgxc.bus.memory import Listeners, answers, first_answer, unanswered
from msgxc.bus.wire import Frame, Kind, Reader, encode
from msgxc.errors import WrongInput, WrongSettings

#: How often the folder is looked through for processes that we are not connected with, in seconds.
SECONDS = 1.0
#: How long `open` waits for the others' greeting (one of them may be stopped), in seconds.
GREETING = 2.0
#: How long `close` waits for the others to read what was written last, in seconds.
PARTING = 1.0
#: Bytes that may wait for a process that reads nothing: beyond that its messages are dropped.
UNSENT = 1_048_576
#: A socket's path has at most so many bytes (macOS: 104, with the end mark).
PATH = 103
NAME = 16


class LocalBus:
    """This process's place on the bus. Made by LocalBus.open."""

    def __init__(self, folder: Path) -> None:
        self.name = secrets.token_hex(NAME // 2)
        self._folder = folder
        self._listeners = Listeners()
        self._links: dict[str, list[_Link]] = {}
        self._open: set[_Link] = set()  # every connection, also those of strangers that have said nothing yet
        self._dialed: dict[str, _Link] = {}  # also those that have not greeted back yet
        self._asked: dict[int, _Asked] = {}
        self._number = 0
        self._server: asyncio.Server | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.subscribe = self._listeners.subscribe

    @classmethod
    async def open(cls, home: Path) -> LocalBus:
        """Take a place among the processes of this home. Raises WrongSettings when its folder is not ours."""
        bus = cls(_folder(home))
        try:
            await bus._listen()
            await bus._meet()
        except BaseException:
            await bus.close()
            raise
        bus._keeper = asyncio.create_task(bus._keep(), name="bus")
        return bus

    async def publish(self, subject: str, payload: bytes) -> bool:
        """See Bus.publish. False once the bus is closed."""
        checked_payload(payload)
        self._listeners.hand_out(checked_subject(subject), payload, unanswered)
        self._tell(Kind.MESSAGE, subject, payload)
        return not self._listeners.closed

    async def request(self, subject: str, payload: bytes, timeout: float) -> bytes | None:  # noqa: ASYNC109
        """See Bus.request. Every process says at once when nobody listens there."""
        self._number += 1
        asked = _Asked()
        checked_payload(payload)
        asked.here = self._listeners.hand_out(checked_subject(subject), payload, answers(asked.answer)) > 0
        asked.links = self._tell(Kind.REQUEST, subject, payload, self._number)
        asked.settle()
        number, self._asked[self._number] = self._number, asked
        try:
            return await first_answer(asked.answer, timeout)
        finally:
            del self._asked[number]

    async def close(self) -> None:
        """See Bus.close."""
        if self._listeners.closed:
            return
        self._listeners.close()
        for path in (self._path(), self._path().with_suffix(".new")):
            path.unlink(missing_ok=True)
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        for link in tuple(self._open):
            link.close()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(PARTING):
                    await asyncio.gather(*(link.gone.wait() for link in self._open))
        finally:
            for link in tuple(self._open):
                link.abort()  # Its reader is stopped: what waits for it is lost, as with this process.
        await asyncio.sleep(0)  # The loop closes them now.
        with suppress(OSError):
            self._folder.rmdir()  # Only when nobody else is there.

    # -- to the others -------------------------------------------------------------------------------------

    def _tell(self, kind: Kind, subject: str, payload: bytes, number: int = 0) -> set[_Link]:
        """Send it to every other process; answers by which connections."""
        if not self._links or self._listeners.closed:
            return set()
        frame = encode(kind, number=number, subject=subject, payload=payload)
        return {links[0] for links in self._links.values() if links[0].send(frame)}

    # -- from the others -----------------------------------------------------------------------------------

    def arrived(self, link: _Link, frame: Frame) -> None:
        """A frame of another process."""
        match frame.kind:
            case Kind.HELLO:
                self._greeted(link, frame.subject)
            case Kind.MESSAGE:
                self._listeners.hand_out(frame.subject, frame.payload, unanswered)
            case Kind.REQUEST:
                self._requested(link, frame)
            case Kind.ANSWER | Kind.NOBODY:
                self._answered(link, frame)
            case Kind.LOST:
                self._listeners.missed(frame.number)

    def made(self, link: _Link) -> None:
        """A connection is there. One that comes while the bus is closed is not wanted any more."""
        self._open.add(link)
        if self._listeners.closed:
            link.abort()

    def lost(self, link: _Link) -> None:
        """A connection has ended: it answers nothing more."""
        self._open.discard(link)
        self._dialed = {name: one for name, one in self._dialed.items() if one is not link}
        left = {name: [one for one in links if one is not link] for name, links in self._links.items()}
        self._links = {name: links for name, links in left.items() if links}
        for asked in self._asked.values():
            asked.refused(link)

    def _greeted(self, link: _Link, name: str) -> None:
        """Greet back, once; from then on the link is used."""
        self._links.setdefault(name, []).append(link)
        link.greet(self.name)
        link.met.set()

    def _requested(self, link: _Link, frame: Frame) -> None:
        async def answer(text: bytes) -> None:
            link.write(encode(Kind.ANSWER, number=frame.number, payload=checked_payload(text)))

        if not self._listeners.hand_out(frame.subject, frame.payload, answer):
            link.write(encode(Kind.NOBODY, number=frame.number))

    def _answered(self, link: _Link, frame: Frame) -> None:
        asked = self._asked.get(frame.number)
        if asked is None:
            return
        if frame.kind is Kind.NOBODY:
            asked.refused(link)
        elif not asked.answer.done():
            asked.answer.set_result(frame.payload)

    # -- who is there --------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """The socket gets its name once it takes connections: nobody finds one that refuses."""
        loop, path = asyncio.get_running_loop(), self._path()
        fresh = path.with_suffix(".new")
        # Made and known before it is waited for: whoever is told to stop meanwhile can close it.
        self._server = await loop.create_unix_server(lambda: _Link(self), fresh, start_serving=False)
        await self._server.start_serving()
        fresh.rename(path)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(SECONDS)
            with suppress(OSError):
                await self._meet()

    async def _meet(self) -> None:
        """Connect with everybody whom we do not know yet."""
        known = {self.name, *self._links, *self._dialed}
        await asyncio.gather(*(self._dial(path) for path in _sockets(self._folder) if path.stem not in known))

    async def _dial(self, path: Path) -> None:
        try:
            _, link = await asyncio.get_running_loop().create_unix_connection(lambda: _Link(self), str(path))
        except ConnectionRefusedError:  # Its process is gone.
            with suppress(FileNotFoundError):  # Somebody else has removed it.
                os.unlink(path)
            return
        except OSError:  # It left just now, or has too much to do: seen again in a moment.
            return
        self._dialed[path.stem] = link
        link.greet(self.name)
        with suppress(TimeoutError):
            async with asyncio.timeout(GREETING):
                await link.met.wait()

    def _path(self) -> Path:
        return self._folder / f"{self.name}.sock"


class _Asked:
    """A request under way: who has still to say something."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self.here = False
        self.links: set[_Link] = set()

    def refused(self, link: _Link) -> None:
        """Nobody listens there."""
        self.links.discard(link)
        self.settle()

    def settle(self) -> None:
        """With nobody left to ask, the answer is None."""
        if not self.here and not self.links and not self.answer.done():
            self.answer.set_result(None)


class _Link(asyncio.Protocol):
    """One connection with another process. Nothing here ever waits."""

    def __init__(self, bus: LocalBus) -> None:
        self.met = asyncio.Event()  # the other one has greeted, or has left
        self.gone = asyncio.Event()
        self._bus = bus
        self._reader = Reader()
        self._transport: asyncio.Transport | None = None
        self._greeted = False
        self._lost = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)
        self._bus.made(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol. What is no frame ends the connection."""
        try:
            for frame in self._reader.frames(data):
                self._bus.arrived(self, frame)
        except WrongInput:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        del exc
        self.met.set()
        self.gone.set()
        self._bus.lost(self)

    def greet(self, name: str) -> None:
        """Say who we are, the first time."""
        if not self._greeted:
            self._greeted = True
            self.write(encode(Kind.HELLO, subject=name))

    def send(self, frame: bytes) -> bool:
        """Write a message, unless too much waits already: then it is lost, and counted."""
        self.resume_writing()
        taken = self.write(frame)
        self._lost += not taken
        return taken

    def resume_writing(self) -> None:
        """See asyncio.Protocol. There is room again: say how much was lost."""
        if self._lost and self.write(encode(Kind.LOST, number=self._lost)):
            self._lost = 0

    def write(self, frame: bytes) -> bool:
        """Write it, unless too much waits already."""
        transport = self._transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size() >= UNSENT:
            return False
        transport.write(frame)
        return True

    def close(self) -> None:
        """End the connection, once what waits is written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()


def _sockets(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.sock"))


def _temporary() -> Path:
    """As tempfile.gettempdir(), which tries them by writing and finds none on a full disk."""
    named = (os.environ.get(name, "") for name in ("TMPDIR", "TEMP", "TMP"))
    return next((Path(name) for name in named if name and os.path.isdir(name)), Path("/tmp"))  # noqa: S108


def _folder(home: Path) -> Path:
    """Where the sockets of this home are: in it; or, when its path is too long, among temporary files."""
    folder = home.resolve() / "bus"
    if len(os.fsencode(folder)) + NAME + len("/.sock") > PATH:
        short = blake2b(os.fsencode(folder), digest_size=8).hexdigest()
        folder = _temporary() / f"msgxc-{os.getuid()}-{short}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or folder.is_symlink():
        raise WrongSettings("MSGXC_HOME: the folder of the bus is not ours alone")
    return folder
