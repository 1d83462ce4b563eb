"""What was asked for is finished, canceled or paused, whatever died: the store, the reconciler and a real
Prefect server. No worker runs here: each test moves its runs by hand to where something has died."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from conftest_engine import NEVER, Ground, crowd, enlist
from machine_fixture import name_of_the_dead
from prefect_server import Prefect

from msgxc import campaigns, ids
from msgxc.campaign import Audience, CampaignSpec
from msgxc.deploying import Api
from msgxc.fallback import FALLBACK
from msgxc.ledger import SEAT, Control
from msgxc.messages import publishing
from msgxc.messages.records import Draft, Principal, Role
from msgxc.prefect_api import Console
from msgxc.reconciling import Reconciler
from msgxc.run_care import (
    CRASH_SECONDS,
    GOES_ON,
    NEVER_RESUMED,
    PENDING_SECONDS,
    QUIET_SECONDS,
    REFUSED,
    STARTING_SECONDS,
    last_word,
)
from msgxc.seat import seated
from msgxc.wiring import Exchange

LONG = 100.0  # seconds after which whatever was at work is known to be gone


@dataclass
class World:
    """An exchange, the console, and a reconciler whose clock can be put forward."""

    exchange: Exchange
    prefect: Prefect
    said: list[str] = field(default_factory=list)
    ahead: float = 0.0

    def __post_init__(self) -> None:
        self.name = f"care-{uuid4().hex[:12]}"
        later = replace(self.exchange, clock=lambda: time.time() + self.ahead)
        self.reconciler = Reconciler(later, self.prefect.api, say=self.said.append, busy=lambda: 1.0)

    @property
    def parameters(self) -> dict[str, Any]:
        """What a person fills in."""
        everyone = {"to": {"kind": "everyone"}}
        return {"name": self.name, "template": "hello", "audience": everyone, "fallback": {"enabled": False}}

    @property
    def spec(self) -> CampaignSpec:
        """The same, checked."""
        return CampaignSpec.model_validate(self.parameters)

    async def plan(self, days_ago: float = 0.0, **sending: Any) -> None:
        """What a process does at its begin, before it dies."""
        early = replace(self.exchange, clock=lambda: time.time() - days_ago * 86_400)
        spec = self.spec.model_copy(update={"sending": self.spec.sending.model_copy(update=sending)})
        planned = await campaigns.plan(early, spec)
        async with seated(early, planned.id):
            pass

    def ask(self) -> str:
        """A person starts the campaign."""
        return self.prefect.run("campaign", self.parameters, self.name)

    async def look(self, ahead: float = CRASH_SECONDS) -> None:
        """What the reconciler does, so many seconds from now."""
        self.ahead = ahead
        await self.reconciler.look()

    async def again(self) -> None:
        """The same by another one, that has seen nothing yet."""
        exchange, said = self.reconciler.exchange, self.said.append
        other = Reconciler(exchange, self.prefect.api, say=said, busy=lambda: 1.0)
        await other.look()
        await other.close()

    async def control(self) -> Control | None:
        """What the store says; None: it knows no such campaign."""
        found = await self.exchange.store.ledger.campaign(ids.campaign_id(self.exchange.key, self.name))
        return found.control if found else None

    def state(self, run: str) -> str:
        """The name of the run's state."""
        return str(self.prefect.read(run)["state"]["name"])


@pytest_asyncio.fixture
async def world(exchange: Exchange, ground: Ground, prefect: Prefect) -> AsyncIterator[World]:
    """Ten people, and nobody at work."""
    await enlist(exchange, ground, crowd(10))
    prefect.clear()
    made = World(exchange, prefect)
    yield made
    await made.reconciler.close()


# -- death before the first window


