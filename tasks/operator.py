"""What the operator does to the run in Prefect's console, carried over to the campaign in the store.

Prefect's own way to stop a run goes through a worker that kills a process, and is not always honoured. Here
the run's state is read about once a second, and the sender looks at the store before every window.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State, StateType
from prefect.runtime import flow_run

from msgxc.campaigns import set_control
from msgxc.ledger import Control
from tasks.engine import Engine

WISHES = {
    StateType.RUNNING: Control.RUN,
    StateType.PAUSED: Control.PAUSE,
    StateType.CANCELLING: Control.CANCEL,
    StateType.CANCELLED: Control.CANCEL,
}


class Operator:
    """Looks at one flow run, for one campaign. `leads`: not a run that sends only a part of it, which may be
    ended without ending the campaign."""

    def __init__(self, client: SyncPrefectClient, campaign: str, *, leads: bool = True) -> None:
        self._client, self._campaign, self._leads = client, campaign, leads
        self._run = UUID(flow_run.id) if flow_run.id else None
        self._known: Control | None = None

    def look(self, engine: Engine) -> None:
        """Read the run's state and pass on what is new in it. Prefect being away changes nothing."""
        with suppress(Exception):
            if self._run and (state := self._client.read_flow_run(self._run).state):
                self._pass_on(engine, state)

    def _pass_on(self, engine: Engine, state: State) -> None:
        wish = WISHES.get(state.type)
        if wish is None or not self._is_news(wish):
            return
        change = partial(set_control, name=self._campaign, control=wish)
        written = engine.add(change) if self._leads else None
        if wish is Control.CANCEL or state.name == "Suspended":
            engine.stop.set()  # A suspended run goes on in a new process: this one has to end.
        if written:
            written.result(timeout=5.0)
        self._known = wish

    def _is_news(self, wish: Control) -> bool:
        """At first, running is news only for a run that was paused earlier, maybe in another process."""
        if self._known is None and wish is Control.RUN:
            states = self._client.read_flow_run_states(self._run) if self._run else []
            self._known = Control.PAUSE if any(s.type is StateType.PAUSED for s in states) else Control.RUN
        return wish is not self._known
