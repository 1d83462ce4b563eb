"""Processes that send and may be killed, stopped and continued. Started by fork from a warm one: 0.1 s each.

Each opens an exchange of its own, plans, seals and sends one campaign to its end, as a flow would.
"""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from msgxc import campaigns, failpoints
from msgxc.campaign import CampaignSpec
from msgxc.settings import Settings, read_settings
from msgxc.wiring import open_exchange

WARM = ["msgxc.campaigns", "msgxc.wiring", "msgxc.store.sqlite", "msgxc.store.cassandra", "msgxc.providers"]
WARM += ["msgxc.providers.apns", "msgxc.providers.fcm", "cassandra.cluster", "cassandra.io.libevreactor"]
WARM += ["msgxc.cli", "rich.table"]
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(WARM)
Process = ForkServerProcess


@dataclass(frozen=True, slots=True)
class Job:
    """What a process is to do. `clock` is added to its wall clock, in seconds."""

    chosen: dict[str, Any]
    spec: CampaignSpec
    failpoints: str = ""
    clock: float = 0.0
    largest_file: int = 0  # RLIMIT_FSIZE in bytes; 0: none


def chosen(settings: Settings, **more: object) -> dict[str, Any]:
    """The settings that another process needs to be in the same exchange."""
    return settings.model_dump(exclude_defaults=True) | more


@dataclass
class Fleet:
    """The processes of one test."""

    running: list[Process] = field(default_factory=list)

    def start(self, settings: Settings, spec: CampaignSpec, points: str = "", **more: Any) -> Process:
        """Start a process; `points` arms its failpoints, `more` are fields of Job or settings."""
        of_job = {name: more.pop(name) for name in ("clock", "largest_file") if name in more}
        job = Job(chosen(settings, **more), spec, points, **of_job)
        process = FORK.Process(target=work, args=(job,), daemon=True)
        process.start()
        self.running.append(process)
        return process

    async def run(self, settings: Settings, spec: CampaignSpec, points: str = "", **more: Any) -> int:
        """Start a process and wait for its end; its exit code (-9: killed)."""
        return await self.wait(self.start(settings, spec, points, **more))

    async def wait(self, process: Process, seconds: float = 120) -> int:
        """The exit code; fails when the process has not ended after so many seconds."""
        await self.linger(process, seconds)
        assert process.exitcode is not None, f"still running after {seconds} s"
        return process.exitcode

    @staticmethod
    async def linger(process: Process, seconds: float) -> None:
        """Wait for its end, for so many seconds at most.

        Never in a thread: starting a process looks after all others, and two who look at once can lose the
        exit code (it reads as 255 then).
        """
        end = time.monotonic() + seconds
        while process.exitcode is None and time.monotonic() < end:
            await asyncio.sleep(0.02)

    def end(self) -> None:
        """Nothing of it is left."""
        for process in self.running:
            process.kill()
            process.join()
        self.running.clear()


def signal_to(process: Process, number: signal.Signals) -> None:
    """Send a signal to a process of ours."""
    assert process.pid is not None
    os.kill(process.pid, number)


def work(job: Job) -> None:
    """In the process: send the campaign. SIGTERM ends it politely."""
    os.environ["MSGXC_FAILPOINTS"] = job.failpoints
    importlib.reload(failpoints)  # the name was read when the warm process started
    if job.largest_file:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (job.largest_file, hard))
    asyncio.run(_send(job))


async def _send(job: Job) -> None:
    stop = threading.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = read_settings(_env_file=None, **job.chosen)
    async with open_exchange(settings, lambda: time.time() + job.clock) as exchange:
        planned = await campaigns.plan(exchange, job.spec)
        await campaigns.seal(exchange, planned.id)
        await campaigns.send_slice(exchange, planned.id, 0, planned.shards, stop=stop)
        if not stop.is_set():
            await campaigns.finish(exchange, planned.id)


@dataclass(frozen=True, slots=True)
class Done:
    """What a command said, and its status."""

    status: int
    out: str
    err: str


def command(home: Path, *arguments: str, **env: str) -> Done:
    """`msgxc …` in a process of its own, with just these settings."""
    process = FORK.Process(target=_command, args=(home, arguments, env), daemon=True)
    process.start()
    process.join(120)
    assert process.exitcode is not None, "the command does not end"
    return Done(process.exitcode, (home / "out").read_text(), (home / "err").read_text())


def _command(home: Path, arguments: tuple[str, ...], env: dict[str, str]) -> None:
    os.chdir(home)
    for name in [name for name in os.environ if name.startswith("MSGXC_")]:
        del os.environ[name]
    os.environ.update(env, MSGXC_HOME=str(home))
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(home / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  # it is this process's until its end
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    from msgxc.cli import app

    app(list(arguments))