async def test_a_run_that_a_dead_worker_has_taken_is_put_back(world: World) -> None:
    """Pending for longer than any start takes: the same run is scheduled again, and not before that."""
    run = world.ask()
    world.prefect.set(run, "PENDING")
    await world.look()
    assert world.state(run) == "Pending"
    await world.look(PENDING_SECONDS + 1)
    assert world.state(run) == "AwaitingRetry"


async def test_a_run_that_a_worker_of_an_earlier_start_has_taken_is_put_back(world: World) -> None:
    """Everything was killed, and everything was started again: no worker is about to begin it."""
    run = world.ask()
    world.prefect.set(run, "PENDING")
    world.reconciler.workers_since = time.time()
    await world.look(0.0)
    assert world.state(run) == "AwaitingRetry"
    world.prefect.set(run, "PENDING")
    await world.look(0.0)
    assert world.state(run) == "Pending"


async def test_a_run_that_died_before_it_had_planned_is_put_back(world: World) -> None:
    """Its process was killed at its start: the worker says crashed, the store knows nothing of it."""
    run = world.ask()
    world.prefect.begin(run)
    world.prefect.set(run, "CRASHED")
    await world.look()
    assert world.state(run) == "AwaitingRetry"
    assert await world.control() is None


async def test_a_run_that_died_in_silence_is_put_back(world: World) -> None:
    """Everything was killed at once, so that it is shown as running: once no start takes that long, it is put
    back; if it had come as far as its seat, as soon as that is free."""
    run = world.ask()
    world.prefect.begin(run)
    await world.look(QUIET_SECONDS + 1)
    assert world.state(run) == "Running"
    await world.plan()
    await world.look(QUIET_SECONDS + 2)
    assert world.state(run) == "AwaitingRetry"


async def test_a_run_that_has_surely_died_is_put_back_once(world: World) -> None:
    """Killed with its worker, in its seat: not in the moment in which a worker would say that it has crashed,
    but with the next look, however long its lease has to go; and while the next process starts the dead one
    is no reason to do so again."""
    run = world.ask()
    world.prefect.begin(run)
    await world.plan()
    ledger, now = world.exchange.store.ledger, time.time()
    campaign = ids.campaign_id(world.exchange.key, world.name)
    assert await ledger.claim(campaign, SEAT, name_of_the_dead(), now, now + 1000)
    await world.look(0.0)
    assert world.state(run) == "Running"
    await world.look(CRASH_SECONDS)
    assert world.state(run) == "AwaitingRetry"
    world.prefect.begin(run)
    await world.look(CRASH_SECONDS + 1)
    assert world.state(run) == "Running"


async def test_a_run_that_died_before_its_seat_is_put_back(world: World) -> None:
    """It is shown as running, and has not come as far as its seat: no start takes that long."""
    run = world.ask()
    world.prefect.begin(run)
    await world.look(STARTING_SECONDS / 2)
    assert world.state(run) == "Running"
    await world.look(STARTING_SECONDS + 1)
    assert world.state(run) == "AwaitingRetry"


async def test_a_run_that_is_at_work_is_left_alone(world: World) -> None:
    """As long as somebody answers for the campaign, whatever the console says it is."""
    run = world.ask()
    world.prefect.begin(run)
    planned = await campaigns.plan(world.exchange, world.spec)
    now = world.exchange.clock()
    assert await world.exchange.store.ledger.claim(planned.id, SEAT, "alive", now, now + 1000)
    await world.look(900)
    assert world.state(run) == "Running"
    assert world.prefect.named(world.name) == [run]


async def test_it_is_put_back_again_and_again_ever_more_rarely(world: World) -> None:
    """A run whose process dies each time is tried at once, and then later each time; it stays one run."""
    run, waits = world.ask(), list[float]()
    for _ in range(4):
        world.prefect.begin(run)
        world.prefect.set(run, "CRASHED")
        await world.look()
        assert world.state(run) == "AwaitingRetry"
        at = datetime.fromisoformat(world.prefect.read(run)["next_scheduled_start_time"])
        waits.append(at.timestamp() - time.time() - CRASH_SECONDS)
    assert waits[0] <= 0 < waits[1] < waits[2] < waits[3]
    assert world.prefect.named(world.name) == [run]


