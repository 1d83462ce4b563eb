"""What the operator does to the run in Prefect's console, carried over to the campaign in the store.

Prefect's own way to stop a run goes through a worker that kills a process, and is not always honoured. Here
the run's state is read about once a second, and the sender looks at the store before every window. Whoever
rests for long gives the worker's place back: a paused run is shown as suspended, and Resume starts a process.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from time import monotonic
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State, StateType
from prefect.runtime import deployment, flow_run
from prefect.states import Running

from msgxc.campaigns import set_control
from msgxc.ledger import Control
from msgxc.run_care import GOES_ON, NEVER_RESUMED
from msgxc.wiring import Exchange
from tasks.board import tell
from tasks.engine import Engine

WISHES = {
    StateType.RUNNING: Control.RUN,
    StateType.PAUSED: Control.PAUSE,
    StateType.CANCELLING: Control.CANCEL,
    StateType.CANCELLED: Control.CANCEL,
}
#: A wait that is longer than this is left to the scheduler: no process sleeps through it.
NAP_SECONDS = 60.0


class Operator:
    """Looks at one flow run, for one campaign. `leads`: not a run that sends only a part of it, which may be
    ended without ending the campaign. `suspends`: it has rested for long, and the process is to end."""

    def __init__(self, client: SyncPrefectClient, campaign: UUID, name: str, *, leads: bool = True) -> None:
        self._client, self._campaign, self._name, self._leads = client, campaign, name, leads
        self._run = UUID(flow_run.id) if flow_run.id else None
        self._known = Control.RUN  # what was there at the begin has been taken over: tasks.campaign.plan
        self._paused_since = 0.0
        self.suspends = False

    def look(self, engine: Engine) -> None:
        """Read the run's state and pass on what is new in it. Prefect being away changes nothing."""
        with suppress(Exception):
            if self._run and (state := self._client.read_flow_run(self._run).state):
                self._pass_on(engine, state)
                self._rest(engine, state)

    def _pass_on(self, engine: Engine, state: State) -> None:
        if state.type is StateType.FAILED and NEVER_RESUMED in (state.message or "") and self._run:
            # A pause has come to its end: its dialog promised that the run goes on.
            self._client.set_flow_run_state(self._run, Running(message=GOES_ON))
            return
        wish = WISHES.get(state.type)
        if wish is None or wish is self._known:
            return
        change = partial(set_control, name=self._name, control=wish)
        written = engine.add(change) if self._leads else None
        if wish is Control.CANCEL:
            engine.stop.set()
        if written:
            written.result(timeout=5.0)
        self._known = wish

    def _rest(self, engine: Engine, state: State) -> None:
        """A pause, by whomever, gives the place back after a while; an end of it, by whomever, is shown."""
        control = engine.add(self._control).result(timeout=5.0)
        if control is not Control.PAUSE:
            self._paused_since = 0.0
            resumed = control is Control.RUN and self._known is Control.PAUSE
            if resumed and state.type is StateType.PAUSED and self._run:
                self._client.resume_flow_run(self._run)
            return
        if not self._paused_since:
            self._paused_since = monotonic()
            if self._leads:
                tell(self._name, "paused", "nothing more is sent until somebody resumes it")
        long = monotonic() - self._paused_since > NAP_SECONDS
        if (long and deployment.id) or state.name == "Suspended":
            self.suspends = True
            engine.stop.set()

    async def _control(self, exchange: Exchange) -> Control:
        return await exchange.store.ledger.control(self._campaign)
