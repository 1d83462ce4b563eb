"""The journal: whole lines, synced before the callback, appended over restarts."""

from __future__ import annotations

import asyncio
import json
import resource

import pytest

from msgxc.sandbox.journal import Journal, encode, read
from msgxc.sandbox.wire import Accepted


def refuse(error: BaseException) -> None:
    raise AssertionError(f"the journal failed: {error}")


async def write(path, *messages: Accepted) -> None:
    journal, synced = Journal(path, refuse), asyncio.Event()
    journal.add(messages, 1.5, synced.set)
    await synced.wait()
    await journal.close()


async def test_comes_back_as_it_was(tmp_path):
    """What was accepted is read back equal, whatever characters it holds."""
    message = Accepted("apns", "tökén\n\u202e😀", "d", "c", priority="10", ttl=0, title='"', text="\udc00")
    await write(tmp_path / "journal", message)
    (got,) = read(tmp_path / "journal")
    assert (got.address, got.ttl, got.title, got.text, got.at) == (message.address, 0, '"', "\udc00", 1.5)


async def test_is_on_disk_before_the_callback(tmp_path):
    """When the callback runs, the line can already be read from the file."""
    path, seen = tmp_path / "journal", []
    journal = Journal(path, refuse)
    for number in range(100):
        line = Accepted("sms", str(number))
        journal.add([line], 0, lambda n=str(number): seen.append(n in {one.address for one in read(path)}))
        if number % 7 == 0:
            await asyncio.sleep(0)
    await journal.close()
    assert seen == [True] * 100


async def test_keeps_what_was_there(tmp_path):
    """A second journal on the same file appends."""
    for name in ("a", "b"):
        await write(tmp_path / "journal", Accepted("sms", name))
    assert [one.address for one in read(tmp_path / "journal")] == ["a", "b"]


@pytest.mark.parametrize("torn", [b'{"at":1,"chan', b"x" * 200_000])
async def test_torn_line(tmp_path, torn):
    """A line that a crash cut off is not read, and is gone after the next start."""
    path = tmp_path / "journal"
    await write(path, Accepted("sms", "a"))
    with path.open("ab") as file:
        file.write(torn)
    assert [one.address for one in read(path)] == ["a"]
    await write(path, Accepted("sms", "b"))
    assert [one.address for one in read(path)] == ["a", "b"]


async def test_write_that_fails(tmp_path):
    """When a write fails, `failed` hears of it once, nobody is answered, and closing does not hang."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    errors: list[BaseException] = []
    answered: list[int] = []
    journal = Journal(tmp_path / "journal", errors.append)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        journal.add([Accepted("sms", "a")], 0, lambda: answered.append(1))
        await asyncio.sleep(0.1)
        journal.add([Accepted("sms", "b")], 0, lambda: answered.append(2))
        await asyncio.sleep(0.1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    await journal.close()
    assert (len(errors), answered) == (1, [])


def test_line_leaves_out_what_is_empty():
    """A line holds at, channel, address, delivery and collapse always, the rest when there is something."""
    line = json.loads(encode(Accepted("sms", "+1", text="Hi", ttl=0), 2.0))
    assert line == {
        "at": 2.0,
        "channel": "sms",
        "address": "+1",
        "delivery": "",
        "collapse": "",
        "ttl": 0,
        "text": "Hi",
    }
