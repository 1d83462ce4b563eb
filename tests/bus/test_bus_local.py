"""What only the bus of several processes can suffer: one of them killed, stopped, slow, or not ours."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgxc.bus import PAYLOAD, Message, Subscription
from msgxc.bus.local import UNSENT, LocalBus
from msgxc.bus.wire import Frame, Kind, Reader, encode
from msgxc.errors import WrongInput, WrongSettings

#: What ends a test that hangs, and a time that must never be waited for, in seconds.
PATIENCE, NEVER = 60.0, 600.0

OTHER = """
import asyncio, sys
from pathlib import Path
from msgxc.bus.local import LocalBus

async def main():
    bus = await LocalBus.open(Path(sys.argv[1]))
    async with bus.subscribe("ask.*") as asked:
        print("here", flush=True)
        async for message in asked:
            await message.answer(message.payload * 2)

asyncio.run(main())
"""


@asynccontextmanager
async def another(home: Path) -> AsyncIterator[subprocess.Popen[str]]:
    """Another process on the same bus: it answers what is asked on ask.*."""
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(home)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            assert await asyncio.to_thread(process.stdout.readline) == "here\n"
            yield process
        finally:
            process.kill()


@asynccontextmanager
async def places(home: Path, count: int) -> AsyncIterator[list[LocalBus]]:
    """So many places on one bus."""
    made = [await LocalBus.open(home) for _ in range(count)]
    try:
        yield made
    finally:
        for bus in made:
            await bus.close()


async def next_of(subscription: Subscription) -> Message:
    async with asyncio.timeout(PATIENCE):
        async for message in subscription:
            return message
    raise AssertionError("the subscription ended")


async def test_message_reaches_every_process_once_and_in_order(tmp_path: Path) -> None:
    """What one publishes, all get, each once, in the order of publishing."""
    async with (
        places(tmp_path, 3) as (one, two, three),
        two.subscribe("a.*") as at_two,
        three.subscribe(">") as at_three,
    ):
        for number in range(200):
            assert await one.publish("a.b", str(number).encode())
        for subscription in (at_two, at_three):
            got = [(await next_of(subscription)).payload for _ in range(200)]
            assert got == [str(number).encode() for number in range(200)]


async def test_places_opened_at_once_find_one_another(tmp_path: Path) -> None:
    """Ten that start together are all connected, and nothing comes twice."""
    made = await asyncio.gather(*(LocalBus.open(tmp_path) for _ in range(10)))
    for bus in made:
        async with made[0].subscribe("a") as first, made[-1].subscribe("a") as last:
            await bus.publish("a", b"1")
            await bus.publish("a", b"2")
            for subscription in (first, last):
                assert [(await next_of(subscription)).payload for _ in range(2)] == [b"1", b"2"]
    await asyncio.gather(*(bus.close() for bus in made))


async def test_request_crosses_processes(tmp_path: Path) -> None:
    """A request is answered by whichever process listens, a real one; to nobody it is told at once."""
    async with another(tmp_path), places(tmp_path, 2) as (one, _):
        asked = (one.request(f"ask.{n}", str(n).encode(), PATIENCE) for n in range(100))
        answers = await asyncio.gather(*asked)
        assert answers == [str(n).encode() * 2 for n in range(100)]
        async with asyncio.timeout(PATIENCE):
            assert await one.request("nobody", b"", NEVER) is None


async def test_killed_process_costs_the_others_nothing(tmp_path: Path) -> None:
    """kill -9 of one: a request that waited for it ends, the others go on, its socket is cleared away."""
    async with places(tmp_path, 2) as (one, two), two.subscribe("a") as subscription:
        async with another(tmp_path) as victim:
            assert await one.request("ask.1", b"x", PATIENCE) == b"xx"
            os.kill(victim.pid, signal.SIGSTOP)
            waiting = asyncio.create_task(one.request("ask.1", b"x", NEVER))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            os.kill(victim.pid, signal.SIGKILL)
            async with asyncio.timeout(PATIENCE):
                assert await waiting is None
            await one.publish("a", b"on")
            assert (await next_of(subscription)).payload == b"on"
        async with another(tmp_path):  # and another takes its place
            assert await one.request("ask.1", b"x", PATIENCE) == b"xx"
        async with asyncio.timeout(PATIENCE):
            while len(list((tmp_path / "bus").glob("*.sock"))) > 2:
                await asyncio.sleep(0.05)


async def test_stopped_process_holds_up_nobody_and_costs_bounded_memory(tmp_path: Path) -> None:
    """SIGSTOP: publish does not wait for it, at most UNSENT and one message wait, a new place still opens."""
    async with (
        another(tmp_path) as stopped,
        places(tmp_path, 2) as (one, two),
        two.subscribe("a", waiting=1) as subscription,
    ):
        os.kill(stopped.pid, signal.SIGSTOP)
        async with asyncio.timeout(PATIENCE):
            for _ in range(500):
                await one.publish("a", b"x" * 20_000)
                await asyncio.sleep(0)
        waits = [link._transport.get_write_buffer_size() for links in one._links.values() for link in links]  # type: ignore[union-attr]
        assert UNSENT <= max(waits) < UNSENT + 30_000
        assert await next_of(subscription)
        async with asyncio.timeout(PATIENCE):
            third = await LocalBus.open(tmp_path)
        await third.close()
        os.kill(stopped.pid, signal.SIGCONT)
        async with asyncio.timeout(PATIENCE):
            while await one.request("ask.1", b"x", PATIENCE) != b"xx":  # lost, while too much still waits
                await asyncio.sleep(0.05)


async def test_process_that_was_too_slow_is_told_what_it_lost(tmp_path: Path) -> None:
    """What did not fit into the connection is counted, and told with the next message that comes."""
    async with places(tmp_path, 2) as (one, two), two.subscribe("a", waiting=10_000) as subscription:
        for _ in range(300):  # nothing is read meanwhile: this is one step of the loop
            await one.publish("a", b"x" * 20_000)
        async with asyncio.timeout(PATIENCE):
            while next(iter(one._links.values()))[0]._transport.get_write_buffer_size():  # type: ignore[union-attr]
                await asyncio.sleep(0.01)
        await one.publish("a", b"last")
        got = 0
        while (message := await next_of(subscription)).payload != b"last":
            got += 1 + message.dropped
        assert got + message.dropped == 300
        assert subscription.dropped > 0


async def test_told_to_stop_while_it_is_being_opened(tmp_path: Path) -> None:
    """Whenever that is: no socket is left in the folder, and none open (which would be a warning)."""
    async with places(tmp_path, 2):
        for steps in range(40):
            opening = asyncio.create_task(LocalBus.open(tmp_path))
            for _ in range(steps):
                await asyncio.sleep(0)
            opening.cancel()
            (result,) = await asyncio.gather(opening, return_exceptions=True)
            if isinstance(result, LocalBus):
                await result.close()
            assert len(list((tmp_path / "bus").iterdir())) == 2
        gc.collect()
    assert not (tmp_path / "bus").exists()


async def test_told_to_stop_while_another_is_stopped(tmp_path: Path) -> None:
    """Nobody greets back, and nobody reads what was written last: it lets go of its place all the same."""
    async with another(tmp_path) as stopped:
        stopped.send_signal(signal.SIGSTOP)
        opening = asyncio.create_task(LocalBus.open(tmp_path))
        async with asyncio.timeout(PATIENCE):
            while len(list((tmp_path / "bus").glob("*.sock"))) < 2:
                await asyncio.sleep(0.01)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert len(list((tmp_path / "bus").iterdir())) == 1
        gc.collect()


async def test_strangers_who_say_nothing_are_let_go(tmp_path: Path) -> None:
    """A connection that has not greeted yet ends with the bus."""
    bus = await LocalBus.open(tmp_path)
    reader, writer = await asyncio.open_unix_connection(tmp_path / "bus" / f"{bus.name}.sock")
    await bus.close()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    gc.collect()


async def test_lost_connection_comes_back(tmp_path: Path) -> None:
    """A connection that breaks is made again by itself."""
    async with places(tmp_path, 2) as (one, two), two.subscribe("a") as subscription:
        link = next(iter(one._links.values()))[0]
        link.close()
        async with asyncio.timeout(PATIENCE):
            await link.gone.wait()
            assert not one._links
            while not one._links:
                await asyncio.sleep(0.05)
        await one.publish("a", b"again")
        assert (await next_of(subscription)).payload == b"again"


async def test_somebody_who_talks_nonsense_is_hung_up_on(tmp_path: Path) -> None:
    """Bytes that are no frame end their connection, and nothing else."""
    async with places(tmp_path, 2) as (one, two), two.subscribe("a") as subscription:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "bus" / f"{two.name}.sock")
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        await one.publish("a", b"on")
        assert (await next_of(subscription)).payload == b"on"


async def test_long_home_has_a_short_folder(tmp_path: Path) -> None:
    """A home whose path is too long for a socket works; the folder goes with the last one who leaves."""
    home = tmp_path / ("x" * 120)
    async with places(home, 2) as (one, two), two.subscribe("a") as subscription:
        await one.publish("a", b"1")
        assert (await next_of(subscription)).payload == b"1"
        folder = one._folder
        assert not str(folder).startswith(str(tmp_path))
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


async def test_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    """Whoever can write into the folder could listen to everything: one clear error."""
    (tmp_path / "bus").mkdir()
    (tmp_path / "bus").chmod(0o777)
    with pytest.raises(WrongSettings, match="MSGXC_HOME"):
        await LocalBus.open(tmp_path)


async def test_dead_socket_is_cleared_away(tmp_path: Path) -> None:
    """What a killed process left behind is in nobody's way."""
    (tmp_path / "bus").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "bus" / "dead.sock"))
    async with places(tmp_path, 1):
        assert not (tmp_path / "bus" / "dead.sock").exists()


FRAMES = st.builds(
    Frame,
    st.sampled_from(Kind),
    st.integers(0, 2**64 - 1),
    st.text("abc.XYZ-_09", max_size=40),
    st.binary(max_size=200),
)


@given(st.lists(FRAMES, max_size=10), st.integers(1, 50))
def test_frames_survive_any_cutting(frames: list[Frame], size: int) -> None:
    """However the bytes are cut on the way, the same frames come out."""
    sent = b"".join(encode(f.kind, number=f.number, subject=f.subject, payload=f.payload) for f in frames)
    reader, got = Reader(), list[Frame]()
    for start in range(0, len(sent), size):
        got += reader.frames(sent[start : start + size])
    assert got == frames


@given(st.binary(max_size=100))
def test_any_bytes_are_frames_or_refused(data: bytes) -> None:
    """Whatever comes is read, waited for, or refused: no other error, nothing kept unbounded."""
    reader = Reader()
    try:
        list(reader.frames(data))
    except WrongInput:
        return
    assert len(reader._rest) <= PAYLOAD + 2_000
