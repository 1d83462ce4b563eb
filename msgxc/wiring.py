"""From settings to a working exchange: the only place that constructs stores, buses and providers."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from msgxc import ids
from msgxc.bus import Bus
from msgxc.bus.memory import MemoryBus
from msgxc.errors import NotFound, WrongSettings, WrongStore
from msgxc.model import Channel
from msgxc.private_files import keep_private
from msgxc.providers import PROVIDERS, SOURCES
from msgxc.providers.protocol import Provider
from msgxc.providers.websocket import Websocket
from msgxc.rate_limit import Minutes
from msgxc.render import Templates, load
from msgxc.sandbox.endpoints import Endpoints, read_endpoints
from msgxc.settings import Settings, read_settings
from msgxc.store.ports import Store
from msgxc.this_machine import own_name

if TYPE_CHECKING:
    from msgxc.gateway.issuers import KeySets
    from msgxc.sharing import Pace


@dataclass
class Exchange:
    """Everything that a call of the library needs. Made by open_exchange, closed by it."""

    settings: Settings
    key: bytes = field(repr=False)
    store: Store
    bus: Bus
    clock: Callable[[], float] = time.time
    _providers: dict[Channel, Provider] = field(default_factory=dict)
    said: Minutes = field(default_factory=Minutes)  # by whom in which thread: messages/publishing.py
    sizes: dict[UUID, tuple[float, int]] = field(
        default_factory=dict
    )  # of threads: when counted, subscribers
    paces: dict[UUID, Pace] = field(default_factory=dict)  # of this exchange's rates: msgxc/sharing.py

    @cached_property
    def owner(self) -> str:
        """This process, in a lease (msgxc/owners.py)."""
        return own_name()

    @cached_property
    def templates(self) -> Templates:
        """All message templates, as they are now."""
        return load(self.settings.templates)

    @cached_property
    def key_sets(self) -> KeySets:
        """The keys of other issuers of tokens, kept."""
        from msgxc.gateway.issuers import KeySets

        return KeySets()

    @cached_property
    def sandboxed(self) -> frozenset[Channel]:
        """The channels whose provider has no credentials here: the sandbox stands in."""
        return sandboxed_channels(self.settings)

    @property
    def fcm_per_minute(self) -> int:
        """FCM's quota; the sandbox has none."""
        return 0 if Channel.FCM in self.sandboxed else self.settings.fcm_per_minute

    @property
    def fcm_avoid_quarters(self) -> bool:
        """Whether FCM's rush hours matter; in the sandbox they do not."""
        return self.settings.fcm_avoid_quarters and Channel.FCM not in self.sandboxed

    def provider(self, channel: Channel) -> Provider:
        """The provider that carries a channel; connected when it is first asked for.

        Raises WrongSettings for half-set credentials, NotFound when the sandbox is needed and not running.
        """
        if channel not in self._providers:
            self._providers[channel] = self._make(channel)
        return self._providers[channel]

    def _make(self, channel: Channel) -> Provider:
        if channel is Channel.WEBSOCKET:
            return Websocket(self.bus, acknowledge_seconds=self.settings.websocket_acknowledge)
        source = SOURCES[channel]
        if channel in self.sandboxed:
            found = source.sandbox(self._sandbox(), self.settings.provider_timeout)
            if hasattr(found, "transport"):
                found = replace(found, transport=self.settings.transport)
            return self._connect(channel, found)
        return self._connect(channel, source.real(self.settings))

    @staticmethod
    def _connect(channel: Channel, settings: object) -> Provider:
        provider: Provider = PROVIDERS[channel](settings)
        return provider

    def _sandbox(self) -> Endpoints:
        try:
            return read_endpoints(sandbox_folder(self.settings))
        except NotFound:
            raise NotFound(
                "a provider has no credentials and no sandbox runs: start `msgxc sandbox`"
            ) from None

    async def close(self) -> None:
        """Let go of everything."""
        for pace in list(self.paces.values()):
            await pace.close()
        for provider in self._providers.values():
            await provider.close()
        self._providers.clear()
        if "key_sets" in self.__dict__:
            await self.key_sets.close()
        await self.bus.close()
        await self.store.close()


def sandbox_folder(settings: Settings) -> Path:
    """Where the sandbox of this exchange keeps its certificates and says where it listens."""
    return settings.home / "sandbox"


