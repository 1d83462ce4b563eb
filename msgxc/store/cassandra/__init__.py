"""The shared store: Cassandra 5, for exchanges on many machines."""

from __future__ import annotations

from pathlib import Path

from msgxc.errors import MsgxcError, StoreUnavailable
from msgxc.store.cassandra import statements as cql
from msgxc.store.cassandra.budgets import CassandraBudgets
from msgxc.store.cassandra.directory import CassandraDirectory
from msgxc.store.cassandra.gateway import CassandraGateway
from msgxc.store.cassandra.groups import CassandraCohorts, CassandraThreads
from msgxc.store.cassandra.ledger import CassandraLedger
from msgxc.store.cassandra.messages import (
    CassandraJoins,
    CassandraMessages,
    CassandraReads,
)
from msgxc.store.cassandra.schema import apply_schema, check_schema
from msgxc.store.cassandra.seen import Seen
from msgxc.store.cassandra.session import Session
from msgxc.store.cassandra.settings import CassandraSettings
from msgxc.store.cassandra.triage import CassandraTriage

__all__ = ["CassandraSettings", "CassandraStore", "apply_schema"]


class CassandraStore:
    """See ports.Store."""

    def __init__(self, settings: CassandraSettings, home: Path | None = None) -> None:
        """`home`: where it is remembered how far the keyspace was; None: nowhere."""
        self._settings = settings
        self._session = Session(settings)
        self._seen = Seen(home, settings.keyspace, self._session) if home else None
        self.cohorts = CassandraCohorts(self._session)
        self.threads = CassandraThreads(self._session)
        self.directory = CassandraDirectory(self._session, self.cohorts, self.threads)
        self.ledger = CassandraLedger(self._session)
        self.gateway = CassandraGateway(self._session)
        self.messages = CassandraMessages(self._session)
        self.reads = CassandraReads(self._session)
        self.triage = CassandraTriage(self._session)
        self.joins = CassandraJoins(self._session)
        self.budgets = CassandraBudgets(self._session)

    async def open(self, *, restored: bool = False) -> None:
        await self._session.open()
        try:
            await check_schema(self._session)
            if self._seen and not restored:
                await self._seen.check()
        except MsgxcError:
            await self._session.close()
            raise

    async def fingerprint(self, own: bytes = b"") -> bytes:
        if own:
            await self._session.change(cql.NOTE_ONCE, "key", own)
        rows = await self._session.serial(cql.GET_FACT, "key")
        if own and not rows:
            raise StoreUnavailable("Cassandra did not keep the key's fingerprint")
        return bytes(rows[0][0]) if rows else b""

    async def accept(self) -> None:
        if self._seen:
            await self._seen.accept()

    async def scrub(self) -> bool:
        """Removed rows leave the files at a compaction after gc_grace_seconds: docs/backup.md."""
        return True

    async def shrink(self) -> int:
        """Compaction does it."""
        return 0

    async def apply_schema(self) -> int:
        return await apply_schema(self._settings)

    async def close(self) -> None:
        await self._session.close()
