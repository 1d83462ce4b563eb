"""Has campaigns that were begun, and that nobody goes on with, run again.

`python -m msgxc.reconciling`, kept running beside the workers: one is enough, several do no harm. Whether a
campaign is abandoned is read from its leases. Prefect is asked for a new run of it, which finishes what is
left and repeats nobody. PREFECT_API_URL and PREFECT_API_AUTH_STRING say where Prefect is.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx

from msgxc.deploying import Api
from msgxc.errors import MsgxcError, StoreUnavailable
from msgxc.fallback import FALLBACK, Followed, fallback_key
from msgxc.health import seen_file
from msgxc.ledger import Campaign, Control
from msgxc.messages.succession import vacant
from msgxc.seat import Abandoned, abandoned
from msgxc.urgency import levels
from msgxc.wiring import Exchange, open_exchange

LOOK_SECONDS = 3.0
DISPATCH_SECONDS = 45.0
#: A campaign whose new runs fail again and again is started ever more rarely.
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 3600.0
CANCELED = {"CANCELLED", "CANCELLING"}
#: What a person has ended, or has to look at.
ENDED = {"CANCELLED", "CANCELLING", "COMPLETED", "FAILED"}
FLOW_OF_FALLBACKS = "fallback/fallback"


def say(line: str) -> None:
    """Tell the log."""
    print(line, flush=True)


@dataclass(slots=True)
class Reconciler:
    """Looks after the campaigns of one exchange. `api`: where new runs are asked for."""

    exchange: Exchange
    api: Api
    say: Callable[[str], None] = say
    _not_before: dict[UUID, tuple[float, float]] = field(default_factory=dict)  # time, pause
    _dispatched: float = 0.0  # when a run that dispatches was last asked for
    _followed: Followed = field(default_factory=Followed)

    async def look(self) -> None:
        """One look at all campaigns. When Prefect or the store is away: the next look is soon."""
        with suppress(StoreUnavailable):
            if (since := await vacant(self.exchange)) is not None:
                await self._dispatch(since)
            for found in await abandoned(self.exchange):
                if self._may(found.campaign):
                    await self._take_care(found)
            for parent in await self._followed.missing(self.exchange):
                if self._may(parent):
                    await self._have_followed(parent)

    def _may(self, campaign: Campaign) -> bool:
        """Whether it is long enough since it was started last."""
        return self.exchange.clock() >= self._not_before.get(campaign.id, (0.0, 0.0))[0]

    def _wait(self, campaign: Campaign) -> None:
        """Leave it alone, longer each time."""
        _, pause = self._not_before.get(campaign.id, (0.0, FIRST_PAUSE / 2))
        pause = min(2 * pause, LONGEST_PAUSE)
        self._not_before[campaign.id] = self.exchange.clock() + pause, pause

    async def _have_followed(self, parent: Campaign) -> None:
        """Have the fallback run that should have begun, unless Prefect has a run of it that still can."""
        name = parent.spec.name + FALLBACK
        try:
            newest = await asyncio.to_thread(_newest, self.api, name)
            if newest is None or newest["state_type"] == "CRASHED":
                key = f"again {newest['id']}" if newest else fallback_key(parent)
                what = FLOW_OF_FALLBACKS, {"campaign": parent.spec.name}, key, self._queue(parent)
                await asyncio.to_thread(_start, self.api, *what)
                self.say(f"{name}: it was due and had not begun; started")
            elif newest["state_type"] in ENDED:
                self._followed.settled.add(parent.id)
        except httpx.HTTPError as error:
            self.say(f"{name}: it was due, and Prefect cannot be asked: {type(error).__name__}")
            return
        self._wait(parent)

    async def _dispatch(self, since: float) -> None:
        """Nobody drains triage: ask for a run that does, once for each time that the last one has gone.

        Asked again every DISPATCH_SECONDS, for a run that was asked for may fail, or wait for a worker.
        """
        now = self.exchange.clock()
        if now < self._dispatched + DISPATCH_SECONDS:
            return
        self._dispatched = now
        key = f"dispatch {since:.0f} {now // DISPATCH_SECONDS:.0f}"
        try:
            await asyncio.to_thread(_start_dispatch, self.api, key)
        except httpx.HTTPError as error:
            self.say(f"nobody dispatches, and Prefect cannot be asked: {type(error).__name__}")

    async def _take_care(self, found: Abandoned) -> None:
        name = found.campaign.spec.name
        try:
            if await asyncio.to_thread(_was_canceled, self.api, name):
                await self.exchange.store.ledger.set_control(found.campaign.id, Control.CANCEL)
                self.say(f"{name}: canceled in the console, after its run had died")
                return
            await asyncio.to_thread(_start_again, self.api, found, self._queue(found.campaign))
        except httpx.HTTPError as error:
            self.say(f"{name}: nobody goes on with it, and Prefect cannot be asked: {type(error).__name__}")
            return
        self._wait(found.campaign)
        self.say(f"{name}: nobody went on with it; started again")

    def _queue(self, campaign: Campaign) -> str:
        return levels(self.exchange.settings)[campaign.spec.sending.urgency].queue


def _was_canceled(api: Api, name: str) -> bool:
    """Whether the operator has canceled its newest run, which had nobody left who could carry that over."""
    newest = _newest(api, name)
    return newest is not None and newest["state_type"] in CANCELED


def _newest(api: Api, name: str) -> dict[str, Any] | None:
    """The newest run of that name, if there is one."""
    wanted = {"flow_runs": {"name": {"any_": [name]}}, "sort": "EXPECTED_START_TIME_DESC", "limit": 1}
    with api.client() as client:
        runs = client.post("/flow_runs/filter", json=wanted).raise_for_status().json()
    return dict(runs[0]) if runs else None


def _start_dispatch(api: Api, key: str) -> None:
    with api.client() as client:
        answer = client.get("/deployments/name/dispatch/dispatch")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return  # Nothing is deployed yet, or this exchange has no messages.
        known = answer.raise_for_status().json()
        body = {"idempotency_key": key}
        client.post(f"/deployments/{known['id']}/create_flow_run", json=body).raise_for_status()


def _start_again(api: Api, found: Abandoned, queue: str) -> None:
    """Ask for a run, once for each time that it was abandoned."""
    spec = found.campaign.spec
    deployment, parameters = (
        "campaign/campaign",
        spec.model_dump(mode="json", exclude={"parent", "thread", "message"}),
    )
    if spec.parent:
        deployment, parameters = FLOW_OF_FALLBACKS, {"campaign": spec.parent}
    _start(api, deployment, parameters, f"again {spec.name} {found.since:.0f}", queue)


def _start(api: Api, deployment: str, parameters: dict[str, Any], key: str, queue: str) -> None:
    """Ask for a run, once for each key."""
    body = {"parameters": parameters, "idempotency_key": key, "work_queue_name": queue}
    with api.client() as client:
        known = client.get(f"/deployments/name/{deployment}").raise_for_status().json()
        client.post(f"/deployments/{known['id']}/create_flow_run", json=body).raise_for_status()


async def run(api: Api) -> None:
    """Look every LOOK_SECONDS until SIGTERM or Ctrl-C."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with open_exchange() as exchange:
        reconciler = Reconciler(exchange, api)
        while not ended.is_set():
            await reconciler.look()
            seen_file(exchange.settings).touch()
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), LOOK_SECONDS)


def main() -> int:
    """Run until ended; 1, with one line, when it cannot."""
    api = Api(os.environ.get("PREFECT_API_URL", ""), os.environ.get("PREFECT_API_AUTH_STRING", ""))
    try:
        asyncio.run(run(api))
    except MsgxcError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
