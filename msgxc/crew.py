"""Several sender processes for one run, so that it uses more than one core.

They share the run's shards by their leases, as processes on other machines do: nobody is sent to twice, and
when one of them dies the others go on. What a crash may cost is counted for each.

A helper is `python -m msgxc.crew NAME FIRST LAST SHARE`, with the settings of its environment. It ends by
itself when nothing is left, politely on SIGTERM, and when its standard input ends: when whoever started it is
gone.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from msgxc.campaigns import part, send_rest
from msgxc.errors import MsgxcError
from msgxc.garbage import collect_rarely
from msgxc.parts import Planned, Range
from msgxc.settings import read_settings
from msgxc.wiring import open_exchange

#: How long a helper gets to write down what it has done, once its calls have ended.
GRACE_SECONDS = 4.0
STDIN = 0


@contextmanager
def crew(plan: Planned, processes: int) -> Iterator[None]:
    """Helpers for a run, at work while the block runs; no more processes in all than the run has slices."""
    first, last = plan.whole
    command = [sys.executable, "-m", "msgxc.crew", plan.name, str(first), str(last), str(plan.share)]
    helpers: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(min(processes, len(plan.slices)) - 1):
            helpers.append(subprocess.Popen(command, stdin=subprocess.PIPE))  # noqa: S603 - our own command
        yield
    finally:
        _dismiss(helpers, read_settings().provider_timeout + GRACE_SECONDS)


def _dismiss(helpers: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    """All are told, and get so long together: their calls under way end by the provider's timeout."""
    until = time.monotonic() + seconds
    for helper in helpers:
        if helper.stdin:
            helper.stdin.close()
    for helper in helpers:
        try:
            helper.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            helper.kill()
            helper.wait()


def main(arguments: Sequence[str]) -> int:
    """A helper; 0 when nothing is left, or it was told to stop."""
    name, first, last, share = arguments
    stop = threading.Event()
    threading.Thread(target=_until_left, args=(stop,), daemon=True).start()
    try:
        asyncio.run(_send(name, (int(first), int(last)), float(share), stop))
    except MsgxcError as error:
        print(f"helper of {name}: {error}", file=sys.stderr)
        return 1
    return 0


def _until_left(stop: threading.Event) -> None:
    """Not through sys.stdin: a thread that waits there may not be left behind when Python ends."""
    with suppress(OSError):
        while os.read(STDIN, 4096):
            pass
    stop.set()


async def _send(name: str, whole: Range, share: float, stop: threading.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        # By the loop: a handler of Python's own may interrupt itself while it holds the event's lock.
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_exchange() as exchange:
        collect_rarely()
        plan = await part(exchange, name, whole, share)
        await send_rest(exchange, plan, stop=stop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
