"""Where the Cassandra store is, as a frozen record."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgxc.settings import Settings


@dataclass(frozen=True, slots=True)
class CassandraSettings:
    """Contact points and keyspace. `replication` counts only when the keyspace is made.

    `timeout` is in seconds, for one request; longer than the server's own timeouts, so that the server's
    answer, which knows more, comes first.
    """

    hosts: tuple[str, ...] = ("127.0.0.1",)
    port: int = 9042
    keyspace: str = "msgxc"
    datacenter: str = "datacenter1"
    replication: int = 1
    username: str = ""
    password: str = field(default="", repr=False)
    timeout: float = 12.0

    @classmethod
    def of(cls, settings: Settings) -> CassandraSettings:
        """The part of the exchange's settings that is about Cassandra."""
        return cls(
            hosts=tuple(host.strip() for host in settings.cassandra_hosts.split(",") if host.strip()),
            port=settings.cassandra_port,
            keyspace=settings.cassandra_keyspace,
            datacenter=settings.cassandra_datacenter,
            replication=settings.cassandra_replication,
            username=settings.cassandra_username,
            password=settings.cassandra_password.get_secret_value(),
        )