async def test_a_slow_start_costs_a_later_death_nothing(world: World) -> None:
    """A busy machine needs longer for a start than a worker that lives should: the run is put back in vain,
    and begins all the same. When it dies then, it is put back at once."""
    run = world.ask()
    world.prefect.set(run, "PENDING")
    await world.look(PENDING_SECONDS + 1)
    assert world.state(run) == "AwaitingRetry"
    world.prefect.begin(run)
    world.prefect.set(run, "CRASHED")
    await world.look()
    assert world.state(run) == "AwaitingRetry"
    at = datetime.fromisoformat(world.prefect.read(run)["next_scheduled_start_time"])
    assert at.timestamp() <= time.time() + CRASH_SECONDS


async def test_a_campaign_whose_database_is_gone_is_started_again_once(world: World) -> None:
    """The console's file was lost after the campaign was planned: there is no run of it at all, and one is
    asked for, under one key."""
    await world.plan(days_ago=1)
    for _ in range(2):
        await world.look()
    await world.again()
    found = world.prefect.ask("POST", "/flow_runs/filter", {"flows": {"name": {"any_": ["campaign"]}}})
    (made,) = [run for run in found if run["parameters"]["name"] == world.name]
    assert made["state"]["message"] == GOES_ON
    assert CampaignSpec.model_validate(made["parameters"]) == world.spec


async def test_a_campaign_whose_run_was_deleted_is_paused(world: World) -> None:
    """A person has removed its run: nothing is sent behind their back, the campaign is paused, and that is
    said. Whoever lets it go on has it sent."""
    run = world.ask()
    world.prefect.begin(run)
    await world.plan()
    world.prefect.remove(run)
    await world.look(LONG)
    assert await world.control() is Control.PAUSE
    assert any("removed from the console" in line for line in world.said)
    await campaigns.set_control(world.exchange, world.name, Control.RUN)
    await world.look(LONG)
    assert await world.control() is Control.RUN
    assert any("started again" in line for line in world.said)


async def test_a_campaign_that_was_due_long_ago_is_not_sent_by_itself(world: World) -> None:
    """Its run is lost, and its time was days ago: a person is asked first."""
    await world.plan(days_ago=4, not_before=datetime.now(UTC) - timedelta(days=3))
    await world.look()
    assert await world.control() is Control.PAUSE
    assert any("msgxc campaigns resume" in line for line in world.said)


async def test_what_a_person_has_to_mend_is_not_tried_again(world: World) -> None:
    """A run that was refused in one sentence stays so, and its campaign is held; resumed, it goes on."""
    run = world.ask()
    world.prefect.begin(run)
    await world.plan()
    world.prefect.set(run, "FAILED", REFUSED, message="a provider refuses our credentials")
    for _ in range(2):
        await world.look(LONG)
    assert world.state(run) == REFUSED
    assert await world.control() is Control.PAUSE
    later = replace(world.exchange, clock=lambda: time.time() + LONG)
    await campaigns.set_control(later, world.name, Control.RUN)
    await world.look(2 * LONG)
    assert world.state(run) == "AwaitingRetry"


async def test_wrong_parameters_fail_for_good(world: World) -> None:
    """Prefect's own refusal is final."""
    run = world.ask()
    world.prefect.begin(run)
    message = "Validation of flow parameters failed with error: …"
    world.prefect.set(run, "FAILED", message=message)
    await world.look(LONG)
    assert world.state(run) == "Failed"


async def test_a_run_that_always_dies_at_its_start_is_left_alone_in_the_end(world: World) -> None:
    """Its parameters cannot even be read: nothing of it is ever planned, and it is not tried for ever."""
    run, tries = world.ask(), 0
    while world.state(run) != "Crashed":
        world.prefect.begin(run)
        world.prefect.set(run, "CRASHED")
        await world.look()
        tries += 1
        assert tries < 20
    assert tries > 3
    assert "left so" in world.said[-1]


