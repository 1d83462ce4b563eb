"""The one seam to the driver: requests go out here and answers come back to the event loop.

The driver answers on a thread of its own (libev). Waking the loop for each answer costs more than the answer:
so they are queued, and one wake-up takes a whole burst.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from time import monotonic
from typing import Any

from cassandra import (
    ConsistencyLevel,
    CoordinationFailure,
    DriverException,
    OperationTimedOut,
    Timeout,
    Unavailable,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.connection import ConnectionException
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    FallthroughRetryPolicy,
    TokenAwarePolicy,
)
from cassandra.protocol import IsBootstrappingErrorMessage, OverloadedErrorMessage, ServerError, TruncateError
from cassandra.query import BatchStatement, BatchType, BoundStatement, tuple_factory

from msgxc.errors import StoreUnavailable
from msgxc.store.cassandra.binding import VERSION, Prepared
from msgxc.store.cassandra.settings import CassandraSettings
from msgxc.store.cassandra.statements import WHOLE
from msgxc.store.ports import BATCH
from msgxc.store.records import batches

Rows = list[tuple[Any, ...]]
Values = Sequence[object]

#: Requests under way at once. More only wait in the server's queue.
IN_FLIGHT = 256
#: Statements of one batch: a window's results are one write, far below the server's limit of 50 KiB.
IN_BATCH = 50
#: Keys of one IN: enough to spare the client work, few enough for one coordinator.
AT_ONCE = 50
#: How often a compare-and-set is made that may be made again: many of one partition get in each other's way.
TRIES = 5
#: Parts that go together in one request: with more of them the server warns.
SMALL = 10
#: Into how many pieces a scan cuts the ring, and how many are read at once.
PIECES, READERS = 32, 4
#: How often a home's number is counted on, at most: seen.py.
STAMP_SECONDS = 5.0
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1  # tokens of Murmur3Partitioner

#: Surely not done: no replica was asked.
_REFUSED = (NoHostAvailable, Unavailable)
#: Done or not: nobody knows.
_LOST = (
    OperationTimedOut,
    Timeout,
    CoordinationFailure,
    ConnectionException,
    OverloadedErrorMessage,
    IsBootstrappingErrorMessage,
    ServerError,
    TruncateError,
)


class _Answers:
    """Answers on their way from the driver's thread to one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.places = asyncio.Semaphore(IN_FLIGHT)
        self._queue: deque[tuple[asyncio.Future[Rows], Rows | None, Exception | None]] = deque()
        self._woken = False

    def arrived(self, rows: Rows | None, future: asyncio.Future[Rows]) -> None:
        """Called by the driver, on its thread."""
        self._wake((future, rows, None))

    def failed(self, error: Exception, future: asyncio.Future[Rows]) -> None:
        """Called by the driver, on its thread."""
        self._wake((future, None, error))

    def _wake(self, answer: tuple[asyncio.Future[Rows], Rows | None, Exception | None]) -> None:
        self._queue.append(answer)
        if not self._woken and not self.loop.is_closed():
            self._woken = True
            self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._woken = False  # before the queue is emptied: an answer from now on wakes again
        while self._queue:
            future, rows, error = self._queue.popleft()
            if future.done():  # whoever asked was cancelled
                continue
            if error is None:
                future.set_result(rows or [])
            else:
                future.set_exception(error)


