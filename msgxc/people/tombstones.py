"""Who was erased does not come back by an app, a file or a message, until an operator readmits them.

Of an erased person a keyed hash is kept, and nothing else. Whoever writes about people asks before, so that
it is refused, and after, so that an erasure at the same moment wins: it buries first and removes then.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from msgxc import ids
from msgxc.errors import Forbidden
from msgxc.store.ports import Store


async def erased(store: Store, key: bytes, uids: Collection[UUID]) -> set[UUID]:
    """Which of these were erased."""
    marks = {ids.tombstone(key, uid): uid for uid in uids}
    return {marks[mark] for mark in await store.directory.buried(marks)}


async def still_here(store: Store, key: bytes, uid: UUID) -> None:
    """Raises Forbidden (erased) when they are not."""
    if await erased(store, key, [uid]):
        raise Forbidden("this person was erased; an operator may readmit them", "erased")