async def test_a_recall_that_died_is_made_again(world: World) -> None:
    """It was answered 201, and may be done twice."""
    run = world.prefect.run("recall", {"thread": str(uuid4()), "message": str(uuid4())})
    world.prefect.begin(run)
    world.prefect.set(run, "CRASHED")
    await world.look()
    assert world.state(run) == "AwaitingRetry"


# -- a pause, and death


async def paused(world: World) -> str:
    """A run that is paused, which its process has written down; then the process dies."""
    run = world.ask()
    world.prefect.begin(run)
    await world.plan()
    world.prefect.pause(run)
    await campaigns.set_control(world.exchange, world.name, Control.PAUSE)
    return run


async def test_a_run_killed_while_paused_can_be_resumed(world: World) -> None:
    """The worker says crashed, and Resume would be refused: it is shown as paused again, Resume has a worker
    take the same run, and its process finds that it is to go on."""
    run = await paused(world)
    world.prefect.set(run, "CRASHED")
    assert world.prefect.resume(run) == "ABORT"
    await world.look()
    assert world.state(run) == "Suspended"
    assert world.prefect.resume(run) == "ACCEPT"
    assert world.state(run) == "Resuming"
    assert await goes_on(world, run) is Control.RUN


async def test_a_pause_that_nobody_has_written_down_holds(world: World) -> None:
    """The process was killed in the moment after Pause: the store learns it from the console."""
    run = world.ask()
    world.prefect.begin(run)
    await world.plan()
    world.prefect.pause(run)
    world.prefect.set(run, "CRASHED")
    await world.look()
    assert await world.control() is Control.PAUSE
    assert world.state(run) == "Suspended"


async def test_resume_after_a_power_cut_goes_on(world: World) -> None:
    """Everything was killed while it was paused. Resume is pressed before anybody has looked: the console
    says running, and nobody is there; the run is put back, and its process finds that it is to go on."""
    run = await paused(world)
    assert world.prefect.resume(run) == "ACCEPT"
    assert world.state(run) == "Running"
    await world.look(QUIET_SECONDS + 1)
    assert world.state(run) == "AwaitingRetry"
    assert await goes_on(world, run) is Control.RUN


async def test_a_pause_outlives_a_power_cut(world: World) -> None:
    """Nobody is at work on a paused run any more: it stays paused, without a process, and Resume goes on."""
    run = await paused(world)
    for _ in range(3):
        await world.look(LONG)
    assert world.state(run) == "Suspended"
    assert world.prefect.resume(run) == "ACCEPT"
    assert await goes_on(world, run) is Control.RUN


@pytest.mark.parametrize("shown", ["CRASHED", "PAUSED"])
async def test_the_command_line_resumes_whatever_became_of_the_run(world: World, shown: str) -> None:
    """`msgxc campaigns resume` after the death of a paused run: the run goes on."""
    run = await paused(world)
    if shown == "CRASHED":
        world.prefect.set(run, "CRASHED")
    await world.look(LONG)
    assert world.state(run) == "Suspended"
    later = replace(world.exchange, clock=lambda: time.time() + LONG)
    await campaigns.set_control(later, world.name, Control.RUN)
    await world.look(2 * LONG)
    assert world.state(run) == "Resuming"


async def test_the_same_name_again_resumes(world: World) -> None:
    """A person starts a paused campaign's name again: that is a newer word than the pause."""
    await paused(world)
    again = world.ask()
    assert await goes_on(world, again) is Control.RUN


async def test_a_schedule_and_we_ourselves_resume_nothing(world: World) -> None:
    """A run that we have put back, or asked for, is no person's word: what is paused stays paused."""
    run = await paused(world)
    again = world.prefect.run(
        "campaign", world.parameters, world.name, state={"type": "SCHEDULED", "message": GOES_ON}
    )
    world.prefect.set(run, "CRASHED")
    await world.look()
    for each in (run, again):
        assert await goes_on(world, each) is Control.PAUSE