def sandboxed_channels(settings: Settings) -> frozenset[Channel]:
    """The channels that go to the sandbox. Raises WrongSettings for half-set credentials."""
    return frozenset(
        channel for channel in PROVIDERS if settings.sandbox or SOURCES[channel].real(settings) is None
    )


async def exchange_key(settings: Settings, store: Store) -> bytes:
    """The key of all keyed ids: the setting, or the embedded exchange's own, made once for a new store.

    The store knows its key by a fingerprint, from the first time on. Raises WrongStore for another key: under
    another one, everybody would be a stranger, and get everything again. WrongSettings for a damaged file.
    """
    path = settings.home / "secret.key"
    known = await store.fingerprint()
    key = settings.secret_key.get_secret_value().encode() or _own_key(path)
    if key is None:
        if known or not await _is_new(store):
            raise WrongStore(
                f"there is a store, and the secret key that it was made with is gone ({path}): bring it "
                "back, or set MSGXC_SECRET_KEY to it; nothing was made"
            )
        key = _made_key(path)
    own = ids.fingerprint(key)
    if (known or await store.fingerprint(own)) != own:
        raise WrongStore(
            f"the store was made with another secret key: bring back the {path} that belongs to it, or set "
            "MSGXC_SECRET_KEY to that key"
        )
    return key


def _own_key(path: Path) -> bytes | None:
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        return None
    if not 16 <= len(key) <= 64:
        raise WrongSettings(f"{path} is damaged: a key has 16 to 64 bytes, bring it back from a backup")
    return key


def _made_key(path: Path) -> bytes:
    """A new one, on the disk when this returns; or the one that another process has made meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(secrets.token_bytes(32))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(fresh, path)  # Fails when another process has made it meanwhile: then that one holds.
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return path.read_bytes()


async def _is_new(store: Store) -> bool:
    """Whether nobody has used the store yet."""
    for pages in (store.directory.scan_uids(), store.threads.scan(), store.ledger.campaigns()):
        async for page in pages:
            if page:
                return False
    return True


def make_store(settings: Settings, *, reading: bool = False) -> Store:
    """The store that the settings name; not opened yet. What is written from here on is its owner's alone.
    `reading`: nothing will be written, and nothing need be able to (the embedded store's disk is full)."""
    keep_private(settings.home)
    if settings.store == "cassandra":
        from msgxc.store.cassandra import CassandraStore
        from msgxc.store.cassandra.settings import CassandraSettings

        return CassandraStore(CassandraSettings.of(settings), settings.home)
    from msgxc.store.sqlite import SqliteStore

    return SqliteStore(settings.store_file, reading=reading)


async def make_bus(settings: Settings) -> Bus:
    """The bus that the settings name, connected if it can be."""
    if settings.bus == "nats":
        from msgxc.bus.nats import NatsBus

        password = settings.nats_password.get_secret_value()
        return await NatsBus.connect(settings.nats_url, settings.nats_username, password)
    if settings.bus == "local":
        from msgxc.bus.local import LocalBus

        return await LocalBus.open(settings.home)
    return MemoryBus()


def needed_schema(settings: Settings) -> int:
    """The version of the schema without which this msgxc does not open such a store."""
    if settings.store == "cassandra":
        from msgxc.store.cassandra.schema import known_steps

        return len(known_steps())
    from msgxc.store.sqlite.schema import steps

    return len(steps())


async def apply_schema(settings: Settings) -> int:
    """Bring the store to the newest schema; answers its version. Every start begins with it: raises
    WrongSettings for credentials that cannot be used."""
    sandboxed_channels(settings)
    store = make_store(settings)
    try:
        return await store.apply_schema()
    finally:
        await store.close()


@asynccontextmanager
async def open_exchange(
    settings: Settings | None = None,
    clock: Callable[[], float] = time.time,
    *,
    restored: bool = False,
    reading: bool = False,
) -> AsyncIterator[Exchange]:
    """An exchange, open. `restored`: it does not matter how old its store is; `reading`: as in make_store.
    Raises SchemaMismatch, StoreUnavailable, WrongSettings, WrongStore."""
    settings = settings or read_settings()
    if not reading:
        sandboxed_channels(settings)  # credentials that cannot be used stop whatever begins
    store = make_store(settings, reading=reading)
    try:
        await store.open(restored=restored)
        key = await exchange_key(settings, store)
        exchange = Exchange(settings, key, store, await make_bus(settings), clock)
    except BaseException:
        await store.close()
        raise
    try:
        yield exchange
    finally:
        await exchange.close()
