"""What was acknowledged survives: the process that wrote it, and the connection it was written over."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from store_samples import person
from store_writer import check, store_at, story, write

from msgxc.store.ports import Store

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_what_was_written_is_there_after_reopening(place: tuple[str, str]) -> None:
    """A store that is closed (twice) and opened (twice) again has everything."""
    uid = uuid4()
    first = store_at(*place)
    await first.open()
    await write(first, *story(uid))
    await first.close()
    await first.close()
    second = store_at(*place)
    await second.open()
    await second.open()
    await check(second, *story(uid)[:2])
    await second.close()


async def test_what_was_written_survives_kill_9_of_the_writer(store: Store, place: tuple[str, str]) -> None:
    """A process that is killed right after its writes were acknowledged has lost none of them."""
    uid = uuid4()
    script = Path(__file__).parent / "store_writer.py"
    writer = subprocess.Popen([sys.executable, script, *place, str(uid)], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
    finally:
        writer.kill()
        writer.communicate()
    await check(store, *story(uid)[:2])


async def test_the_schema_may_be_applied_again(store: Store, place: tuple[str, str]) -> None:
    """Applying the newest schema to a store in use changes nothing, and answers its version."""
    someone, other = person(), store_at(*place)
    await store.directory.put([someone])
    version = await other.apply_schema()
    assert version >= 1
    assert await other.apply_schema() == version
    await other.close()
    assert await store.directory.get([someone.uid]) == {someone.uid: someone}


async def test_two_open_stores_see_each_other(store: Store, place: tuple[str, str]) -> None:
    """What one process writes, another reads at once."""
    other, someone = store_at(*place), person()
    await other.open()
    await store.directory.put([someone])
    assert await other.directory.get([someone.uid]) == {someone.uid: someone}
    await other.close()