async def test_a_pause_that_comes_to_its_end_goes_on(world: World) -> None:
    """The dialog promises that the run goes on by itself: it does, before Prefect would call it failed, and
    also when Prefect was quicker."""
    run = await paused(world)
    world.prefect.set(
        run,
        "PAUSED",
        "Paused",
        force=True,
        state_details={"pause_timeout": (datetime.now(UTC) + timedelta(minutes=2)).isoformat()},
    )
    await world.look()
    assert world.state(run) == "Paused"
    await world.look(115)
    assert world.state(run) == "Running"


async def test_a_pause_that_prefect_has_ended_goes_on_all_the_same(world: World) -> None:
    """Prefect was quicker, or nobody looked, and called the run failed: the dialog's promise holds."""
    run = await paused(world)
    world.prefect.set(run, "FAILED", message=f"The flow was paused {NEVER_RESUMED}.", force=True)
    await world.look(LONG)
    assert world.state(run) == "AwaitingRetry"
    assert await goes_on(world, run) is Control.RUN


async def goes_on(world: World, run: str) -> Control:
    """What a process that begins with this run finds."""
    with closing(Console(world.prefect.api)) as console:
        states = console.states(run)
    planned = await campaigns.plan(world.exchange, world.spec)
    return await campaigns.heed(world.exchange, planned.id, last_word(states, schedule=False))


# -- a cancel is final


@pytest.mark.parametrize("moment", ["scheduled", "pending", "planned", "sealed", "paused", "dead"])
async def test_a_cancel_is_final_wherever_it_hits(world: World, ground: Ground, moment: str) -> None:
    """Nobody was there who could hear it: the store learns it, the name started again gets nobody, and the
    run does not stay as canceling for ever."""
    run = world.ask()
    if moment != "scheduled":
        world.prefect.set(run, "PENDING")
    if moment in ("planned", "sealed", "paused", "dead"):
        world.prefect.set(run, "RUNNING")
        await world.plan()
    if moment == "sealed":
        await campaigns.seal(world.exchange, ids.campaign_id(world.exchange.key, world.name))
    if moment == "paused":
        world.prefect.pause(run)
    world.prefect.set(run, "CANCELLING")
    for _ in range(2):
        await world.look(LONG)
    assert world.state(run) == "Cancelled"
    assert await world.control() is Control.CANCEL
    planned = await campaigns.plan(world.exchange, world.spec)
    await campaigns.seal(world.exchange, planned.id)
    await campaigns.send_rest(world.exchange, planned, stop=NEVER)
    assert not ground.by_person()
    await world.reconciler.close()
    stored = await world.exchange.store.ledger.campaign(planned.id)
    assert stored
    assert stored.finished
    await world.again()
    said = "msgxc: canceled: 0 of 0 people reached" if moment == "scheduled" else "msgxc: canceled; nobody"
    assert world.prefect.read(run)["state"]["message"].startswith(said)


async def test_a_cancel_of_a_dead_run_is_no_resurrection(world: World) -> None:
    """A run that has died is canceled in the store: it ends as canceled, and is not put back."""
    run = world.ask()
    world.prefect.begin(run)
    await world.plan()
    await campaigns.set_control(world.exchange, world.name, Control.CANCEL)
    world.prefect.set(run, "CRASHED")
    for _ in range(2):
        await world.look(LONG)
    assert world.state(run) == "Cancelled"


async def test_a_canceled_campaign_lets_no_run_begin(world: World) -> None:
    """`msgxc campaigns cancel` while its run waits for its time: that run is canceled too."""
    await world.plan()
    then = (datetime.now(UTC) + timedelta(hours=3)).isoformat()
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": then}}
    run = world.prefect.run("campaign", world.parameters, world.name, state=state)
    await campaigns.set_control(world.exchange, world.name, Control.CANCEL)
    await world.look(LONG)
    assert world.state(run) == "Cancelled"


