"""The login of the store: a role of the exchange's own, and the default superuser's password changed."""

from __future__ import annotations

from dataclasses import replace

from msgxc.errors import StoreUnavailable, WrongSettings
from msgxc.store.cassandra.session import Session
from msgxc.store.cassandra.settings import CassandraSettings

#: The superuser that a new Cassandra has, whose password is its name: whoever knows Cassandra knows it.
SUPERUSER = "cassandra"


async def make_role(settings: CassandraSettings, admin_password: str) -> None:
    """Give the superuser this password, where it still has the known one, and make the role of the settings:
    it may make its keyspace and do everything in it, and nothing else. Twice is the same as once; a new
    password of the role counts.

    Raises WrongSettings without these names and passwords; StoreUnavailable where Cassandra is not there yet,
    takes neither password, or has given one just now (it changes one at most every five seconds).
    """
    if not settings.username or not settings.password or not admin_password:
        raise WrongSettings(
            "MSGXC_CASSANDRA_USERNAME, MSGXC_CASSANDRA_PASSWORD and MSGXC_CASSANDRA_ADMIN_PASSWORD are needed"
        )
    admin = replace(settings, username=SUPERUSER, password=admin_password)
    if not await _opens(admin):
        await _script(replace(admin, password=SUPERUSER), [_alter(SUPERUSER, admin_password)])
    name = _name(settings.username)
    statements = [
        f"CREATE ROLE IF NOT EXISTS {name} WITH PASSWORD = {_text(settings.password)} AND LOGIN = true",
        # Whoever makes a keyspace may do everything in it.
        f"GRANT CREATE ON ALL KEYSPACES TO {name}",
    ]
    if await _has_keyspace(admin):  # of a time when nobody asked for a login
        statements.append(f"GRANT ALL PERMISSIONS ON KEYSPACE {settings.keyspace} TO {name}")
    await _script(admin, statements)  # before it comes in: what it may is then looked up every ten seconds
    if not await _opens(settings):  # it was there, with another password
        await _script(admin, [_alter(settings.username, settings.password)])


async def _opens(settings: CassandraSettings) -> bool:
    session = Session(settings)
    try:
        await session.open()
    except StoreUnavailable:
        return False
    await session.close()
    return True


async def _script(settings: CassandraSettings, statements: list[str]) -> None:
    session = Session(settings)
    await session.open()
    try:
        await session.script(statements)
    finally:
        await session.close()


async def _has_keyspace(settings: CassandraSettings) -> bool:
    session = Session(settings)
    await session.open()
    try:
        return session.has_table("schema_version")
    finally:
        await session.close()


def _alter(name: str, password: str) -> str:
    return f"ALTER ROLE {_name(name)} WITH PASSWORD = {_text(password)}"


def _name(value: str) -> str:
    """A name in CQL, as it is written."""
    return '"' + value.replace('"', '""') + '"'


def _text(value: str) -> str:
    """A text in CQL."""
    return "'" + value.replace("'", "''") + "'"
