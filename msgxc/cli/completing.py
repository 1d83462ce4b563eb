"""What the shell offers for a name that is half typed, once `msgxc --install-completion` has been said.

Names and ids alone, nothing personal. Nothing is made, started or connected to for it, and what cannot be
read is nothing to offer: no error comes between a person and the line that they are typing. Names in
Cassandra are not looked for, since a shell does not wait for a cluster; templates are a folder, whatever the
store.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress

from msgxc.errors import MsgxcError


def templates(incomplete: str) -> list[str]:
    """Names of templates."""
    from msgxc.render import load
    from msgxc.settings import read_settings

    with suppress(MsgxcError, OSError):
        return [name for name in load(read_settings().templates).names() if name.startswith(incomplete)]
    return []


def cohorts(incomplete: str) -> list[str]:
    """Names of cohorts."""
    return _in_store("cohort", incomplete)


def campaigns(incomplete: str) -> list[str]:
    """Names of campaigns."""
    return _in_store("campaign", incomplete)


def threads(incomplete: str) -> list[str]:
    """Ids of threads."""
    return _in_store("thread", incomplete)


def _in_store(kind: str, incomplete: str) -> list[str]:
    from msgxc.settings import read_settings
    from msgxc.store.sqlite.names import names

    with suppress(MsgxcError, OSError, sqlite3.Error, ValueError, KeyError):
        settings = read_settings()
        if settings.store == "sqlite":
            return [name for name in names(settings.store_file, kind) if name.startswith(incomplete)]
    return []