async def test_a_canceled_name_of_a_schedule_is_the_one_of_its_zone(world: World) -> None:
    """The next run of a schedule is canceled before it has begun: the campaign that it would have been is."""
    schedule = {"interval": 86_400, "anchor_date": "2026-01-01T11:00:00Z", "timezone": "Pacific/Kiritimati"}
    world.name += "-{date}"
    known = world.prefect.ask("GET", "/deployments/name/campaign/campaign")
    path = f"/deployments/{known['id']}/schedules"
    body = [{"schedule": schedule, "active": True, "parameters": world.parameters}]
    made = world.prefect.ask("POST", path, body)
    filed: list[dict[str, Any]] = []
    end = time.monotonic() + 120
    while not filed:
        assert time.monotonic() < end, "the server has made no run"
        found = world.prefect.ask("POST", "/flow_runs/filter", {"flows": {"name": {"any_": ["campaign"]}}})
        filed = [run for run in found if run["parameters"].get("name") == world.name]
        time.sleep(0.5)
    world.prefect.set(filed[0]["id"], "CANCELLING")
    await world.look(LONG)
    world.prefect.ask("DELETE", f"{path}/{made[0]['id']}")
    due = datetime.fromisoformat(filed[0]["expected_start_time"]) + timedelta(hours=14)
    world.name = world.name.replace("{date}", f"{due:%Y-%m-%d}")
    assert await world.control() is Control.CANCEL


async def test_a_finished_campaign_is_not_canceled(world: World, ground: Ground) -> None:
    """What has been sent stays sent: a late run of it that is canceled changes nothing."""
    planned = await campaigns.plan(world.exchange, world.spec)
    await campaigns.seal(world.exchange, planned.id)
    await campaigns.send_rest(world.exchange, planned, stop=NEVER)
    assert await campaigns.finish(world.exchange, planned.id)
    world.prefect.set(world.ask(), "CANCELLING")
    await world.look(LONG)
    assert await world.control() is Control.RUN


# -- a fallback that is missing


async def closed(world: World) -> None:
    """A campaign that was closed, whose fallback nobody has scheduled."""
    spec = CampaignSpec.model_validate({**world.parameters, "fallback": {"after_minutes": 0}})
    planned = await campaigns.plan(world.exchange, spec)
    await campaigns.seal(world.exchange, planned.id)
    await campaigns.send_rest(world.exchange, planned, stop=NEVER)
    assert await campaigns.finish(world.exchange, planned.id)


async def test_a_missing_fallback_is_started_once(world: World) -> None:
    """The run that was to schedule it has died: it is asked for under one key, whoever looks how often."""
    await closed(world)
    await world.look()
    assert not fallbacks(world)
    for _ in range(2):
        await world.look(3600)
    await world.again()
    assert len(fallbacks(world)) == 1


@pytest.mark.parametrize("state", ["SCHEDULED", "RUNNING", "CANCELLED", "COMPLETED"])
async def test_a_fallback_that_has_a_run_is_left_to_it(world: World, state: str) -> None:
    """It waits for a worker, is at work, or a person has ended it: there is no second one."""
    await closed(world)
    run = world.prefect.run("fallback", {"campaign": world.name}, world.name + FALLBACK)
    if state != "SCHEDULED":
        world.prefect.begin(run)
        world.prefect.set(run, state)
    await world.look(3600)
    assert fallbacks(world) == [run]


async def test_a_fallback_whose_run_has_died_is_put_back(world: World) -> None:
    """Before it had planned anything: the same run begins again."""
    await closed(world)
    run = world.prefect.run("fallback", {"campaign": world.name}, world.name + FALLBACK)
    world.prefect.begin(run)
    world.prefect.set(run, "CRASHED")
    await world.look()
    assert world.state(run) == "AwaitingRetry"
    assert fallbacks(world) == [run]