class Session:
    """A connection to the cluster. Every method raises StoreUnavailable when there is no answer in time."""

    def __init__(self, settings: CassandraSettings) -> None:
        self._settings = settings
        self._cluster: Any = None
        self._session: Any = None
        self._prepared: dict[str, Prepared] = {}
        self._answers: _Answers | None = None
        self._count: Callable[[], Coroutine[Any, Any, None]] | None = None
        self._counted = float("-inf")
        self._counting: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect; again is nothing."""
        if self._session is None:
            await asyncio.to_thread(self._connect)

    def stamp(self, count: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """From now on `count` is done beside what is asked, at once and then every STAMP_SECONDS."""
        self._count, self._counted = count, float("-inf")

    async def close(self) -> None:
        """Let go; may be called twice."""
        self._count = None
        if self._counting is not None and self._counting.get_loop() is asyncio.get_running_loop():
            await asyncio.gather(self._counting, return_exceptions=True)
        cluster, self._cluster, self._session = self._cluster, None, None
        self._prepared = {}
        if cluster is not None:
            await asyncio.to_thread(cluster.shutdown)

    def _connect(self) -> None:
        cluster = Cluster(
            list(self._settings.hosts),
            port=self._settings.port,
            protocol_version=VERSION,  # version 5 checks each frame in Python: 3 to 25 % more CPU
            execution_profiles={EXEC_PROFILE_DEFAULT: self._profile()},
            auth_provider=self._login(),
            reconnection_policy=ExponentialReconnectionPolicy(0.5, 15),
            idle_heartbeat_interval=10,
            connect_timeout=10,
            control_connection_timeout=10,  # the driver's 2 s are few for a node that stalls
            max_schema_agreement_wait=60,  # a busy ring needs longer than the driver's 10 s
            # The driver writes 4 KiB at a time: without this, the second piece waits 40 ms for the first.
            sockopts=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        try:
            self._session = cluster.connect()
        except (*_REFUSED, *_LOST, DriverException) as error:
            cluster.shutdown()
            raise _unavailable(error) from None
        self._cluster = cluster

    def _profile(self) -> ExecutionProfile:
        near = DCAwareRoundRobinPolicy(self._settings.datacenter)
        return ExecutionProfile(
            load_balancing_policy=TokenAwarePolicy(near),
            consistency_level=ConsistencyLevel.LOCAL_QUORUM,
            serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
            request_timeout=self._settings.timeout,
            row_factory=tuple_factory,
        )

    def _login(self) -> PlainTextAuthProvider | None:
        name = self._settings.username
        return PlainTextAuthProvider(name, self._settings.password) if name else None

    # -- one statement

    async def rows(self, statement: str, *values: object) -> Rows:
        """All rows of a query, or none for a write; it may be sent twice."""
        prepared = await self._prepare(statement)
        found, more = await self._page(prepared.bind(values))
        while more:
            page, more = await self._page(prepared.bind(values), more)
            found += page
        return found

    async def serial(self, statement: str, *values: object) -> Rows:
        """The rows of one partition, with what compare-and-sets under way would make of them."""
        bound = (await self._prepare(statement)).bind(values)
        bound.consistency_level = ConsistencyLevel.LOCAL_SERIAL
        return (await self._page(bound))[0]

    async def change(self, statement: str, *values: object) -> bool | None:
        """One compare-and-set: whether it was applied, or None when the answer was lost."""
        bound = (await self._prepare(statement)).bind(values)
        bound.is_idempotent = False
        bound.retry_policy = FallthroughRetryPolicy()  # sent twice, it could refuse what it had done itself
        try:
            ((applied, *_),), _ = await self._send(bound)
            return bool(applied)
        except _LOST:
            return None
        except _REFUSED as error:
            raise _unavailable(error) from None

    async def settle(self, statement: str, *values: object) -> bool:
        """A compare-and-set that may be made again, until there is an answer: whether it was applied."""
        for _ in range(TRIES):
            done = await self.change(statement, *values)
            if done is not None:
                return done
        raise StoreUnavailable("Cassandra did not say whether a change was made")

    # -- many statements

    async def each(self, statement: str, values: Iterable[Values]) -> list[Rows]:
        """The statement for each of the values, many at once; the answers in the same order."""
        answers: list[Rows] = []
        for some in batches(values, BATCH):
            answers += await asyncio.gather(*(self.rows(statement, *one) for one in some))
        return answers

    async def change_each(self, statement: str, values: Iterable[Values]) -> None:
        """A compare-and-set for each of the values, of those that may be made again."""
        for some in batches(values, BATCH):
            done = await asyncio.gather(*(self.change(statement, *one) for one in some))
            if None in done:
                raise StoreUnavailable("Cassandra did not say whether a change was made")

    async def partitions(
        self, statement: str, parts: Iterable[Sequence[Values]], together: int = SMALL
    ) -> None:
        """The statement for all values of all parts; those of one part fall on one partition.

        A request for each large part; small ones go several together, which is five times cheaper. What of it
        is done when there is no answer, nobody knows: the call is made again.
        """
        large: list[Sequence[Values]] = []
        small: list[Sequence[Values]] = []
        for part in parts:
            (large if len(part) > SMALL else small).append(part)
        requests = [some for part in large for some in batches(part, IN_BATCH)]
        requests += [[one for part in some for one in part] for some in batches(small, together)]
        prepared = await self._prepare(statement)
        await asyncio.gather(
            *(self._batch(BatchType.UNLOGGED, map(prepared.bind, request)) for request in requests)
        )

    async def one_partition(self, writes: Sequence[tuple[str, Values]]) -> None:
        """Writes of one partition of one table: all of them or none, at once."""
        await self._batch(BatchType.UNLOGGED, await self._bind(writes))

    async def together(self, writes: Sequence[tuple[str, Values]]) -> None:
        """Writes of several partitions: all of them or none, in the end (a logged batch)."""
        await self._batch(BatchType.LOGGED, await self._bind(writes))

    async def _bind(self, writes: Sequence[tuple[str, Values]]) -> list[BoundStatement]:
        return [(await self._prepare(statement)).bind(values) for statement, values in writes]

    async def _batch(self, kind: BatchType, writes: Iterable[BoundStatement]) -> None:
        batch = BatchStatement(kind)
        for write in writes:
            batch.add(write)
        batch.is_idempotent = True
        await self._page(batch)

    async def scan(self, statement: str, *values: object) -> AsyncIterator[Rows]:
        """The rows of all partitions, page by page, each row once. The statement begins with two tokens."""
        step = 2**64 // PIECES
        lows = [_LOWEST + n * step for n in range(PIECES)]
        pieces = [(low, high) for low, high in zip(lows, [*lows[1:], _HIGHEST], strict=True)]
        async for page in self.read(statement, [(*piece, *values) for piece in pieces]):
            yield page

    async def read(self, statement: str, pieces: Iterable[Values]) -> AsyncIterator[Rows]:
        """The rows of the statement for all the values, in pages of at most BATCH, a few read ahead."""
        prepared = await self._prepare(statement)
        left: list[tuple[Values, bytes | None]] = [(piece, None) for piece in pieces]
        reading: dict[asyncio.Task[tuple[Rows, bytes | None]], Values] = {}
        try:
            while left or reading:
                while left and len(reading) < READERS:
                    piece, more = left.pop()
                    reading[asyncio.create_task(self._page(prepared.bind(piece), more))] = piece
                done, _ = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    piece = reading.pop(task)
                    page, more = task.result()
                    if more:
                        left.append((piece, more))
                    if page:
                        yield page
        finally:
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)

    # -- the driver

    def has_table(self, name: str) -> bool:
        """Whether the keyspace has it, as far as the driver knows since it connected."""
        keyspace = self._cluster.metadata.keyspaces.get(self._settings.keyspace)
        return keyspace is not None and name in keyspace.tables

    async def script(self, statements: Iterable[str], keyspace: str = "") -> None:
        """Statements about the schema, one after the other, each agreed on by all nodes."""
        await asyncio.to_thread(self._script, list(statements), keyspace)

    def _script(self, statements: Sequence[str], keyspace: str) -> None:
        try:
            with self._cluster.connect(keyspace or None) as session:
                for statement in statements:
                    session.execute(statement, timeout=60)
        except (*_REFUSED, *_LOST) as error:
            raise _unavailable(error) from None

    async def _prepare(self, statement: str) -> Prepared:
        if statement not in self._prepared:
            text = statement.format(ks=self._settings.keyspace)
            try:
                prepared = await asyncio.to_thread(self._open_session().prepare, text)
            except (*_REFUSED, *_LOST) as error:
                raise _unavailable(error) from None
            prepared.is_idempotent = True
            prepared.fetch_size = None if statement in WHOLE else BATCH
            self._prepared[statement] = Prepared.of(prepared)
        return self._prepared[statement]

    def _open_session(self) -> Any:
        if self._session is None:
            raise StoreUnavailable("Cassandra: the store is not open")
        return self._session

    async def _page(self, bound: Any, more: bytes | None = None) -> tuple[Rows, bytes | None]:
        """One page of rows, and where the next one begins."""
        try:
            return await self._send(bound, more)
        except (*_REFUSED, *_LOST) as error:
            raise _unavailable(error) from None

    async def _send(self, bound: Any, more: bytes | None = None) -> tuple[Rows, bytes | None]:
        answers = self._answers_here()
        if self._count is not None and self._counted + STAMP_SECONDS <= monotonic():
            self._counted = monotonic()
            self._counting = asyncio.create_task(self._count(), name="count")
        async with answers.places:
            future: asyncio.Future[Rows] = answers.loop.create_future()
            asked = self._open_session().execute_async(bound, paging_state=more)
            asked.add_callbacks(answers.arrived, answers.failed, (future,), None, (future,), None)
            rows = await future
        return rows, asked._paging_state

    def _answers_here(self) -> _Answers:
        """The answers of the running event loop (a store may be used from one after another)."""
        loop = asyncio.get_running_loop()
        if self._answers is None or self._answers.loop is not loop:
            self._answers = _Answers(loop)
        return self._answers


def _unavailable(error: Exception) -> StoreUnavailable:
    """The driver's own text may hold addresses of hosts and values of a row: its kind says enough."""
    return StoreUnavailable(f"Cassandra did not answer: {type(error).__name__}")
