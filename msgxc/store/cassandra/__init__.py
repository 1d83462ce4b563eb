"""The shared store: Cassandra 5, for exchanges on many machines."""

from __future__ import annotations

from msgxc.errors import MsgxcError
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
from msgxc.store.cassandra.session import Session
from msgxc.store.cassandra.settings import CassandraSettings
from msgxc.store.cassandra.triage import CassandraTriage

__all__ = ["CassandraSettings", "CassandraStore", "apply_schema"]


class CassandraStore:
    """See ports.Store."""

    def __init__(self, settings: CassandraSettings) -> None:
        self._settings = settings
        self._session = Session(settings)
        self.cohorts = CassandraCohorts(self._session)
        self.threads = CassandraThreads(self._session)
        self.directory = CassandraDirectory(self._session, self.cohorts, self.threads)
        self.ledger = CassandraLedger(self._session)
        self.gateway = CassandraGateway(self._session)
        self.messages = CassandraMessages(self._session)
        self.reads = CassandraReads(self._session)
        self.triage = CassandraTriage(self._session)
        self.joins = CassandraJoins(self._session)

    async def open(self) -> None:
        await self._session.open()
        try:
            await check_schema(self._session)
        except MsgxcError:
            await self._session.close()
            raise

    async def apply_schema(self) -> int:
        return await apply_schema(self._settings)

    async def close(self) -> None:
        await self._session.close()