async def test_a_canceled_fallback_is_canceled_in_the_store(world: World) -> None:
    """Canceled while it waited for its time: nobody gets it, whoever starts it again."""
    await closed(world)
    world.prefect.set(
        world.prefect.run("fallback", {"campaign": world.name}, world.name + FALLBACK), "CANCELLING"
    )
    await world.look()
    world.name += FALLBACK
    assert await world.control() is Control.CANCEL


def fallbacks(world: World) -> list[str]:
    found = world.prefect.ask("POST", "/flow_runs/filter", {"flows": {"name": {"any_": ["fallback"]}}})
    return [run["id"] for run in found if run["parameters"]["campaign"] == world.name]


# -- dispatch, and Prefect away


async def test_a_run_that_dispatches_is_asked_for_at_once_and_again(world: World) -> None:
    """Nobody drains triage: one run is asked for, no second one while it is on its way, and another one when
    a worker has taken it and died."""
    for _ in range(3):
        await world.look()
    (first,) = world.prefect.of_flow("dispatch")
    world.prefect.set(first, "PENDING")
    await world.look()
    assert world.prefect.of_flow("dispatch") == [first]
    await world.look(PENDING_SECONDS - 1)
    assert len(world.prefect.of_flow("dispatch")) == 2


async def test_prefect_away_is_no_end(world: World) -> None:
    """While Prefect cannot be asked nothing happens and it is said once; at the next look it goes on."""
    run = world.ask()
    world.prefect.begin(run)
    await world.plan()
    there, world.reconciler.console.api = world.reconciler.console.api, Api("http://127.0.0.1:9/api")
    for _ in range(3):
        await world.look(LONG)
    assert len(world.said) == 1
    world.reconciler.console.close()
    world.reconciler.console.api = there
    await world.look(LONG)
    assert world.state(run) == "AwaitingRetry"


async def test_what_is_over_costs_nothing_more(world: World, ground: Ground) -> None:
    """A look reads the campaigns that are not over, however many are: what is finished and has no fallback is
    read once and not again."""
    for number in range(5):
        planned = await campaigns.plan(
            world.exchange, world.spec.model_copy(update={"name": f"{world.name}-{number}"})
        )
        await campaigns.seal(world.exchange, planned.id)
        await campaigns.send_rest(world.exchange, planned, stop=NEVER)
        assert await campaigns.finish(world.exchange, planned.id)
    await world.plan()
    await world.look()
    await world.look()
    left = await world.reconciler.looked_after.look(world.exchange)
    assert [one.spec.name for one in left] == [world.name]


@contextmanager
def scheduled(world: World, name: str, zone: str, **parameters: Any) -> Iterator[list[str]]:
    """A schedule that starts a campaign each day; the runs that the server has made for it."""
    known = world.prefect.ask("GET", "/deployments/name/campaign/campaign")
    path = f"/deployments/{known['id']}/schedules"
    asked = {**world.parameters, **parameters, "name": name}
    body = [{"schedule": {"cron": "0 12 * * *", "timezone": zone}, "active": True, "parameters": asked}]
    made = world.prefect.ask("POST", path, body)
    try:
        end = time.monotonic() + 120
        while len(found := world.prefect.of_flow("campaign")) < 3:
            assert time.monotonic() < end, "the server has made no runs"
            time.sleep(0.5)
        yield found
    finally:
        world.prefect.ask("DELETE", f"{path}/{made[0]['id']}")


async def test_waiting_runs_have_their_campaigns_name_and_tags(world: World) -> None:
    """Those of a schedule in its own zone, and what somebody has put on them stays; a run whose parameters
    say no name keeps the one that it has."""
    zone, audience = "Pacific/Kiritimati", {"to": {"cohort": "News letter"}}
    with scheduled(world, "Weekly {date}", zone, audience=audience) as of_schedule:
        at = (datetime.now(UTC) + timedelta(days=2)).isoformat()
        later = {"type": "SCHEDULED", "state_details": {"scheduled_time": at}}
        stored = {**world.parameters, "name": {"__prefect_kind": "none", "value": world.name.upper()}}
        mine = world.prefect.run("campaign", stored, tags=["mine"], state=later)
        none = world.prefect.run("campaign", {"name": "!", "template": "hello"}, "as-it-is", state=later)
        await world.look(0.0)
        for run in map(world.prefect.read, of_schedule):
            due = datetime.fromisoformat(run["expected_start_time"]).astimezone(ZoneInfo(zone))
            assert run["name"] == f"weekly-{due:%Y-%m-%d}"
            assert {"cohort:news-letter", "template:hello", "auto-scheduled"} <= set(run["tags"])
        found = world.prefect.read(mine)
        assert (found["name"], set(found["tags"])) == (world.name, {"mine", "template:hello"})
        assert world.prefect.read(none)["name"] == "as-it-is"


async def test_a_schedules_later_run_does_not_stand_for_a_campaign(world: World) -> None:
    """It has the name of a campaign that nobody is at work on: that one is looked after all the same."""
    run = world.ask()
    world.prefect.begin(run)
    await world.plan()
    with scheduled(world, world.name, "UTC"):
        await world.look()
        assert len(world.prefect.named(world.name)) > 2
        world.prefect.remove(run)
        await world.look(LONG)
        assert await world.control() is Control.PAUSE


async def test_the_forms_offer_what_there_is_within_seconds(world: World) -> None:
    """A cohort and a campaign that were made are in the form at the next look; it stays so, and nothing of a
    person is in it. A template is a folder."""
    path = "/deployments/name/campaign/campaign"
    known = world.prefect.ask("GET", path)
    audience = Audience.model_json_schema(ref_template="#/definitions/{model}")
    parts = {**audience.pop("$defs"), "Audience": audience}
    form = {
        "type": "object",
        "properties": {
            "template": {"type": "string", "enum": []},
            "message": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "audience": {"$ref": "#/definitions/Audience"},
        },
        "definitions": parts,
        "additionalProperties": False,
    }
    world.prefect.ask("PATCH", f"/deployments/{known['id']}", {"parameter_openapi_schema": form})
    someone = crowd(1)
    await world.exchange.store.directory.put(someone)
    await world.exchange.store.cohorts.add("fresh", [someone[0].uid])
    await campaigns.plan(world.exchange, world.spec)
    operator = Principal(None, frozenset({Role.ADMIN}))
    said = await publishing.send(world.exchange, operator, Draft("A secret"), someone[0].uid)
    (world.exchange.settings.templates / "made-meanwhile").mkdir()

    await world.look(0.0)

    made = world.prefect.ask("GET", path)["parameter_openapi_schema"]
    offers = made["definitions"]
    assert "fresh" in offers["Cohort"]["properties"]["cohort"]["anyOf"][0]["enum"]
    assert "fresh 1" in offers["Cohort"]["properties"]["cohort"]["description"]
    assert world.name in offers["Unreached"]["properties"]["campaign"]["anyOf"][0]["enum"]
    assert made["properties"]["template"]["enum"] == ["hello", "made-meanwhile"]
    assert made["additionalProperties"] is False
    listed = made["properties"]["message"]["anyOf"][0]["enum"]
    assert any(line.endswith(f"one person, urgency 3: {said.mid}") for line in listed)
    for personal in ("secret", someone[0].name, someone[0].devices[0].token, str(someone[0].uid)):
        assert personal not in str(made)
    await world.exchange.store.cohorts.drop("fresh")
    await world.look(LONG)
    assert "fresh" not in str(world.prefect.ask("GET", path)["parameter_openapi_schema"])
